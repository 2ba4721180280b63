"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from enarx.cli.values import duration, size
from enarx.wire.fields import Limits

F = TypeVar("F", bound=Callable[..., object])

PATH = click.Path(path_type=Path)


def host_option(command: F) -> F:
    """`--host URL`."""
    return click.option(
        "--host",
        metavar="URL",
        help="The host: https://HOST:PORT#sha256=... as `enarx host up` prints it, or unix:PATH.",
    )(command)


def trust_options(command: F) -> F:
    """`--backend`, `--host`, `--policy`, `--refs`: where, and what must be true of it."""
    for option in (
        click.option(
            "--refs",
            metavar="FILE",
            type=PATH,
            help="Payload and runtime that must run there, from `enarx measure --json`; "
            "those of this installation otherwise.",
        ),
        click.option(
            "--policy",
            metavar="NAME|FILE",
            help="Appraisal policy: default, genuine, development, or a file.",
        ),
        click.option("--backend", metavar="NAME", help="Back end, such as sim-sgx."),
    ):
        command = option(command)
    return host_option(command)


def limit_options(command: F) -> F:
    """`--memory`, `--cpu-time`, `--wall-time`, `--compile-time`."""
    for option in (
        click.option(
            "--compile-time",
            callback=duration,
            metavar="TIME",
            help="Processor time for compiling the module [30s].",
        ),
        click.option("--wall-time", callback=duration, metavar="TIME", help="Time by the clock."),
        click.option("--cpu-time", callback=duration, metavar="TIME", help="Processor time."),
        click.option(
            "--memory", callback=size, metavar="SIZE", help="Memory of the workload [256M]."
        ),
    ):
        command = option(command)
    return command


def workload_options(command: F) -> F:
    """`--config`, `--secret`."""
    for option in (
        click.option(
            "--secret",
            "secrets",
            multiple=True,
            metavar="NAME=FILE",
            help="Give the content of FILE as variable NAME and file /run/secrets/NAME, "
            "only after attestation. May be repeated.",
        ),
        click.option("--config", type=PATH, metavar="FILE", help="The workload's Enarx.toml."),
    ):
        command = option(command)
    return command


def make_limits(
    *, memory: int | None, cpu_time: int | None, wall_time: int | None, compile_time: int | None
) -> Limits:
    """The limits that the options ask for."""
    usual = Limits()
    return Limits(
        memory=memory or usual.memory,
        cpu=cpu_time,
        wall=wall_time,
        compile=compile_time or usual.compile,
    )
