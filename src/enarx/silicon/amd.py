"""The simulated PKI for SEV-SNP: ARK, ASK, VCEK, and the ARK's revocation list.

The shapes are AMD's: RSA-4096 for ARK and ASK, signing with RSASSA-PSS SHA-384; P-384 for
the VCEK, whose extensions name product, TCB and chip. The ARK's name says that it is no
hardware.

Source: AMD 57230, *Versioned Chip Endorsement Key Certificate and KDS Interface*.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Final

from enarx.evidence import der
from enarx.evidence.snp import Product
from enarx.evidence.vcek import LeafExtensions
from enarx.silicon import pki
from enarx.silicon.keys import AmdKeys, ChipKeys, load_ec, load_rsa

PRODUCT: Final = Product.GENOA
TCB: Final[Mapping[str, int]] = MappingProxyType({"bl": 10, "tee": 0, "snp": 23, "ucode": 84})
"""Security versions of the simulated chip: what a Genoa of 2026 reports when up to date."""

ASK_NAME: Final = f"SEV-{PRODUCT.value}"
VCEK_NAME: Final = "SEV-VCEK"
_VCEK_SERIAL: Final = 1
"""AMD's is 0, which RFC 5280 forbids and the library refuses to write."""
_UNUSED_COMPONENTS: Final = tuple(f"1.3.6.1.4.1.3704.1.3.{number}" for number in (4, 5, 6, 7))
"""Reserved components, which AMD's certificates give as 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AmdPki:
    """Certificates of the simulated PKI, and the revocation list. All DER."""

    ark: bytes
    ask: bytes
    vcek: bytes
    crl: bytes

    @classmethod
    def issue(cls, keys: AmdKeys, chip: ChipKeys, *, at: datetime) -> AmdPki:
        """Issue all certificates for these keys."""
        ark = pki.Issuer(name=pki.name(pki.ROOT_NAME), key=load_rsa(keys.ark))
        ask = pki.Issuer(name=pki.name(ASK_NAME), key=load_rsa(keys.ask))
        leaf = LeafExtensions(
            product_name=PRODUCT.value, tcb=dict(TCB), hwid=chip.hwid, csp_id=None
        )
        return cls(
            ark=pki.certificate(
                ark.name,
                load_rsa(keys.ark).public_key(),
                ark,
                at=at,
                lifetime=pki.ROOT_YEARS,
                usage=pki.CA_USAGE,
                authority=True,
            ),
            ask=pki.certificate(
                ask.name,
                load_rsa(keys.ask).public_key(),
                ark,
                at=at,
                lifetime=pki.ROOT_YEARS,
                usage=("key_cert_sign",),
                authority=True,
                path_length=0,
            ),
            vcek=pki.certificate(
                pki.name(VCEK_NAME),
                load_ec(chip.vcek).public_key(),
                ask,
                at=at,
                lifetime=pki.LEAF_YEARS,
                extensions=leaf.pack() | {oid: der.integer(0) for oid in _UNUSED_COMPONENTS},
                serial=_VCEK_SERIAL,
            ),
            crl=pki.revocation_list(ark, at=at),
        )
