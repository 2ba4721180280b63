"""CBOR as evidence carries it, read strictly (RFC 8949).

Size, depth and number of items are bounded over the bytes before anything is decoded,
so that lengths a stranger claims allocate nothing. Indefinite lengths, floats, duplicate
keys and trailing bytes are refused. What we write ourselves must also be deterministic
(section 4.2.1); what others sign may order its map keys as it likes.
"""

from __future__ import annotations

from typing import Any, Final

import cbor2

from enarx.errors import ParseError

MAX_DEPTH: Final = 8
"""RA-TLS evidence nests 3 levels, CMW collections 3."""

MAX_ITEMS: Final = 4096
"""Claims have some ten entries."""

_BYTES, _TEXT, _ARRAY, _MAP, _TAG, _SIMPLE = 2, 3, 4, 5, 6, 7
_WIDTHS: Final = {24: 1, 25: 2, 26: 4, 27: 8}
_SIMPLE_VALUES: Final = (20, 21, 22)


def encode(value: object) -> bytes:
    """The deterministic encoding."""
    return cbor2.dumps(value, canonical=True)


def decode(
    data: bytes,
    *,
    what: str,
    limit: int,
    deterministic: bool = True,
    tags: frozenset[int] = frozenset(),
) -> Any:
    """Decode exactly one item.

    Args:
        data: the bytes.
        what: its name, for the error message.
        limit: most bytes it may have.
        deterministic: whether it must be in the one deterministic form.
        tags: tag numbers that may occur. No others do, because some make a decoder compute.

    Raises:
        ParseError: too large, too deep, malformed, a repeated key, trailing bytes, or not
            deterministic where that is asked for.
    """
    value = decode_signed(data, what=what, limit=limit, tags=tags)
    try:
        again = cbor2.dumps(value, canonical=deterministic)
    except (cbor2.CBORError, ValueError, TypeError, RecursionError) as error:
        raise ParseError(f"{what} is not CBOR: {error}", code="cbor.form") from error
    if deterministic and again != data:
        raise ParseError(f"{what} is not deterministic CBOR", code="cbor.deterministic")
    if len(again) != len(data):
        # A key that came twice, or a length that is not in its shortest form, is gone now.
        raise ParseError(f"{what} repeats a key or pads a length", code="cbor.deterministic")
    return value


def decode_signed(data: bytes, *, what: str, limit: int, tags: frozenset[int]) -> Any:
    """Decode one item that others sign as it is, tags and all; its encoding is not compared.

    Raises:
        ParseError: too large, too deep, malformed, trailing bytes, or another tag.
    """
    if len(data) > limit:
        raise ParseError(f"{what} is {len(data)} bytes, more than {limit}", code="cbor.size")
    _bound(data, what, tags)
    try:
        return cbor2.loads(data)
    except (cbor2.CBORError, ValueError, TypeError, RecursionError, OverflowError) as error:
        raise ParseError(f"{what} is not CBOR: {error}", code="cbor.form") from error


def _bound(data: bytes, what: str, tags: frozenset[int]) -> None:
    """Walk over the heads of all items without recursion."""
    position = items = 0
    size = len(data)
    pending = [1]
    while pending:
        if pending[-1] == 0:
            pending.pop()
            continue
        pending[-1] -= 1
        items += 1
        if items > MAX_ITEMS:
            raise ParseError(f"{what} has more than {MAX_ITEMS} items", code="cbor.items")
        major, argument, position = _head(data, position, what)
        if major in (_BYTES, _TEXT):
            if argument > size - position:
                raise _malformed(what, "a string runs past the end", position)
            position += argument
        elif major in (_ARRAY, _MAP, _TAG):
            inside = 1 if major == _TAG else argument * (2 if major == _MAP else 1)
            if inside > size - position:
                raise _malformed(what, "a container runs past the end", position)
            pending.append(inside)
            if len(pending) > MAX_DEPTH + 1:
                raise ParseError(
                    f"{what} nests deeper than {MAX_DEPTH}", offset=position, code="cbor.depth"
                )
            if major == _TAG and argument not in tags:
                raise _malformed(what, f"tag {argument}", position)
        elif major == _SIMPLE and argument not in _SIMPLE_VALUES:
            raise _malformed(what, "a float or simple value", position)
    if position != size:
        raise _malformed(what, f"{size - position} bytes follow", position)


def _head(data: bytes, position: int, what: str) -> tuple[int, int, int]:
    if position >= len(data):
        raise _malformed(what, "cut off", position)
    major, short = data[position] >> 5, data[position] & 0x1F
    position += 1
    if short < 24:
        return major, short, position
    width = _WIDTHS.get(short)
    if width is None or major == _SIMPLE:
        raise _malformed(what, "an indefinite length, float or reserved head", position - 1)
    if position + width > len(data):
        raise _malformed(what, "cut off", position)
    return major, int.from_bytes(data[position : position + width]), position + width


def _malformed(what: str, problem: str, position: int) -> ParseError:
    return ParseError(f"{what} is malformed CBOR: {problem}", offset=position, code="cbor.form")
