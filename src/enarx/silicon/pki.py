"""Certificates and revocation lists as vendors issue them: what both simulated PKIs share.

Nothing here is secret-bearing by itself; keys are arguments. Dates are made anew at every
start, so that a chain is never found expired because a machine kept its keys for long.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

ROOT_NAME: Final = "SIMULATED ROOT - NOT HARDWARE"
"""Common name of every simulated root, by which verifiers tell it from a vendor's."""
ORGANIZATION: Final = "Simulated silicon of enarx"

BACKDATED: Final = timedelta(days=1)
"""How long before now everything became valid: clocks differ."""
ROOT_YEARS: Final = timedelta(days=25 * 365)
LEAF_YEARS: Final = timedelta(days=7 * 365)
"""As long as vendors' leaf certificates live (PCK, VCEK)."""
COLLATERAL_DAYS: Final = timedelta(days=30)
"""As long as Intel's TCB info and revocation lists last. Silicon renews them every day."""

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey

CA_USAGE: Final = ("key_cert_sign", "crl_sign")
LEAF_USAGE: Final = ("digital_signature", "content_commitment")

_PSS_SHA384: Final = padding.PSS(padding.MGF1(hashes.SHA384()), 48)
_USAGES: Final = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    """Who signs: a name and the key that goes with it."""

    name: x509.Name
    key: PrivateKey


def name(common_name: str) -> x509.Name:
    """The name of one simulated authority or leaf."""
    return x509.Name(
        [
            x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name),
            x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, ORGANIZATION),
        ]
    )


def now() -> datetime:
    """The current time in whole seconds, UTC."""
    return datetime.now(UTC).replace(microsecond=0)


def spki(key: PublicKey) -> bytes:
    """The key's SubjectPublicKeyInfo, DER."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def certificate(
    subject: x509.Name,
    key: PublicKey,
    issuer: Issuer,
    *,
    at: datetime,
    lifetime: timedelta,
    usage: tuple[str, ...] = (),
    authority: bool | None = None,
    path_length: int | None = None,
    extensions: Mapping[str, bytes] | None = None,
    serial: int | None = None,
) -> bytes:
    """Issue one certificate.

    Args:
        at: the time of issue; it is valid from BACKDATED before that.
        usage: names of the key usages that are set; no such extension when empty.
        authority: basic constraints; no such extension when None.
        extensions: further extensions, contents by dotted OID, none of them critical.
        serial: random when None.

    Returns:
        The certificate, DER. RSA keys sign with RSASSA-PSS SHA-384, as AMD's do.
    """
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.name)
        .public_key(key)
        .serial_number(serial if serial is not None else x509.random_serial_number())
        .not_valid_before(at - BACKDATED)
        .not_valid_after(at + lifetime)
    )
    if authority is not None:
        constraints = x509.BasicConstraints(ca=authority, path_length=path_length)
        builder = builder.add_extension(constraints, critical=True)
    if usage:
        flags = {name: name in usage for name in _USAGES}
        builder = builder.add_extension(x509.KeyUsage(**flags), critical=True)
    if authority is not None:
        own = x509.SubjectKeyIdentifier.from_public_key(key)
        builder = builder.add_extension(own, critical=False)
        builder = builder.add_extension(_authority_key(issuer), critical=False)
    for oid, content in (extensions or {}).items():
        extension = x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), content)
        builder = builder.add_extension(extension, critical=False)
    if isinstance(issuer.key, rsa.RSAPrivateKey):
        signed = builder.sign(issuer.key, hashes.SHA384(), rsa_padding=_PSS_SHA384)
    else:
        signed = builder.sign(issuer.key, hashes.SHA256())
    return signed.public_bytes(Encoding.DER)


def revocation_list(issuer: Issuer, *, at: datetime) -> bytes:
    """A list that revokes nothing, DER, valid for COLLATERAL_DAYS."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.name)
        .last_update(at - BACKDATED)
        .next_update(at + COLLATERAL_DAYS)
        .add_extension(x509.CRLNumber(1), critical=False)
        .add_extension(_authority_key(issuer), critical=False)
    )
    if isinstance(issuer.key, rsa.RSAPrivateKey):
        signed = builder.sign(issuer.key, hashes.SHA384(), rsa_padding=_PSS_SHA384)
    else:
        signed = builder.sign(issuer.key, hashes.SHA256())
    return signed.public_bytes(Encoding.DER)


def _authority_key(issuer: Issuer) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key())
