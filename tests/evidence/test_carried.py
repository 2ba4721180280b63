"""Evidence in certificates: CBOR that has one reading, CMW, claims, interoperable RA-TLS."""

from __future__ import annotations

from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx.errors import EnarxError, ParseError, UsageError
from enarx.evidence import cbor, der
from enarx.evidence.claims import Claims, key_digest, report_data
from enarx.evidence.cmw import CLAIMS_MEDIA_TYPE, MAX_CMW_BYTES, MEDIA_TYPES, KeepMessage
from enarx.evidence.ratls import RatlsEvidence, pack_ratls

CLAIMS = Claims(
    key_digest=b"k" * 32,
    nonce=b"n" * 32,
    init_data=b"i" * 32,
    payload=b"p" * 32,
    runtime=b"r" * 32,
    sandbox=("seccomp", "landlock"),
)


def decode(data: bytes, **more: Any) -> Any:
    return cbor.decode(data, what="test", limit=1 << 16, **more)


VALUES = st.recursive(
    st.integers(-(2**63), 2**63) | st.booleans() | st.none() | st.binary() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=6,
)


@given(VALUES)
def test_what_we_encode_we_read_again(value: Any) -> None:
    encoded = cbor.encode(value)
    if any(tag in encoded for tag in (b"\xc2", b"\xc3")):
        return  # numbers beyond 64 bits take tags, which nobody asked for
    assert decode(encoded) == value


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_cbor_or_a_parse_error(data: bytes, deterministic: bool) -> None:
    try:
        value = decode(data, deterministic=deterministic)
    except ParseError:
        return
    if deterministic:
        assert cbor.encode(value) == data


@pytest.mark.parametrize(
    ("encoded", "problem"),
    [
        ("", "nothing"),
        ("1800", "a number that is not in its shortest form"),
        ("5800", "a length that is not in its shortest form"),
        ("a2616101616102", "a key twice"),
        ("0000", "a second item"),
        ("9f00ff", "an indefinite length"),
        ("5f4100ff", "an indefinite string"),
        ("f93c00", "a float"),
        ("f7", "undefined"),
        ("c100", "a tag"),
        ("61ff", "text that is not UTF-8"),
        ("5bffffffffffffffff", "a string longer than memory"),
        ("9bffffffffffffffff", "a list longer than memory"),
        ("bb7fffffffffffffff", "a map longer than memory"),
        ("8181818181818181818100", "nesting"),
        ("1c", "a reserved head"),
    ],
)
def test_cbor_with_more_than_one_reading_is_refused(encoded: str, problem: str) -> None:
    for deterministic in (True, False):
        with pytest.raises(ParseError):
            decode(bytes.fromhex(encoded), deterministic=deterministic)


def test_order_of_keys_matters_only_where_it_is_ours() -> None:
    unordered = bytes.fromhex("a2616201616102")
    assert decode(unordered, deterministic=False) == {"b": 1, "a": 2}
    with pytest.raises(ParseError):
        decode(unordered)


def test_tags_must_be_asked_for() -> None:
    encoded = cbor2.dumps(cbor2.CBORTag(60000, [1]))
    assert decode(encoded, tags=frozenset({60000})).value == [1]
    with pytest.raises(ParseError):
        decode(encoded)


def test_size_is_bounded_before_anything_is_read() -> None:
    with pytest.raises(ParseError) as caught:
        cbor.decode(b"\x00" * 100, what="test", limit=99)
    assert caught.value.code == "cbor.size"


# Claims


def test_claims_survive_packing() -> None:
    assert Claims.parse(CLAIMS.pack()) == CLAIMS


def test_report_data_is_a_digest_and_zeros() -> None:
    data = report_data(b"claims")
    assert (len(data), data[32:]) == (64, bytes(32))


@pytest.mark.parametrize("name", ["pubkey-hash", "nonce", "init-data", "payload", "runtime"])
def test_every_claim_must_be_there(name: str) -> None:
    entries = cbor2.loads(CLAIMS.pack())
    del entries[name]
    with pytest.raises(ParseError):
        Claims.parse(cbor.encode(entries))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("pubkey-hash", cbor.encode([2, b"k" * 32])),  # another hash
        ("pubkey-hash", cbor.encode([True, b"k" * 32])),  # true is not 1
        ("pubkey-hash", cbor.encode([1, b"k" * 31])),
        ("pubkey-hash", cbor.encode([1, b"k" * 32, 0])),
        ("pubkey-hash", b""),
        ("nonce", b""),
        ("nonce", b"n" * 65),
        ("init-data", b"i" * 31),
        ("payload", "text"),
        ("sandbox", cbor.encode(["x"] * 33)),
        ("sandbox", cbor.encode(["\x1b[2J"])),
        ("sandbox", cbor.encode([""])),
        ("sandbox", cbor.encode("seccomp")),
        ("more", b""),
    ],
)
def test_claim_of_another_form_is_refused(name: str, value: object) -> None:
    entries = cbor2.loads(CLAIMS.pack()) | {name: value}
    with pytest.raises(ParseError):
        Claims.parse(cbor.encode(entries))


