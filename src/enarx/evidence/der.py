"""A strict reader and writer for the little DER that vendors put into certificate extensions.

Only what those extensions use: definite lengths in the shortest form, low tag numbers,
primitive values. Anything else is refused: a lenient reader is where two verifiers begin to
disagree about one certificate. Source: ITU-T X.690 (02/2021), sections 8 and 10.
"""

from __future__ import annotations

from collections.abc import Iterator

from enarx.errors import ParseError

BOOLEAN = 0x01
INTEGER = 0x02
OCTET_STRING = 0x04
OBJECT_IDENTIFIER = 0x06
ENUMERATED = 0x0A
SEQUENCE = 0x30

MAX_LENGTH_OCTETS = 3
"""A length of more than three octets means over 16 MiB, far above any certificate extension."""


def read(data: bytes, offset: int, *, tag: int) -> tuple[bytes, int]:
    """Read one element that must have ``tag``; return its content and the offset behind it.

    Raises:
        ParseError: another tag, a length that is not in the shortest form or leaves ``data``.
    """
    found, content, end = read_any(data, offset)
    if found != tag:
        raise ParseError(
            f"DER element has tag 0x{found:02x}, expected 0x{tag:02x}",
            offset=offset,
            code="parse.der-tag",
        )
    return content, end


def read_any(data: bytes, offset: int) -> tuple[int, bytes, int]:
    """Read one element of any low tag number: (tag, content, offset behind it).

    Raises:
        ParseError: as for :func:`read`.
    """
    if offset + 2 > len(data):
        raise ParseError("DER element is cut off", offset=offset, code="parse.der-truncated")
    tag, length, start = data[offset], data[offset + 1], offset + 2
    if tag & 0x1F == 0x1F:
        raise ParseError("DER tag number above 30", offset=offset, code="parse.der-tag")
    if length >= 0x80:
        octets = length & 0x7F
        if not 1 <= octets <= MAX_LENGTH_OCTETS or start + octets > len(data):
            raise ParseError("DER length is unusable", offset=offset, code="parse.der-length")
        length = int.from_bytes(data[start : start + octets])
        # X.690 section 10.1: the shortest form, so that one value has one encoding.
        if length < 0x80 or length >> (8 * (octets - 1)) == 0:
            raise ParseError("DER length is not minimal", offset=offset, code="parse.der-length")
        start += octets
    end = start + length
    if end > len(data):
        raise ParseError(
            f"DER element of {length} bytes ends behind the data ({len(data)} bytes)",
            offset=offset,
            code="parse.der-truncated",
        )
    return tag, data[start:end], end


def read_whole(data: bytes, *, tag: int) -> bytes:
    """Content of the one element that ``data`` must be; nothing may follow it.

    Raises:
        ParseError: as for :func:`read`, or bytes follow the element.
    """
    content, end = read(data, 0, tag=tag)
    if end != len(data):
        raise ParseError(
            f"{len(data) - end} bytes follow the DER element", offset=end, code="parse.der-trailing"
        )
    return content


def without_padding(data: bytes) -> bytes:
    """One element without the zeros behind it; whatever is anything else comes back as it is."""
    try:
        _, _, end = read_any(data, 0)
    except ParseError:
        return data
    return data if any(data[end:]) else data[:end]


def elements(content: bytes) -> Iterator[tuple[int, bytes]]:
    """All (tag, content) of a constructed element's content, which they must fill exactly.

    Raises:
        ParseError: as for :func:`read`.
    """
    offset = 0
    while offset < len(content):
        tag, value, offset = read_any(content, offset)
        yield tag, value


def unsigned(content: bytes) -> int:
    """Value of an INTEGER's content that must not be negative, in the shortest form.

    Raises:
        ParseError: empty, negative or padded (X.690 section 8.3.2).
    """
    if not content or content[0] & 0x80:
        raise ParseError("DER integer is empty or negative", code="parse.der-integer")
    if len(content) > 1 and content[0] == 0 and not content[1] & 0x80:
        raise ParseError("DER integer is not minimal", code="parse.der-integer")
    return int.from_bytes(content)


def element(tag: int, content: bytes) -> bytes:
    """Encode one element."""
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    octets = (size.bit_length() + 7) // 8
    return bytes((tag, 0x80 | octets)) + size.to_bytes(octets) + content


def integer(value: int) -> bytes:
    """Encode a non-negative INTEGER; a zero byte keeps the sign where the top bit is set."""
    return element(INTEGER, value.to_bytes(value.bit_length() // 8 + 1))


def object_identifier(dotted: str) -> bytes:
    """Encode an OBJECT IDENTIFIER such as ``"1.2.840.113741"`` (X.690 section 8.19)."""
    first, second, *rest = (int(arc) for arc in dotted.split("."))
    out = bytearray()
    for arc in (first * 40 + second, *rest):
        septets = [arc & 0x7F]
        while arc := arc >> 7:
            septets.append(0x80 | arc & 0x7F)
        out += bytes(reversed(septets))
    return element(OBJECT_IDENTIFIER, bytes(out))
