"""Names for what vendors publish: one stable text for each certificate, list and document.

    amd/Milan/vcek/<chip id>/<tcb>      certificate of one chip at one TCB
    amd/Milan/vlek/<sha-256>            certificate of a cloud provider; comes with evidence only
    amd/Milan/vcek-chain, vlek-chain    intermediate and root
    amd/Milan/vcek-crl, vlek-crl        revoked intermediates
    intel/sgx/tcb/<fmspc>, intel/tdx/…  TCB info of one kind of platform
    intel/sgx/qe-identity, intel/tdx/…  identity of the quoting enclave
    intel/pck-crl/processor, /platform  revoked PCK certificates
    intel/root-crl                      revoked intermediates

Sources: AMD 57230 (VCEK and KDS), chapter 4; Intel SGX and TDX PCS API, version 4.
"""

from __future__ import annotations

import re
from typing import Any, Final, Literal

import msgspec

from enarx.errors import ParseError
from enarx.evidence.pck import FMSPC_SIZE
from enarx.evidence.snp import HWID_SIZE, TURIN_HWID_SIZE, Product

KeyKind = Literal["vcek", "vlek"]
Tee = Literal["sgx", "tdx"]
PckAuthority = Literal["processor", "platform"]

MAX_NAME: Final = 256
"""Characters of a name; a Milan VCEK's has 160."""

LEGACY_COMPONENTS: Final = ("bl", "tee", "snp", "ucode")
TURIN_COMPONENTS: Final = ("fmc", *LEGACY_COMPONENTS)


class Vcek(msgspec.Struct, frozen=True, kw_only=True):
    """The certificate of one chip at one TCB.

    Attributes:
        chip: hardware id, 64 bytes; 8 on Turin.
        tcb: components in the order of :func:`components`.
    """

    product: Product
    chip: bytes
    tcb: tuple[int, ...]

    @property
    def name(self) -> str:
        """Its text."""
        tcb = "-".join(map(str, self.tcb))
        return f"amd/{self.product}/vcek/{self.chip.hex()}/{tcb}"


