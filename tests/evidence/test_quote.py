"""SGX and TDX quotes: what is parsed is what is packed, and nothing else is taken for a quote."""

from __future__ import annotations

import dataclasses
import struct

import pytest

from enarx.errors import ParseError, UsageError
from enarx.evidence.quote import Quote, Trailing

from .quotes import MADE_QUOTES, SGX_BODY, TD_10, TD_15, Sample, made_quote, samples

LENGTH_FIELDS = {
    # (offset of the field, its struct format) behind the body, by version.
    3: ((0, "<I"), (4 + 128 + 384 + 64, "<H"), (4 + 128 + 384 + 64 + 2 + 32 + 2, "<I")),
    4: (
        (0, "<I"),
        (4 + 128 + 2, "<I"),
        (4 + 128 + 6 + 384 + 64, "<H"),
        (4 + 128 + 6 + 384 + 64 + 2 + 32 + 2, "<I"),
    ),
}


@pytest.mark.parametrize("quote", MADE_QUOTES)
def test_packed_quote_parses_to_the_same_quote(quote: Quote) -> None:
    assert Quote.parse(quote.pack()) == quote


@pytest.mark.parametrize("sample", samples("sgx", "tdx", "ra-tls"))
def test_real_quote_packs_to_its_own_bytes(sample: Sample) -> None:
    data = sample.read("quote")
    quote = Quote.parse(data, trailing=Trailing.CUT)

    assert quote.pack() == data[: len(data) - quote.trailing]
    assert len(quote.pack()) == sample.expected["fields"]["quote_len"]
    assert quote.trailing == sample.expected["fields"]["trailing_bytes"]


@pytest.mark.parametrize("quote", MADE_QUOTES)
def test_signed_bytes_are_the_front_of_the_quote(quote: Quote) -> None:
    assert quote.pack().startswith(quote.signed_bytes)
    body = quote.body.pack()
    assert len(quote.signed_bytes) == 48 + len(body) + (6 if quote.header.version == 5 else 0)
    assert quote.signed_bytes.endswith(body)


@pytest.mark.parametrize("quote", MADE_QUOTES)
def test_every_signed_bit_shows_in_the_parsed_quote(quote: Quote) -> None:
    # Reserved ranges are kept: a flip that parsing lost would also be lost to the signature.
    packed = quote.pack()
    for position in range(48 if quote.header.version < 5 else 54, len(quote.signed_bytes)):
        flipped = bytearray(packed)
        flipped[position] ^= 0x10
        assert Quote.parse(bytes(flipped)).signed_bytes != quote.signed_bytes


@pytest.mark.parametrize("quote", MADE_QUOTES)
def test_quote_cut_at_any_length_is_refused(quote: Quote) -> None:
    packed = quote.pack()
    for length in range(len(packed)):
        with pytest.raises(ParseError):
            Quote.parse(packed[:length])


@pytest.mark.parametrize("quote", MADE_QUOTES)
@pytest.mark.parametrize("change", ["zero", "one", "less", "more", "largest"])
def test_length_field_that_does_not_fit_is_refused(quote: Quote, change: str) -> None:
    packed = quote.pack()
    for offset, form in LENGTH_FIELDS[min(quote.header.version, 4)]:
        position = len(quote.signed_bytes) + offset
        (true,) = struct.unpack_from(form, packed, position)
        largest = (1 << 8 * struct.calcsize(form)) - 1
        value = {"zero": 0, "one": 1, "less": true - 1, "more": true + 1, "largest": largest}
        changed = bytearray(packed)
        struct.pack_into(form, changed, position, value[change])
        with pytest.raises(ParseError):
            Quote.parse(bytes(changed))


def test_bytes_behind_the_quote_are_accepted_only_as_asked() -> None:
    packed = made_quote(4, TD_10).pack()
    with pytest.raises(ParseError) as refused:
        Quote.parse(packed + bytes(70))
    assert refused.value.code == "quote.trailing"
    assert refused.value.offset == len(packed)
    assert Quote.parse(packed + bytes(70), trailing=Trailing.ZEROS).trailing == 70
    with pytest.raises(ParseError):
        Quote.parse(packed + b"\0\1", trailing=Trailing.ZEROS)
    assert Quote.parse(packed + b"extra", trailing=Trailing.CUT).trailing == 5


@pytest.mark.parametrize(
    ("position", "value", "code"),
    [
        (0, b"\x02\x00", "quote.version"),
        (0, b"\x06\x00", "quote.version"),
        (2, b"\x03\x00", "quote.key-type"),
        (4, b"\x82\x00", "quote.tee-type"),
        (48, b"\x01\x00", "quote.body-type"),
        (48, b"\x02\x00", "quote.body-type"),
        (48, b"\x04\x00", "quote.body-type"),
        (50, b"\x00\x00", "quote.body-type"),
    ],
)
def test_unknown_version_type_or_body_is_refused(position: int, value: bytes, code: str) -> None:
    packed = bytearray(made_quote(5, TD_15).pack())
    packed[position : position + len(value)] = value
    with pytest.raises(ParseError) as error:
        Quote.parse(bytes(packed))
    assert error.value.code == code


def test_quote_larger_than_the_limit_is_refused_before_it_is_read() -> None:
    with pytest.raises(ParseError) as error:
        Quote.parse(bytes(100 << 20))
    assert error.value.code == "quote.size"


@pytest.mark.parametrize(
    "quote", [made_quote(3, TD_10), made_quote(4, TD_15), made_quote(6, SGX_BODY)]
)
def test_body_that_its_version_cannot_carry_is_not_packed(quote: Quote) -> None:
    with pytest.raises(UsageError):
        quote.pack()


def test_field_of_wrong_size_is_not_packed() -> None:
    quote = made_quote(3, dataclasses.replace(SGX_BODY, mr_enclave=bytes(31)))
    with pytest.raises(UsageError, match="mr_enclave has 31 bytes"):
        quote.pack()
