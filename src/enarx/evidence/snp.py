"""AMD SEV-SNP: the attestation report, the host's certificate table, names of TCB components.

Sources: *SEV Secure Nested Paging Firmware ABI Specification* (AMD 56860), section 7.3 with
tables 22 to 24 (report, platform information), section 4.3 (guest policy); *SEV-ES Guest-
Hypervisor Communication Block Standardization* (AMD 56421), section 4.1.8.1 (certificate
table); *Versioned Chip Endorsement Key Certificate and KDS Interface* (AMD 57230).
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from enarx.errors import ParseError, UsageError
from enarx.evidence.layout import Layout, octets, u8, u32, u64

REPORT_SIZE: Final = 1184
SIGNED_SIZE: Final = 0x2A0
"""The signature covers bytes 0 to 0x29F (table 23)."""

SUPPORTED_VERSIONS: Final = (2, 3, 5)
CPUID_SINCE_VERSION: Final = 3
MITIGATIONS_SINCE_VERSION: Final = 5

ECDSA_P384_SHA384: Final = 1
"""The one signature algorithm defined (chapter 10, table 137)."""

SIGNATURE_COMPONENT_SIZE: Final = 72
P384_SIZE: Final = 48

SIGNED_BY_VCEK: Final = 0
SIGNED_BY_VLEK: Final = 1
SIGNED_BY_NONE: Final = 7
SIGNING_KEYS: Final[Mapping[int, str]] = MappingProxyType(
    {SIGNED_BY_VCEK: "vcek", SIGNED_BY_VLEK: "vlek", SIGNED_BY_NONE: "none"}
)

POLICY_MUST_BE_ONE: Final = 1 << 17
POLICY_BITS: Final[Mapping[str, int]] = MappingProxyType(
    {
        "smt_allowed": 1 << 16,
        "migrate_ma_allowed": 1 << 18,
        "debug_allowed": 1 << 19,
        "single_socket_required": 1 << 20,
        "cxl_allowed": 1 << 21,
        "mem_aes_256_xts_required": 1 << 22,
        "rapl_dis_required": 1 << 23,
        "ciphertext_hiding_required": 1 << 24,
        "page_swap_disabled": 1 << 25,
    }
)
"""Guest policy (section 4.3)."""

PLATFORM_BITS: Final[Mapping[str, int]] = MappingProxyType(
    {
        "smt_en": 1 << 0,
        "tsme_en": 1 << 1,
        "ecc_en": 1 << 2,
        "rapl_dis": 1 << 3,
        "ciphertext_hiding_en": 1 << 4,
        "alias_check_complete": 1 << 5,
        "tio_en": 1 << 7,
    }
)
"""PLATFORM_INFO (table 24)."""

HWID_SIZE: Final = 64
TURIN_HWID_SIZE: Final = 8


class Product(StrEnum):
    """A product line, as AMD's key distribution service names it."""

    MILAN = "Milan"
    GENOA = "Genoa"
    """With Bergamo and Siena, which share its keys."""
    TURIN = "Turin"


def product_of_cpuid(family: int, model: int) -> Product | None:
    """The product line of a CPUID family and model; ``None`` for one nobody here knows."""
    if family == 0x19:
        if model <= 0x0F:
            return Product.MILAN
        if 0x10 <= model <= 0x1F or 0xA0 <= model <= 0xAF:
            return Product.GENOA
    if family == 0x1A and model <= 0x1F:
        return Product.TURIN
    return None


BERGAMO: Final = "Bergamo"

_PRODUCT_NAMES: Final = {
    "Milan": Product.MILAN,
    "Genoa": Product.GENOA,
    "Bergamo": Product.GENOA,
    "Siena": Product.GENOA,
    "Turin": Product.TURIN,
}


def product_of_name(name: str) -> Product | None:
    """The product line of a certificate's product name, which may end in a stepping."""
    return _PRODUCT_NAMES.get(name.partition("-")[0])


_LEGACY_TCB: Final = (("bl", 0), ("tee", 1), ("snp", 6), ("ucode", 7))
_TURIN_TCB: Final = (("fmc", 0), ("bl", 1), ("tee", 2), ("snp", 3), ("ucode", 7))


def tcb_components(raw: bytes, product: Product | None) -> dict[str, int]:
    """Security versions in a TCB_VERSION (section 2.2, tables 3 and 4), by name.

    Args:
        raw: the 8 bytes as they stand in the report.
        product: Turin has its own order; all others (and unknown ones) the older one.
    """
    layout = _TURIN_TCB if product is Product.TURIN else _LEGACY_TCB
    return {name: raw[at] for name, at in layout}