@given(st.binary(max_size=64))
def test_any_bytes_are_a_key_digest_or_a_parse_error(data: bytes) -> None:
    try:
        assert len(key_digest(data)) == 32
    except ParseError:
        return


# CMW


@pytest.mark.parametrize("kind", MEDIA_TYPES)
def test_keep_message_survives_packing(kind: str) -> None:
    message = KeepMessage(media_type=MEDIA_TYPES[kind], evidence=b"e", claims=CLAIMS.pack())
    assert KeepMessage.parse(message.pack()) == message
    assert message.kind == kind


def test_media_types_are_one_a_technology() -> None:
    assert len(set(MEDIA_TYPES.values())) == len(MEDIA_TYPES)


def test_unknown_media_type_is_not_packed() -> None:
    with pytest.raises(UsageError):
        KeepMessage(media_type="text/plain", evidence=b"", claims=b"").pack()


def test_message_that_no_certificate_could_carry_is_not_packed() -> None:
    with pytest.raises(UsageError):
        KeepMessage(media_type=MEDIA_TYPES["snp"], evidence=bytes(MAX_CMW_BYTES), claims=b"").pack()


GOOD: dict[str, Any] = {
    "evidence": [MEDIA_TYPES["snp"], b"e"],
    "claims": [CLAIMS_MEDIA_TYPE, b"c"],
}


@pytest.mark.parametrize(
    "changes",
    [
        {"more": [CLAIMS_MEDIA_TYPE, b"c"]},
        {"evidence": ["text/plain", b"e"]},
        {"claims": [MEDIA_TYPES["snp"], b"c"]},
        {"evidence": [MEDIA_TYPES["snp"], b"e", 1]},
        {"evidence": [MEDIA_TYPES["snp"], "e"]},
        {"evidence": b"e"},
        {"evidence": [30, b"e"]},
    ],
)
def test_collection_of_another_form_is_refused(changes: dict[str, Any]) -> None:
    value = der.element(der.OCTET_STRING, cbor.encode(GOOD | changes))
    with pytest.raises(ParseError):
        KeepMessage.parse(value)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_an_error_of_ours(data: bytes) -> None:
    for parse in (KeepMessage.parse, RatlsEvidence.parse, Claims.parse):
        try:
            parse(data)
        except EnarxError:
            continue


# Interoperable RA-TLS

ENTRIES = {"pubkey-hash": cbor.encode([1, b"k" * 32]), "other": b"value"}


def test_ratls_evidence_survives_packing() -> None:
    claims = cbor.encode(ENTRIES)
    parsed = RatlsEvidence.parse(pack_ratls(b"quote", claims))
    assert (parsed.quote, parsed.claims) == (b"quote", claims)
    assert (parsed.entries, parsed.key_digest) == (ENTRIES, b"k" * 32)


@pytest.mark.parametrize(
    "value",
    [
        [b"quote", cbor.encode(ENTRIES)],  # no tag
        cbor2.CBORTag(60001, [b"quote", cbor.encode(ENTRIES)]),
        cbor2.CBORTag(60000, [b"quote"]),
        cbor2.CBORTag(60000, ["quote", cbor.encode(ENTRIES)]),
        cbor2.CBORTag(60000, [b"quote", cbor.encode({"other": b"value"})]),
        cbor2.CBORTag(60000, [b"quote", cbor.encode(ENTRIES | {"number": 1})]),
        cbor2.CBORTag(60000, [b"quote", cbor.encode([])]),
        cbor2.CBORTag(60000, [b"quote", cbor.encode(ENTRIES) + b"\0"]),
        cbor2.CBORTag(60000, [b"quote", cbor2.dumps({1: b"x", **ENTRIES})]),
    ],
)
def test_ratls_evidence_of_another_form_is_refused(value: object) -> None:
    with pytest.raises(ParseError):
        RatlsEvidence.parse(cbor2.dumps(value))
