"""Inputs that say what digests in the evidence are digests of.

Report data and host data are opaque to the silicon. Whoever hands in the bytes that
were hashed into them gets a link that says whether they fit: role
``report_data_preimage`` (SHA-256, SHA-384 or SHA-512, zeros behind), ``host_data_preimage``
(SHA-256), and ``csr``, a PKCS#10 request whose public key the report data commits to.
"""

from __future__ import annotations

import hashlib
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from enarx.verifier.endorsements import Endorsements
from enarx.verifier.trace import Claim, Failure, Trace
from enarx.verifier.x509_signing import UNREADABLE

_DIGESTS: Final = (hashlib.sha256, hashlib.sha384, hashlib.sha512)
_DEPTH: Final = 4


def check_preimages(
    report_data: bytes, host_data: bytes, endorsements: Endorsements, trace: Trace
) -> None:
    """Add a link for each pre-image that was supplied."""
    preimage = endorsements.role("report_data_preimage")
    if preimage is not None:
        _check(preimage, report_data, "report_data", "report_data_preimage", trace)
    preimage = endorsements.role("host_data_preimage")
    if preimage is not None:
        _check(preimage, host_data, "host_data", "host_data_preimage", trace)
    request = endorsements.role("csr")
    if request is not None:
        _check(_request_key(request), report_data, "report_data", "csr", trace)


def _request_key(der: bytes) -> bytes:
    """The SubjectPublicKeyInfo of a self-signed request; empty if it is not one."""
    try:
        request = x509.load_der_x509_csr(der)
        if not request.is_signature_valid:
            return b""
        return request.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except UNREADABLE:
        return b""


def _check(preimage: bytes, found: bytes, field: str, role: str, trace: Trace) -> None:
    forms = [digest(preimage).digest().ljust(len(found), b"\0") for digest in _DIGESTS]
    trace.check(
        bool(preimage) and found in forms,
        f"preimage.{role}",
        f"{field} is the digest of what was supplied as {role}",
        failure=Failure.BINDING,
        claim=Claim.CONFIGURATION,
        expected=f"SHA-256 {forms[0].hex()[:64]}" if preimage else "a request signed by its key",
        found=found.hex(),
        source="relying party",
        remedy=f"supply the {role} that belongs to this evidence",
        depth=_DEPTH,
    )
