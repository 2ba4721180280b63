"""A signed statement that names the launch measurement: does it fit the evidence?

Cloud providers sign the measurement of what they launch under a guest (role
``measurement_endorsement``): COSE_Sign1 whose protected header carries the certificate chain
of the signer, and whose payload is JSON that names the measurement. Checked here is that it is
whole and about this measurement. Who its signer is stays for the relying party to decide:
the link names it, and no verdict gets better by it.

Sources: RFC 9052, section 4 (COSE_Sign1); RFC 9360 (x5chain).
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Final

import cbor2
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from enarx.errors import ParseError
from enarx.evidence import cbor
from enarx.verifier import strictjson
from enarx.verifier.endorsements import Endorsements
from enarx.verifier.trace import Claim, Failure, Trace
from enarx.verifier.x509_signing import UNREADABLE

MAX_ENDORSEMENT_BYTES: Final = 64 * 1024
"""A chain of three certificates and a time stamp take 12 KiB."""

MEASUREMENT_KEY: Final = "x-ms-sevsnpvm-launchmeasurement"

_SIGN1_TAG: Final = 18
_DATE_TAG: Final = 1
_ALGORITHM, _X5CHAIN = 1, 33
_PS384: Final = -38
_PSS: Final = padding.PSS(padding.MGF1(hashes.SHA384()), 48)
_MAX_CHAIN: Final = 6
_DEPTH: Final = 4


def check_endorsed_measurement(
    measurement: bytes, endorsements: Endorsements, trace: Trace
) -> None:
    """Add links if a measurement endorsement was supplied."""
    data = endorsements.role("measurement_endorsement")
    if data is None:
        return
    try:
        protected, payload, signature = _sign1(data)
        signer, problem = _verify(protected, payload, signature)
        named = strictjson.decode(payload, what="endorsement", limit=MAX_ENDORSEMENT_BYTES)
    except ParseError as error:
        signer, problem, named = "nobody", error.message, {}
    trace.check(
        not problem,
        "endorsement.signature",
        "measurement endorsement is signed by the certificate it carries",
        failure=Failure.SIGNATURE,
        claim=Claim.EXECUTABLES,
        expected="PS384 and a whole chain",
        found=problem or f"signed by {signer}, whom no policy here knows",
        source="RFC 9052, section 4.4",
        remedy="fetch the endorsement again",
        depth=_DEPTH,
    )
    found = named.get(MEASUREMENT_KEY)
    trace.check(
        isinstance(found, str) and found.lower() == measurement.hex(),
        "endorsement.measurement",
        "measurement endorsement is about this launch measurement",
        failure=Failure.BINDING,
        claim=Claim.EXECUTABLES,
        expected=measurement.hex(),
        found=str(found)[:128],
        source="relying party",
        remedy="supply the endorsement of what was launched",
        depth=_DEPTH,
    )


def _sign1(data: bytes) -> tuple[bytes, bytes, bytes]:
    value = cbor.decode_signed(
        data, what="endorsement", limit=MAX_ENDORSEMENT_BYTES, tags=frozenset({_SIGN1_TAG})
    )
    parts = value.value if isinstance(value, cbor2.CBORTag) else value
    if isinstance(parts, list | tuple) and len(parts) == 4:
        protected, _, payload, signature = parts
        if all(isinstance(one, bytes) for one in (protected, payload, signature)):
            return protected, payload, signature
    raise ParseError("endorsement is not a COSE_Sign1", code="cose.form")


def _verify(protected: bytes, payload: bytes, signature: bytes) -> tuple[str, str]:
    """The signer's name, and why the signature does not count (empty when it does)."""
    header: Any = cbor.decode_signed(
        protected, what="header", limit=MAX_ENDORSEMENT_BYTES, tags=frozenset({_DATE_TAG})
    )
    chain = header.get(_X5CHAIN) if isinstance(header, dict) else None
    if not isinstance(chain, list) or not 1 <= len(chain) <= _MAX_CHAIN:
        return "nobody", "it carries no certificate chain"
    if header.get(_ALGORITHM) != _PS384:
        return "nobody", f"algorithm {header.get(_ALGORITHM)!r} is not PS384"
    try:
        certificates = [x509.load_der_x509_certificate(one) for one in chain]
        for child, issuer in pairwise(certificates):
            child.verify_directly_issued_by(issuer)
        key = certificates[0].public_key()
        if not isinstance(key, rsa.RSAPublicKey):
            return "nobody", "its key is not RSA"
        signed = cbor.encode(["Signature1", protected, b"", payload])
        key.verify(signature, signed, _PSS, hashes.SHA384())
    except (InvalidSignature, *UNREADABLE):
        return "nobody", "a signature does not verify"
    return certificates[0].subject.rfc4514_string(), ""
