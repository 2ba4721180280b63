"""How certificates and revocation lists are signed, and whether a signature holds.

Only the algorithms that silicon vendors use count, with keys that are long enough.

Sources: RFC 5280, section 4.1.1.2; RFC 4055, section 3.1 (RSASSA-PSS); RFC 5758 (ECDSA).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from enarx.errors import ParseError
from enarx.evidence import der as evidence_der

MIN_RSA_BITS: Final = 3072
"""Vendor RSA keys have 4096 bits; fewer than 3072 give less than 128 bits of strength."""

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey

_COMMON_NAME: Final = bytes.fromhex("0603550403")
"""OBJECT IDENTIFIER 2.5.4.3, in front of its value."""

_PSS_SHA384: Final = padding.PSS(padding.MGF1(hashes.SHA384()), 48)

RSA_PSS_SHA384: Final = "RSASSA-PSS SHA-384"
ECDSA_SHA256: Final = "ECDSA SHA-256"
ECDSA_SHA384: Final = "ECDSA SHA-384"
_ECDSA: Final[Mapping[str, ec.ECDSA]] = MappingProxyType(
    {ECDSA_SHA256: ec.ECDSA(hashes.SHA256()), ECDSA_SHA384: ec.ECDSA(hashes.SHA384())}
)

UNREADABLE: Final = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
    OverflowError,
)
"""What ``cryptography`` raises for bytes that are no certificate it understands."""


def has_one_encoding(data: bytes) -> bool:
    """Whether what the signature does not protect leaves no other reading of it.

    The algorithm outside the signed part must be the one inside (RFC 5280, section 4.1.1.2),
    and a signature is a whole number of octets.
    """
    try:
        content = evidence_der.read_whole(data, tag=evidence_der.SEQUENCE)
        parts = list(evidence_der.elements(content))
        if len(parts) != 3 or parts[2][1][:1] != b"\0":
            return False
        inner = (one for tag, one in evidence_der.elements(parts[0][1]) if tag == parts[1][0])
        return next(inner, b"") == parts[1][1]
    except ParseError:
        return False


def signed_part(der: bytes) -> bytes:
    """The first element of a certificate or revocation list, byte for byte as it came."""
    content = evidence_der.read_whole(der, tag=evidence_der.SEQUENCE)
    _, _, end = evidence_der.read_any(content, 0)
    return content[:end]


def common_name_of(name: bytes) -> str:
    """The one common name in an encoded name; empty where there is none or more than one."""
    before, found, value = name.partition(_COMMON_NAME)
    if not found or _COMMON_NAME in value or not before:
        return ""
    _, text, _ = evidence_der.read_any(value, 0)
    return text.decode("utf-8", "replace")


def algorithm_of(signed: x509.Certificate | x509.CertificateRevocationList) -> str:
    """Name the signature algorithm if it is one that vendors use; empty otherwise."""
    parameters = signed.signature_algorithm_parameters
    if isinstance(parameters, padding.PSS):
        return RSA_PSS_SHA384 if parameters == _PSS_SHA384 else ""
    if isinstance(parameters, ec.ECDSA):
        digest = signed.signature_hash_algorithm
        if isinstance(digest, hashes.SHA256):
            return ECDSA_SHA256
        if isinstance(digest, hashes.SHA384):
            return ECDSA_SHA384
    return ""


def verifies(key: PublicKey, algorithm: str, signature: bytes, signed: bytes) -> bool:
    """Whether a strong key made this signature, in an algorithm that vendors use."""
    if not _strong(key):
        return False
    try:
        if isinstance(key, rsa.RSAPublicKey):
            if algorithm != RSA_PSS_SHA384:
                return False
            key.verify(signature, signed, _PSS_SHA384, hashes.SHA384())
        elif algorithm in _ECDSA:
            key.verify(signature, signed, _ECDSA[algorithm])
        else:
            return False
    except (InvalidSignature, *UNREADABLE):
        return False
    return True


def _strong(key: PublicKey) -> bool:
    if isinstance(key, rsa.RSAPublicKey):
        return key.key_size >= MIN_RSA_BITS
    return isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1)
