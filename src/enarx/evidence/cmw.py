"""Evidence as it travels in a certificate: the Conceptual Message Wrapper (CMW).

Source: draft-ietf-rats-msg-wrap, sections 3.1 (record), 3.3 (collection), 4.1 (X.509):
an extension id-pe-cmw, 1.3.6.1.5.5.7.1.35, whose value is a DER ``CHOICE { json UTF8String,
cbor OCTET STRING }``; here always the CBOR form.

A Keep's certificate carries a collection of two records::

    { "evidence": [ media type, evidence bytes ],
      "claims":   [ "application/vnd.enarx.claims+cbor", claims bytes ] }

where the evidence's report data is SHA-256(claims bytes) and zeros, and the claims hold the
hash of the certificate's own key (see :mod:`enarx.evidence.claims`).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec

from enarx.errors import ParseError, UsageError
from enarx.evidence import cbor, der

CMW_OID: Final = "1.3.6.1.5.5.7.1.35"

MAX_CMW_BYTES: Final = 48 * 1024
"""A TDX quote with its chain is some 5 KB; a certificate in a TLS handshake must stay small."""

CLAIMS_MEDIA_TYPE: Final = "application/vnd.enarx.claims+cbor"

MEDIA_TYPES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "snp": "application/vnd.enarx.snp-report",
        "sgx": "application/vnd.enarx.sgx-quote",
        "tdx": "application/vnd.enarx.tdx-quote",
        "cca": "application/eat+cwt",
        "tpm": "application/vnd.enarx.tpm-quote",
    }
)
"""The media type of each technology's evidence, which is in the vendor's own binary format."""

_KINDS: Final = {media_type: kind for kind, media_type in MEDIA_TYPES.items()}


class KeepMessage(msgspec.Struct, frozen=True, kw_only=True):
    """The collection in a Keep's certificate.

    Attributes:
        media_type: of the evidence, one of :data:`MEDIA_TYPES`.
        evidence: in the vendor's own format.
        claims: the claims, encoded; what the report data is the hash of.
    """

    media_type: str
    evidence: bytes
    claims: bytes

    @property
    def kind(self) -> str:
        """The technology the media type names."""
        return _KINDS[self.media_type]

    def pack(self) -> bytes:
        """The extension's value (DER); the inverse of :meth:`parse`.

        Raises:
            UsageError: the media type is not one of ours, or it gets too large.
        """
        if self.media_type not in _KINDS:
            raise UsageError(f"no evidence has media type {self.media_type!r}", code="cmw.type")
        collection = cbor.encode(
            {
                "evidence": [self.media_type, self.evidence],
                "claims": [CLAIMS_MEDIA_TYPE, self.claims],
            }
        )
        if len(collection) > MAX_CMW_BYTES:
            raise UsageError(
                f"evidence and claims take {len(collection)} bytes, more than {MAX_CMW_BYTES}",
                code="cmw.size",
            )
        return der.element(der.OCTET_STRING, collection)

    @classmethod
    def parse(cls, value: bytes) -> KeepMessage:
        """Read the extension's value.

        Raises:
            ParseError: not a DER OCTET STRING of one deterministic collection of exactly these
                two records, or an unknown media type.
        """
        if len(value) > MAX_CMW_BYTES + 8:
            raise ParseError(f"CMW is {len(value)} bytes", code="cmw.size")
        content = der.read_whole(value, tag=der.OCTET_STRING)
        collection = cbor.decode(content, what="CMW collection", limit=MAX_CMW_BYTES)
        if not isinstance(collection, dict) or set(collection) != {"evidence", "claims"}:
            raise ParseError(
                "CMW is not a collection of evidence and claims",
                hint="only a Keep of this project has this form",
                code="cmw.form",
            )
        media_type, evidence = _record(collection["evidence"], "evidence")
        claims_type, claims = _record(collection["claims"], "claims")
        if media_type not in _KINDS:
            raise ParseError(f"CMW evidence has unknown type {media_type[:64]!r}", code="cmw.type")
        if claims_type != CLAIMS_MEDIA_TYPE:
            raise ParseError(f"CMW claims have unknown type {claims_type[:64]!r}", code="cmw.type")
        return cls(media_type=media_type, evidence=evidence, claims=claims)


def _record(value: Any, name: str) -> tuple[str, bytes]:
    if (
        isinstance(value, list)
        and len(value) == 2
        and isinstance(value[0], str)
        and isinstance(value[1], bytes)
    ):
        return value[0], value[1]
    raise ParseError(f"CMW record {name!r} is not [media type, bytes]", code="cmw.form")
