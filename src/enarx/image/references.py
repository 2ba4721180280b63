"""The file of reference values: what one installation is, for programs and other machines.

JSON, hex for every digest; `enarx measure --json` writes it. One file is one entry of a
measurement database: payload and runtime, and the launch measurement of each back end,
which follows from those two and is checked when the file is read. With the manifests in it
a mismatch can be named file by file.
"""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from enarx import __version__
from enarx.errors import ConfigError, HostError
from enarx.image.installation import Installation
from enarx.image.launch import BACKENDS, launch_measurement
from enarx.image.manifest import digest
from enarx.wire import limits
from enarx.wire.attestation import File, Manifest

FORMAT: Final = "enarx-reference-values"
REFERENCES_MAX: Final = 2 * limits.MANIFEST
"""Bytes of one file; with both manifests it has 150 KB."""

_Hex32 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
_Hex = Annotated[str, Meta(pattern="^([0-9a-f]{2}){32,64}$")]
_Name = Annotated[str, Meta(min_length=1, max_length=limits.NAME)]


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    path: Annotated[str, Meta(min_length=1, max_length=1024)]
    size: Annotated[int, Meta(ge=0)]
    sha256: _Hex32


_FileList = Annotated[tuple[_File, ...], Meta(max_length=limits.FILES)]


class References(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """One entry, as it stands in the file.

    Attributes:
        enarx: version of the package that was measured.
        python: version of its interpreter.
        platform: where it runs, such as `linux-x86_64`.
        payload, runtime: digests of the two components, hex.
        measurements: launch measurement by back end, hex.
        payload_files, runtime_files: the manifests, where they are given.
    """

    format: str
    version: Annotated[int, Meta(ge=1, le=1)]
    enarx: _Name
    python: _Name
    platform: _Name
    payload: _Hex32
    runtime: _Hex32
    measurements: Annotated[dict[_Name, _Hex], Meta(max_length=64)]
    payload_files: _FileList | None = None
    runtime_files: _FileList | None = None

    @property
    def payload_digest(self) -> bytes:
        """SHA-256 of the payload's manifest."""
        return bytes.fromhex(self.payload)

    @property
    def runtime_digest(self) -> bytes:
        """SHA-256 of the runtime's manifest."""
        return bytes.fromhex(self.runtime)

    def measurement(self, backend: str) -> bytes | None:
        """Launch measurement of one back end; None where the file has none."""
        found = self.measurements.get(backend)
        return None if found is None else bytes.fromhex(found)

    def payload_manifest(self) -> Manifest | None:
        """The payload's manifest, where the file gives it."""
        return _manifest("payload", self.payload_files)

    def runtime_manifest(self) -> Manifest | None:
        """The runtime's manifest, where the file gives it."""
        return _manifest("runtime", self.runtime_files)


def references_of(
    installation: Installation, *, backends: tuple[str, ...] = (), manifests: bool = False
) -> References:
    """The entry for what was measured on this machine.

    Args:
        backends: those whose measurements are wanted; all when empty.
        manifests: put the lists of files into it.
    """
    return References(
        format=FORMAT,
        version=1,
        enarx=__version__,
        python=platform.python_version(),
        platform=f"{platform.system().lower()}-{platform.machine()}",
        payload=installation.payload_digest.hex(),
        runtime=installation.runtime_digest.hex(),
        measurements={
            backend: installation.measurement(backend).hex() for backend in backends or BACKENDS
        },
        payload_files=_files(installation.payload) if manifests else None,
        runtime_files=_files(installation.runtime) if manifests else None,
    )


def dump_references(references: References) -> bytes:
    """The file's content: JSON, indented, ending in a newline."""
    return msgspec.json.format(msgspec.json.encode(references), indent=2) + b"\n"


def save_references(references: References, path: Path) -> None:
    """Write the file.

    Raises:
        HostError: it cannot be written (`references.write`).
    """
    try:
        path.write_bytes(dump_references(references))
    except OSError as error:
        raise HostError(
            f"cannot write {path}: {error.strerror or error}", code="references.write"
        ) from None


def load_references(path: Path) -> References:
    """Read a file of reference values and check that it fits together.

    Raises:
        ConfigError: it cannot be read, is not such a file, or contradicts itself
            (`references.file`).
    """
    try:
        with path.open("rb") as file:
            data = file.read(REFERENCES_MAX + 1)
    except OSError as error:
        raise _unusable(path, f"cannot be read: {error.strerror or error}") from None
    if len(data) > REFERENCES_MAX:
        raise _unusable(path, f"is larger than {REFERENCES_MAX} bytes")
    return parse_references(data, path=path)


def parse_references(data: bytes, *, path: Path) -> References:
    """As `load_references`, for content that was read already; `path` is for the error."""
    try:
        references = msgspec.json.decode(data, type=References)
    except msgspec.DecodeError as error:
        raise _unusable(path, str(error)) from None
    if references.format != FORMAT:
        raise _unusable(path, f"has the format {references.format!r}, expected {FORMAT!r}")
    for backend, claimed in references.measurements.items():
        if backend not in BACKENDS:
            continue  # of a newer version; of no use here, and no harm
        computed = launch_measurement(
            backend, payload=references.payload_digest, runtime=references.runtime_digest
        ).hex()
        if claimed != computed:
            raise _unusable(
                path, f"gives {backend} the measurement {claimed}, its components make {computed}"
            )
    for claimed, listed in (
        (references.payload, references.payload_manifest()),
        (references.runtime, references.runtime_manifest()),
    ):
        if listed is not None and digest(listed).hex() != claimed:
            raise _unusable(path, f"lists {listed.component} files that do not make its digest")
    return references


def _files(manifest: Manifest) -> tuple[_File, ...]:
    return tuple(
        _File(path=file.path, size=file.size, sha256=file.sha256.hex()) for file in manifest.files
    )


def _manifest(component: str, files: tuple[_File, ...] | None) -> Manifest | None:
    if files is None:
        return None
    return Manifest(
        component=component,
        files=tuple(
            File(path=file.path, size=file.size, sha256=bytes.fromhex(file.sha256))
            for file in files
        ),
    )


def _unusable(path: Path, problem: str) -> ConfigError:
    return ConfigError(
        problem,
        path=str(path),
        hint="make the file with 'enarx measure --json' on a machine that holds what you trust",
        code="references.file",
    )
