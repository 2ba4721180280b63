"""What AMD writes into the certificates of its signing keys (VCEK and VLEK).

Source: *Versioned Chip Endorsement Key Certificate and KDS Interface Specification*
(AMD 57230), section 3.1, table 7 (VCEK extensions) and table 8 (VLEK).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from enarx.errors import ParseError
from enarx.evidence import der
from enarx.evidence.snp import HWID_SIZE, TURIN_HWID_SIZE, Product, product_of_name

_BASE: Final = "1.3.6.1.4.1.3704.1"
STRUCT_VERSION: Final = f"{_BASE}.1"
PRODUCT_NAME: Final = f"{_BASE}.2"
HWID: Final = f"{_BASE}.4"
CSP_ID: Final = f"{_BASE}.5"
TCB_OIDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "bl": f"{_BASE}.3.1",
        "tee": f"{_BASE}.3.2",
        "snp": f"{_BASE}.3.3",
        "ucode": f"{_BASE}.3.8",
        "fmc": f"{_BASE}.3.9",
    }
)

MAX_NAME: Final = 256
"""Characters of a product name or CSP id; real ones have under 40."""

_IA5_STRING: Final = 0x16
_UTF8_STRING: Final = 0x0C
_PRINTABLE_STRING: Final = 0x13


class LeafExtensions(msgspec.Struct, frozen=True, kw_only=True):
    """A signing key's extensions.

    Attributes:
        product_name: as written (``"Milan-B0"``, ``"Genoa"``, ``"Turin"``).
        tcb: security versions by component name; ``fmc`` first, on Turin only.
        hwid: 64 bytes, 8 on Turin; ``None`` for a VLEK, which belongs to no single chip.
        csp_id: the cloud provider a VLEK belongs to; ``None`` for a VCEK.
    """

    product_name: str
    tcb: dict[str, int]
    hwid: bytes | None
    csp_id: str | None

    @property
    def kind(self) -> str:
        """``"vlek"`` for a key of a cloud provider, ``"vcek"`` for one of a chip."""
        return "vlek" if self.csp_id is not None else "vcek"

    @property
    def product(self) -> Product | None:
        """The product line; ``None`` for one nobody here knows."""
        return product_of_name(self.product_name)

    @classmethod
    def parse(cls, extensions: Mapping[str, bytes]) -> LeafExtensions:
        """Read extensions by OID (others are left alone).

        Raises:
            ParseError: one is missing or does not have its form.
        """
        product_name = _text(extensions, PRODUCT_NAME)
        components = ["bl", "tee", "snp", "ucode"]
        if TCB_OIDS["fmc"] in extensions:
            components.insert(0, "fmc")
        hwid = extensions.get(HWID)
        if hwid is not None and len(hwid) not in (HWID_SIZE, TURIN_HWID_SIZE):
            raise ParseError(
                f"HWID is {len(hwid)} bytes, it must be {HWID_SIZE} or {TURIN_HWID_SIZE}",
                code="snp.hwid",
            )
        csp_id = _text(extensions, CSP_ID) if CSP_ID in extensions else None
        if (hwid is None) == (csp_id is None):
            raise ParseError(
                "certificate must carry either a HWID (VCEK) or a CSP id (VLEK)", code="snp.leaf"
            )
        return cls(
            product_name=product_name,
            tcb={name: _version(extensions, name) for name in components},
            hwid=hwid,
            csp_id=csp_id,
        )

    def pack(self) -> dict[str, bytes]:
        """Extension contents by OID; the inverse of :meth:`parse`."""
        packed = {
            STRUCT_VERSION: der.integer(1 if self.product is Product.TURIN else 0),
            PRODUCT_NAME: der.element(_IA5_STRING, self.product_name.encode("ascii")),
        }
        packed |= {TCB_OIDS[name]: der.integer(value) for name, value in self.tcb.items()}
        if self.hwid is not None:
            packed[HWID] = self.hwid
        if self.csp_id is not None:
            packed[CSP_ID] = der.element(_IA5_STRING, self.csp_id.encode("ascii"))
        return packed


def _content(extensions: Mapping[str, bytes], oid: str) -> bytes:
    content = extensions.get(oid)
    if content is None:
        raise ParseError(f"certificate has no extension {oid}", code="snp.leaf")
    return content


def _text(extensions: Mapping[str, bytes], oid: str) -> str:
    content = _content(extensions, oid)
    tag, text, end = der.read_any(content, 0)
    if end != len(content) or tag not in (_IA5_STRING, _UTF8_STRING, _PRINTABLE_STRING):
        raise ParseError(f"extension {oid} is not one string", code="snp.leaf")
    if len(text) > MAX_NAME or not text.isascii():
        raise ParseError(f"extension {oid} is not a short ASCII name", code="snp.leaf")
    return text.decode("ascii")


def _version(extensions: Mapping[str, bytes], name: str) -> int:
    content = der.read_whole(_content(extensions, TCB_OIDS[name]), tag=der.INTEGER)
    value = der.unsigned(content)
    if value > 255:
        raise ParseError(f"TCB component {name} is not a number up to 255", code="snp.leaf")
    return value
