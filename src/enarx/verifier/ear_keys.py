"""Keys that sign attestation results, and their signatures: the key alone decides the algorithm.

A token's header is written by whoever sends it, so nothing in it chooses a key or an
algorithm: a P-256 key verifies ES256 and nothing else, a P-384 key ES384.

Sources: RFC 7518, section 3.4 and 6.2 (ES256, ES384, JWK); RFC 9053, section 2.1 (COSE);
RFC 4648, section 5 (base64url).
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from enarx.errors import ParseError, UsageError, VerificationError
from enarx.verifier import strictjson

MAX_KEY: Final = 16 * 1024
"""Bytes of a key file; a JWK of P-384 has 250."""

_BASE64URL: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


@dataclass(frozen=True, slots=True, kw_only=True)
class Algorithm:
    """One signature algorithm.

    Attributes:
        name: in JOSE; ``number`` is the same in COSE.
        curve: the name of its curve in a JWK.
        size: bytes of r, of s, and of a coordinate.
        order: n; r and s are in 1..n-1 (FIPS 186-5, section 6.4).
    """

    name: str
    number: int
    curve: str
    size: int
    order: int
    digest: hashes.HashAlgorithm


ES256: Final = Algorithm(
    name="ES256",
    number=-7,
    curve="P-256",
    size=32,
    order=0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    digest=hashes.SHA256(),
)
ES384: Final = Algorithm(
    name="ES384",
    number=-35,
    curve="P-384",
    size=48,
    order=int("f" * 48 + "c7634d81f4372ddf581a0db248b0a77aecec196accc52973", 16),
    digest=hashes.SHA384(),
)


def algorithm_of(key: ec.EllipticCurvePublicKey | ec.EllipticCurvePrivateKey) -> Algorithm:
    """The one algorithm that a key is for.

    Raises:
        UsageError: neither a P-256 nor a P-384 key.
    """
    if isinstance(key.curve, ec.SECP256R1):
        return ES256
    if isinstance(key.curve, ec.SECP384R1):
        return ES384
    raise UsageError(
        f"a key on {key.curve.name} cannot sign attestation results",
        hint="use P-256 (ES256) or P-384 (ES384)",
        code="ear.key",
    )


def sign(key: ec.EllipticCurvePrivateKey, message: bytes) -> bytes:
    """r and s side by side, big endian."""
    algorithm = algorithm_of(key)
    r, s = decode_dss_signature(key.sign(message, ec.ECDSA(algorithm.digest)))
    return r.to_bytes(algorithm.size) + s.to_bytes(algorithm.size)


def verify(key: ec.EllipticCurvePublicKey, signature: bytes, message: bytes) -> None:
    """Check a signature of r and s side by side.

    Raises:
        VerificationError: it does not verify (``ear.signature``).
    """
    algorithm = algorithm_of(key)
    size = algorithm.size
    if len(signature) != 2 * size:
        bad_signature(f"signature has {len(signature)} bytes, {algorithm.name} has {2 * size}")
    r, s = int.from_bytes(signature[:size]), int.from_bytes(signature[size:])
    if not (0 < r < algorithm.order and 0 < s < algorithm.order):
        bad_signature("signature has r or s outside 1..n-1")
    try:
        key.verify(encode_dss_signature(r, s), message, ec.ECDSA(algorithm.digest))
    except InvalidSignature:
        bad_signature("signature does not verify with this key")


def bad_signature(problem: str) -> NoReturn:
    """Raise the one error for everything that makes a signature worthless."""
    raise VerificationError(
        f"attestation result: {problem}",
        hint="check that this is the key of the verifier that issued it",
        code="ear.signature",
    )


def load_key(data: bytes) -> ec.EllipticCurvePublicKey:
    """Read a verifier's public key: a JWK (JSON) or PEM (SubjectPublicKeyInfo).

    Raises:
        ParseError: neither, not on P-256 or P-384, or more than a public key (``ear.key``).
    """
    if len(data) > MAX_KEY:
        _bad_key(f"{len(data)} bytes are too many")
    if data.lstrip().startswith(b"{"):
        return _from_jwk(strictjson.decode(data, what="JWK", limit=MAX_KEY))
    try:
        key = load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm) as error:
        _bad_key(f"neither a JWK nor a PEM public key: {error}")
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(
        key.curve, ec.SECP256R1 | ec.SECP384R1
    ):
        _bad_key("not a key on P-256 or P-384")
    return key


def _from_jwk(jwk: dict[str, Any]) -> ec.EllipticCurvePublicKey:
    if jwk.get("kty") != "EC":
        _bad_key(f"kty is {jwk.get('kty')!r}, expected EC")
    if "d" in jwk:
        _bad_key("it is a private key; pass the public one")
    curve = jwk.get("crv")
    algorithm = next((one for one in (ES256, ES384) if one.curve == curve), None)
    if algorithm is None:
        _bad_key(f"crv is {curve!r}, expected P-256 or P-384")
    if jwk.get("alg", algorithm.name) != algorithm.name:
        _bad_key(f"alg is {jwk['alg']!r}, a {curve} key is for {algorithm.name}")
    x, y = (_coordinate(jwk.get(name), name, algorithm.size) for name in ("x", "y"))
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(
            ec.SECP256R1() if algorithm is ES256 else ec.SECP384R1(), b"\x04" + x + y
        )
    except ValueError:
        _bad_key(f"x and y are not a point on {curve}")


def _coordinate(value: object, name: str, size: int) -> bytes:
    raw = from_base64url(value, what=f"{name} of the JWK") if isinstance(value, str) else b""
    if len(raw) != size:
        _bad_key(f"{name} has {len(raw)} bytes, expected {size}")
    return raw


def _bad_key(problem: str) -> NoReturn:
    raise ParseError(
        f"key of the verifier: {problem}",
        hint="pass its public key as JWK or PEM",
        code="ear.key",
    )


def to_base64url(data: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def from_base64url(text: str, *, what: str) -> bytes:
    """Decode base64url strictly: exact alphabet, no stray bits, padding absent or complete.

    Verifiers in use do pad, against RFC 7515; both forms have one meaning.

    Raises:
        ParseError: any other form (``ear.structure``).
    """
    bare = text.rstrip("=")
    padded = len(text) - len(bare)
    wanted = -len(bare) % 4
    if padded not in (0, wanted) or wanted == 3 or not set(bare) <= _BASE64URL:
        raise ParseError(f"{what} is not base64url", code="ear.structure")
    data = base64.urlsafe_b64decode(bare + "=" * wanted)
    if to_base64url(data) != bare:
        raise ParseError(f"{what} has stray bits at its end", code="ear.structure")
    return data
