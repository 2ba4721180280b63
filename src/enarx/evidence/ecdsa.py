"""ECDSA signatures as silicon writes them: r and s side by side, big endian, not DER.

Source: FIPS 186-5, section 6.4: r and s are in 1..n-1. A high s is as valid as a low one there,
so it is here. Zero and values of n or more are refused before any library sees them.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from enarx.errors import ParseError

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""n of P-256 (SP 800-186, section 3.2.1.3)."""

P256_SIZE = 32
"""Bytes of one number modulo n of P-256."""


def der_from_raw_p256(raw: bytes) -> bytes:
    """The DER form of a raw P-256 signature of 64 bytes.

    Raises:
        ParseError: not 64 bytes, or r or s is not in 1..n-1 (``ecdsa.range``).
    """
    if len(raw) != 2 * P256_SIZE:
        raise ParseError(
            f"P-256 signature has {len(raw)} bytes, expected {2 * P256_SIZE}", code="ecdsa.size"
        )
    r, s = int.from_bytes(raw[:P256_SIZE]), int.from_bytes(raw[P256_SIZE:])
    if not (0 < r < P256_ORDER and 0 < s < P256_ORDER):
        raise ParseError("P-256 signature has r or s outside 1..n-1", code="ecdsa.range")
    return encode_dss_signature(r, s)


def raw_p256_from_der(der: bytes) -> bytes:
    """The raw form, 64 bytes, of a DER signature that a P-256 key made."""
    r, s = decode_dss_signature(der)
    return r.to_bytes(P256_SIZE) + s.to_bytes(P256_SIZE)


def raw_p256_key(key: ec.EllipticCurvePublicKey) -> bytes:
    """x and y of a P-256 key, 32 bytes each, as a quote carries its attestation key."""
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)[1:]


def p256_key_from_raw(raw: bytes) -> ec.EllipticCurvePublicKey:
    """The P-256 key of x and y, 32 bytes each.

    Raises:
        ParseError: not 64 bytes, or not a point on the curve (``ecdsa.point``).
    """
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + raw)
    except ValueError:
        raise ParseError("public key is not a point on P-256", code="ecdsa.point") from None
