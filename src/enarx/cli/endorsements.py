"""`enarx endorsements`: fetch, list, bundle and mirror what vendors say about their silicon."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from enarx.cli.values import duration
from enarx.errors import ParseError, UsageError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable

    from enarx.endorsements import Collection, Collector, Found, Item

EXIT_FRESH: Final = 0
EXIT_STALE: Final = 2
EXIT_MISSING: Final = 3

DEFAULT_SECONDS: Final = 120.0
MIRROR_SECONDS: Final = 20.0
"""A mirror's clients wait meanwhile, and give up after 30 seconds themselves."""

_EXITS: Final = "Exit: 0 all fresh, 2 something is stale, 3 something is missing."
_MARKS: Final = {"fresh": "ok", "stale": "STALE", "missing": "MISSING", "revoked": "REVOKED"}


_ASKING: Final = (
    click.option("--no-redirects", is_flag=True, help="Follow none, not even on the same host."),
    click.option("--offline", is_flag=True, help="Ask nobody; use the cache only."),
    click.option(
        "--timeout",
        callback=duration,
        metavar="TIME",
        help="Give up after this time, all waits included.",
    ),
    click.option(
        "--ca",
        type=click.Path(exists=True, dir_okay=False),
        help="Trust these CA certificates (PEM) for TLS as well.",
    ),
    click.option("--pcs", metavar="URL", help="Intel PCS, a PCCS or a mirror."),
    click.option("--kds", metavar="URL", help="AMD KDS, or a mirror."),
)


def _asking(*, seconds: float = DEFAULT_SECONDS) -> Callable[[Any], Any]:
    """Options of a command that may ask a vendor; it gets a ``collector`` made from them."""

    def decorate(function: Any) -> Any:
        @functools.wraps(function)
        def with_collector(
            *,
            kds: str | None,
            pcs: str | None,
            ca: str | None,
            timeout: int | None,
            offline: bool,
            no_redirects: bool,
            **rest: Any,
        ) -> Any:
            from enarx.endorsements import Patience, configured_sources, limits, open_collector

            collector = open_collector(
                at=configured_sources(kds=kds, pcs=pcs, ca_file=ca),
                patience=Patience(
                    total=seconds if timeout is None else timeout / 1000,
                    redirects=0 if no_redirects else limits.REDIRECTS,
                ),
                offline=offline,
            )
            return function(collector=collector, **rest)

        decorated: Any = with_collector
        for option in _ASKING:
            decorated = option(decorated)
        return decorated

    return decorate


def _evidence(function: Any) -> Any:
    """Arguments of every command that takes evidence."""
    for option in (
        click.argument(
            "evidence",
            nargs=-1,
            required=True,
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
        ),
        click.option(
            "--product",
            type=click.Choice(["Milan", "Genoa", "Turin"]),
            help="Of SNP reports of version 2, which do not say; tried in turn if not given.",
        ),
        click.option(
            "--type", "kind", metavar="TYPE", help="snp, sgx, tdx; detected if not given."
        ),
    ):
        function = option(function)
    return function


@click.group(
    "endorsements",
    epilog="""\b
Examples:
  enarx endorsements fetch report.bin quote.bin    what these need, into the cache
  enarx endorsements bundle -o site.bundle *.bin   one file for machines without network
  enarx verify report.bin --with bundle=site.bundle
  enarx endorsements serve --listen 127.0.0.1:8081 a mirror for a fleet""",
)
def command() -> None:
    """Fetch, list, bundle and mirror what vendors say about their silicon.

    Addresses: --kds and --pcs, else ENARX_KDS_URL and ENARX_PCS_URL, else AMD and Intel. The
    cache is the user's own; ENARX_HOME moves it.
    """


endorsements = command


@command.command("fetch", epilog=_EXITS)
@_evidence
@_asking()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def fetch(
    collector: Collector,
    evidence: tuple[Path, ...],
    kind: str | None,
    product: str | None,
    as_json: bool,
) -> int:
    """Fetch everything that EVIDENCE needs into the cache."""
    collections = _collect(collector, evidence, kind=kind, product=product)
    _print(_unique(collections), as_json=as_json)
    _tell_absent(evidence, collections)
    return _exit_code(_unique(collections))


@command.command("ls")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def ls(as_json: bool) -> int:
    """List the cache: what is there, until when it may be used, what is revoked."""
    from enarx.endorsements import open_collector

    collector = open_collector(offline=True)
    _print(list(collector.stored()), as_json=as_json)
    return EXIT_FRESH


@command.command(
    "bundle", epilog="Exit: 0 all fresh, 2 something is stale, 3 something is missing."
)
@_evidence
@_asking()
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file to write.",
)
@click.option(
    "--vlek",
    "vleks",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A VLEK certificate (DER or PEM), which only the cloud provider gives out.",
)
@click.option("--partial", is_flag=True, help="Write what there is, even if something is missing.")
def bundle(
    collector: Collector,
    evidence: tuple[Path, ...],
    kind: str | None,
    product: str | None,
    output: Path,
    vleks: tuple[Path, ...],
    partial: bool,
) -> int:
    """Write everything that EVIDENCE needs to one file, for verification without a network."""
    from enarx.endorsements import write_bundle

    collections = _collect(collector, evidence, kind=kind, product=product)
    found = [*_unique(collections), *collector.add(_vlek_items(vleks))]
    _tell_absent(evidence, collections)
    bad = [one for one in found if one.state != "fresh"]
    _print(bad, as_json=False, to_stderr=True)
    items = [one.item for one in found if one.item is not None]
    if len(items) < len(found) and not partial:
        click.echo(f"enarx: {output} was not written; --partial writes what there is", err=True)
        return EXIT_MISSING
    data = write_bundle(items)
    _write(output, data)
    click.echo(f"{output}: {len(items)} items, {len(data)} bytes")
    return _exit_code(found)


