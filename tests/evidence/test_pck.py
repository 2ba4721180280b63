"""The SGX extension of PCK certificates: read, written, and refused where it is not DER."""

from __future__ import annotations

import dataclasses

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from enarx.errors import ParseError, UsageError
from enarx.evidence import der
from enarx.evidence.pck import (
    PCK_EXTENSION_OID,
    PckExtension,
    pack_pck_extension,
    parse_pck_extension,
)
from enarx.evidence.quote import Quote, Trailing

from .quotes import Sample, numbered, samples

PLATFORM = PckExtension(
    ppid=numbered(16),
    tcb_components=(3, 3, 2, 2, 4, 1, 0, 5, 0, 0, 0, 0, 0, 0, 128, 255),
    pce_svn=13,
    cpu_svn=numbered(16, 9),
    pce_id=b"\0\0",
    fmspc=bytes.fromhex("b0c06f000000"),
    sgx_type=1,
    platform_instance_id=numbered(16, 40),
    dynamic_platform=True,
    cached_keys=False,
    smt_enabled=True,
)
PROCESSOR = dataclasses.replace(
    PLATFORM,
    sgx_type=0,
    platform_instance_id=None,
    dynamic_platform=None,
    cached_keys=None,
    smt_enabled=None,
)


@pytest.mark.parametrize("extension", [PLATFORM, PROCESSOR], ids=["platform", "processor"])
def test_packed_extension_parses_to_the_same(extension: PckExtension) -> None:
    assert parse_pck_extension(pack_pck_extension(extension)) == extension


@pytest.mark.parametrize("sample", samples("sgx", "tdx", "ra-tls"))
def test_real_extension_is_read_and_written_byte_for_byte(sample: Sample) -> None:
    if "pck" not in sample.expected["fields"]:
        pytest.skip("no PCK certificate in this quote")
    pem = Quote.parse(sample.read("quote"), trailing=Trailing.CUT).signature.certification_data
    leaf = x509.load_pem_x509_certificates(pem.rstrip(b"\0"))[0]
    raw = leaf.extensions.get_extension_for_oid(x509.ObjectIdentifier(PCK_EXTENSION_OID)).value
    assert isinstance(raw, x509.UnrecognizedExtension)
    extension, expected = parse_pck_extension(raw.value), sample.expected["fields"]["pck"]

    assert pack_pck_extension(extension) == raw.value
    assert extension.fmspc.hex() == expected["fmspc"]
    assert extension.pce_id.hex() == expected["pceid"]
    assert extension.pce_svn == expected["pcesvn"]
    assert extension.cpu_svn.hex() == expected["cpusvn"]
    assert list(extension.tcb_components) == expected["tcb_components"]
    assert extension.sgx_type == expected["sgx_type"]


def test_extension_cut_at_any_length_is_refused() -> None:
    packed = pack_pck_extension(PLATFORM)
    for length in range(len(packed)):
        with pytest.raises(ParseError):
            parse_pck_extension(packed[:length])


def test_repeated_pair_is_refused() -> None:
    content = der.read_whole(pack_pck_extension(PLATFORM), tag=der.SEQUENCE)
    _, _, first_end = der.read_any(content, 0)
    twice = der.element(der.SEQUENCE, content[:first_end] + content)
    with pytest.raises(ParseError, match="twice") as error:
        parse_pck_extension(twice)
    assert error.value.code == "parse.pck-extension"


def test_missing_pair_is_refused() -> None:
    content = der.read_whole(pack_pck_extension(PLATFORM), tag=der.SEQUENCE)
    _, _, first_end = der.read_any(content, 0)
    with pytest.raises(ParseError, match="missing"):
        parse_pck_extension(der.element(der.SEQUENCE, content[first_end:]))


@pytest.mark.parametrize(
    "change",
    [
        {"ppid": bytes(15)},
        {"tcb_components": (1,) * 15},
        {"tcb_components": (256,) * 16},
        {"pce_svn": 65536},
        {"fmspc": bytes(7)},
        {"sgx_type": 128},
    ],
)
def test_value_that_does_not_fit_is_not_written(change: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        pack_pck_extension(dataclasses.replace(PLATFORM, **change))  # type: ignore[arg-type]


@given(st.binary(max_size=600))
def test_any_bytes_parse_or_are_refused(data: bytes) -> None:
    try:
        parse_pck_extension(data)
    except ParseError:
        return


@given(st.integers(0, 599), st.integers(0, 255))
def test_extension_with_any_changed_byte_parses_or_is_refused(position: int, value: int) -> None:
    data = bytearray(pack_pck_extension(PLATFORM))
    data[position % len(data)] = value
    try:
        extension = parse_pck_extension(bytes(data))
    except ParseError:
        return
    assert parse_pck_extension(pack_pck_extension(extension)) == extension


@pytest.mark.parametrize(
    "data",
    ["30", "3080", "308100", "30820001", "3005020101", "1f01", "30840000000000", "3101 00"],
)
def test_der_that_is_not_the_shortest_form_is_refused(data: str) -> None:
    with pytest.raises(ParseError):
        der.read_whole(bytes.fromhex(data), tag=der.SEQUENCE)


@pytest.mark.parametrize("content", ["", "80", "ff", "0001", "00", "0080"])
def test_integers_are_unsigned_and_minimal(content: str) -> None:
    raw = bytes.fromhex(content)
    if content in ("00", "0080"):
        assert der.integer(der.unsigned(raw)) == der.element(der.INTEGER, raw)
    else:
        with pytest.raises(ParseError):
            der.unsigned(raw)