def pack_tcb(components: Mapping[str, int], product: Product) -> bytes:
    """The 8 bytes of a TCB_VERSION; the inverse of :func:`tcb_components`."""
    layout = _TURIN_TCB if product is Product.TURIN else _LEGACY_TCB
    raw = bytearray(8)
    for name, at in layout:
        raw[at] = components[name]
    return bytes(raw)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """ATTESTATION_REPORT (table 23). Bytes as in the file; numbers little endian.

    Attributes:
        version: 2, 3 or 5 are supported; others parse, so that they can be named and refused.
        policy: the guest policy, see :data:`POLICY_BITS`.
        key_word: bit 0 author key, bit 1 chip id masked, bits 2 to 4 signing key.
        cpuid_family, cpuid_model, cpuid_stepping: since version 3.
        launch_mit_vector, current_mit_vector: since version 5.
        signature: r and s, 72 bytes each, little endian, then zeros.
    """

    version: int = u32()
    guest_svn: int = u32()
    policy: int = u64()
    family_id: bytes = octets(16)
    image_id: bytes = octets(16)
    vmpl: int = u32()
    signature_algo: int = u32()
    current_tcb: bytes = octets(8)
    platform_info: int = u64()
    key_word: int = u32()
    reserved_4c: bytes = octets(4)
    report_data: bytes = octets(64)
    measurement: bytes = octets(48)
    host_data: bytes = octets(32)
    id_key_digest: bytes = octets(48)
    author_key_digest: bytes = octets(48)
    report_id: bytes = octets(32)
    report_id_ma: bytes = octets(32)
    reported_tcb: bytes = octets(8)
    cpuid_family: int = u8()
    cpuid_model: int = u8()
    cpuid_stepping: int = u8()
    reserved_18b: bytes = octets(21)
    chip_id: bytes = octets(64)
    committed_tcb: bytes = octets(8)
    current_build: int = u8()
    current_minor: int = u8()
    current_major: int = u8()
    reserved_1eb: bytes = octets(1)
    committed_build: int = u8()
    committed_minor: int = u8()
    committed_major: int = u8()
    reserved_1ef: bytes = octets(1)
    launch_tcb: bytes = octets(8)
    launch_mit_vector: int = u64()
    current_mit_vector: int = u64()
    reserved_208: bytes = octets(152)
    signature: bytes = octets(512)

    @classmethod
    def parse(cls, data: bytes) -> Report:
        """Read a report of exactly 1184 bytes.

        Raises:
            ParseError: another length.
        """
        if len(data) != REPORT_SIZE:
            raise ParseError(
                f"SNP report is {len(data)} bytes, it must be {REPORT_SIZE}",
                offset=min(len(data), REPORT_SIZE),
                hint="pass the report alone, without the response header of the guest request",
                code="snp.length",
            )
        return _REPORT.parse(data)

    def pack(self) -> bytes:
        """The 1184 bytes; the inverse of :meth:`parse`."""
        return _REPORT.pack(self)

    def signed_bytes(self) -> bytes:
        """The bytes the signature covers."""
        return self.pack()[:SIGNED_SIZE]

    @property
    def author_key_enabled(self) -> bool:
        """Whether the ID key was endorsed by an author key."""
        return bool(self.key_word & 1)

    @property
    def chip_key_masked(self) -> bool:
        """Whether the host has the firmware hide chip id and signing key."""
        return bool(self.key_word & 2)

    @property
    def signing_key(self) -> int:
        """Which key signed: :data:`SIGNED_BY_VCEK`, ``VLEK``, ``NONE``, or a reserved number."""
        return (self.key_word >> 2) & 7

    @property
    def product(self) -> Product | None:
        """Product line that the report itself states; ``None`` before version 3 or if unknown."""
        if self.version < CPUID_SINCE_VERSION:
            return None
        return product_of_cpuid(self.cpuid_family, self.cpuid_model)

    @property
    def variant(self) -> str:
        """:data:`BERGAMO` for Bergamo and Siena, whose microcode counts on its own; else empty."""
        bergamo = self.product is Product.GENOA and self.cpuid_model >= 0xA0
        return BERGAMO if bergamo else ""

    def policy_flags(self) -> dict[str, bool]:
        """The guest policy's switches by name."""
        return {name: bool(self.policy & bit) for name, bit in POLICY_BITS.items()}

    def platform_flags(self) -> dict[str, bool]:
        """PLATFORM_INFO's switches by name."""
        return {name: bool(self.platform_info & bit) for name, bit in PLATFORM_BITS.items()}


_REPORT: Final = Layout(Report, size=REPORT_SIZE)


def key_word(*, author_key: bool = False, masked: bool = False, signing_key: int = 0) -> int:
    """The key word of a report, from its parts."""
    return int(author_key) | int(masked) << 1 | (signing_key & 7) << 2


