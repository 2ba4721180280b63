"""Writes the archive that Linux unpacks as its first root.

Sorted by path, every time zero, every owner root: the same files give the same bytes.
Source: Linux, Documentation/driver-api/early-userspace/buffer-format.rst, and cpio(5), newc.
"""

from __future__ import annotations

import posixpath
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

_ALIGN: Final = 4
_TRAILER: Final = "TRAILER!!!"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One file or link. path: absolute. target: of a link, else empty."""

    path: str
    data: bytes = b""
    executable: bool = False
    target: str = ""


def archive(entries: Iterable[Entry], *, directories: Iterable[str] = ()) -> bytes:
    """The archive of these entries, of all directories above them, and of `directories`."""
    nodes = {entry.path: entry for entry in entries}
    folders = {folder for path in nodes for folder in _above(path)}
    folders |= {folder for name in directories for folder in (name, *_above(name))}
    out = bytearray()
    for number, path in enumerate(sorted(nodes.keys() | folders), start=1):
        entry = nodes.get(path)
        if entry is None:
            _put(out, number, path, stat.S_IFDIR | 0o755, b"", links=2)
        elif entry.target:
            _put(out, number, path, stat.S_IFLNK | 0o777, entry.target.encode())
        else:
            mode = stat.S_IFREG | (0o555 if entry.executable else 0o444)
            _put(out, number, path, mode, entry.data)
    _put(out, 0, "/" + _TRAILER, 0, b"")
    return bytes(out)


def _put(out: bytearray, number: int, path: str, mode: int, data: bytes, *, links: int = 1) -> None:
    name = path.removeprefix("/").encode() + b"\0"
    # magic, ino, mode, uid, gid, nlink, mtime, filesize, four device numbers, namesize, check
    fields = (number, mode, 0, 0, links, 0, len(data), 0, 0, 0, 0, len(name), 0)
    out += b"070701" + b"".join(b"%08X" % field for field in fields) + name
    out += bytes(-len(out) % _ALIGN) + data
    out += bytes(-len(out) % _ALIGN)


def _above(path: str) -> Iterable[str]:
    while (path := posixpath.dirname(path)) not in ("/", ""):
        yield path
