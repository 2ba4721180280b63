"""Deterministic CBOR, strictly (RFC 8949, section 4.2.1), and nothing beyond what we need.

Messages are made of unsigned and negative integers, byte strings, text strings, arrays,
maps with text keys, true, false and null. Everything else (floats, tags, other simple
values, indefinite lengths) is refused, and so are integers and lengths that are not in
their shortest form, keys that are out of order or repeated, trailing bytes, and more depth
or items than `limits` allows. The form is checked over the bytes, without recursion and
without allocating for lengths that a stranger claims, before cbor2 decodes anything.
"""

from __future__ import annotations

from typing import Any

import cbor2

from enarx.errors import LimitError, ProtocolError
from enarx.wire import limits

_UNSIGNED, _NEGATIVE, _BYTES, _TEXT, _ARRAY, _MAP, _TAG, _SIMPLE = range(8)
_ARGUMENT_SIZES = {24: 1, 25: 2, 26: 4, 27: 8}
_SIMPLE_VALUES = frozenset({20, 21, 22})  # false, true, null

_TYPE_NAMES = ("integer", "integer", "bytes", "text", "array", "map", "tag", "simple value")


def encode(value: object) -> bytes:
    """The one deterministic encoding of `value`, made of plain Python objects.

    All keys are text, for which cbor2's canonical order (shorter first, then bytewise) and
    the order of RFC 8949 section 4.2.1 (bytewise over the encoded key) are the same.
    """
    return cbor2.dumps(value, canonical=True)


def decode(data: bytes, *, limit: int = limits.MESSAGE, what: str = "message") -> Any:
    """Decode one message, or raise ProtocolError (LimitError where a bound is passed).

    Args:
        data: exactly one encoded item.
        limit: most bytes that `data` may have.
        what: name of the message, for the error.
    """
    if len(data) > limit:
        raise LimitError(
            f"{what} is {len(data)} bytes, at most {limit} are allowed", code="limit.size"
        )
    _check(data, what)
    try:
        return cbor2.loads(data)
    except (cbor2.CBORDecodeError, ValueError, RecursionError) as error:
        raise ProtocolError(f"{what} is not CBOR: {error}", code="protocol.cbor") from None


def _check(data: bytes, what: str) -> None:
    """Walk over the heads of all items; raise at the first that is not allowed."""
    position, items, size = 0, 0, len(data)
    # One entry an open container: [items still to come, is it a map, previous key].
    open_containers: list[tuple[int, bool, bytes]] = []
    remaining, in_map, previous_key = 1, False, b""
    while True:
        while remaining == 0:
            if not open_containers:
                if position != size:
                    raise _malformed(what, f"{size - position} trailing bytes", position)
                return
            remaining, in_map, previous_key = open_containers.pop()
        start = position
        major, argument, position = _head(data, position, what)
        items += 1
        if items > limits.CBOR_ITEMS:
            raise LimitError(f"{what} has more than {limits.CBOR_ITEMS} items", code="limit.items")
        is_key = in_map and remaining % 2 == 0
        remaining -= 1
        if major in (_BYTES, _TEXT):
            if argument > size - position:
                raise _malformed(what, f"string of {argument} bytes runs past the end", start)
            position += argument
        if is_key:
            key = data[start:position]
            if major != _TEXT:
                raise _malformed(what, f"map key is a {_TYPE_NAMES[major]}, not text", start)
            if key <= previous_key:
                raise _malformed(what, "map keys repeat or are out of order", start)
            previous_key = key
        if major in (_ARRAY, _MAP):
            count = argument * 2 if major == _MAP else argument
            if count > size - position:
                raise _malformed(
                    what, f"{_TYPE_NAMES[major]} of {argument} runs past the end", start
                )
            if len(open_containers) >= limits.CBOR_DEPTH:
                raise LimitError(
                    f"{what} nests deeper than {limits.CBOR_DEPTH}", code="limit.depth"
                )
            open_containers.append((remaining, in_map, previous_key))
            remaining, in_map, previous_key = count, major == _MAP, b""


def _head(data: bytes, position: int, what: str) -> tuple[int, int, int]:
    """Major type, argument and the position behind one item's head (RFC 8949, section 3)."""
    if position >= len(data):
        raise _malformed(what, "it ends in the middle", position)
    initial = data[position]
    major, info = initial >> 5, initial & 31
    if major == _TAG or (major == _SIMPLE and info not in _SIMPLE_VALUES):
        raise _malformed(what, f"{_TYPE_NAMES[major]} is not allowed", position)
    if info < 24:
        return major, info, position + 1
    size = _ARGUMENT_SIZES.get(info)
    if size is None:
        raise _malformed(what, "indefinite length is not allowed", position)
    end = position + 1 + size
    if end > len(data):
        raise _malformed(what, "it ends in the middle", position)
    argument = int.from_bytes(data[position + 1 : end], "big")
    if argument < 24 if size == 1 else argument >> (size * 4) == 0:
        raise _malformed(what, "length or integer is not in its shortest form", position)
    return major, argument, end


def _malformed(what: str, problem: str, offset: int) -> ProtocolError:
    return ProtocolError(
        f"{what} is not deterministic CBOR: {problem} (at byte {offset})", code="protocol.cbor"
    )
