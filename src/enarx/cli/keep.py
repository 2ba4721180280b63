"""`enarx keep`: the Keeps this owner deployed, their logs and their end."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime
from typing import Any

import click

from enarx.cli.asynchronous import run_to_end
from enarx.cli.options import host_option
from enarx.cli.streams import Output
from enarx.client.agent import AsyncClient
from enarx.client.attestation import keep_endpoint
from enarx.client.identity import load_identity
from enarx.client.localhost import find_local_host
from enarx.client.registry import DeployedKeep, Registry
from enarx.client.result import error_of, exit_code
from enarx.client.session import Session
from enarx.client.text import printable
from enarx.errors import EnarxError, KeepLostError, RefusedError, UnreachableError
from enarx.wire.endpoint import Endpoint
from enarx.wire.manager import KeepStatus, State
from enarx.wire.session import KeepReport, Lost, Stderr, Stdout

_JSON = click.option("--json", "as_json", is_flag=True, help="JSON.")
_ENDED = (State.SHUTDOWN, State.ERROR)
_KUUID = click.argument("kuuid")


@click.group(
    epilog="""\b
Examples:
  enarx keep ls
  enarx keep logs -f 1b9d6bcd      the beginning of an id is enough
  enarx keep stop 1b9d6bcd"""
)
def keep() -> None:
    """List, show and stop deployed Keeps; read their logs.

    Logs come from the Keep itself, over the session that was attested when it was deployed;
    only its owner can read them. What the host says is marked so.
    """


@keep.command(name="ls")
@host_option
@click.option("--all", "-a", "everything", is_flag=True, help="Also Keeps that have ended.")
@_JSON
def ls(host: str | None, *, everything: bool, as_json: bool) -> int:
    """List the Keeps of this owner: those that were deployed, and others that live."""
    return run_to_end(_ls(host, everything=everything, as_json=as_json))


@keep.command()
@_KUUID
@_JSON
def show(kuuid: str, *, as_json: bool) -> int:
    """Show one deployed Keep: what was attested, what the Keep says, what its host says."""
    return run_to_end(_show(Registry().get(kuuid), as_json=as_json))


@keep.command()
@_KUUID
@click.option("--follow", "-f", is_flag=True, help="Go on until the workload ends.")
@_JSON
def logs(kuuid: str, *, follow: bool, as_json: bool) -> int:
    """What a deployed workload wrote: its stdout on stdout, its stderr on stderr.

    With --follow the exit code is the workload's.
    """
    return run_to_end(_logs(Registry().get(kuuid), follow=follow, as_json=as_json))


@keep.command()
@_KUUID
@click.option("--forget", is_flag=True, help="Take it off the list even if nobody answers.")
@_JSON
def stop(kuuid: str, *, forget: bool, as_json: bool) -> int:
    """End a deployed workload, and its Keep with it."""
    return run_to_end(_stop(Registry().get(kuuid), forget=forget, as_json=as_json))


def _session(entry: DeployedKeep) -> Session:
    identity = load_identity()
    if identity.digest.hex() != entry.owner:
        raise RefusedError(
            f"the Keep {entry.kuuid} was deployed by another owner ({entry.owner[:16]}...)",
            hint="only who deployed it can talk to it; ENARX_HOME names the directory of an owner",
            code="keep.not-owner",
        )
    return Session(
        address=entry.address,
        endpoint=keep_endpoint(entry.address, Endpoint.parse(entry.host)),
        identity=identity,
        certificate=entry.certificate,
        limits=entry.limits,
    )


async def _ls(host: str | None, *, everything: bool, as_json: bool) -> int:
    known = {entry.kuuid.bytes: entry for entry in Registry().all()}
    hosts = {host} if host else {entry.host for entry in known.values()} | _local()
    rows: list[dict[str, Any]] = []
    for address in sorted(hosts):
        silent = ""
        try:
            async with AsyncClient(address) as client:
                found = {
                    status.kuuid: status
                    for status in await client.keeps()
                    if everything or status.kuuid in known or status.state not in _ENDED
                }
        except EnarxError as error:
            click.echo(printable(f"enarx: {error}"), err=True)
            found, silent = {}, error.message
        ours = {key for key, entry in known.items() if entry.host == address}
        for key in sorted(ours | found.keys(), key=lambda key: _created(key, known, found)):
            rows.append(_row(known.get(key), found.get(key), address, silent))
    if as_json:
        click.echo(json.dumps(rows))
        return 0
    for row in rows:
        created = datetime.fromtimestamp(row["created"], UTC).strftime("%Y-%m-%d %H:%M")
        click.echo(
            printable(
                f"{row['kuuid']}  {row['state']:<13}  {row['backend']:<8}  {created}  {row['name']}"
            )
        )
    return 0


def _local() -> set[str]:
    endpoint = find_local_host()
    return {str(endpoint)} if endpoint else set()


def _created(
    key: bytes, known: dict[bytes, DeployedKeep], found: dict[bytes, KeepStatus]
) -> tuple[int, bytes]:
    entry = known.get(key) or found.get(key)
    return (entry.created if entry else 0), key


def _row(
    entry: DeployedKeep | None, status: KeepStatus | None, host: str, silent: str
) -> dict[str, Any]:
    """One Keep; `state` is the host's word, `unknown` where it has none: `silent` says why."""
    source: Any = entry or status
    kuuid = str(entry.kuuid) if entry else _uuid(source.kuuid)
    return {
        "kuuid": kuuid,
        "state": status.state.value if status else "unknown" if silent else "gone",
        "detail": status.detail if status else silent or "the host does not know it",
        "backend": source.backend,
        "created": source.created,
        "name": entry.name if entry else "",
        "host": host,
    }