class Vlek(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate that a cloud provider holds; ``digest`` is the SHA-256 of its DER form."""

    product: Product
    digest: bytes

    @property
    def name(self) -> str:
        """Its text."""
        return f"amd/{self.product}/vlek/{self.digest.hex()}"


class AmdChain(msgspec.Struct, frozen=True, kw_only=True):
    """Intermediate and root over the keys of a product."""

    product: Product
    kind: KeyKind

    @property
    def name(self) -> str:
        """Its text."""
        return f"amd/{self.product}/{self.kind}-chain"


class AmdCrl(msgspec.Struct, frozen=True, kw_only=True):
    """The list of revoked intermediates of a product."""

    product: Product
    kind: KeyKind

    @property
    def name(self) -> str:
        """Its text."""
        return f"amd/{self.product}/{self.kind}-crl"


class TcbInfoOf(msgspec.Struct, frozen=True, kw_only=True):
    """The TCB levels of one kind of platform (``fmspc``, 6 bytes)."""

    tee: Tee
    fmspc: bytes

    @property
    def name(self) -> str:
        """Its text."""
        return f"intel/{self.tee}/tcb/{self.fmspc.hex()}"


class QeIdentityOf(msgspec.Struct, frozen=True, kw_only=True):
    """The identity of the quoting enclave of SGX, or of TDX."""

    tee: Tee

    @property
    def name(self) -> str:
        """Its text."""
        return f"intel/{self.tee}/qe-identity"


class PckCrl(msgspec.Struct, frozen=True, kw_only=True):
    """The list of PCK certificates that one of Intel's two authorities revoked."""

    authority: PckAuthority

    @property
    def name(self) -> str:
        """Its text."""
        return f"intel/pck-crl/{self.authority}"


class RootCrl(msgspec.Struct, frozen=True, kw_only=True):
    """The list of authorities that Intel's root revoked."""

    @property
    def name(self) -> str:
        """Its text."""
        return "intel/root-crl"


Reference = Vcek | Vlek | AmdChain | AmdCrl | TcbInfoOf | QeIdentityOf | PckCrl | RootCrl

_PRODUCT: Final = f"amd/(?P<product>{'|'.join(Product)})"
_TEE: Final = "intel/(?P<tee>sgx|tdx)"
_FORMS: Final = {
    Vcek: re.compile(rf"{_PRODUCT}/vcek/(?P<chip>[0-9a-f]+)/(?P<tcb>\d{{1,3}}(-\d{{1,3}}){{3,4}})"),
    Vlek: re.compile(rf"{_PRODUCT}/vlek/(?P<digest>[0-9a-f]{{64}})"),
    AmdChain: re.compile(rf"{_PRODUCT}/(?P<kind>vcek|vlek)-chain"),
    AmdCrl: re.compile(rf"{_PRODUCT}/(?P<kind>vcek|vlek)-crl"),
    TcbInfoOf: re.compile(rf"{_TEE}/tcb/(?P<fmspc>[0-9a-f]{{{2 * FMSPC_SIZE}}})"),
    QeIdentityOf: re.compile(rf"{_TEE}/qe-identity"),
    PckCrl: re.compile("intel/pck-crl/(?P<authority>processor|platform)"),
    RootCrl: re.compile("intel/root-crl"),
}


def parse_name(name: str) -> Reference:
    """The reference of a name; the inverse of ``reference.name``.

    Raises:
        ParseError: no such name.
    """
    if len(name) <= MAX_NAME and name.isascii():
        for kind, form in _FORMS.items():
            match = form.fullmatch(name)
            if match is None:
                continue
            reference = _build(kind, match.groupdict())
            # One thing has one name: leading zeros and impossible sizes are refused.
            if reference is not None and reference.name == name:
                return reference
    raise ParseError(
        f"{name[:MAX_NAME]!r} names no endorsement",
        hint="the forms of names are in docs/endorsements.md",
        code="endorsements.name",
    )


def _build(kind: Any, found: dict[str, str]) -> Reference | None:
    values: dict[str, object] = dict(found)
    for name in ("chip", "digest", "fmspc"):
        if name in found:
            values[name] = bytes.fromhex(found[name]) if len(found[name]) % 2 == 0 else b""
    if "tcb" in found:
        values["tcb"] = [int(part) for part in found["tcb"].split("-")]
    reference: Reference = msgspec.convert(values, kind, builtin_types=(bytes,))
    if isinstance(reference, Vcek) and not _possible(reference):
        return None
    return reference


def _possible(vcek: Vcek) -> bool:
    return (
        len(vcek.chip) == chip_size(vcek.product)
        and len(vcek.tcb) == len(components(vcek.product))
        and max(vcek.tcb) <= 255
    )


def components(product: Product) -> tuple[str, ...]:
    """Names of the TCB components of a product, in the order of :attr:`Vcek.tcb`."""
    return TURIN_COMPONENTS if product is Product.TURIN else LEGACY_COMPONENTS


def chip_size(product: Product) -> int:
    """Bytes of a hardware id."""
    return TURIN_HWID_SIZE if product is Product.TURIN else HWID_SIZE


class Item(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """One thing that a vendor published, as it was signed.

    Attributes:
        name: what it is.
        body: DER for certificates and lists, PEM for a chain of AMD, JSON exactly as signed.
        chain: PEM certificates over the signer, signer first; where AMD signed, empty.
        signature: of a JSON text: r and s, 32 bytes each; otherwise empty.
    """

    name: str
    body: bytes
    chain: bytes = b""
    signature: bytes = b""

    @property
    def reference(self) -> Reference:
        """The name, parsed.

        Raises:
            ParseError: no such name.
        """
        return parse_name(self.name)
