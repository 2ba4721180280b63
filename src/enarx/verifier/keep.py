"""Is this the Keep I asked for? The certificate of a Keep, judged before anything is sent.

Step 8 of a Keep. What is compared, each a link of the trace:

1. The certificate: self-signed by its own P-256 key, lives minutes, in date.
2. The claims: their public-key hash is of this certificate's key, their nonce is the one
   that was sent, their init-data digest is of the init data that was asked for.
3. The evidence: its report data is SHA-256 over exactly these claims, and its host-chosen
   field is the init-data digest, so that the silicon vouches for both.
4. The code: payload and runtime digests and the launch measurement are reference values.
5. Everything the technology checks (chain, dates, signature, TCB), and the policy.

Sources: DESIGN step 6 (docs/verification.md); Interoperable RA-TLS; draft-ietf-rats-msg-wrap.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec

from enarx.errors import ParseError
from enarx.evidence.claims import Claims, report_data
from enarx.evidence.cmw import CMW_OID, KeepMessage
from enarx.evidence.ratls import RATLS_OID, RatlsEvidence
from enarx.verifier.appraisal import Verifier, judge, parse
from enarx.verifier.endorsements import NO_ENDORSEMENTS, Endorsements
from enarx.verifier.policy import Policy
from enarx.verifier.references import ReferenceValues
from enarx.verifier.trace import Claim, Failure, Trace
from enarx.verifier.verdict import Verdict
from enarx.verifier.verified import Verified
from enarx.verifier.x509 import Certificate, load_certificate, signed_by

MAX_LIFETIME: Final = timedelta(hours=1)
"""A Keep's certificate is used once, right after it is made."""

CLOCK_SKEW: Final = timedelta(minutes=5)
"""How far the host's clock, by which a Keep dates its certificate, may be off ours."""

_DEPTH: Final = 4


class KeepRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What the client asked for, and so what the Keep has to be.

    Attributes:
        kind: technology of the back end (``"snp"`` for ``snp`` and ``sim-snp``).
        nonce: what was sent.
        init_data: the init data, encoded; computed from the request, never taken from the host.
        references: good payloads, runtimes and launch measurements; all three must be there.
            Where there are registers, too, each of them is compared.
    """

    kind: str
    nonce: bytes
    init_data: bytes
    references: ReferenceValues


class KeepAppraisal(msgspec.Struct, frozen=True, kw_only=True):
    """A verdict on a Keep, and what it was read from.

    Attributes:
        verdict: call ``require()`` on it before sending anything.
        claims: what the Keep says; worth as much as the verdict.
        evidence: in the vendor's own format, for the record.
    """

    verdict: Verdict
    claims: Claims
    evidence: bytes


def appraise_keep(
    certificate: bytes,
    request: KeepRequest,
    *,
    policy: Policy,
    at: datetime,
    endorsements: Endorsements = NO_ENDORSEMENTS,
    verifier: Verifier | None = None,
    context: str | None = None,
) -> KeepAppraisal:
    """Judge a Keep by its certificate.

    Args:
        certificate: DER, as the Keep presents it in TLS.
        request: what was asked for.
        verifier: one that remembers validated chains; a new one when ``None``.

    Raises:
        ParseError: no certificate, or it does not carry evidence and claims.
        UsageError: ``at`` is not in UTC.
        PolicyError: the policy has no such context.
    """
    parsed = load_certificate(certificate)
    content = parsed.extensions.get(CMW_OID)
    if content is None:
        raise ParseError(
            "certificate carries no evidence (no CMW extension)",
            hint="whoever answered there is no Keep",
            code="keep.no-evidence",
        )
    message = KeepMessage.parse(content)
    claims = Claims.parse(message.claims)
    verifier = verifier or Verifier(cache_entries=4)
    verified = verifier.verify(
        parse(message.evidence, kind=message.kind), endorsements=endorsements, at=at
    )
    trace = Trace(verified.links)
    _check_certificate(parsed, at, trace)  # 1.
    _check_claims(parsed, claims, request, trace)  # 2.
    _check_evidence(parsed, message, claims, verified, request, trace)  # 3.
    _check_code(claims, verified, request.references, trace)  # 4.
    until = min(verified.valid_until or parsed.not_after, parsed.not_after)
    seen = msgspec.structs.replace(
        verified,
        links=trace.links,
        sandbox=claims.sandbox,
        valid_until=until,
        describe=lambda: {**verified.describe(), "keep": _describe(parsed, claims)},
    )
    registers = ReferenceValues(registers=request.references.registers)
    verdict = judge(seen, policy=policy, references=registers, context=context)  # 5.
    return KeepAppraisal(verdict=verdict, claims=claims, evidence=message.evidence)


def _check_certificate(certificate: Certificate, at: datetime, trace: Trace) -> None:
    key = certificate.public_key
    own = (
        isinstance(key, ec.EllipticCurvePublicKey)
        and isinstance(key.curve, ec.SECP256R1)
        and signed_by(certificate, certificate)
    )
    trace.check(
        own,
        "keep.certificate.signature",
        "certificate is signed by its own P-256 key",
        failure=Failure.SIGNATURE,
        claim=Claim.INSTANCE_IDENTITY,
        expected="self-signed, P-256",
        found="self-signed, P-256" if own else "another key or signature",
        source="RFC 5280, section 6.1",
        remedy="do not use this Keep",
        depth=_DEPTH,
    )
    lifetime = certificate.not_after - certificate.not_before
    trace.check(
        timedelta(0) < lifetime <= MAX_LIFETIME
        and certificate.not_before - CLOCK_SKEW <= at <= certificate.not_after + CLOCK_SKEW,
        "keep.certificate.dates",
        "certificate is fresh",
        failure=Failure.TIME,
        claim=Claim.INSTANCE_IDENTITY,
        expected=f"{certificate.not_before.isoformat()} to {certificate.not_after.isoformat()}"
        f", at most {MAX_LIFETIME} apart",
        found=at.isoformat(),
        source="DESIGN, step 6",
        valid_until=certificate.not_after,
        remedy="ask for a new Keep; check the clocks of this machine and of the host",
        depth=_DEPTH,
    )


def _check_claims(
    certificate: Certificate, claims: Claims, request: KeepRequest, trace: Trace
) -> None:
    trace.check(
        claims.key_digest == certificate.spki_sha256,
        "keep.key",
        "claims are about the key of this certificate",
        failure=Failure.BINDING,
        claim=Claim.INSTANCE_IDENTITY,
        expected=certificate.spki_sha256.hex(),
        found=claims.key_digest.hex(),
        source="Interoperable RA-TLS: pubkey-hash",
        remedy="somebody else presents this Keep's evidence: do not use it",
        depth=_DEPTH,
    )
    trace.check(
        claims.nonce == request.nonce,
        "keep.nonce",
        "evidence was made for this request",
        failure=Failure.BINDING,
        claim=Claim.INSTANCE_IDENTITY,
        expected=request.nonce.hex(),
        found=claims.nonce.hex(),
        source="RFC 9334, section 10",
        remedy="the answer is replayed: ask for a new Keep",
        depth=_DEPTH,
    )
    digest = hashlib.sha256(request.init_data).digest()
    trace.check(
        claims.init_data == digest,
        "keep.init_data",
        "Keep was started with what was asked for",
        failure=Failure.INIT_DATA,
        claim=Claim.CONFIGURATION,
        expected=digest.hex(),
        found=claims.init_data.hex(),
        source="DESIGN, step 5: init data",
        remedy="the host changed owner, limits or name of the Keep: do not use it",
        depth=_DEPTH,
    )


def _check_evidence(
    certificate: Certificate,
    message: KeepMessage,
    claims: Claims,
    verified: Verified,
    request: KeepRequest,
    trace: Trace,
) -> None:
    trace.check(
        message.kind == request.kind,
        "keep.kind",
        "evidence is of the technology that was asked for",
        failure=Failure.BINDING,
        expected=request.kind,
        found=message.kind,
        source="DESIGN, step 1: contract",
        remedy="the host offers another back end than was asked for",
        depth=_DEPTH,
    )
    expected = report_data(message.claims)
    trace.check(
        verified.report_data == expected,
        "keep.report_data",
        "silicon vouches for exactly these claims",
        failure=Failure.BINDING,
        claim=Claim.INSTANCE_IDENTITY,
        expected=expected.hex(),
        found=verified.report_data.hex() or "nothing",
        source="Interoperable RA-TLS: report data is SHA-256 over the claims",
        remedy="the claims were changed: do not use this Keep",
        depth=_DEPTH,
    )
    digest = hashlib.sha256(request.init_data).digest()
    trace.check(
        bool(verified.host_data)
        and verified.host_data == digest.ljust(len(verified.host_data), b"\0"),
        "keep.host_data",
        "silicon vouches for the init data",
        failure=Failure.INIT_DATA,
        claim=Claim.CONFIGURATION,
        expected=digest.hex(),
        found=verified.host_data.hex() or "nothing",
        source="SNP HOST_DATA, SGX CONFIGID, TDX MRCONFIGID",
        remedy="the host launched something else than was asked for: do not use it",
        depth=_DEPTH,
    )
    interoperable = certificate.extensions.get(RATLS_OID)
    if interoperable is not None:
        _check_interoperable(interoperable, message, trace)


def _check_interoperable(content: bytes, message: KeepMessage, trace: Trace) -> None:
    """The certificate's second, interoperable form must not say anything else."""
    try:
        other = RatlsEvidence.parse(content)
        same = other.quote == message.evidence and other.claims == message.claims
        found = "the same evidence and claims" if same else "other evidence or claims"
    except ParseError as error:
        same, found = False, error.message
    trace.check(
        same,
        "keep.ratls",
        "both forms of evidence in the certificate are the same",
        failure=Failure.BINDING,
        claim=Claim.INSTANCE_IDENTITY,
        expected="the same evidence and claims",
        found=found,
        source="Interoperable RA-TLS",
        remedy="do not use this Keep",
        depth=_DEPTH,
    )


def _check_code(
    claims: Claims, verified: Verified, references: ReferenceValues, trace: Trace
) -> None:
    for name, good, found in (
        ("payload", references.payloads, claims.payload),
        ("runtime", references.runtimes, claims.runtime),
        ("measurement", references.measurements, verified.measurement),
    ):
        trace.check(
            found in good,
            f"keep.{name}",
            f"{name} is the one expected",
            failure=Failure.MEASUREMENT,
            claim=Claim.EXECUTABLES,
            expected=" or ".join(value.hex() for value in good[:3]) or "no reference value given",
            found=found.hex() or "nothing",
            source="reference values: enarx measure",
            remedy=f"the host runs another {name}: compare `enarx measure` on both sides",
            depth=_DEPTH,
        )


def _describe(certificate: Certificate, claims: Claims) -> dict[str, Any]:
    return {
        "spki_sha256": certificate.spki_sha256.hex(),
        "not_before": certificate.not_before.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "not_after": certificate.not_after.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "nonce": claims.nonce.hex(),
        "init_data": claims.init_data.hex(),
        "payload": claims.payload.hex(),
        "runtime": claims.runtime.hex(),
        "sandbox": list(claims.sandbox),
    }
