"""`enarx platform tcb`: what a tenant trusts inside a Keep, counted."""

from __future__ import annotations

import json
from dataclasses import asdict

import click


@click.command("tcb")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(as_json: bool) -> None:
    """Count the trusted computing base of a Keep: the payload, part by part.

    Lines are lines of code: no blank lines, comments or docstrings.

    \b
    Example:
      enarx platform tcb
    """
    from enarx.image.payload import find_payload
    from enarx.image.tcb import count

    parts = count(find_payload())
    if as_json:
        click.echo(json.dumps([asdict(part) for part in parts], indent=1))
        return
    click.echo(f"{'part':<18} {'files':>6} {'lines':>8} {'native KiB':>11}")
    for part in parts:
        click.echo(f"{part.name:<18} {part.files:>6} {part.lines:>8} {part.native // 1024:>11}")
    ours = sum(part.lines for part in parts if part.name.startswith("enarx"))
    theirs = sum(part.lines for part in parts) - ours
    native = sum(part.native for part in parts)
    click.echo(
        f"\nours: {ours} lines; dependencies: {theirs} lines and {native // 1024} KiB native"
    )
