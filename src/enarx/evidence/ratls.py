"""Interoperable RA-TLS: a quote and claims in a self-signed certificate.

Source: CCC Attestation SIG, *Interoperable RA-TLS*; TCG DICE Attestation Architecture,
section 6.1.3 (tcg-dice-TaggedEvidence, OID 2.23.133.5.4.9). The extension's value is CBOR
tag 60000 of ``[quote, claims]``, both byte strings; the quote's report data is SHA-256(claims)
and zeros. Claims are a map from text to byte strings, of which ``pubkey-hash`` must be there.
"""

from __future__ import annotations

from typing import Any, Final

import cbor2
import msgspec

from enarx.errors import ParseError
from enarx.evidence import cbor
from enarx.evidence.claims import key_digest

RATLS_OID: Final = "2.23.133.5.4.9"
TAG_QUOTE_AND_CLAIMS: Final = 60000

MAX_RATLS_BYTES: Final = 48 * 1024
"""Quotes with their chain have 5 KB; claims are up to the application."""

MAX_CLAIMS: Final = 64


class RatlsEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """What the extension carries.

    Attributes:
        quote: an SGX or TDX quote.
        claims: encoded claims; what the report data is the hash of.
        entries: the claims by name, values as they stand there.
        key_digest: SHA-256 over the SubjectPublicKeyInfo that the claims commit to.
    """

    quote: bytes
    claims: bytes
    entries: dict[str, bytes]
    key_digest: bytes

    @classmethod
    def parse(cls, value: bytes) -> RatlsEvidence:
        """Read the extension's value.

        Raises:
            ParseError: not tag 60000 of two byte strings, or claims without a SHA-256
                ``pubkey-hash``.
        """
        tagged: Any = cbor.decode(
            value,
            what="RA-TLS evidence",
            limit=MAX_RATLS_BYTES,
            deterministic=False,
            tags=frozenset({TAG_QUOTE_AND_CLAIMS}),
        )
        if not isinstance(tagged, cbor2.CBORTag) or tagged.tag != TAG_QUOTE_AND_CLAIMS:
            raise ParseError(
                f"RA-TLS evidence is not CBOR tag {TAG_QUOTE_AND_CLAIMS}",
                offset=0,
                code="ratls.tag",
            )
        pair = tagged.value
        if (
            not isinstance(pair, list | tuple)
            or len(pair) != 2
            or not isinstance(pair[0], bytes)
            or not isinstance(pair[1], bytes)
        ):
            raise ParseError("RA-TLS evidence is not [quote, claims]", code="ratls.form")
        quote, claims = pair
        entries = _entries(claims)
        return cls(
            quote=quote,
            claims=claims,
            entries=entries,
            key_digest=key_digest(entries["pubkey-hash"]),
        )


def pack_ratls(quote: bytes, claims: bytes) -> bytes:
    """The extension's value; the inverse of :meth:`RatlsEvidence.parse`."""
    return cbor.encode(cbor2.CBORTag(TAG_QUOTE_AND_CLAIMS, [quote, claims]))


def _entries(claims: bytes) -> dict[str, bytes]:
    entries = cbor.decode(claims, what="RA-TLS claims", limit=MAX_RATLS_BYTES, deterministic=False)
    if not isinstance(entries, dict) or len(entries) > MAX_CLAIMS or "pubkey-hash" not in entries:
        raise ParseError("RA-TLS claims are not a map with pubkey-hash", code="ratls.claims")
    for name, value in entries.items():
        if not isinstance(name, str) or not isinstance(value, bytes):
            raise ParseError("RA-TLS claims are not all text to byte string", code="ratls.claims")
    return entries
