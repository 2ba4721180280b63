"""From files to a manifest, and from a manifest to the digest that is measured.

A `Source` says which file goes under which path; `measure` reads them all and makes the
`wire.attestation.Manifest` of one component. What a file is called and what is in it is
all that counts: no times, no owners, no permissions, no order of directories.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Protocol

from enarx.errors import HostError, LimitError
from enarx.image import elf
from enarx.wire import limits
from enarx.wire.attestation import File, Manifest
from enarx.wire.codec import pack

FILE_MAX: Final = 256 * limits.MIB
"""Bytes of one measured file. The largest real one is a WebAssembly engine of 30 MB."""
TOTAL_MAX: Final = 1024 * limits.MIB
"""Bytes of one component. Real ones have 40 to 60 MB."""
PATH_MAX: Final = 1024
"""Characters of one path, as wire.attestation.File has it."""
NAMED_DIFFERENCES: Final = 8
"""Files that `differences` names one by one; the rest is counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One file to be measured.

    path: what it is called in the manifest and in the root of a Keep.
    origin: where it is on this machine.
    """

    path: str
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What there is to say of one file: its size in bytes and the SHA-256 of its content."""

    size: int
    sha256: bytes


class Files(Protocol):
    """Reads files on behalf of the measuring functions: `Disk`, or a cache before it."""

    def measured(self, origin: str) -> Measured:
        """Size and hash of one file."""

    def dynamic(self, origin: str) -> elf.Dynamic | None:
        """What the dynamic loader reads of one file; None where it is not ELF."""


class Disk:
    """Reads every file anew. Holds nothing."""

    def measured(self, origin: str) -> Measured:
        """Size and SHA-256 of the regular file at `origin` (or behind a link there).

        Raises:
            HostError: it cannot be read (`image.unreadable`).
            LimitError: it is larger than FILE_MAX (`limit.file`).
        """
        try:
            with open(origin, "rb", buffering=0) as file:
                check_regular(os.fstat(file.fileno()), origin)
                digest = hashlib.file_digest(file, "sha256")
                return Measured(size=file.tell(), sha256=digest.digest())
        except OSError as error:
            raise unreadable(origin, error) from None

    def dynamic(self, origin: str) -> elf.Dynamic | None:
        """See `Files.dynamic`.

        Raises:
            HostError: it cannot be read (`image.unreadable`).
            ParseError: it is ELF, but broken (`parse.elf`).
        """
        try:
            return elf.read_dynamic(origin)
        except OSError as error:
            raise unreadable(origin, error) from None


def measure(component: str, sources: Iterable[Source], files: Files) -> Manifest:
    """Read all files of one component and list them, sorted by path.

    Args:
        component: `payload` or `runtime`.
        files: `Disk()`, or a cache before it.

    Raises:
        HostError: a file cannot be read (`image.unreadable`).
        LimitError: a file, their number or their sum is beyond its limit.
    """
    ordered = sorted(sources, key=lambda source: source.path)
    return manifest(component, ((source, files.measured(source.origin)) for source in ordered))


def manifest(component: str, measured: Iterable[tuple[Source, Measured]]) -> Manifest:
    """The manifest of files that were measured, which must come sorted by path.

    Raises:
        LimitError: their number or their sum is beyond its limit.
    """
    listed: list[File] = []
    total = 0
    for source, found in measured:
        check_path(source.path)
        listed.append(File(path=source.path, size=found.size, sha256=found.sha256))
        total += found.size
        if len(listed) > limits.FILES or total > TOTAL_MAX:
            raise LimitError(
                f"the {component} has more than {limits.FILES} files or {TOTAL_MAX} bytes",
                hint="is this really an enarx installation?",
                code="limit.component",
            )
    return Manifest(component=component, files=tuple(listed))


def digest(manifest: Manifest) -> bytes:
    """The component's digest: SHA-256 of the manifest's one encoding."""
    return hashlib.sha256(pack(manifest)).digest()


def differences(expected: Manifest, found: Manifest) -> tuple[str, ...]:
    """What differs between two manifests of one component, for a person; empty when equal."""
    wanted = {file.path: file for file in expected.files}
    there = {file.path: file for file in found.files}
    lines = []
    for path in sorted(wanted.keys() | there.keys()):
        if path not in there:
            lines.append(f"{path} is missing")
        elif path not in wanted:
            lines.append(f"{path} is not expected")
        elif wanted[path] != there[path]:
            lines.append(
                f"{path} differs: expected SHA-256 {wanted[path].sha256.hex()}, "
                f"found {there[path].sha256.hex()}"
            )
    if len(lines) > NAMED_DIFFERENCES:
        more = len(lines) - NAMED_DIFFERENCES
        lines[NAMED_DIFFERENCES:] = [f"and {more} more files"]
    return tuple(lines)


def check_path(path: str) -> None:
    """Raise unless a manifest can hold this path: text of at most PATH_MAX characters."""
    if not 1 <= len(path) <= PATH_MAX or not path.isprintable():
        raise HostError(
            f"a measured file has a path that a manifest cannot hold: {path[:100]!a}",
            hint=f"install under a path of printable text, at most {PATH_MAX} characters",
            code="image.path",
        )


def check_regular(status: os.stat_result, origin: str) -> None:
    """Raise unless this is a regular file of a size that is allowed."""
    if not stat.S_ISREG(status.st_mode):
        raise HostError(f"{origin} is not a regular file", code="image.unreadable")
    if status.st_size > FILE_MAX:
        raise LimitError(
            f"{origin} has {status.st_size} bytes, at most {FILE_MAX} are measured",
            code="limit.file",
        )


def unreadable(origin: str, error: OSError) -> HostError:
    """The error for a file that belongs to what is measured and cannot be read."""
    return HostError(
        f"cannot read {origin}: {error.strerror or error}",
        hint="every file of the installation is measured: repair or reinstall it",
        code="image.unreadable",
    )
