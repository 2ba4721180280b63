"""JSON as a verifier must read it: no duplicate keys, no NaN, bounded in size and depth."""

from __future__ import annotations

import json
from typing import Any, Final

import msgspec

from enarx.errors import ParseError

MAX_JSON_DEPTH: Final = 32
"""TCB info, the deepest signed JSON, nests 7 levels."""

_NO_BRACKETS: Final = bytes(byte for byte in range(256) if byte not in b"[]{}")


def decode(data: bytes, *, what: str, limit: int) -> dict[str, Any]:
    """Decode one JSON object.

    Args:
        data: UTF-8 text.
        what: what it is, for the error message.
        limit: the most bytes it may have.

    Raises:
        ParseError: too large, too deep, not UTF-8, not JSON, a duplicate key, or no object.
    """
    if len(data) > limit:
        raise ParseError(f"{what} is {len(data)} bytes, more than {limit}", code="json.size")
    _bound_depth(data, what=what)
    value = _lossless(data)
    if value is None:
        try:
            value = json.loads(
                data.decode("utf-8"), object_pairs_hook=_no_duplicates, parse_constant=_no_constant
            )
        except (ValueError, RecursionError) as error:
            raise ParseError(f"{what} is not strict JSON: {error}", code="json.syntax") from error
    if not isinstance(value, dict):
        raise ParseError(f"{what} is not a JSON object", offset=0, code="json.type")
    return value


def _lossless(data: bytes) -> Any:
    """The value of a text that is exactly what its value is written as; else ``None``.

    Such a text, and vendors sign no other, repeats no key: the value would have lost it. This
    is four times faster than looking at the keys of every object.
    """
    try:
        value = msgspec.json.decode(data)
        return value if msgspec.json.encode(value) == data else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _bound_depth(data: bytes, *, what: str) -> None:
    """Bound nesting before decoding: brackets inside strings count too, which only errs safely."""
    if data.count(b"[") + data.count(b"{") <= MAX_JSON_DEPTH:
        return
    brackets = left = data.translate(None, delete=_NO_BRACKETS)
    # Innermost pairs fall away, level by level: the usual case, without walking.
    for _ in range(MAX_JSON_DEPTH):
        fewer = left.replace(b"[]", b"").replace(b"{}", b"")
        if not fewer:
            return
        if len(fewer) == len(left):
            break  # brackets that never close: walking finds where it gets too deep
        left = fewer
    depth = 0
    for byte in brackets:
        if byte in b"[{":
            depth += 1
            if depth > MAX_JSON_DEPTH:
                raise ParseError(
                    f"{what} nests deeper than {MAX_JSON_DEPTH} levels", code="json.depth"
                )
        else:
            depth -= 1


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f"key {key!r} appears twice")
            seen.add(key)
    return result


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
