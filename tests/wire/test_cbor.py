"""Only the one deterministic encoding of a message is taken."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx.errors import LimitError, ProtocolError
from enarx.wire import cbor, limits

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64 - 1)
    | st.binary(max_size=300)
    | st.text(max_size=300),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=40), inner),
    max_leaves=20,
)


@given(values)
def test_what_is_encoded_is_decoded(value: object) -> None:
    assert cbor.decode(cbor.encode(value)) == value


@given(st.binary(max_size=200))
def test_bytes_are_taken_only_if_they_are_the_one_encoding_of_their_value(data: bytes) -> None:
    try:
        value = cbor.decode(data)
    except ProtocolError:
        return
    assert cbor.encode(value) == data


@pytest.mark.parametrize(
    ("encoded", "why"),
    [
        ("", "ends in the middle"),
        ("00 00", "trailing bytes"),
        ("a2 6161 01 6161 02", "repeat or are out of order"),
        ("a2 6162 01 6161 02", "repeat or are out of order"),
        ("a2 626161 01 6162 02", "repeat or are out of order"),
        ("a1 01 02", "map key is a integer"),
        ("18 01", "shortest form"),
        ("19 00ff", "shortest form"),
        ("1a 0000ffff", "shortest form"),
        ("1b 00000000ffffffff", "shortest form"),
        ("58 01 00", "shortest form"),
        ("9f ff", "indefinite"),
        ("5f 41 00 ff", "indefinite"),
        ("fb 3ff0000000000000", "simple value"),
        ("f7", "simple value"),
        ("f8 20", "simple value"),
        ("c0 61 30", "tag"),
        ("1c", "indefinite"),
        ("42 00", "runs past the end"),
        ("9b ffffffffffffffff", "runs past the end"),
        ("bb ffffffffffffffff", "runs past the end"),
        ("62 ffff", "not CBOR"),
        ("81", "runs past the end"),
    ],
)
def test_malformed_encodings_are_refused_with_the_reason(encoded: str, why: str) -> None:
    with pytest.raises(ProtocolError, match=why):
        cbor.decode(bytes.fromhex(encoded))


def test_nesting_beyond_the_limit_is_refused() -> None:
    assert cbor.decode(b"\x81" * limits.CBOR_DEPTH + b"\0")
    with pytest.raises(LimitError, match="deeper"):
        cbor.decode(b"\x81" * (limits.CBOR_DEPTH + 1) + b"\0")
    with pytest.raises(LimitError, match="deeper"):
        cbor.decode(b"\x81" * 200_000 + b"\0")


def test_more_items_than_the_limit_are_refused() -> None:
    with pytest.raises(LimitError, match="items"):
        cbor.decode(cbor.encode([0] * (limits.CBOR_ITEMS + 1)))


def test_more_bytes_than_the_limit_are_refused() -> None:
    with pytest.raises(LimitError, match="at most 10"):
        cbor.decode(cbor.encode(b"x" * 10), limit=10)
