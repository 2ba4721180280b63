"""What `run` and `deploy` prepare before they ask anybody for a Keep."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from enarx.cli.values import read_secrets
from enarx.client.config import Config
from enarx.client.module import Module
from enarx.client.simple import checked_workload
from enarx.client.start import load_policy
from enarx.wire.session import Workload

if TYPE_CHECKING:
    from enarx.client.appraisal import Expected
    from enarx.verifier.policy import Policy


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Everything the user gave, read and checked.

    Attributes:
        workload: what is sent.
        files: kinds of its descriptors.
        policy: the one that was named.
        expected: reference values from the file that was named.
    """

    workload: Workload
    files: tuple[str, ...]
    policy: Policy | None
    expected: Expected | None


def prepare(
    module: Path, args: tuple[str, ...], *, config: Path | None, secrets: tuple[str, ...],
    policy: str | None, refs: Path | None, detach: bool,
) -> Prepared:  # fmt: skip
    """Read module, configuration, secrets, policy and references. Raises UsageError and others."""
    loaded = Module.from_file(module)
    settings = Config.from_file(config) if config else Config()
    if settings.steward:
        click.echo(
            f"enarx: {config}: steward: Keeps of this version ask no steward; they keep the "
            "certificate that was attested",
            err=True,
        )
    if args:
        settings = settings.with_args(args)
    expected = None
    if refs is not None:
        from enarx.client.appraisal import Expected as References

        expected = References.from_file(refs)
    return Prepared(
        workload=checked_workload(loaded, settings, secrets=read_secrets(secrets), detach=detach),
        files=settings.files,
        policy=load_policy(policy) if policy else None,
        expected=expected,
    )
