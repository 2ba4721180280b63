"""`enarx verify`: appraise evidence of any technology and say why."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

import click

from enarx.errors import ParseError, UsageError

if TYPE_CHECKING:
    from enarx.verifier import Endorsements, Policy, ReferenceValues, Verdict

EXIT_AFFIRMING: Final = 0
EXIT_WARNING: Final = 2
EXIT_CONTRAINDICATED: Final = 3
EXIT_UNREADABLE: Final = 4

MOST_EVIDENCE: Final = 1024 * 1024
MOST_INPUT: Final = 4 * 1024 * 1024
"""Bytes read of any file: what the verifier accepts at most, so that nothing larger is loaded."""


@click.command(
    name="verify",
    epilog="""\b
Examples:
  enarx verify report.bin --with vcek=vcek.der --with ask=ask.pem --with ark=ark.pem
  enarx verify quote.dat --with collateral=collateral.json --explain

Exit: 0 affirming, 2 warning, 3 contraindicated, 4 unreadable.""",
)
@click.argument("evidence", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option(
    "--type",
    "kind",
    metavar="TYPE",
    help="snp, sgx, tdx, tpm, azure-vtpm, eventlog, ra-tls, ear; detected if not given.",
)
@click.option(
    "--with",
    "inputs",
    multiple=True,
    metavar="ROLE=FILE",
    help="Further input: vcek, vlek, chain, crl, cert_table, collateral, event_log, bundle, ...",
)
@click.option("--at", metavar="RFC3339", help="Time to judge at; now if not given.")
@click.option("--nonce", metavar="HEX", help="Nonce the evidence must carry.")
@click.option("--report-data", metavar="HEX", help="Report data the evidence must carry.")
@click.option("--host-data", metavar="HEX", help="Host-chosen data the evidence must carry.")
@click.option(
    "--policy",
    "policy_name",
    default="default",
    show_default=True,
    metavar="FILE|NAME",
    help="genuine, default, development, or a policy file.",
)
@click.option("--context", metavar="NAME", help="What the verdict is for, such as release-secrets.")
@click.option(
    "--refs",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False),
    help="Reference values (TOML).",
)
@click.option("--json", "as_json", is_flag=True, help="Print the verdict as JSON.")
@click.option("--explain", is_flag=True, help="Draw the chain of trust.")
@click.option(
    "--bundle",
    metavar="OUT",
    type=click.Path(dir_okay=False, writable=True),
    help="Write the endorsements used to one file, for --with bundle=OUT.",
)
def verify(
    evidence: str,
    kind: str | None,
    inputs: tuple[str, ...],
    at: str | None,
    nonce: str | None,
    report_data: str | None,
    host_data: str | None,
    policy_name: str,
    context: str | None,
    refs: str | None,
    as_json: bool,
    explain: bool,
    bundle: str | None,
) -> int:
    """Appraise EVIDENCE (a file, or - for stdin) and say whether to believe it, and why."""
    if as_json and explain:
        raise UsageError("--json and --explain exclude each other", code="verify.output")
    from enarx.cli import verdict_view
    from enarx.verifier import Expectations, Verifier

    policy = load_policy(policy_name)
    references = _load_references(refs)
    when = _time(at)
    expectations = Expectations(
        report_data=_hex("--report-data", report_data),
        nonce=_hex("--nonce", nonce),
        host_data=_hex("--host-data", host_data),
    )
    named = [_split(one) for one in inputs]
    try:
        data = _read("evidence", evidence, MOST_EVIDENCE)
        endorsements = load_endorsements(named, evidence=data)
        verdict = Verifier(cache_entries=16).appraise(
            data,
            kind=kind,
            endorsements=endorsements,
            policy=policy,
            references=references,
            expectations=expectations,
            at=when,
            context=context,
        )
    except ParseError as error:
        if as_json:
            click.echo(verdict_view.unreadable_as_json(error, kind=kind, policy=policy.name))
        click.echo(f"enarx: not evidence: {verdict_view.printable(str(error))}", err=True)
        return EXIT_UNREADABLE
    if bundle is not None:
        _write_bundle(bundle, endorsements, data)
    if as_json:
        click.echo(verdict_view.as_json(verdict))
    elif explain:
        click.echo(verdict_view.as_tree(verdict, unicode=_can_draw()))
    else:
        click.echo(verdict_view.as_summary(verdict, unicode=_can_draw()))
    return _exit_code(verdict)


def _exit_code(verdict: Verdict) -> int:
    return {"affirming": EXIT_AFFIRMING, "warning": EXIT_WARNING}.get(
        verdict.tier.value, EXIT_CONTRAINDICATED
    )


def load_policy(name: str) -> Policy:
    """A built-in policy by name, otherwise a policy file by path.

    Raises:
        UsageError: neither.
        ConfigError, PolicyError: the file is no policy.
    """
    from enarx.verifier import Policy
    from enarx.verifier.policy import BUILTIN

    if name in BUILTIN:
        return Policy.builtin(name)
    if not Path(name).is_file():
        raise UsageError(
            f"no policy {name!r}",
            hint=f"built-in: {', '.join(BUILTIN)}; or the path of a policy file",
            code="verify.policy",
        )
    return Policy.from_toml(_text(name), name=name)


def load_endorsements(named: list[tuple[str, str]], *, evidence: bytes) -> Endorsements:
    """Endorsements from (role, path) pairs; role ``bundle`` is a bundle."""
    from enarx.verifier import endorsements_from

    roles: list[tuple[str, bytes]] = []
    for role, path in named:
        if role == "bundle":
            roles.extend(_bundled(path, evidence))
        else:
            roles.append((role, _read(role, path, MOST_INPUT)))
    return endorsements_from(roles)


def _bundled(path: str, evidence: bytes) -> tuple[tuple[str, bytes], ...]:
    """What a bundle holds for this evidence."""
    from enarx.endorsements import limits
    from enarx.endorsements.bundle import load_bundle
    from enarx.endorsements.packing import inputs_of

    return inputs_of(load_bundle(_read("bundle", path, limits.BUNDLE), evidence=evidence))


def _write_bundle(path: str, endorsements: Endorsements, evidence: bytes) -> None:
    from enarx.endorsements.packing import bundle_of

    try:
        Path(path).write_bytes(bundle_of(endorsements, evidence=evidence))
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}", code="verify.bundle") from error


def _load_references(path: str | None) -> ReferenceValues:
    from enarx.verifier.references import NO_REFERENCES

    if path is None:
        return NO_REFERENCES
    from enarx.verifier.policy_file import read_references

    return read_references(_text(path), name=path)


def _text(path: str) -> str:
    try:
        return _read("file", path, MOST_INPUT).decode("utf-8")
    except (UnicodeDecodeError, ParseError) as error:
        raise UsageError(f"{path} is not text: {error}", code="verify.file") from error


def _read(role: str, path: str, most: int) -> bytes:
    """Read at most ``most`` bytes; a longer file is refused without being loaded."""
    try:
        if path == "-":
            data = sys.stdin.buffer.read(most + 1)
        else:
            with Path(path).open("rb") as file:
                data = file.read(most + 1)
    except OSError as error:
        raise UsageError(
            f"{role}: cannot read {path}: {error.strerror}", code="verify.file"
        ) from error
    if len(data) > most:
        raise ParseError(
            f"{role}: {path} has more than {most} bytes", offset=most, code="verify.size"
        )
    return data


def _split(given: str) -> tuple[str, str]:
    role, equals, path = given.partition("=")
    if not equals or not role or not path:
        raise UsageError(
            f"--with {given!r} is not ROLE=FILE",
            hint="such as --with vcek=vcek.der",
            code="verify.role",
        )
    return role, path


def _hex(option: str, given: str | None) -> bytes | None:
    if given is None:
        return None
    try:
        return bytes.fromhex(given)
    except ValueError as error:
        raise UsageError(f"{option}: {given[:32]!r} is not hex", code="verify.hex") from error


def _time(given: str | None) -> datetime:
    if given is None:
        return datetime.now(UTC)
    try:
        when = datetime.fromisoformat(given.upper())  # RFC 3339, 5.6: t and z as well
        return when.astimezone(UTC) if when.tzinfo is not None else _no_zone(given)
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"--at: {given!r} is not a time",
            hint="such as 2026-11-20T00:00:00Z",
            code="verify.time",
        ) from error


def _no_zone(given: str) -> NoReturn:
    raise UsageError(
        f"--at: {given!r} has no time zone", hint="end it in Z for UTC", code="verify.time"
    )


def _can_draw() -> bool:
    encoding = (getattr(sys.stdout, "encoding", "") or "").lower()
    return encoding.replace("-", "").startswith("utf")
