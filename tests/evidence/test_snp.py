"""The SNP report, its TCB versions, signature field and the host's certificate table."""

from __future__ import annotations

from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx.errors import ParseError, UsageError
from enarx.evidence.snp import (
    MAX_TABLE_SIZE,
    REPORT_SIZE,
    TABLE_ENTRY_SIZE,
    Product,
    Report,
    key_word,
    pack_certificate_table,
    pack_signature,
    pack_tcb,
    parse_certificate_table,
    product_of_cpuid,
    product_of_name,
    tcb_components,
    unpack_signature,
)
from enarx.evidence.vcek import LeafExtensions

from .quotes import numbered

# Offsets as AMD 56860, table 23 gives them.
OFFSETS = {
    "version": 0x00,
    "guest_svn": 0x04,
    "policy": 0x08,
    "family_id": 0x10,
    "image_id": 0x20,
    "vmpl": 0x30,
    "signature_algo": 0x34,
    "current_tcb": 0x38,
    "platform_info": 0x40,
    "key_word": 0x48,
    "report_data": 0x50,
    "measurement": 0x90,
    "host_data": 0xC0,
    "id_key_digest": 0xE0,
    "author_key_digest": 0x110,
    "report_id": 0x140,
    "report_id_ma": 0x160,
    "reported_tcb": 0x180,
    "cpuid_family": 0x188,
    "cpuid_model": 0x189,
    "cpuid_stepping": 0x18A,
    "chip_id": 0x1A0,
    "committed_tcb": 0x1E0,
    "current_build": 0x1E8,
    "current_minor": 0x1E9,
    "current_major": 0x1EA,
    "committed_build": 0x1EC,
    "launch_tcb": 0x1F0,
    "launch_mit_vector": 0x1F8,
    "current_mit_vector": 0x200,
    "signature": 0x2A0,
}


@pytest.mark.parametrize(("name", "offset"), OFFSETS.items())
def test_field_stands_where_the_specification_says(name: str, offset: int) -> None:
    data = numbered(REPORT_SIZE)
    value = getattr(Report.parse(data), name)
    if isinstance(value, int):
        assert value & 0xFF == data[offset]  # little endian: the lowest byte comes first
    else:
        assert data[offset : offset + len(value)] == value


@given(st.binary(min_size=REPORT_SIZE, max_size=REPORT_SIZE))
def test_every_byte_of_a_report_is_kept(data: bytes) -> None:
    assert Report.parse(data).pack() == data


@given(st.binary(max_size=2 * REPORT_SIZE).filter(lambda data: len(data) != REPORT_SIZE))
def test_other_lengths_are_no_report(data: bytes) -> None:
    with pytest.raises(ParseError) as caught:
        Report.parse(data)
    assert caught.value.code == "snp.length"


def test_reserved_bytes_are_fields_as_well() -> None:
    assert sum(1 for one in fields(Report) if one.name.startswith("reserved")) == 5


@pytest.mark.parametrize(
    ("family", "model", "product"),
    [
        (0x19, 0x00, Product.MILAN),
        (0x19, 0x0F, Product.MILAN),
        (0x19, 0x10, Product.GENOA),
        (0x19, 0x1F, Product.GENOA),
        (0x19, 0x20, None),
        (0x19, 0x9F, None),
        (0x19, 0xA0, Product.GENOA),
        (0x19, 0xAF, Product.GENOA),
        (0x19, 0xB0, None),
        (0x1A, 0x02, Product.TURIN),
        (0x1A, 0x11, Product.TURIN),
        (0x1A, 0x50, None),
        (0x17, 0x01, None),
    ],
)
def test_product_of_a_processor(family: int, model: int, product: Product | None) -> None:
    assert product_of_cpuid(family, model) is product


@pytest.mark.parametrize(
    ("name", "product"),
    [
        ("Milan-B0", Product.MILAN),
        ("Milan", Product.MILAN),
        ("Genoa", Product.GENOA),
        ("Siena", Product.GENOA),
        ("Bergamo", Product.GENOA),
        ("Turin", Product.TURIN),
        ("Venice", None),
        ("", None),
        ("milan", None),
    ],
)
def test_product_of_a_certificate(name: str, product: Product | None) -> None:
    assert product_of_name(name) is product


def test_tcb_versions_of_turin_stand_in_another_order() -> None:
    raw = bytes(range(8))
    assert tcb_components(raw, Product.GENOA) == {"bl": 0, "tee": 1, "snp": 6, "ucode": 7}
    assert tcb_components(raw, None) == {"bl": 0, "tee": 1, "snp": 6, "ucode": 7}
    assert tcb_components(raw, Product.TURIN) == {
        "fmc": 0,
        "bl": 1,
        "tee": 2,
        "snp": 3,
        "ucode": 7,
    }


@given(st.binary(min_size=8, max_size=8), st.sampled_from(list(Product)))
def test_tcb_versions_survive_packing(raw: bytes, product: Product) -> None:
    components = tcb_components(raw, product)
    assert tcb_components(pack_tcb(components, product), product) == components


@given(st.integers(1, 2**384 - 1), st.integers(1, 2**384 - 1))
def test_signature_survives_packing(r: int, s: int) -> None:
    assert unpack_signature(pack_signature(r, s)) == (r, s)


@pytest.mark.parametrize(("r", "s"), [(0, 1), (1, 0), (2**384, 1), (1, -1)])
def test_numbers_that_are_no_signature_are_not_packed(r: int, s: int) -> None:
    with pytest.raises(UsageError):
        pack_signature(r, s)


