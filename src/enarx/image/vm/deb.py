"""Reads Debian packages: what they hold, as paths and bytes. Nothing is run or unpacked to disk.

Source: deb(5); an `ar` archive whose member data.tar.xz holds the files.
"""

from __future__ import annotations

import lzma
import posixpath
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from enarx.errors import ParseError
from enarx.wire import limits

_AR_MAGIC: Final = b"!<arch>\n"
_AR_HEADER: Final = 60
MEMBERS: Final = 60_000
"""Entries of one package; the kernel's has 5,000."""
UNPACKED: Final = 1024 * limits.MIB
"""Bytes of one package's files; the kernel's has 140 MB."""
LINKS: Final = 8
"""Links that are followed to find one file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """One package's files and links, by absolute path."""

    files: Mapping[str, bytes]
    links: Mapping[str, str]

    def read(self, path: str) -> bytes:
        """The bytes behind a path, through links within this package. KeyError where none is."""
        for _ in range(LINKS):
            target = self.links.get(path)
            if target is None:
                return self.files[path]
            path = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
        raise KeyError(path)


def read_deb(path: Path, *, prefixes: tuple[str, ...] = ("/",)) -> Content:
    """The content of one package, of those files whose path begins with one of `prefixes`.

    Raises:
        ParseError: it is not a package (`parse.deb`).
    """
    files: dict[str, bytes] = {}
    links: dict[str, str] = {}
    try:
        with path.open("rb") as file:
            _find_data(file, path)
            # tarfile reads to its own end mark, and ar has nothing after data.tar.
            with lzma.open(file) as data, tarfile.open(fileobj=data, mode="r|") as archive:
                _read(archive, files, links, prefixes, path)
    except (tarfile.TarError, lzma.LZMAError, EOFError, ValueError) as error:
        raise _broken(path, str(error)) from None
    return Content(files=files, links=links)


def _read(
    archive: tarfile.TarFile,
    files: dict[str, bytes],
    links: dict[str, str],
    prefixes: tuple[str, ...],
    path: Path,
) -> None:
    total = 0
    for count, member in enumerate(archive):
        name = posixpath.normpath("/" + member.name)
        total += member.size
        if count > MEMBERS or total > UNPACKED:
            raise _broken(path, f"holds more than {MEMBERS} entries or {UNPACKED} bytes")
        if not name.startswith(prefixes):
            continue
        if member.issym():
            links[name] = member.linkname
        elif member.islnk():
            files[name] = files[posixpath.normpath("/" + member.linkname)]
        elif member.isfile():
            stream = archive.extractfile(member)
            files[name] = stream.read() if stream is not None else b""


def _find_data(file: IO[bytes], path: Path) -> None:
    """Go to the first byte of data.tar.xz."""
    if file.read(len(_AR_MAGIC)) != _AR_MAGIC:
        raise _broken(path, "is no ar archive")
    while header := file.read(_AR_HEADER):
        name, size = header[:16].decode("ascii").strip().rstrip("/"), int(header[48:58])
        if name == "data.tar.xz":
            return
        file.seek(size + size % 2, 1)
    raise _broken(path, "has no data.tar.xz")


def _broken(path: Path, problem: str) -> ParseError:
    return ParseError(f"{path} is no package that can be read: {problem}", code="parse.deb")
