"""Public keys and signatures as a TPM writes them: TPMT_PUBLIC and TPMT_SIGNATURE.

Only what attestation needs is read: RSA and NIST-curve keys, RSASSA, RSAPSS and ECDSA.

Source: TCG *TPM 2.0 Library*, part 2, sections 8.3 (TPMA_OBJECT), 11.3 (signatures) and
12.2 (public areas); part 1, section 16 (names).
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from enarx.errors import ParseError, UsageError
from enarx.evidence.eventlog import ALGORITHMS
from enarx.evidence.tpm_layout import Reader, tpm2b

ALG_RSA: Final = 0x0001
ALG_AES: Final = 0x0006
ALG_SHA256: Final = 0x000B
ALG_NULL: Final = 0x0010
ALG_RSASSA: Final = 0x0014
ALG_RSAPSS: Final = 0x0016
ALG_ECDSA: Final = 0x0018
ALG_ECC: Final = 0x0023
ALG_CFB: Final = 0x0043

CURVE_P256: Final = 0x0003
_CURVES: Final[Mapping[int, tuple[type[ec.EllipticCurve], int]]] = MappingProxyType(
    {0x0003: (ec.SECP256R1, 32), 0x0004: (ec.SECP384R1, 48)}
)

FIXED_TPM: Final = 1 << 1
FIXED_PARENT: Final = 1 << 4
SENSITIVE_DATA_ORIGIN: Final = 1 << 5
USER_WITH_AUTH: Final = 1 << 6
NO_DA: Final = 1 << 10
RESTRICTED: Final = 1 << 16
DECRYPT: Final = 1 << 17
SIGN: Final = 1 << 18

ATTESTATION_KEY: Final = FIXED_TPM | FIXED_PARENT | SENSITIVE_DATA_ORIGIN | RESTRICTED | SIGN
"""Attributes without which a key may live outside a TPM, or sign what a TPM did not make."""

MAX_PUBLIC: Final = 1024
"""Bytes of a TPMT_PUBLIC; one of RSA 4096 has under 600."""

MAX_SIGNATURE: Final = 1024
"""Bytes of a TPMT_SIGNATURE; one of RSA 4096 has 518."""

_MAX_INTEGER: Final = 512
_MAX_POLICY: Final = 64
_DEFAULT_EXPONENT: Final = 65537
_HASHES: Final[Mapping[str, hashes.HashAlgorithm]] = MappingProxyType(
    {"sha256": hashes.SHA256(), "sha384": hashes.SHA384(), "sha512": hashes.SHA512()}
)
"""Hashes a signature may use: a signature over SHA-1 proves nothing any more."""

SCHEMES: Final[Mapping[int, str]] = MappingProxyType(
    {ALG_RSASSA: "rsassa", ALG_RSAPSS: "rsapss", ALG_ECDSA: "ecdsa"}
)
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Public:
    """A TPMT_PUBLIC.

    Attributes:
        raw: its bytes, which its name is the hash of.
        name_algorithm: hashlib's name of the algorithm of its name.
        attributes: TPMA_OBJECT.
        key: the public key.
    """

    raw: bytes
    name_algorithm: str
    attributes: int
    key: PublicKey

    @property
    def name(self) -> bytes:
        """TPM2B_NAME's content: algorithm id, and hash of the public area."""
        return self.raw[2:4] + hashlib.new(self.name_algorithm, self.raw).digest()

    @property
    def is_attestation_key(self) -> bool:
        """Whether it lives in one TPM only, and signs only what that TPM made."""
        return self.attributes & (ATTESTATION_KEY | DECRYPT) == ATTESTATION_KEY

    @classmethod
    def parse(cls, data: bytes) -> Public:
        """Read a TPMT_PUBLIC of an RSA or NIST-curve key.

        Raises:
            ParseError: another kind of object, a key that is none, cut off or too long.
        """
        if len(data) > MAX_PUBLIC:
            raise ParseError(f"TPMT_PUBLIC has {len(data)} bytes", code="tpm.size")
        reader = Reader(data, what="TPMT_PUBLIC")
        kind, name_algorithm = reader.number("H"), reader.number("H")
        attributes = reader.number("I")
        reader.sized("H", _MAX_POLICY)
        if kind == ALG_RSA:
            key: PublicKey = _read_rsa(reader)
        elif kind == ALG_ECC:
            key = _read_ecc(reader)
        else:
            raise ParseError(f"TPMT_PUBLIC is of type 0x{kind:04x}", code="tpm.public")
        reader.end()
        name = ALGORITHMS.get(name_algorithm, "")
        if name not in _HASHES:
            raise ParseError(
                f"TPMT_PUBLIC has a name of algorithm 0x{name_algorithm:04x}", code="tpm.public"
            )
        return cls(raw=data, name_algorithm=name, attributes=attributes, key=key)


def _symmetric(reader: Reader) -> None:
    if reader.number("H") != ALG_NULL:
        reader.take(4)  # key bits and mode