@pytest.mark.parametrize("position", [48, 71, 120, 143, 144, 511])
def test_signature_field_has_one_encoding(position: int) -> None:
    field = bytearray(pack_signature(1, 1))
    field[position] = 1
    with pytest.raises(ParseError):
        unpack_signature(bytes(field))


def test_key_word_has_three_parts() -> None:
    report = Report(key_word=key_word(author_key=True, masked=True, signing_key=1))
    assert (report.author_key_enabled, report.chip_key_masked, report.signing_key) == (
        True,
        True,
        1,
    )


# The certificate table

ENTRIES = (("ark", b"A" * 30), ("ask", b"B" * 40), ("vcek", b"C" * 50), ("crl", b"D"))


def test_certificate_table_survives_packing() -> None:
    assert parse_certificate_table(pack_certificate_table(ENTRIES)) == ENTRIES


def test_unknown_guid_is_kept_as_it_is() -> None:
    entry = ("00112233-4455-6677-8899-aabbccddeeff", b"x")
    assert parse_certificate_table(pack_certificate_table((entry,))) == (entry,)


def test_table_may_be_followed_by_padding() -> None:
    assert parse_certificate_table(pack_certificate_table(ENTRIES) + bytes(4096)) == ENTRIES


@pytest.mark.parametrize("length", range(len(pack_certificate_table(ENTRIES))))
def test_truncated_table_is_refused(length: int) -> None:
    with pytest.raises(ParseError):
        parse_certificate_table(pack_certificate_table(ENTRIES)[:length])


@pytest.mark.parametrize("field", [16, 20])
@pytest.mark.parametrize("value", [0, 1, 0x7FFFFFFF, 0xFFFFFFFF])
def test_lying_offsets_and_lengths_are_refused(field: int, value: int) -> None:
    table = bytearray(pack_certificate_table(ENTRIES))
    table[field : field + 4] = value.to_bytes(4, "little")
    if field == 20 and value == 1:
        # A shorter certificate lies inside the table: reading it is what fails.
        assert parse_certificate_table(bytes(table))[0] == ("ark", b"A")
        return
    with pytest.raises(ParseError):
        parse_certificate_table(bytes(table))


def test_endless_table_is_refused() -> None:
    with pytest.raises(ParseError) as caught:
        parse_certificate_table(b"\x01" * TABLE_ENTRY_SIZE * 100)
    assert caught.value.code == "snp.table-count"


def test_table_that_is_too_large_is_refused() -> None:
    with pytest.raises(ParseError) as caught:
        parse_certificate_table(bytes(MAX_TABLE_SIZE + 1))
    assert caught.value.code == "snp.table-size"


@given(st.binary(max_size=300))
def test_any_bytes_are_a_table_or_a_parse_error(data: bytes) -> None:
    try:
        parse_certificate_table(data)
    except ParseError:
        return


# Extensions of signing keys

VCEK = LeafExtensions(
    product_name="Genoa",
    tcb={"bl": 10, "tee": 0, "snp": 255, "ucode": 128},
    hwid=bytes(64),
    csp_id=None,
)
VLEK = LeafExtensions(
    product_name="Turin",
    tcb={"fmc": 1, "bl": 1, "tee": 1, "snp": 4, "ucode": 81},
    hwid=None,
    csp_id="CN=cc.example.org",
)


@pytest.mark.parametrize("leaf", [VCEK, VLEK])
def test_extensions_survive_packing(leaf: LeafExtensions) -> None:
    assert LeafExtensions.parse(leaf.pack()) == leaf


def test_kind_of_key() -> None:
    assert (VCEK.kind, VLEK.kind) == ("vcek", "vlek")
    assert (VCEK.product, VLEK.product) == (Product.GENOA, Product.TURIN)


@pytest.mark.parametrize("oid", sorted(VCEK.pack().keys() - {"1.3.6.1.4.1.3704.1.1"}))
def test_missing_extension_is_refused(oid: str) -> None:
    packed = VCEK.pack()
    del packed[oid]
    with pytest.raises(ParseError):
        LeafExtensions.parse(packed)


@pytest.mark.parametrize(
    ("oid", "content"),
    [
        ("1.3.6.1.4.1.3704.1.2", b"\x04\x05Genoa"),  # another kind of string
        ("1.3.6.1.4.1.3704.1.2", b"\x16\x05Genoa\x00"),  # trailing byte
        ("1.3.6.1.4.1.3704.1.2", b"\x16\x02\xff\xfe"),  # not ASCII
        ("1.3.6.1.4.1.3704.1.3.1", b"\x02\x01\x80"),  # negative
        ("1.3.6.1.4.1.3704.1.3.1", b"\x02\x02\x01\x00"),  # 256
        ("1.3.6.1.4.1.3704.1.3.1", b"\x02\x02\x00\x0a"),  # padded
        ("1.3.6.1.4.1.3704.1.3.1", b"\x02\x00"),  # empty
        ("1.3.6.1.4.1.3704.1.4", b"\x04\x40" + bytes(64)),  # wrapped
        ("1.3.6.1.4.1.3704.1.4", bytes(63)),
        ("1.3.6.1.4.1.3704.1.5", b"\x16\x01x"),  # chip and provider at once
    ],
)
def test_extension_of_another_form_is_refused(oid: str, content: bytes) -> None:
    with pytest.raises(ParseError):
        LeafExtensions.parse(VCEK.pack() | {oid: content})