def _uuid(raw: bytes) -> str:
    import uuid

    return str(uuid.UUID(bytes=raw))


async def _show(entry: DeployedKeep, *, as_json: bool) -> int:
    report: KeepReport | None = None
    status: KeepStatus | None = None
    trouble = ""
    try:
        report = await _session(entry).status()
    except EnarxError as error:
        trouble = error.message
    with contextlib.suppress(EnarxError):
        async with AsyncClient(entry.host) as client:
            status = await client.keep(entry.kuuid)
    content = {
        "kuuid": str(entry.kuuid),
        "name": entry.name,
        "module": entry.module,
        "backend": entry.backend,
        "policy": entry.policy,
        "simulated": entry.simulated,
        "created": entry.created,
        "host": entry.host,
        "address": entry.address,
        "keep_says": _report_dict(report) if report else {"unreachable": trouble},
        "host_says": {"state": status.state.value, "detail": status.detail} if status else None,
    }
    if as_json:
        click.echo(json.dumps(content))
        return 0
    if entry.simulated:
        click.echo("SIMULATED SILICON: this protects nothing from the owner of its host.")
    said = content.pop("keep_says"), content.pop("host_says")
    content["created"] = entry.created_text
    for name, value in content.items():
        click.echo(printable(f"{name:<10} {value}"))
    click.echo(printable(f"{'the Keep':<10} {_flat(said[0])}"))
    click.echo(printable(f"{'its host':<10} {_flat(said[1])}"))
    return 0


def _flat(said: Any) -> str:
    if said is None:
        return "does not know it, or does not answer"
    return ", ".join(f"{name}: {value}" for name, value in said.items() if value not in (None, ""))


def _report_dict(report: KeepReport) -> dict[str, Any]:
    ended = report.ended[0] if report.ended else None
    return {
        "state": report.state.value,
        "started": report.started,
        "ended": type(ended).__name__.lower() if ended else None,
        "exit_code": exit_code(ended) if ended else None,
    }


async def _logs(entry: DeployedKeep, *, follow: bool, as_json: bool) -> int:
    outputs = {Stdout: Output(1), Stderr: Output(2)}
    ended = None
    async for event in _session(entry).logs(follow=follow):
        if as_json:
            click.echo(json.dumps(_event_dict(event)))
        elif isinstance(event, Stdout | Stderr):
            await outputs[type(event)].write(event.data)
        elif isinstance(event, Lost):
            click.echo(f"enarx: {event.size} bytes of older output are gone", err=True)
        if type(event).__name__ in ("Exit", "Trap", "Killed", "Failed"):
            ended = event
    if ended is None or not follow:
        return 0
    error = error_of(ended)  # type: ignore[arg-type]
    if error is not None and not as_json:
        click.echo(printable(f"enarx: {error}"), err=True)
    return exit_code(ended)  # type: ignore[arg-type]


def _event_dict(event: Any) -> dict[str, Any]:
    import base64

    import msgspec

    fields = msgspec.to_builtins(event, builtin_types=(bytes,))
    for name, value in fields.items():
        if isinstance(value, bytes):
            fields[name] = value.hex() if name == "module" else base64.b64encode(value).decode()
    return dict(fields)


async def _stop(entry: DeployedKeep, *, forget: bool, as_json: bool) -> int:
    """By the Keep's own word; where it does not answer, by its host's that it has ended."""
    said = "stopped"
    try:
        await _session(entry).stop()
        await _put_away(entry)
    except (UnreachableError, KeepLostError) as error:
        said = "had ended already"
        if not forget and not await _has_ended(entry):
            raise KeepLostError(
                f"the Keep does not answer, and its host does not say that it has ended: "
                f"{error.message}",
                hint="--forget takes it off the list all the same",
                code="keep.unreachable",
            ) from None
    Registry().remove(entry.kuuid)
    if as_json:
        click.echo(json.dumps({"kuuid": str(entry.kuuid), "detail": said}))
    else:
        click.echo(f"{entry.kuuid} {said}")
    return 0


async def _put_away(entry: DeployedKeep) -> None:
    """Let the host drop what it still knows of a Keep that has ended."""
    with contextlib.suppress(RefusedError, UnreachableError, KeepLostError):
        async with AsyncClient(entry.host) as client:
            await client.end(entry.kuuid)


async def _has_ended(entry: DeployedKeep) -> bool:
    try:
        async with AsyncClient(entry.host) as client:
            return (await client.keep(entry.kuuid)).state in _ENDED
    except (RefusedError, KeepLostError):
        return True  # the host does not know it any more
    except UnreachableError:
        return False
