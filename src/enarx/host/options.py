"""How a host is set up, and the command line of its manager."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from enarx.host.siliconprocess import COMMAND

LAUNCHERS = ("auto", "systemd", "supervised")


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a host is set up.

    listen: ADDR:PORT for TLS; empty: the Unix socket only. payload: where the silicon takes
    the payload from instead of the installed package. image: directory of the image of Keeps
    that are machines. tenants: see `Tenants`. lifeline:
    a descriptor whose end of file ends the host, which is private then.
    """

    run_dir: Path
    state_dir: Path
    listen: str = ""
    payload: Path | None = None
    image: Path | None = None
    tenants: tuple[str, ...] = ()
    any_tenant: bool = False
    launcher: str = "auto"
    lifeline: int | None = None
    silicon_command: tuple[str, ...] = COMMAND


def parse_options(arguments: Sequence[str]) -> tuple[Options, int | None]:
    """The options of the program, and the descriptor for its ready message."""
    parser = argparse.ArgumentParser(prog="python -m enarx.host.manager")
    parser.add_argument("--run-dir", type=Path, required=True)
    parser.add_argument("--state-dir", type=Path, required=True)
    parser.add_argument("--listen", default="", metavar="ADDR:PORT")
    parser.add_argument("--payload", type=Path)
    parser.add_argument("--image", type=Path)
    parser.add_argument("--tenant", action="append", default=[], metavar="FINGERPRINT")
    parser.add_argument("--any-tenant", action="store_true")
    parser.add_argument("--launcher", choices=LAUNCHERS, default="auto")
    parser.add_argument("--ready-fd", type=int)
    parser.add_argument("--lifeline-fd", type=int)
    given = parser.parse_args(arguments)
    options = Options(
        run_dir=given.run_dir,
        state_dir=given.state_dir,
        listen=given.listen,
        payload=given.payload,
        image=given.image,
        tenants=tuple(given.tenant),
        any_tenant=given.any_tenant,
        launcher=given.launcher,
        lifeline=given.lifeline_fd,
    )
    return options, given.ready_fd
