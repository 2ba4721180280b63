"""`enarx measure`: what this installation would launch, on every back end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from enarx.errors import UsageError

if TYPE_CHECKING:
    from enarx.image.installation import Installation
    from enarx.wire.attestation import Manifest

_NAMES = {"sgx": "MRENCLAVE", "snp": "launch digest", "tdx": "MRTD"}


@click.command(
    "measure",
    short_help="Measure the payload and runtime of a Keep.",
    epilog="""\b
Examples:
  enarx measure                          digests and launch measurements, side by side
  enarx measure --backend sim-snp        one back end only
  enarx measure --manifest               and every file that is measured
  enarx measure --json > refs.json       reference values, for 'enarx run --refs refs.json'
  enarx measure --json --manifest        with the files, so that a mismatch can be named
  enarx measure --payload DIR            a payload that lies elsewhere
  enarx measure IMAGE                    what the TPM of a machine with this image says""",
)
@click.argument(
    "image", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path)
)
@click.option(
    "--backend", "backends", multiple=True, metavar="NAME", help="Only this back end; repeatable."
)
@click.option("--json", "as_json", is_flag=True, help="Write a file of reference values to stdout.")
@click.option("--manifest", is_flag=True, help="List every file that is measured.")
@click.option(
    "--payload",
    type=click.Path(exists=True, file_okay=False),
    metavar="DIR",
    help="Measure the payload in this directory instead of the installed one.",
)
def command(
    image: Path | None,
    backends: tuple[str, ...],
    as_json: bool,
    manifest: bool,
    payload: str | None,
) -> None:
    """Compute what a Keep of this installation must be, from its own files.

    The payload (the code of a Keep and its pinned dependencies) is the same on every back
    end; the runtime is the Python and the libraries that run it. Each back end launches
    both and measures them by its own algorithm. Nothing is taken from any host.

    With IMAGE, a directory made by 'enarx image build': the registers of the TPM of a machine
    that boots it.
    """
    from enarx.image.references import dump_references, references_of

    if image is not None:
        if backends not in ((), ("tpm",)) or as_json or manifest or payload:
            raise UsageError(
                "an image is measured for the back end tpm, as a table",
                hint="leave the other options out",
                code="usage.options",
            )
        for line in _registers(image):
            click.echo(line)
        return
    found = _measure(Path(payload) if payload is not None else None)
    if as_json:
        references = references_of(found, backends=backends, manifests=manifest)
        click.echo(dump_references(references), nl=False)
        return
    for line in _table(found, backends):
        click.echo(line)
    if manifest:
        for component in (found.payload, found.runtime):
            click.echo("")
            for line in _listing(component):
                click.echo(line)


def _registers(directory: Path) -> list[str]:
    from enarx.client.image import ImageValues

    found = ImageValues.load(built_from=None, directory=directory)
    lines = [f"payload  sha256 {found.payload.hex()}", f"runtime  sha256 {found.runtime.hex()}", ""]
    lines += [f"{name:<13}{value.hex()}" for name, (value,) in found.boot.registers]
    return [*lines, "", f"measurement  {found.boot.measurement.hex()}"]


def _measure(payload: Path | None) -> Installation:
    from enarx.client.paths import cache_dir
    from enarx.image.cache import Cache
    from enarx.image.installation import measure_installation

    cache = Cache.load(cache_dir())
    found = measure_installation(cache, payload=payload)
    cache.save()
    return found


def _table(found: Installation, backends: tuple[str, ...]) -> list[str]:
    from enarx.image.launch import BACKENDS

    lines = [
        _component(found.payload, found.payload_digest),
        _component(found.runtime, found.runtime_digest),
        "",
        f"{'back end':10}{'payload':18}{'runtime':18}launch measurement",
    ]
    payload, runtime = found.payload_digest.hex()[:16], found.runtime_digest.hex()[:16]
    for backend in backends or tuple(BACKENDS):
        measurement = found.measurement(backend).hex()
        name = _NAMES[BACKENDS[backend]]
        lines.append(f"{backend:10}{payload:18}{runtime:18}{name} {measurement}")
    return lines


def _component(manifest: Manifest, digest: bytes) -> str:
    size = sum(file.size for file in manifest.files) / 1_000_000
    return (
        f"{manifest.component:8} sha256 {digest.hex()}  {len(manifest.files)} files, {size:.1f} MB"
    )


def _listing(manifest: Manifest) -> list[str]:
    lines = [f"{manifest.component}:"]
    lines += [f"  {file.sha256.hex()} {file.size:>10} {file.path}" for file in manifest.files]
    return lines