def pack_signature(r: int, s: int) -> bytes:
    """The signature field: r and s little endian in 72 bytes each, then zeros (table 139).

    Raises:
        UsageError: a number does not fit P-384.
    """
    for name, value in (("r", r), ("s", s)):
        if not 0 < value < 1 << (8 * P384_SIZE):
            raise UsageError(f"{name} is not a P-384 signature component", code="snp.signature")
    parts = (value.to_bytes(SIGNATURE_COMPONENT_SIZE, "little") for value in (r, s))
    return b"".join(parts).ljust(512, b"\0")


def unpack_signature(signature: bytes) -> tuple[int, int]:
    """r and s of a signature field.

    Raises:
        ParseError: bytes that must be zero are not: another encoding of the same numbers.
    """
    r_field = signature[:SIGNATURE_COMPONENT_SIZE]
    s_field = signature[SIGNATURE_COMPONENT_SIZE : 2 * SIGNATURE_COMPONENT_SIZE]
    rest = signature[2 * SIGNATURE_COMPONENT_SIZE :]
    if any(r_field[P384_SIZE:]) or any(s_field[P384_SIZE:]) or any(rest):
        raise ParseError(
            "SNP signature field has bytes set that must be zero",
            offset=SIGNED_SIZE,
            code="snp.signature",
        )
    return int.from_bytes(r_field, "little"), int.from_bytes(s_field, "little")


TABLE_ENTRY_SIZE: Final = 24
MAX_TABLE_SIZE: Final = 256 * 1024
"""Hosts hand over a few pages; Linux bounds it at 16 KiB (SEV_FW_BLOB_MAX_SIZE)."""
MAX_TABLE_ENTRIES: Final = 16

TABLE_GUIDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "63da758d-e664-4564-adc5-f4b93be8accd": "vcek",
        "a8074bc2-a25a-483e-aae6-39c045a0b8a1": "vlek",
        "4ab7b379-bbac-4fe4-a02f-05aef327c782": "ask",
        "c0b406a4-a803-4952-9743-3fb6014cd0ae": "ark",
        "92f81bc3-5811-4d3d-97ff-d19f88dc67ea": "crl",
    }
)
"""GHCB, table 8: what stands under which GUID."""


def parse_certificate_table(data: bytes) -> tuple[tuple[str, bytes], ...]:
    """Read the certificate table that a host passes with a report.

    Returns:
        (role, content) in table order; unknown GUIDs keep the GUID as role. Content is DER
        or PEM, as the host stored it.

    Raises:
        ParseError: no end, an entry outside the table or over another, or too large.
    """
    if len(data) > MAX_TABLE_SIZE:
        raise ParseError(
            f"certificate table is {len(data)} bytes, more than {MAX_TABLE_SIZE}",
            code="snp.table-size",
        )
    entries: list[tuple[str, int, int]] = []
    position = 0
    while True:
        entry = data[position : position + TABLE_ENTRY_SIZE]
        if len(entry) < TABLE_ENTRY_SIZE:
            raise ParseError("certificate table has no end", offset=position, code="snp.table-end")
        position += TABLE_ENTRY_SIZE
        if not any(entry):
            break
        if len(entries) == MAX_TABLE_ENTRIES:
            raise ParseError(
                f"certificate table has more than {MAX_TABLE_ENTRIES} entries",
                offset=position,
                code="snp.table-count",
            )
        guid = str(uuid.UUID(bytes=entry[:16]))
        offset = int.from_bytes(entry[16:20], "little")
        length = int.from_bytes(entry[20:24], "little")
        entries.append((TABLE_GUIDS.get(guid, guid), offset, length))
    end = position
    for role, offset, length in entries:
        if offset < end or offset + length > len(data) or length == 0:
            raise ParseError(
                f"certificate table: {role} lies at {offset}, {length} bytes, "
                f"outside of {end} to {len(data)}",
                offset=offset,
                code="snp.table-entry",
            )
    return tuple((role, data[offset : offset + length]) for role, offset, length in entries)


def pack_certificate_table(entries: tuple[tuple[str, bytes], ...]) -> bytes:
    """Write a certificate table; the inverse of :func:`parse_certificate_table`."""
    guids = {role: guid for guid, role in TABLE_GUIDS.items()}
    offset = TABLE_ENTRY_SIZE * (len(entries) + 1)
    head, body = bytearray(), bytearray()
    for role, content in entries:
        head += uuid.UUID(guids.get(role, role)).bytes
        head += (offset + len(body)).to_bytes(4, "little") + len(content).to_bytes(4, "little")
        body += content
    return bytes(head + bytes(TABLE_ENTRY_SIZE) + body)
