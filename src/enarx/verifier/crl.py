"""Revocation lists, read strictly; their dates are compared by whoever appraises.

Source: RFC 5280, section 5.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.utils import CryptographyDeprecationWarning

from enarx.errors import ParseError
from enarx.evidence import der as evidence_der
from enarx.verifier.endorsements import MAX_CRL_BYTES
from enarx.verifier.x509 import Certificate
from enarx.verifier.x509_signing import (
    UNREADABLE,
    algorithm_of,
    common_name_of,
    has_one_encoding,
    signed_part,
    verifies,
)

_KNOWN_CRITICAL_CRL: Final = frozenset({x509.AuthorityKeyIdentifier.oid, x509.CRLNumber.oid})


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RevocationList:
    """What is read of a revocation list. Its signature has not been verified."""

    der: bytes
    issuer: bytes
    issuer_common_name: str
    this_update: datetime
    next_update: datetime | None
    algorithm: str
    parsed: x509.CertificateRevocationList = field(repr=False)

    def signed_by(self, issuer: Certificate) -> bool:
        """Whether ``issuer`` may sign lists and signed this: name, strength and signature."""
        if self.issuer != issuer.subject or not has_one_encoding(self.der):
            return False
        if not issuer.signs_lists:  # RFC 5280, section 6.3.3 (f)
            return False
        signature, signed = self.parsed.signature, signed_part(self.der)
        return verifies(issuer.public_key, self.algorithm, signature, signed)

    def lists(self, certificate: Certificate) -> bool:
        """Whether it revokes the certificate (which must be of the same issuer).

        A list whose entries cannot be read might: then it does.
        """
        try:
            found = self.parsed.get_revoked_certificate_by_serial_number(certificate.serial)
        except UNREADABLE:
            return True
        return found is not None

    def valid_at(self, at: datetime) -> bool:
        """Whether ``at`` lies between this and next update; a list without an end never does."""
        return self.next_update is not None and self.this_update <= at <= self.next_update


def load_crl(data: bytes) -> RevocationList:
    """Read a DER revocation list.

    Raises:
        ParseError: not one list, a critical extension that is unknown, or over-long.
    """
    if len(data) > MAX_CRL_BYTES:
        raise ParseError(
            f"revocation list is {len(data)} bytes, more than {MAX_CRL_BYTES}", code="crl.size"
        )
    try:
        parsed = x509.load_der_x509_crl(data)
        with warnings.catch_warnings():
            # Of serial numbers that are not positive; who reads a verdict must not read that.
            warnings.simplefilter("ignore", CryptographyDeprecationWarning)
            extensions = parsed.extensions
        for extension in extensions:
            if extension.critical and extension.oid not in _KNOWN_CRITICAL_CRL:
                raise ValueError(f"critical extension {extension.oid.dotted_string} is unknown")
        issuer = _list_issuer(signed_part(data))
        return RevocationList(
            der=data,
            issuer=issuer,
            issuer_common_name=common_name_of(issuer),
            this_update=parsed.last_update_utc,
            next_update=parsed.next_update_utc,
            algorithm=algorithm_of(parsed),
            parsed=parsed,
        )
    except UNREADABLE as error:
        raise ParseError(
            f"revocation list cannot be read: {error}",
            hint="expected one X.509 revocation list, DER",
            code="crl.form",
        ) from error


def crl_der(data: bytes) -> bytes:
    """A revocation list as DER, from PEM or DER.

    Raises:
        ParseError: PEM that is damaged.
    """
    if not data.startswith(b"-----BEGIN"):
        return data
    try:
        return x509.load_pem_x509_crl(data).public_bytes(Encoding.DER)
    except UNREADABLE as error:
        raise ParseError(f"revocation list cannot be read: {error}", code="crl.pem") from error


def _list_issuer(tbs: bytes) -> bytes:
    """Issuer of a TBSCertList, as it is encoded (RFC 5280, section 5.1)."""
    content = evidence_der.read_whole(tbs, tag=evidence_der.SEQUENCE)
    tag, _, offset = evidence_der.read_any(content, 0)
    if tag == evidence_der.INTEGER:
        _, _, offset = evidence_der.read_any(content, offset)
    _, _, end = evidence_der.read_any(content, offset)
    return content[offset:end]