@command.command("import", epilog="Exit: 0 all taken and fresh, 2 some stale, 3 some refused.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def import_(file: Path) -> int:
    """Take a bundle into the cache; what is not genuine is refused."""
    from enarx.endorsements import limits, open_collector, read_bundle

    collector = open_collector(offline=True)
    bundle = read_bundle(_read(file, limits.BUNDLE))
    found = collector.add(bundle.items)
    _print(list(found), as_json=False)
    if bundle.inputs:
        roles = ", ".join(sorted({role for role, _ in bundle.inputs}))
        click.echo(f"not kept, because no vendor publishes it: {roles}", err=True)
    return _exit_code(found)


@command.command("serve")
@click.option(
    "--listen",
    default="127.0.0.1:8081",
    show_default=True,
    metavar="ADDR:PORT",
    help="Where to listen; port 0 for any.",
)
@click.option("--cert", type=click.Path(exists=True, dir_okay=False), help="TLS chain (PEM).")
@click.option("--key", type=click.Path(exists=True, dir_okay=False), help="TLS key (PEM).")
@_asking(seconds=MIRROR_SECONDS)
def serve(
    collector: Collector,
    listen: str,
    cert: str | None,
    key: str | None,
) -> int:
    """Answer for AMD's KDS and Intel's PCS from the cache, and fetch what is not in it.

    Point ENARX_KDS_URL and ENARX_PCS_URL of other machines here. Without --cert only this
    machine can ask; nobody needs to trust the mirror, but TLS hides who verifies what.
    """
    from enarx.cli.asynchronous import run_to_end
    from enarx.endorsements.mirror import run_mirror

    tls = _tls(cert, key)
    return run_to_end(
        run_mirror(collector, listen, tls=tls, ready=lambda at: click.echo(f"mirror at {at}"))
    )


def _collect(
    collector: Collector, evidence: tuple[Path, ...], *, kind: str | None, product: str | None
) -> list[Collection]:
    from enarx.endorsements import limits, needs_of
    from enarx.evidence.snp import Product

    if len(evidence) > limits.EVIDENCE_FILES:
        raise UsageError(f"more than {limits.EVIDENCE_FILES} evidence files", code="usage.count")
    needs = []
    for path in evidence:
        try:
            needs.append(
                needs_of(
                    _read(path, limits.EVIDENCE),
                    kind=kind,
                    product=None if product is None else Product(product),
                )
            )
        except ParseError as error:
            raise ParseError(f"{path}: {error.message}", hint=error.hint, code=error.code) from None
    deadline = collector.deadline()
    return [collector.collect(one, deadline=deadline) for one in needs]


def _unique(collections: Iterable[Collection]) -> list[Found]:
    return list({one.name: one for each in collections for one in each.found}.values())


def _vlek_items(paths: tuple[Path, ...]) -> list[Item]:
    from enarx.endorsements import Item, limits
    from enarx.endorsements.needs import reference_of_leaf
    from enarx.verifier.x509 import load_certificates

    items = []
    for path in paths:
        der = load_certificates(_read(path, limits.CHAIN))[0]
        items.append(Item(name=reference_of_leaf(der).name, body=der))
    return items


def _exit_code(found: Iterable[Found]) -> int:
    states = {one.state.value for one in found}
    if states & {"missing", "revoked"}:
        return EXIT_MISSING
    return EXIT_STALE if "stale" in states else EXIT_FRESH


def _print(found: list[Found], *, as_json: bool, to_stderr: bool = False) -> None:
    if as_json:
        click.echo(json.dumps([_as_json(one) for one in found], indent=2))
        return
    width = max((len(_short(one.name)) for one in found), default=0)
    for one in found:
        until = f"until {one.validity.end:%Y-%m-%d}" if one.validity else ""
        line = f"{_MARKS[one.state.value]:<8}{_short(one.name):<{width}}  {until}".rstrip()
        click.echo(line, err=to_stderr)
        if one.problem is not None:
            click.echo(f"        {one.problem.message}", err=to_stderr)
            if one.problem.hint:
                click.echo(f"        {one.problem.hint}", err=to_stderr)


def _as_json(one: Found) -> dict[str, Any]:
    return {
        "name": one.name,
        "state": one.state.value,
        "fetched": one.fetched.isoformat() if one.fetched else None,
        "valid_until": one.validity.end.isoformat() if one.validity else None,
        "problem": one.problem.message if one.problem else None,
        "code": one.problem.code if one.problem else None,
    }


def _short(name: str) -> str:
    """A name with its chip id cut short: 128 digits tell a person nothing."""
    return "/".join(part if len(part) <= 24 else f"{part[:16]}…" for part in name.split("/"))


def _tell_absent(evidence: tuple[Path, ...], collections: list[Collection]) -> None:
    for path, collection in zip(evidence, collections, strict=True):
        for sentence in collection.absent:
            click.echo(f"{path}: {sentence}", err=True)


def _tls(cert: str | None, key: str | None) -> ssl.SSLContext | None:
    if cert is None and key is None:
        return None
    if cert is None or key is None:
        raise UsageError("--cert and --key go together", code="usage.tls")
    import ssl

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"cannot use {cert} and {key}: {error}", code="usage.tls") from None
    return context


def _read(path: Path, most: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", code="usage.file") from None
    if len(data) > most:
        raise ParseError(f"{path} has more than {most} bytes", code="usage.size")
    return data


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}", code="usage.file") from None