def _scheme(reader: Reader) -> None:
    if reader.number("H") != ALG_NULL:
        reader.take(2)  # hash algorithm


def _read_rsa(reader: Reader) -> rsa.RSAPublicKey:
    _symmetric(reader)
    _scheme(reader)
    reader.number("H")
    exponent = reader.number("I") or _DEFAULT_EXPONENT
    modulus = reader.sized("H", _MAX_INTEGER)
    try:
        return rsa.RSAPublicNumbers(exponent, int.from_bytes(modulus)).public_key()
    except ValueError as error:
        raise ParseError(f"TPMT_PUBLIC holds no RSA key: {error}", code="tpm.public") from error


def _read_ecc(reader: Reader) -> ec.EllipticCurvePublicKey:
    _symmetric(reader)
    _scheme(reader)
    curve = reader.number("H")
    _scheme(reader)  # key derivation, of the same form
    known = _CURVES.get(curve)
    if known is None:
        raise ParseError(f"TPMT_PUBLIC is on curve 0x{curve:04x}", code="tpm.public")
    kind, size = known
    x, y = reader.sized("H", size), reader.sized("H", size)
    try:
        numbers = ec.EllipticCurvePublicNumbers(int.from_bytes(x), int.from_bytes(y), kind())
        return numbers.public_key()
    except ValueError as error:
        raise ParseError(f"TPMT_PUBLIC holds no point: {error}", code="tpm.public") from error


def attestation_key_template() -> bytes:
    """TPMT_PUBLIC to make our attestation key from: restricted, signs ECDSA P-256 SHA-256.

    It has no password that could be guessed, so it stays out of the dictionary attack counter:
    that goes up each time a machine is switched off hard, and locks such keys in the end.
    """
    attributes = ATTESTATION_KEY | USER_WITH_AUTH | NO_DA
    head = struct.pack(">HHIH", ALG_ECC, ALG_SHA256, attributes, 0)
    scheme = struct.pack(">HHH", ALG_NULL, ALG_ECDSA, ALG_SHA256)
    return head + scheme + struct.pack(">HH", CURVE_P256, ALG_NULL) + tpm2b(b"") + tpm2b(b"")


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """A TPMT_SIGNATURE.

    Attributes:
        scheme: ``rsassa``, ``rsapss`` or ``ecdsa``.
        hash_name: hashlib's name; also the algorithm of the quote's PCR digest.
        content: RSA: the signature. ECDSA: DER of r and s.
    """

    scheme: str
    hash_name: str
    content: bytes

    @classmethod
    def parse(cls, data: bytes) -> Signature:
        """Read a TPMT_SIGNATURE.

        Raises:
            ParseError: another scheme or hash, cut off or too long.
        """
        if len(data) > MAX_SIGNATURE:
            raise ParseError(f"TPMT_SIGNATURE has {len(data)} bytes", code="tpm.size")
        reader = Reader(data, what="TPMT_SIGNATURE")
        scheme, algorithm = reader.number("H"), reader.number("H")
        hash_name = ALGORITHMS.get(algorithm, "")
        if scheme not in SCHEMES or hash_name not in _HASHES:
            raise ParseError(
                f"TPMT_SIGNATURE has scheme 0x{scheme:04x} and hash 0x{algorithm:04x}",
                hint="RSASSA, RSAPSS and ECDSA over SHA-256, SHA-384 or SHA-512 are read",
                code="tpm.signature",
            )
        content = reader.sized("H", _MAX_INTEGER)
        if scheme == ALG_ECDSA:
            s = reader.sized("H", _MAX_INTEGER)
            content = encode_dss_signature(int.from_bytes(content), int.from_bytes(s))
        reader.end()
        return cls(scheme=SCHEMES[scheme], hash_name=hash_name, content=content)

    def verifies(self, key: PublicKey, message: bytes) -> bool:
        """Whether ``key`` made this signature over ``message``."""
        digest = _HASHES[self.hash_name]
        try:
            if isinstance(key, ec.EllipticCurvePublicKey):
                if self.scheme != "ecdsa":
                    return False
                key.verify(self.content, message, ec.ECDSA(digest))
            elif self.scheme == "rsassa":
                key.verify(self.content, message, padding.PKCS1v15(), digest)
            elif self.scheme == "rsapss":
                pss = padding.PSS(padding.MGF1(digest), padding.PSS.AUTO)
                key.verify(self.content, message, pss, digest)
            else:
                return False
        except InvalidSignature:
            return False
        return True


def bare_signature(key: PublicKey, content: bytes) -> Signature:
    """A signature without its TPMT head, as tools write it: SHA-256, and the key's usual scheme.

    Raises:
        UsageError: more bytes than a signature has.
    """
    if not 1 <= len(content) <= MAX_SIGNATURE:
        raise UsageError(f"signature has {len(content)} bytes", code="tpm.signature")
    scheme = "ecdsa" if isinstance(key, ec.EllipticCurvePublicKey) else "rsassa"
    return Signature(scheme=scheme, hash_name="sha256", content=content)
