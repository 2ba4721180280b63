"""`enarx deploy`: leave a workload running in a Keep on a host."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from enarx.cli.asynchronous import run_to_end
from enarx.cli.options import PATH, limit_options, make_limits, trust_options, workload_options
from enarx.cli.workload import Prepared, prepare
from enarx.client.registry import DeployedKeep, Registry
from enarx.client.report import Report
from enarx.client.result import EXIT_REFUSED, error_of
from enarx.client.start import choose_policy, open_client
from enarx.client.text import printable
from enarx.errors import EnarxError
from enarx.wire.fields import Limits

if TYPE_CHECKING:
    from enarx.client.attestation import Attestation
    from enarx.client.session import Session


@click.command(
    epilog="""\b
Examples:
  enarx deploy service.wasm -- --port 8080
  enarx deploy MODULE --host https://host.example:9443#sha256=... --policy mine.toml
  id=$(enarx deploy --quiet service.wasm) && enarx keep logs -f $id"""
)
@click.argument("module", type=PATH)
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
@workload_options
@trust_options
@limit_options
@click.option("--quiet", "-q", is_flag=True, help="No trust report.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of the id.")
def deploy(
    module: Path,
    args: tuple[str, ...],
    config: Path | None,
    secrets: tuple[str, ...],
    host: str | None,
    backend: str | None,
    policy: str | None,
    refs: Path | None,
    memory: int | None,
    cpu_time: int | None,
    wall_time: int | None,
    compile_time: int | None,
    *,
    quiet: bool,
    as_json: bool,
) -> int:
    """Leave MODULE running in an attested Keep, and print the Keep's id.

    It needs a host that goes on: one that runs on this machine (`enarx host up`), or the
    one that --host names. Standard input is empty; read its output with `enarx keep logs`.
    """
    prepared = prepare(
        module, args, config=config, secrets=secrets, policy=policy, refs=refs, detach=True
    )
    limits = make_limits(
        memory=memory, cpu_time=cpu_time, wall_time=wall_time, compile_time=compile_time
    )
    return run_to_end(
        _deploy(prepared, host=host, backend=backend, limits=limits, quiet=quiet, as_json=as_json)
    )


async def _deploy(
    prepared: Prepared, *, host: str | None, backend: str | None, limits: Limits, quiet: bool,
    as_json: bool,
) -> int:  # fmt: skip
    async with open_client(host, private=False) as (client, where):
        keep = await client.create(backend=backend, limits=limits)
        async with keep:
            policy = choose_policy(prepared.policy, where=where, backend=keep.backend)
            attestation = await keep.attest(policy=policy, expected=prepared.expected)
            try:
                session = attestation.session()
            except EnarxError:
                if quiet or as_json:
                    raise
                report = Report.of(attestation)
                click.echo(report.text_for(sys.stderr), err=True)
                click.echo(f"enarx: {report.refusal()}", err=True)
                return EXIT_REFUSED
            # Remembered first: a Keep that nobody can find again is worse than an entry too many.
            registry = Registry()
            registry.add(_entry(prepared, attestation, session))
            try:
                answer = await session.deploy(prepared.workload)
                for ended in answer.ended:
                    # A workload that has ended already is no error, one that could not start is.
                    error_of(ended)
            except BaseException:
                registry.remove(keep.kuuid)
                raise
    if as_json:
        click.echo(json.dumps(Report.of(attestation).as_dict()))
    else:
        click.echo(str(keep.kuuid))
        if not quiet:
            click.echo(printable(Report.of(attestation).text_for(sys.stderr)), err=True)
    return 0


def _entry(prepared: Prepared, attestation: Attestation, session: Session) -> DeployedKeep:
    keep = attestation.keep
    return DeployedKeep(
        kuuid=keep.kuuid,
        host=str(keep.client.endpoint),
        address=session.address,
        backend=keep.backend,
        certificate=attestation.certificate,
        owner=keep.client.identity.digest.hex(),
        name=prepared.workload.name,
        module=hashlib.sha256(prepared.workload.module).hexdigest(),
        policy=attestation.verdict.policy,
        simulated=attestation.verdict.simulated,
        created=int(time.time()),
        limits=keep.limits,
    )
