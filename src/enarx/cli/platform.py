"""`enarx platform`: what this machine can do, and what a Keep's trusted base consists of."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from enarx.cli import tcb


@click.group(
    "platform",
    epilog="""\b
Examples:
  enarx platform info           technologies and sandbox levels, with what is missing
  enarx platform info --json
  enarx platform tcb            what a tenant trusts inside a Keep, counted""",
)
def command() -> None:
    """What this machine can do, and what a Keep's trusted base consists of."""


platform = command
command.add_command(tcb.command, "tcb")


@command.command("info")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def info(as_json: bool) -> None:
    """Probe this machine: each capability is opened, called or tried, not guessed.

    \b
    Example:
      enarx platform info
    """
    from enarx.host.probe import probe

    findings = probe()
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=1))
        return
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        mark = "yes" if finding.present else "no "
        click.echo(f"{finding.name:<{width}}  {mark}  {finding.seen}")
        if not finding.present and finding.remedy:
            click.echo(f"{'':<{width}}       to get it: {finding.remedy}")
