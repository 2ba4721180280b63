"""What was fetched and verified, on disk, for every command of this user.

One file an item: SHA-256 of the rest, then deterministic CBOR. A file that does not fit its
digest or its name is damaged; it is removed, and fetched again. Files are replaced in one step,
so commands may share the directory. Nothing in it is trusted by the verifier.

``ENARX_HOME`` moves the directory; otherwise it is where the platform keeps caches.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from enarx.endorsements import limits
from enarx.endorsements.references import Item
from enarx.errors import EnarxError, HostError, ParseError
from enarx.wire.codec import Message, pack, unpack

_DIGEST: Final = 32
_SUFFIX: Final = ".item"
_PRIVATE: Final = 0o700


class Entry(Message, frozen=True, kw_only=True):
    """An item in the cache.

    Attributes:
        item: what was fetched.
        fetched: when, in seconds since 1970.
        source: from where; ``import`` for a bundle.
    """

    item: Item
    fetched: int
    source: str


def default_directory() -> Path:
    """Where the cache of this user is."""
    if home := os.environ.get("ENARX_HOME"):
        return Path(home) / "cache" / "endorsements"
    import platformdirs

    return Path(platformdirs.user_cache_dir("enarx", appauthor=False)) / "endorsements"


class Cache:
    """A directory of entries.

    Args:
        directory: made when the first entry is written.
        entries, size: bounds; beyond them the entries that were written first are dropped.
    """

    def __init__(
        self,
        directory: Path,
        *,
        entries: int = limits.CACHE_ENTRIES,
        size: int = limits.CACHE_BYTES,
    ) -> None:
        self.directory = directory
        self._entries, self._size = entries, size
        self._used: tuple[int, int] | None = None

    def get(self, name: str) -> Entry | None:
        """The entry of this name; ``None`` if there is none, or only a damaged one."""
        entry = self._read(self._path(name))
        return entry if entry is not None and entry.item.name == name else None

    def put(self, entry: Entry) -> None:
        """Keep an entry, in place of the one of its name.

        Raises:
            HostError: it cannot be written.
        """
        body = pack(entry)
        data = hashlib.sha256(body).digest() + body
        if len(data) > limits.CACHE_ENTRY:
            raise HostError(f"{entry.item.name} is too large for the cache", code="cache.size")
        path = self._path(entry.item.name)
        try:
            self.directory.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
            self._make_room(len(data), keep=path)
            _replace(path, data)
        except OSError as error:
            raise HostError(
                f"cannot write to the cache {self.directory}: {error.strerror}",
                hint="set ENARX_HOME to a directory you may write to, on a disk with space",
                code="cache.write",
            ) from None

    def entries(self) -> Iterator[Entry]:
        """All good entries, by name of their files."""
        for path in sorted(self._files()):
            entry = self._read(path)
            if entry is not None:
                yield entry

    def _path(self, name: str) -> Path:
        return self.directory / (hashlib.sha256(name.encode()).hexdigest() + _SUFFIX)

    def _files(self) -> list[Path]:
        try:
            return [path for path in self.directory.iterdir() if path.suffix == _SUFFIX]
        except OSError:
            return []

    def _read(self, path: Path) -> Entry | None:
        try:
            with path.open("rb") as file:
                data = file.read(limits.CACHE_ENTRY + 1)
        except OSError:
            return None
        digest, body = data[:_DIGEST], data[_DIGEST:]
        try:
            if hashlib.sha256(body).digest() != digest:
                raise ParseError("digest does not fit", code="cache.damaged")
            entry = unpack(body, Entry, limit=limits.CACHE_ENTRY)
            if self._path(entry.item.name) != path:
                raise ParseError("name does not fit", code="cache.damaged")
        except EnarxError:
            # Damaged: gone now, and fetched again when it is wanted.
            path.unlink(missing_ok=True)
            return None
        return entry

    def _make_room(self, size: int, *, keep: Path) -> None:
        """Drop what was written first until there is room for one more entry.

        The directory is looked through for the first entry, and when it seems full; what other
        processes write meanwhile is noticed then.
        """
        if self._used is not None:
            count, total = self._used[0] + 1, self._used[1] + size
            if count <= self._entries and total <= self._size:
                self._used = count, total
                return
        files = []
        for path in self._files():
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            files.append((status.st_mtime_ns, status.st_size, path))
        count, total = len(files) + 1, sum(length for _, length, _ in files) + size
        for _, length, path in sorted(files):
            if total <= self._size and count <= self._entries:
                break
            if path != keep:
                path.unlink(missing_ok=True)
                count, total = count - 1, total - length
        self._used = count, total


def _replace(path: Path, data: bytes) -> None:
    # mkstemp makes it 0600. Not synchronised to the disk: what a power failure leaves of it
    # does not fit its digest, and is fetched again.
    descriptor, temporary = tempfile.mkstemp(prefix=".new-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        os.replace(temporary, path)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
        raise
