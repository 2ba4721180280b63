"""The Authenticode hash of a PE file: what firmware measures of a program that it starts.

All bytes but the checksum, the entry of the certificate table and the table itself; headers
first, then the sections in the order they lie in the file, then what is behind them.

Source: Microsoft, *Windows Authenticode Portable Executable Signature Format* (1.0), "Calculating
the PE image hash"; *PE Format*.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Any, Final

from enarx.errors import ParseError

MAX_SECTIONS: Final = 96
"""Sections of one file: what Windows loads at most; kernels have under ten."""

PE32: Final = 0x10B
PE32_PLUS: Final = 0x20B

_PE_OFFSET: Final = 0x3C
_COFF: Final = struct.Struct("<4sHHIIIHH")
_SECTION: Final = struct.Struct("<8sIIIIIIHHI")
_CHECKSUM: Final = 64
"""Offset of CheckSum in the optional header, the same in both forms."""
_HEADERS_SIZE: Final = 60
_DIRECTORIES: Final = {PE32: 96, PE32_PLUS: 112}
_CERTIFICATES: Final = 4
"""Number of the certificate table's directory; each takes eight bytes."""


def authenticode_sha256(data: bytes) -> bytes:
    """SHA-256 Authenticode hash of a PE file.

    Raises:
        ParseError: not a PE file, or one whose parts lie outside of it or over each other.
    """
    (start,) = _unpack("<I", data, _PE_OFFSET)
    signature, _, sections, _, _, _, optional_size, _ = _whole(_COFF, data, start)
    if signature != b"PE\0\0" or data[:2] != b"MZ":
        raise _bad("has no PE header")
    optional = start + _COFF.size
    (magic,) = _unpack("<H", data, optional)
    directories = _DIRECTORIES.get(magic)
    if directories is None or sections > MAX_SECTIONS:
        raise _bad(f"has an optional header 0x{magic:04x} and {sections} sections")
    entry = optional + directories + 8 * _CERTIFICATES
    if entry + 8 > optional + optional_size:
        raise _bad("has no entry for certificates")
    _, certificates = _unpack("<II", data, entry)
    (headers,) = _unpack("<I", data, optional + _HEADERS_SIZE)
    if not entry + 8 <= headers <= len(data):
        raise _bad(f"has headers of {headers} bytes")
    digest = hashlib.sha256()
    digest.update(data[: optional + _CHECKSUM])
    digest.update(data[optional + _CHECKSUM + 4 : entry])
    digest.update(data[entry + 8 : headers])
    end = headers
    for offset, size in _sections(data, optional + optional_size, sections):
        if offset < end or offset + size > len(data):
            raise _bad("has sections that overlap or lie outside")
        digest.update(data[offset : offset + size])
        end = offset + size
    # What lies behind the sections counts, the table of certificates at the end does not.
    if certificates > len(data) - end:
        raise _bad(f"has {certificates} bytes of certificates")
    digest.update(data[end : len(data) - certificates])
    return digest.digest()


def _sections(data: bytes, table: int, count: int) -> list[tuple[int, int]]:
    """Offset and size of each section that takes room in the file, as they lie there."""
    found = []
    for number in range(count):
        fields = _whole(_SECTION, data, table + number * _SECTION.size)
        size, offset = fields[3], fields[4]
        if size:
            found.append((offset, size))
    return sorted(found)


def _unpack(form: str, data: bytes, offset: int) -> tuple[Any, ...]:
    return _whole(struct.Struct(form), data, offset)


def _whole(form: struct.Struct, data: bytes, offset: int) -> tuple[Any, ...]:
    if offset + form.size > len(data):
        raise _bad("is cut off")
    return form.unpack_from(data, offset)


def _bad(what: str) -> ParseError:
    return ParseError(
        f"PE file {what}", hint="expected a kernel with an EFI stub (bzImage)", code="image.pe"
    )
