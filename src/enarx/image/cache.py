"""A cache of file hashes for the tenant's side: what was read once need not be read again.

An entry holds only while size, times and inode of its file stay as they were. The cache is
an explicit object that the client passes in; silicon never uses one, for it measures what
it copies. It lies in the user's own cache directory, and is passed over unless it belongs
to the user and nobody else can write it.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
import time
from pathlib import Path
from typing import Final

import msgspec

from enarx.image import elf
from enarx.image.manifest import Disk, Measured, check_regular, unreadable
from enarx.wire import limits

VERSION: Final = 1
FILE_NAME: Final = "measured-files.msgpack"
CACHE_MAX: Final = 64 * limits.MIB
"""Bytes of the cache file that are read; the files of one installation take 150 KB."""
ENTRIES_MAX: Final = 4 * limits.FILES
"""Entries that are kept: several installations. Beyond that the cache starts anew."""
SETTLED_NS: Final = 2_000_000_000
"""A file changed less than two seconds ago may change again within one tick of its clock."""

_Key = tuple[int, int, int, int]


class _Entry(msgspec.Struct, array_like=True):
    key: _Key
    sha256: bytes | None = None
    dynamic: elf.Dynamic | None = None
    dynamic_read: bool = False


class _Content(msgspec.Struct, array_like=True):
    version: int
    entries: dict[str, _Entry]


class Cache:
    """Reads files like `Disk`, and only those that changed since they were read last.

    Use `load`, and `save` when done. Not for use by several threads at once.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._entries: dict[str, _Entry] = {}
        self._disk = Disk()
        self._changed = False

    @classmethod
    def load(cls, directory: Path) -> Cache:
        """The cache in this directory; an empty one where none can be used."""
        cache = cls(directory / FILE_NAME)
        with contextlib.suppress(OSError, msgspec.DecodeError):
            content = msgspec.msgpack.decode(_read_own(cache._path), type=_Content)
            if content.version == VERSION and len(content.entries) <= ENTRIES_MAX:
                cache._entries = content.entries
        return cache

    def measured(self, origin: str) -> Measured:
        """See `Disk.measured`; the same errors."""
        entry, status = self._entry(origin)
        if entry.sha256 is None:
            found = self._disk.measured(origin)
            entry.sha256 = found.sha256
            self._keep(origin, entry, status)
            return found
        return Measured(size=status.st_size, sha256=entry.sha256)

    def dynamic(self, origin: str) -> elf.Dynamic | None:
        """See `Disk.dynamic`; the same errors."""
        entry, status = self._entry(origin)
        if not entry.dynamic_read:
            entry.dynamic = self._disk.dynamic(origin)
            entry.dynamic_read = True
            self._keep(origin, entry, status)
        return entry.dynamic

    def save(self) -> None:
        """Write the cache where anything is new, atomically.

        A cache that cannot be written costs time and nothing else, so this raises nothing.
        """
        if not self._changed or len(self._entries) > ENTRIES_MAX:
            return
        data = msgspec.msgpack.encode(_Content(version=VERSION, entries=self._entries))
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(dir=self._path.parent, prefix=FILE_NAME)
            try:
                with open(descriptor, "wb") as file:
                    file.write(data)
                os.replace(name, self._path)
            except OSError:
                os.unlink(name)
        self._changed = False

    def _entry(self, origin: str) -> tuple[_Entry, os.stat_result]:
        try:
            status = os.stat(origin)
        except OSError as error:
            raise unreadable(origin, error) from None
        check_regular(status, origin)
        key = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
        entry = self._entries.get(origin)
        if entry is None or entry.key != key:
            entry = _Entry(key=key)
        return entry, status

    def _keep(self, origin: str, entry: _Entry, status: os.stat_result) -> None:
        newest = max(status.st_mtime_ns, status.st_ctime_ns)
        if time.time_ns() - newest > SETTLED_NS:
            self._entries[origin] = entry
            self._changed = True


def _read_own(path: Path) -> bytes:
    """Content of a file that belongs to this user, and which nobody else can write.

    Raises:
        OSError: it is not there, or not such a file.
    """
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        writable = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        if status.st_uid != os.geteuid() or writable or status.st_size > CACHE_MAX:
            raise PermissionError(f"{path} is not a private file of this user")
        return file.read(CACHE_MAX)
