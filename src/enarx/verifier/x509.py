"""Certificates, read strictly and chained without a clock.

What is time-independent (form, names, signatures, constraints) is computed once and
may be cached; dates are compared by whoever appraises. Certificates come in any
order, and nothing that came with them is trusted: a chain only counts when it ends
in a key that :mod:`enarx.verifier.roots` pins.

Sources: RFC 5280, sections 4.1 (certificates) and 6 (path validation).
"""

from __future__ import annotations

import binascii
import hashlib
import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.utils import CryptographyDeprecationWarning

from enarx.errors import ParseError
from enarx.evidence import der as evidence_der
from enarx.verifier.cache import Cache
from enarx.verifier.endorsements import MAX_CERTIFICATE_BYTES, MAX_CERTIFICATES
from enarx.verifier.x509_signing import (
    UNREADABLE,
    PublicKey,
    algorithm_of,
    common_name_of,
    has_one_encoding,
    signed_part,
    verifies,
)

if TYPE_CHECKING:
    from enarx.verifier.crl import RevocationList

MAX_PATH: Final = 6
"""Vendor chains have three certificates, AWS's five."""

MAX_NAMESAKES: Final = 4
"""Authorities of one name that are tried: vendors have renewed theirs once or twice, and every
one that is tried costs a signature check."""

_DER_SEQUENCE: Final = b"\x30"

_KNOWN_CRITICAL: Final = frozenset(
    {
        x509.BasicConstraints.oid,
        x509.KeyUsage.oid,
        x509.ExtendedKeyUsage.oid,
        # Certificates of TPMs have no subject and name the TPM here, which identifies nothing.
        x509.SubjectAlternativeName.oid,
    }
)
_PEM: Final = re.compile(
    rb"-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\r\n\t ]*)-----END CERTIFICATE-----"
)
"""RFC 7468, section 5; text outside the blocks is left alone, as everybody does."""


_VERSION_TAG: Final = b"\xa0"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Certificate:
    """What is read of an X.509 certificate. Nothing about it has been verified.

    Attributes:
        der: its bytes.
        subject, issuer: names as DER.
        common_name, issuer_common_name: for people and for role checks; empty if absent.
        not_before, not_after: aware, UTC; both ends are inside the validity (RFC 5280, 4.1.2.5).
        spki_sha256: SHA-256 over the DER SubjectPublicKeyInfo.
        algorithm: how it is signed, one of the names in this module; empty for any other.
        authority: it may sign certificates (basic constraints and key usage).
        signs_lists: it may sign revocation lists (key usage, where there is one).
        path_length: how many authorities may stand below it; ``None`` for no limit.
        extensions: content of the extensions that only their vendor knows, by dotted OID.
    """

    der: bytes
    subject: bytes
    issuer: bytes
    common_name: str
    issuer_common_name: str
    serial: int
    not_before: datetime
    not_after: datetime
    public_key: PublicKey
    spki: bytes
    spki_sha256: bytes
    algorithm: str
    authority: bool
    signs_lists: bool
    path_length: int | None
    extensions: Mapping[str, bytes]
    parsed: x509.Certificate = field(repr=False)

    @property
    def self_issued(self) -> bool:
        """Whether it names itself as its issuer."""
        return self.subject == self.issuer

    def valid_at(self, at: datetime) -> bool:
        """Whether ``at`` lies within the validity period, both ends included."""
        return self.not_before <= at <= self.not_after


def load_certificate(data: bytes) -> Certificate:
    """Read a DER certificate.

    Raises:
        ParseError: not one certificate, a key or extension nobody here understands, an
            extension twice, a critical extension that is unknown, or over-long.
    """
    if len(data) > MAX_CERTIFICATE_BYTES:
        raise ParseError(
            f"certificate is {len(data)} bytes, more than {MAX_CERTIFICATE_BYTES}",
            code="certificate.size",
        )
    try:
        with warnings.catch_warnings():
            # AMD's VCEKs have serial number 0, which cryptography warns about.
            warnings.simplefilter("ignore", CryptographyDeprecationWarning)
            return _read(x509.load_der_x509_certificate(data), data)
    except UNREADABLE as error:
        raise ParseError(
            f"certificate cannot be read: {error}",
            hint="expected one X.509 certificate, DER",
            code="certificate.form",
        ) from error


