"""The chain over a TPM's endorsement key (EK), and where it ends.

TPM vendors sign as they like: RSA PKCS #1 v1.5 with SHA-256 is usual, which the vendors of
:mod:`.x509` never use, so the signatures have their own check here.

No TPM vendor's root is in the table of pinned roots: who relies on real TPMs names the roots in
the policy (``tpm_roots``). The certificate authority that swtpm makes for itself
(``swtpm-localca-rootca``), and the root that our own hosts make, are simulated silicon: swtpm
is a program of the host, which can change what it says. A name only makes a chain weaker, never
stronger: any other root that no policy names is refused.

Sources: TCG *EK Credential Profile* (2.5), section 3; RFC 8017, section 8.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509 import ExtendedKeyUsage, ExtensionNotFound
from cryptography.x509.oid import ObjectIdentifier, SignatureAlgorithmOID

from enarx.verifier.roots import SIMULATED_ROOT_NAME
from enarx.verifier.trace import Claim, Failure, Trace
from enarx.verifier.verified import RootOfTrust
from enarx.verifier.x509 import Certificate, Path, build_path, load_pool
from enarx.verifier.x509_signing import UNREADABLE, has_one_encoding, signed_part

SWTPM_ROOT_NAME: Final = "swtpm-localca-rootca"
"""Common name of the root that swtpm_localca makes."""

SIMULATED_NAMES: Final = (SIMULATED_ROOT_NAME, SWTPM_ROOT_NAME)

MIN_RSA_BITS: Final = 2048
"""TPM vendors' intermediates of 2048 bits are in use and in date."""

EK_PURPOSE: Final = ObjectIdentifier("2.23.133.8.1")
"""tcg-kp-EKCertificate."""

_PROFILE: Final = "TCG EK Credential Profile, section 3"
_RSA_HASHES: Final[Mapping[ObjectIdentifier, hashes.HashAlgorithm]] = {
    SignatureAlgorithmOID.RSA_WITH_SHA256: hashes.SHA256(),
    SignatureAlgorithmOID.RSA_WITH_SHA384: hashes.SHA384(),
    SignatureAlgorithmOID.RSA_WITH_SHA512: hashes.SHA512(),
}
_ECDSA_HASHES: Final[Mapping[ObjectIdentifier, hashes.HashAlgorithm]] = {
    SignatureAlgorithmOID.ECDSA_WITH_SHA256: hashes.SHA256(),
    SignatureAlgorithmOID.ECDSA_WITH_SHA384: hashes.SHA384(),
    SignatureAlgorithmOID.ECDSA_WITH_SHA512: hashes.SHA512(),
}


def signed_by(child: Certificate, issuer: Certificate) -> bool:
    """Whether ``issuer`` signed ``child``, in an algorithm that TPM vendors use."""
    if child.issuer != issuer.subject or not has_one_encoding(child.der):
        return False
    key, algorithm = issuer.public_key, child.parsed.signature_algorithm_oid
    signature, signed = child.parsed.signature, signed_part(child.der)
    try:
        if isinstance(key, rsa.RSAPublicKey):
            digest = _RSA_HASHES.get(algorithm)
            if digest is None or key.key_size < MIN_RSA_BITS:
                return False
            key.verify(signature, signed, padding.PKCS1v15(), digest)
        else:
            digest = _ECDSA_HASHES.get(algorithm)
            if digest is None or not isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1):
                return False
            key.verify(signature, signed, ec.ECDSA(digest))
    except (InvalidSignature, *UNREADABLE):
        return False
    return True


def ek_path(carried: tuple[bytes, ...], supplied: tuple[bytes, ...]) -> tuple[Path | None, str]:
    """The chain from the EK certificate, which comes first in ``carried``.

    Returns:
        The path as far as it is signed, and why it is not whole; empty when it is.
    """
    leaves, problems = load_pool(carried[:1])
    if not leaves:
        return None, "; ".join(problems) or "the evidence holds no EK certificate"
    pool, problems = load_pool((*carried[1:], *supplied))
    path = build_path(leaves[0], pool, signed=signed_by)
    if path.complete and len(path.certificates) == 1:
        return path, "the EK certificate is signed by itself"
    if path.complete and leaves[0].authority:
        return path, "the EK certificate is a certificate authority"
    if not _may_be_ek(leaves[0]):
        return path, "the certificate is for other purposes than an endorsement key"
    return path, path.problem and "; ".join((path.problem, *problems[:2]))


def _may_be_ek(certificate: Certificate) -> bool:
    """Whether it is for endorsement keys, where it says what it is for."""
    try:
        usage = certificate.parsed.extensions.get_extension_for_class(ExtendedKeyUsage)
    except ExtensionNotFound:
        return True
    return EK_PURPOSE in usage.value


def root_of(path: Path | None, problem: str) -> RootOfTrust | None:
    """Where a whole chain ends. It is pinned, if at all, by the policy."""
    root = path.root if path is not None and not problem else None
    if root is None:
        return None
    return RootOfTrust(
        name=root.common_name,
        spki_sha256=root.spki_sha256,
        pinned=False,
        simulated=root.common_name in SIMULATED_NAMES,
    )


def check_chain(path: Path | None, problem: str, at: datetime, trace: Trace) -> None:
    """Links: the chain is whole, and each certificate in date."""
    names = [one.common_name or "EK" for one in path.certificates] if path else []
    trace.check(
        not problem,
        "tpm.ek.chain",
        "certificates of the endorsement key lead to a root",
        failure=Failure.CHAIN,
        claim=Claim.INSTANCE_IDENTITY,
        expected="an EK certificate, signed up to a root",
        found=problem or " <- ".join(reversed(names)),
        source=_PROFILE,
        remedy="supply the certificates of the TPM's vendor (--with chain=FILE)",
    )
    for depth, one in enumerate(reversed(path.certificates if path else ())):
        trace.check(
            one.valid_at(at),
            "tpm.certificate.dates",
            f"{one.common_name or 'EK certificate'} is in date",
            failure=Failure.TIME,
            claim=Claim.INSTANCE_IDENTITY,
            expected=f"{one.not_before.isoformat()} to {one.not_after.isoformat()}",
            found=at.isoformat(),
            source="RFC 5280, section 4.1.2.5",
            valid_until=one.not_after,
            remedy="use a certificate that is valid now, and check this machine's clock",
            depth=depth,
        )
