"""The PCK chain of a quote, and whether its leaf vouches for the quoting enclave.

Everything here is a pure function of bytes: dates are not looked at, so that the results can
be remembered. Sources: *Intel SGX PCK Certificate and Certificate Revocation List Profile
Specification*, section 1; *Intel SGX ECDSA Quote Library Reference*, appendix A.4.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from enarx.errors import ParseError
from enarx.evidence.ecdsa import der_from_raw_p256, p256_key_from_raw
from enarx.evidence.pck import PCK_EXTENSION_OID, PckExtension, parse_pck_extension
from enarx.evidence.quote import CERTIFICATION_PCK_CHAIN, QuoteSignature
from enarx.verifier.x509 import Certificate, Memo, Path, build_path, load_certificates, load_pool
from enarx.verifier.x509_signing import PublicKey

PCK_PATH_LENGTH = 3
"""PCK certificate, Processor or Platform CA, root: never more and never less."""

PCK_NAME = "SGX PCK Certificate"
PCK_AUTHORITY_NAMES = ("SGX PCK Processor CA", "SGX PCK Platform CA")
"""Parts of common names, section 1.3 of the profile: one root signs certificates of many roles."""

_ECDSA_SHA256 = ec.ECDSA(hashes.SHA256())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PckChain:
    """The certificates a quote comes with.

    Attributes:
        path: leaf first, as far as it is signed; None where there is no PCK certificate.
        extension: what the leaf says of the platform; None where it cannot be read.
        problem: why this is not a whole PCK chain; empty when it is one.
        second: common name of the certificate that stands behind the leaf in the quote: its CA,
            but for quotes that have the root there.
        root_second: the quote is one of those.
        structural: the quote has no chain at all and none was supplied.
    """

    path: Path | None
    extension: PckExtension | None
    problem: str
    second: str = ""
    root_second: bool = False
    structural: bool = False

    @property
    def leaf(self) -> Certificate | None:
        """The PCK certificate."""
        return self.path.certificates[0] if self.path else None

    @property
    def authority(self) -> Certificate | None:
        """The CA that issued the PCK certificate, if the chain reaches it."""
        if self.path is None or len(self.path.certificates) < 2:
            return None
        return self.path.certificates[1]

    @property
    def root(self) -> Certificate | None:
        """The self-signed end of a whole chain."""
        return self.path.root if self.path else None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Vouching:
    """Whether the platform vouches for the key that signed a quote.

    Attributes:
        signed: the PCK key signed the quoting enclave's report.
        bound: that report names the attestation key and the authentication data.
        attestation_key: None where it is not a point on the curve.
    """

    signed: bool
    bound: bool
    attestation_key: ec.EllipticCurvePublicKey | None


def read_pck_chain(
    certification_type: int, certification_data: bytes, supplied: Sequence[bytes], memo: Memo
) -> PckChain:
    """Find the PCK chain in a quote's certification data, or among supplied certificates.

    Args:
        certification_type: as in the quote; only type 5 holds a chain.
        certification_data: for type 5 PEM in any order, often ended by a NUL.
        supplied: DER certificates from elsewhere, to complete the chain.
        memo: of this appraisal.
    """
    problems: tuple[str, ...] = ()
    ders: tuple[bytes, ...] = tuple(supplied)
    if certification_type == CERTIFICATION_PCK_CHAIN:
        try:
            ders = (*load_certificates(certification_data.rstrip(b"\0")), *ders)
        except ParseError as error:
            return PckChain(path=None, extension=None, problem=error.message)
    elif not ders:
        return PckChain(
            path=None,
            extension=None,
            problem=f"certification data of type {certification_type} holds no certificates",
            structural=True,
        )
    pool, problems = load_pool(ders, load=memo.load)
    leaf = next((one for one in pool if PCK_EXTENSION_OID in one.extensions), None)
    if leaf is None:
        return PckChain(
            path=None,
            extension=None,
            problem="; ".join(problems) or "no certificate has the SGX extension",
        )
    path = build_path(leaf, pool, signed=memo.signed_by)
    problem = "; ".join(part for part in (path.problem, *problems) if part)
    extension: PckExtension | None = None
    try:
        extension = parse_pck_extension(leaf.extensions[PCK_EXTENSION_OID])
    except ParseError as error:
        problem = problem or error.message
    if not problem and len(path.certificates) != PCK_PATH_LENGTH:
        problem = f"chain has {len(path.certificates)} certificates, not {PCK_PATH_LENGTH}"
    if not problem:
        problem = _role_problem(leaf, path.certificates[1])
    others = [one for one in pool if one is not leaf]
    return PckChain(
        path=path,
        extension=extension,
        problem=problem,
        second=others[0].common_name if others else "",
        root_second=len(others) > 1 and others[0].self_issued and not others[1].self_issued,
    )


def _role_problem(leaf: Certificate, authority: Certificate) -> str:
    """Why these two do not have the roles that they take; empty when they have."""
    if leaf.authority:
        return "the PCK certificate is a certificate authority"
    if PCK_NAME not in leaf.common_name:
        return f"{leaf.common_name!r} is not named as a PCK certificate"
    if not any(name in authority.common_name for name in PCK_AUTHORITY_NAMES):
        return f"{authority.common_name!r} is not named as a PCK authority"
    return ""


def vouch(signature: QuoteSignature, leaf: Certificate | None) -> Vouching:
    """Check the quoting enclave's report: signature of the PCK key, and what it binds."""
    report = signature.qe_report
    digest = hashlib.sha256(signature.bound_data).digest()
    try:
        key = p256_key_from_raw(signature.attestation_key)
    except ParseError:
        key = None
    return Vouching(
        signed=leaf is not None
        and verify_p256(leaf.public_key, signature.qe_report_signature, report.pack()),
        bound=report.report_data == digest.ljust(len(report.report_data), b"\0"),
        attestation_key=key,
    )


def verify_p256(key: PublicKey | None, signature: bytes, message: bytes) -> bool:
    """Whether a raw signature (r and s, 32 bytes each) of a P-256 key is over ``message``."""
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        return False
    try:
        key.verify(der_from_raw_p256(signature), message, _ECDSA_SHA256)
    except (InvalidSignature, ParseError):
        return False
    return True