def _read(parsed: x509.Certificate, data: bytes) -> Certificate:
    extensions = parsed.extensions
    constraints: x509.BasicConstraints | None = None
    usage: x509.KeyUsage | None = None
    vendor: dict[str, bytes] = {}
    for extension in extensions:
        value = extension.value
        if isinstance(value, x509.UnrecognizedExtension):
            vendor[extension.oid.dotted_string] = value.value
        elif isinstance(value, x509.BasicConstraints):
            constraints = value
        elif isinstance(value, x509.KeyUsage):
            usage = value
        if extension.critical and extension.oid not in _KNOWN_CRITICAL:
            raise ValueError(f"critical extension {extension.oid.dotted_string} is unknown")
    key = parsed.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
        raise ValueError("its key is neither RSA nor elliptic-curve")
    if parsed.serial_number < 0:
        # RFC 5280, section 4.1.2.2. Zero is not allowed either, but AMD's VCEKs have it.
        raise ValueError("its serial number is negative")
    may_sign = usage is None or usage.key_cert_sign
    issuer, subject, spki = _names_and_key(signed_part(data))
    return Certificate(
        der=data,
        subject=subject,
        issuer=issuer,
        common_name=common_name_of(subject),
        issuer_common_name=common_name_of(issuer),
        serial=parsed.serial_number,
        not_before=parsed.not_valid_before_utc,
        not_after=parsed.not_valid_after_utc,
        public_key=key,
        spki=spki,
        spki_sha256=hashlib.sha256(spki).digest(),
        algorithm=algorithm_of(parsed),
        authority=constraints is not None and constraints.ca and may_sign,
        signs_lists=usage is None or usage.crl_sign,
        path_length=constraints.path_length if constraints is not None else None,
        extensions=vendor,
        parsed=parsed,
    )


def _names_and_key(tbs: bytes) -> tuple[bytes, bytes, bytes]:
    """Issuer, subject and SubjectPublicKeyInfo, as encoded (RFC 5280, section 4.1)."""
    content = evidence_der.read_whole(tbs, tag=evidence_der.SEQUENCE)
    offset = 0
    if content[:1] == _VERSION_TAG:
        _, _, offset = evidence_der.read_any(content, offset)
    for _ in ("serial number", "signature algorithm"):
        _, _, offset = evidence_der.read_any(content, offset)
    _, _, after_issuer = evidence_der.read_any(content, offset)
    _, _, after_validity = evidence_der.read_any(content, after_issuer)
    _, _, after_subject = evidence_der.read_any(content, after_validity)
    _, _, after_key = evidence_der.read_any(content, after_subject)
    return (
        content[offset:after_issuer],
        content[after_validity:after_subject],
        content[after_subject:after_key],
    )


def load_certificates(data: bytes) -> tuple[bytes, ...]:
    """Split PEM or DER into DER certificates, unread.

    Raises:
        ParseError: no certificate in it, PEM that is damaged, or too many.
    """
    if data[:1] == _DER_SEQUENCE or b"-----BEGIN" not in data:
        return (data,)  # DER may well hold PEM: the quote in an RA-TLS certificate does
    if len(data) > MAX_CERTIFICATES * MAX_CERTIFICATE_BYTES:
        raise ParseError(f"PEM of {len(data)} bytes is too long", code="certificate.size")
    if data.count(b"-----BEGIN") > MAX_CERTIFICATES:
        raise ParseError(f"more than {MAX_CERTIFICATES} certificates", code="certificate.count")
    blocks = _PEM.findall(data)
    if not len(blocks) == data.count(b"-----BEGIN") == data.count(b"-----END"):
        raise ParseError("PEM holds something that is no certificate", code="certificate.pem")
    try:
        return tuple(
            binascii.a2b_base64(block.translate(None, delete=b"\r\n\t "), strict_mode=True)
            for block in blocks
        )
    except binascii.Error as error:
        raise ParseError(
            f"PEM certificates cannot be read: {error}", code="certificate.pem"
        ) from error


def signed_by(child: Certificate, issuer: Certificate) -> bool:
    """Whether ``issuer`` signed ``child``: names, algorithm, strength and signature."""
    if child.issuer != issuer.subject or not has_one_encoding(child.der):
        return False
    signature, signed = child.parsed.signature, signed_part(child.der)
    return verifies(issuer.public_key, child.algorithm, signature, signed)


