"""A small reader of ELF files: what the dynamic loader looks at, and nothing else.

Source: System V ABI, chapters 4 and 5, and its AMD64 supplement. Only 64-bit little-endian
files for x86-64, which is all that a Keep runs. Every length is checked before it is used:
the files are the machine's own, but a broken one must be an error and not a hang.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import Final

from enarx.errors import ParseError

_HEADER = struct.Struct("<4sBBB9xHHIQQQIHHHHHH")
_PROGRAM = struct.Struct("<IIQQQQQQ")
_DYNAMIC = struct.Struct("<QQ")
_MAGIC = b"\x7fELF"
_CLASS_64, _LITTLE_ENDIAN, _X86_64 = 2, 1, 62
_PT_LOAD, _PT_DYNAMIC, _PT_INTERP = 1, 2, 3
_DT_NULL, _DT_NEEDED, _DT_STRTAB, _DT_STRSZ, _DT_RPATH, _DT_RUNPATH = 0, 1, 5, 10, 15, 29

PROGRAM_HEADERS_MAX: Final = 128
"""Program headers; real files have about ten."""
DYNAMIC_MAX: Final = 64 * 1024
"""Bytes of the dynamic section; real ones have under 1 KiB."""
STRINGS_MAX: Final = 16 * 1024 * 1024
"""Bytes of the dynamic string table; LLVM's has 2 MB."""
FILE_OFFSET_MAX: Final = 1 << 48
"""Offsets beyond this are not asked of the kernel: no file is so long."""
STRING_MAX: Final = 4096
"""Bytes of one name or search path (PATH_MAX)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dynamic:
    """What one object asks of the dynamic loader.

    needed: names of the libraries it needs (DT_NEEDED), in order.
    rpath, runpath: search paths with `$ORIGIN` still in them (DT_RPATH, DT_RUNPATH).
    interpreter: the dynamic loader it names (PT_INTERP); empty for a library.
    """

    needed: tuple[str, ...] = ()
    rpath: tuple[str, ...] = ()
    runpath: tuple[str, ...] = ()
    interpreter: str = ""


def read_dynamic(origin: str) -> Dynamic | None:
    """Read what the dynamic loader would; None when the file is not ELF.

    Raises:
        OSError: the file cannot be read.
        ParseError: it is ELF, but broken or for another machine (`parse.elf`).
    """
    descriptor = os.open(origin, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return _read(descriptor, origin)
    finally:
        os.close(descriptor)


def _read(descriptor: int, origin: str) -> Dynamic | None:
    head = os.pread(descriptor, _HEADER.size, 0)
    if head[:4] != _MAGIC:
        return None
    if len(head) < _HEADER.size:
        raise _broken(origin, "it ends in its header")
    fields = _HEADER.unpack(head)
    if fields[1:3] != (_CLASS_64, _LITTLE_ENDIAN) or fields[5] != _X86_64:
        raise _broken(origin, "it is not for 64-bit x86")
    offset, entry_size, count = fields[8], fields[12], fields[13]
    if entry_size != _PROGRAM.size or count > PROGRAM_HEADERS_MAX:
        raise _broken(origin, "its program headers are not usable")
    table = _slice(descriptor, offset, entry_size * count, origin)
    segments = list(_PROGRAM.iter_unpack(table))
    interpreter = ""
    dynamic: list[tuple[int, int]] = []
    for kind, _, start, _, _, size, _, _ in segments:
        if kind == _PT_INTERP:
            if size > STRING_MAX:
                raise _broken(origin, "its interpreter's name is too long")
            raw = _slice(descriptor, start, size, origin)
            interpreter = os.fsdecode(raw.rstrip(b"\0"))
        elif kind == _PT_DYNAMIC:
            if size > DYNAMIC_MAX or size % _DYNAMIC.size:
                raise _broken(origin, "its dynamic section is not usable")
            dynamic = list(_DYNAMIC.iter_unpack(_slice(descriptor, start, size, origin)))
    return _dynamic(descriptor, origin, segments, dynamic, interpreter)


def _dynamic(
    descriptor: int,
    origin: str,
    segments: list[tuple[int, ...]],
    entries: list[tuple[int, int]],
    interpreter: str,
) -> Dynamic:
    """Look the dynamic section's names up in its string table."""
    found: dict[int, list[int]] = {}
    for tag, value in entries:
        if tag == _DT_NULL:
            break
        found.setdefault(tag, []).append(value)
    wanted = (_DT_NEEDED, _DT_RPATH, _DT_RUNPATH)
    if not any(tag in found for tag in wanted):
        return Dynamic(interpreter=interpreter)
    if _DT_STRTAB not in found or _DT_STRSZ not in found:
        raise _broken(origin, "its dynamic section has no string table")
    size = found[_DT_STRSZ][0]
    if size > STRINGS_MAX:
        raise _broken(origin, "its string table is too large")
    start = _file_offset(segments, found[_DT_STRTAB][0], origin)

    def names(tag: int) -> list[str]:
        out = []
        for at in found.get(tag, ()):
            if at >= size:
                raise _broken(origin, "a name lies outside its string table")
            raw = _pread(descriptor, min(STRING_MAX, size - at), start + at, origin)
            name, end, _ = raw.partition(b"\0")
            if not end:
                raise _broken(origin, "a name in its string table does not end")
            out.append(os.fsdecode(name))
        return out

    def paths(tag: int) -> tuple[str, ...]:
        return tuple(part for name in names(tag) for part in name.split(":") if part)

    return Dynamic(
        needed=tuple(names(_DT_NEEDED)),
        rpath=paths(_DT_RPATH),
        runpath=paths(_DT_RUNPATH),
        interpreter=interpreter,
    )


def _file_offset(segments: list[tuple[int, ...]], address: int, origin: str) -> int:
    """Where in the file the byte is that is mapped at `address`."""
    for kind, _, offset, start, _, size, _, _ in segments:
        if kind == _PT_LOAD and start <= address < start + size:
            return offset + address - start
    raise _broken(origin, "its string table is not in any segment")


def _slice(descriptor: int, offset: int, size: int, origin: str) -> bytes:
    data = _pread(descriptor, size, offset, origin)
    if len(data) != size:
        raise _broken(origin, "it is cut off")
    return data


def _pread(descriptor: int, size: int, offset: int, origin: str) -> bytes:
    if offset > FILE_OFFSET_MAX:
        raise _broken(origin, "an offset is beyond any file")
    return os.pread(descriptor, size, offset)


def _broken(origin: str, problem: str) -> ParseError:
    return ParseError(f"ELF file {origin} cannot be used: {problem}", code="parse.elf")
