"""The measured tree: every file is hashed while it is copied, and only the copies run.

What a Keep runs is this tree and nothing else, so what was measured is what runs: a file
that changes on the host afterwards changes nothing here. The tree holds the runtime under
its own absolute paths, the payload under /payload, and two empty directories for mounts.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from enarx.errors import HostError
from enarx.image.installation import Installation
from enarx.image.manifest import (
    TOTAL_MAX,
    Disk,
    Measured,
    Source,
    check_regular,
    manifest,
    unreadable,
)
from enarx.image.payload import find_payload
from enarx.image.runtime import Runtime, find_runtime
from enarx.silicon import isolation
from enarx.silicon.isolation import Isolation
from enarx.wire.attestation import Manifests

PAYLOAD: Final = "/payload"
EMPTY_DIRECTORIES: Final = ("/proc", "/run")
"""A Keep mounts here, if anything."""
PLAIN_NAME: Final = "silicon-root"
"""Name of the directory beside the socket, where there are no namespaces."""
_PIECE: Final = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A measured tree, ready to be launched from.

    root: where the tree is, as the silicon sees it.
    own_root: the tree can be the root of a process (it is a mount of its own).
    """

    root: str
    own_root: bool
    installation: Installation
    runtime: Runtime

    def remove(self) -> None:
        """Delete the tree where the kernel does not do it."""
        if not self.own_root:
            _remove(self.root)


def take(
    found: Isolation, *, payload: Path | None, beside: Path, needed: tuple[Path, ...] = ()
) -> Snapshot:
    """Copy and measure payload and runtime of this installation.

    Args:
        found: the isolation that was entered.
        payload: a directory that holds a payload, instead of the installed one.
        beside: directory for the tree where no tmpfs can be mounted.
        needed: directories that the silicon goes on using, which must not be covered.

    Raises:
        HostError, UsageError, ParseError, LimitError: as `image.installation`, and
            `silicon.root` where the tree cannot be made.
    """
    payload_sources = find_payload(payload)
    runtime = find_runtime(payload_sources, Disk())
    placed = [
        Source(path=f"{PAYLOAD}/{source.path}", origin=source.origin) for source in payload_sources
    ]
    try:
        kept = [source.origin for source in (*placed, *runtime.sources)]
        kept += [str(directory.absolute()) for directory in (beside, *needed)]
        root = _make_root(found, beside=beside, avoid=tuple(kept))
        copier = _Copier(root)
        manifests = Manifests(
            payload=manifest(
                "payload",
                (
                    (source, copier.copy(there))
                    for source, there in zip(payload_sources, placed, strict=True)
                ),
            ),
            runtime=manifest("runtime", copier.copies(runtime.sources)),
        )
        for directory in EMPTY_DIRECTORIES:
            copier.make_directory(root + directory)
        if found.mounts:
            isolation.make_read_only(root)
    except OSError as error:
        raise HostError(
            f"cannot make the measured tree: {error.strerror or error}"
            + (f" ({error.filename})" if error.filename else ""),
            hint="it takes about 110 MB of memory, or of disk where there are no namespaces",
            code="silicon.root",
        ) from None
    return Snapshot(
        root=root,
        own_root=found.mounts,
        installation=Installation.of(manifests),
        runtime=runtime,
    )


def _make_root(found: Isolation, *, beside: Path, avoid: tuple[str, ...]) -> str:
    if found.mounts:
        return isolation.mount_private_tmpfs(size=2 * TOTAL_MAX, avoid=avoid)
    root = str(beside / PLAIN_NAME)
    _remove(root)  # of a silicon that was killed here
    os.mkdir(root, 0o700)
    return root


def _remove(root: str) -> None:
    for folder, _, _ in os.walk(root):
        os.chmod(folder, 0o700)
    shutil.rmtree(root, ignore_errors=True)


class _Copier:
    """Copies files into the tree, once each, and hashes what it wrote."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._directories: set[str] = {root}
        self._copied: dict[tuple[int, int], tuple[str, Measured]] = {}

    def copies(self, sources: tuple[Source, ...]) -> Iterator[tuple[Source, Measured]]:
        for source in sources:
            yield source, self.copy(source)

    def copy(self, source: Source) -> Measured:
        """Copy one file. A file that has two names becomes one file with two names again:
        the dynamic loader tells libraries apart by their inode.
        """
        target = os.path.join(self._root, source.path.lstrip("/"))
        self.make_directory(os.path.dirname(target))
        try:
            reading = os.open(source.origin, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise unreadable(source.origin, error) from None
        try:
            status = os.fstat(reading)
            check_regular(status, source.origin)
            key = (status.st_dev, status.st_ino)
            if key in self._copied:
                first, measured = self._copied[key]
                os.link(first, target)
                return measured
            measured = _copy(reading, target, executable=bool(status.st_mode & stat.S_IXUSR))
            self._copied[key] = (target, measured)
            return measured
        finally:
            os.close(reading)

    def make_directory(self, path: str) -> None:
        if path in self._directories:
            return
        self.make_directory(os.path.dirname(path))
        os.mkdir(path, 0o755)
        self._directories.add(path)


def _copy(reading: int, target: str, *, executable: bool) -> Measured:
    digest, size = hashlib.sha256(), 0
    mode = 0o555 if executable else 0o444
    writing = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        while piece := os.read(reading, _PIECE):
            digest.update(piece)
            size += len(piece)
            rest = memoryview(piece)
            while rest:
                rest = rest[os.write(writing, rest) :]
    finally:
        os.close(writing)
    return Measured(size=size, sha256=digest.digest())
