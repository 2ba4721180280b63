"""One declaration parses and packs a structure, and slips in it are caught at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx.errors import ParseError, UsageError
from enarx.evidence.layout import Layout, octets, u8, u16, u32, u64


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Every kind of field once."""

    one: int = u8()
    two: int = u16()
    four: int = u32()
    eight: int = u64()
    some: bytes = octets(5)


SIZE = 20
LITTLE = Layout(Sample, size=SIZE)
BIG = Layout(Sample, size=SIZE, byte_order="big")


@given(st.binary(min_size=SIZE, max_size=SIZE), st.sampled_from(["little", "big"]))
def test_every_byte_survives(data: bytes, order: Literal["little", "big"]) -> None:
    layout = LITTLE if order == "little" else BIG
    assert layout.pack(layout.parse(data)) == data


def test_byte_order_is_that_of_the_layout() -> None:
    data = bytes(range(1, SIZE + 1))
    assert (LITTLE.parse(data).two, BIG.parse(data).two) == (0x0302, 0x0203)
    assert LITTLE.parse(data).some == data[15:]


def test_structure_may_stand_anywhere() -> None:
    data = b"\xff" * 3 + bytes(SIZE)
    assert LITTLE.parse(data, offset=3) == Sample()


@given(st.binary(max_size=SIZE - 1), st.integers(0, SIZE))
def test_structure_that_does_not_fit_is_refused(data: bytes, offset: int) -> None:
    with pytest.raises(ParseError) as caught:
        LITTLE.parse(data, offset=offset)
    assert (caught.value.code, caught.value.offset) == ("parse.truncated", offset)


@pytest.mark.parametrize(
    "value",
    [Sample(one=256), Sample(two=-1), Sample(eight=2**64), Sample(some=b"1234"), Sample(some=b"")],
)
def test_value_that_does_not_fit_its_field_is_not_packed(value: Sample) -> None:
    with pytest.raises(UsageError):
        LITTLE.pack(value)


def test_declaration_that_does_not_add_up_is_caught() -> None:
    with pytest.raises(TypeError, match="20 bytes, not 21"):
        Layout(Sample, size=21)