SignedBy = Callable[[Certificate, Certificate], bool]
"""Whether the second certificate's key signed the first."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Path:
    """A chain of certificates, each signed by the next, as far as it goes.

    Attributes:
        certificates: leaf first, every one verified to be signed by its successor.
        complete: the last one is self-signed.
        problem: why it is not complete; empty when it is.
    """

    certificates: tuple[Certificate, ...]
    complete: bool
    problem: str = ""

    @property
    def root(self) -> Certificate | None:
        """The self-signed end of a complete path."""
        return self.certificates[-1] if self.complete else None

    @property
    def valid_until(self) -> datetime:
        """When the first certificate of the path runs out."""
        return min(one.not_after for one in self.certificates)


def build_path(
    leaf: Certificate, pool: Sequence[Certificate], *, signed: SignedBy = signed_by
) -> Path:
    """Find the chain from a leaf to a self-signed certificate among ``pool``, in any order.

    Every signature, name, authority bit and path length on it is verified; dates are not.

    Args:
        signed: :func:`signed_by`, or something that remembers what it said.
    """
    path = [leaf]
    while True:
        current = path[-1]
        if current.self_issued:
            if signed(current, current):
                return Path(certificates=tuple(path), complete=True)
            return _broken(path, f"{_name(current)} does not sign itself")
        if len(path) >= MAX_PATH:
            return _broken(path, f"chain is longer than {MAX_PATH} certificates")
        candidates = [one for one in pool if one.subject == current.issuer]
        if not candidates:
            return _broken(path, f"no certificate of {current.issuer_common_name or 'its issuer'}")
        if len({one.der for one in candidates}) > MAX_NAMESAKES:
            return _broken(path, f"more than {MAX_NAMESAKES} certificates of one authority's name")
        problem = ""
        for issuer in candidates:
            problem = _issuing_problem(current, issuer, signed, below=len(path) - 1)
            if not problem:
                path.append(issuer)
                break
        else:
            return _broken(path, problem)


def _issuing_problem(
    child: Certificate, issuer: Certificate, signed: SignedBy, *, below: int
) -> str:
    if not issuer.authority:
        return f"{_name(issuer)} is not a certificate authority"
    if issuer.path_length is not None and below > issuer.path_length:
        return f"{_name(issuer)} may have {issuer.path_length} authorities below it, not {below}"
    if not signed(child, issuer):
        return f"{_name(issuer)} did not sign {_name(child)}"
    return ""


def _broken(path: list[Certificate], problem: str) -> Path:
    return Path(certificates=tuple(path), complete=False, problem=problem)


def _name(certificate: Certificate) -> str:
    return certificate.common_name or "a certificate without common name"


def load_pool(
    ders: Iterable[bytes], *, load: Callable[[bytes], Certificate] = load_certificate
) -> tuple[tuple[Certificate, ...], tuple[str, ...]]:
    """Read certificates; those that cannot be read are named, not skipped in silence.

    Args:
        load: :func:`load_certificate`, or something that remembers what it read.

    Returns:
        The certificates that could be read, and one sentence for each that could not.
    """
    good: list[Certificate] = []
    problems: list[str] = []
    for number, one in enumerate(ders):
        if number >= MAX_CERTIFICATES:
            problems.append(f"more than {MAX_CERTIFICATES} certificates were supplied")
            break
        try:
            good.append(load(one))
        except ParseError as error:
            problems.append(f"certificate {number + 1}: {error.message}")
    return tuple(good), tuple(problems)


class Memo:
    """Remembers certificates read and signatures checked.

    The chains of one quote and its collateral have half of their certificates in common, and
    all platforms have their authorities in common. Certificates of platforms are remembered
    for one appraisal only, those of authorities in the verifier's cache.

    Args:
        cache: the verifier's; one of its own when ``None``.
    """

    __slots__ = ("_cache", "_read")

    def __init__(self, cache: Cache | None = None) -> None:
        self._cache = Cache() if cache is None else cache
        self._read: dict[bytes, Certificate] = {}

    def load(self, der: bytes) -> Certificate:
        """As :func:`load_certificate`.

        Raises:
            ParseError: as there; nothing is remembered then.
        """
        known: Certificate | None = self._read.get(der) or self._cache.find(("x509", der))
        if known is None:
            known = load_certificate(der)
            if known.authority:
                self._cache.keep(("x509", der), known)
        self._read[der] = known
        return known

    def signed_by(self, child: Certificate, issuer: Certificate) -> bool:
        """As :func:`signed_by`."""
        if not child.authority:
            return signed_by(child, issuer)
        key = ("x509.signed", child.der, issuer.der)
        return self._cache.get_or_make(key, lambda: signed_by(child, issuer))

    def list_signed_by(self, crl: RevocationList, issuer: Certificate) -> bool:
        """As :meth:`RevocationList.signed_by`."""
        key = ("x509.list", crl.der, issuer.der)
        return self._cache.get_or_make(key, lambda: crl.signed_by(issuer))
