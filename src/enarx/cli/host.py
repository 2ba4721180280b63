"""`enarx host`: start, show and end the keep manager of this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from enarx.wire.manager import HostStatus

_RUN_DIR = click.option(
    "--run-dir",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Sockets of the host. Default: /run/enarx for root, else your own.",
)


@click.group(
    "host",
    epilog="""\b
Examples:
  enarx host up                            for programs on this machine
  enarx host up --listen 0.0.0.0:9443 --tenant FINGERPRINT
                                           for this tenant, over the network
  enarx host status
  enarx host down""",
)
def command() -> None:
    """Start, show and end the keep manager of this machine.

    A host makes Keeps for its tenants. It needs Linux on x86-64. `enarx run` needs none:
    where no host runs, it starts a private one and ends it again.
    """


host = command


@command.command("up")
@click.option(
    "--listen", default="", metavar="ADDR:PORT", help="Serve TLS there as well; port 0: any."
)
@_RUN_DIR
@click.option(
    "--state-dir",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Keys of the host. Default: /var/lib/enarx for root, else your own.",
)
@click.option(
    "--payload",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="DIR",
    help="Launch Keeps from this payload instead of the installed one.",
)
@click.option(
    "--image",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="DIR",
    help="Image of Keeps that are virtual machines; that of 'enarx image build' otherwise.",
)
@click.option(
    "--tenant",
    "tenants",
    multiple=True,
    metavar="FINGERPRINT",
    help="Allow the tenant whose certificate has this SHA-256, or the local user uid:NUMBER.",
)
@click.option("--any-tenant", is_flag=True, help="Allow everybody who can connect.")
@click.option(
    "--launcher",
    type=click.Choice(["auto", "systemd", "supervised"]),
    default="auto",
    help="What starts keep loaders. auto: systemd where it is the init and we are root.",
)
@click.option("--foreground", is_flag=True, help="Stay here until Ctrl-C.")
def up(**given: Any) -> None:
    """Start the host. It says where it listens, as --host takes it.

    \b
    Examples:
      enarx host up
      enarx host up --listen 127.0.0.1:9443 --tenant 3f5c...9a
    """
    from enarx.client.image import default_image
    from enarx.host import control, manager, rundir
    from enarx.host.options import Options

    options = Options(
        run_dir=given["run_dir"] or rundir.default_run_dir(),
        state_dir=given["state_dir"] or rundir.default_state_dir(),
        listen=given["listen"],
        payload=given["payload"],
        image=given["image"] or default_image(),
        tenants=given["tenants"],
        any_tenant=given["any_tenant"],
        launcher=given["launcher"],
    )
    if given["foreground"]:
        manager.run(options, _announce)
    else:
        _announce(control.start(options))


def _announce(status: HostStatus) -> None:
    click.echo(f"The host is up (process {status.pid}, loaders {status.launcher}).")
    click.echo(f"  address  {status.address}")
    if status.address.startswith("https:"):
        click.echo(f"  use      enarx run --host '{status.address}' MODULE.wasm")


@command.command("status")
@_RUN_DIR
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def show(run_dir: Path | None, as_json: bool) -> None:
    """Show the host of this machine. Exit code 125 where none runs.

    \b
    Example:
      enarx host status --json
    """
    from enarx.host import control, rundir

    status = control.status(run_dir or rundir.default_run_dir())
    values = {
        "version": status.version,
        "process": status.pid,
        "address": status.address,
        "launcher": status.launcher,
        "silicon": status.silicon,
        "keeps": status.keeps,
        "started": status.started,
    }
    if as_json:
        click.echo(json.dumps(values, indent=1))
        return
    for name, value in values.items():
        text = _when(status.started) if name == "started" else value
        click.echo(f"{name:<10} {text}")


def _when(seconds: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


@command.command("down")
@_RUN_DIR
def down(run_dir: Path | None) -> None:
    """End the host with all its Keeps, and what a killed host left behind.

    \b
    Example:
      enarx host down
    """
    from enarx.host import control, rundir

    ended = control.down(run_dir or rundir.default_run_dir())
    click.echo("The host is down." if ended else "No host was running.")
