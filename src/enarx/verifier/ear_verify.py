"""Somebody else's verdict as evidence: is this attestation result genuine, and what does it say?

1. The token: signed by the verifier's key, which the relying party supplies (role ``key``).
   Keys that the token itself names are never used.
2. The claims are those of an EAR.
3. It is in date.
4. What it says of each attester becomes a link of its own; no claim is not an affirmation.
   A result that says it is about simulated silicon is as simulated as that.

Source: draft-ietf-rats-ear, section 3; RFC 9334, section 8.5 (appraisal of attestation results).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ec

from enarx.errors import EnarxError, ParseError, VerificationError
from enarx.verifier import roots
from enarx.verifier.cache import Cache
from enarx.verifier.ear import APPRAISAL_EXTENSION, Appraisal, Ear, tier_of_value
from enarx.verifier.ear_cwt import open_cwt
from enarx.verifier.ear_envelope import Envelope
from enarx.verifier.ear_jwt import open_jwt
from enarx.verifier.ear_keys import load_key
from enarx.verifier.endorsements import Endorsements
from enarx.verifier.trace import Claim, Failure, Tier, Trace
from enarx.verifier.verified import RootOfTrust, Verified

KEY_ROLE: Final = "key"
SOURCE: Final = "draft-ietf-rats-ear, section 3"

_TEXT_SIGNS: Final = frozenset(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=. \t\r\n"
)


class EarTechnology:
    """How attestation results are read and verified."""

    kind = "ear"

    def parse(self, evidence: bytes) -> Envelope:
        """Open a JWT or a CWT.

        Raises:
            ParseError: neither.
        """
        return open_jwt(evidence) if set(evidence) <= _TEXT_SIGNS else open_cwt(evidence)

    def verify(
        self, evidence: Envelope, *, endorsements: Endorsements, at: datetime, cache: Cache
    ) -> Verified:
        """Run all steps of this module's docstring."""
        trace = Trace()
        key = _key(endorsements, trace)
        signed = key is not None and _check_signature(evidence, key, trace)  # 1.
        # What an unsigned token claims is nobody's word: it is not looked at.
        ear = _check_claims(evidence, trace) if signed else None  # 2.
        if ear is not None:
            _check_time(ear, at, trace)  # 3.
        simulated = ear is not None and _is_simulated(ear)
        genuine = trace.sound and not simulated
        if ear is not None:
            for label, appraisal in ear.appraisals.items():
                _add_appraisal(label, appraisal, trace)  # 4.
        return Verified(
            kind=self.kind,
            evidence=evidence,
            at=at,
            links=trace.links,
            genuine=genuine,
            root=_SIMULATED if simulated else None,
            has_report=False,  # a verdict on evidence is not evidence
            describe=lambda: _describe(evidence),
            product="EAR",
            valid_until=ear.expires if ear is not None else None,
        )


TECHNOLOGY: Final = EarTechnology()


_SIMULATED: Final = RootOfTrust(
    name=roots.SIMULATED_ROOT_NAME, spki_sha256=b"", pinned=False, simulated=True
)
"""Which simulated silicon a result is about it does not say: a policy that names roots refuses."""


def _is_simulated(ear: Ear) -> bool:
    said = (one.extensions.get(APPRAISAL_EXTENSION) for one in ear.appraisals.values())
    return any(isinstance(one, Mapping) and one.get("simulated") is not False for one in said)


def _key(endorsements: Endorsements, trace: Trace) -> ec.EllipticCurvePublicKey | None:
    data = endorsements.role(KEY_ROLE)
    problem = "none was supplied" if data is None else ""
    key: ec.EllipticCurvePublicKey | None = None
    if data is not None:
        try:
            key = load_key(data)
        except ParseError as error:
            problem = error.message
    trace.check(
        key is not None,
        "ear.key",
        "public key of the verifier that is trusted",
        failure=Failure.COLLATERAL,
        claim=Claim.INSTANCE_IDENTITY,
        expected="a P-256 or P-384 key, JWK or PEM",
        found=problem or "supplied",
        source="RFC 8725, section 3.10",
        remedy="get it from the verifier itself and pass it with --with key=FILE",
    )
    return key


def _check_signature(envelope: Envelope, key: ec.EllipticCurvePublicKey, trace: Trace) -> bool:
    try:
        envelope.verify(key)
        problem = ""
    except VerificationError as error:
        problem = error.message
    return trace.check(
        not problem,
        "ear.signature",
        "attestation result is signed by that key",
        failure=Failure.SIGNATURE,
        claim=Claim.INSTANCE_IDENTITY,
        expected="a signature that verifies, of the key's own algorithm",
        found=problem or str(envelope.algorithm),
        source="RFC 7515, section 5.2; RFC 9052, section 4.4",
        remedy="check that this is the key of the verifier that issued it",
        depth=1,
    )


def _check_claims(envelope: Envelope, trace: Trace) -> Ear | None:
    ear: Ear | None = None
    problem = ""
    try:
        ear = envelope.read()
    except EnarxError as error:
        problem = error.message
    trace.check(
        ear is not None,
        "ear.claims",
        "claims are those of an attestation result",
        failure=Failure.SCHEMA,
        claim=Claim.INSTANCE_IDENTITY,
        expected="eat_profile, ear.verifier-id, submods with ear.status",
        found=problem if ear is None else ear.profile,
        source=SOURCE,
        remedy="ask the verifier for an EAR",
        depth=1,
    )
    return ear


def _check_time(ear: Ear, at: datetime, trace: Trace) -> None:
    try:
        ear.check_time(at)
        problem = ""
    except VerificationError as error:
        problem = error.message
    trace.check(
        not problem,
        "ear.time",
        "attestation result is in date",
        failure=Failure.TIME,
        claim=Claim.INSTANCE_IDENTITY,
        expected=at.isoformat(),
        found=problem or (ear.issued.isoformat() if ear.issued else "issued at an unknown time"),
        source="RFC 7519, section 4.1",
        valid_until=ear.expires,
        remedy="ask the verifier for a new one",
        depth=1,
    )


def _add_appraisal(label: str, appraisal: Appraisal, trace: Trace) -> None:
    # What the verifier makes no claim about is not affirmed: that must not look like a pass.
    outcome = Tier.CONTRAINDICATED if appraisal.tier is Tier.NONE else appraisal.tier
    trace.check(
        outcome is Tier.AFFIRMING,
        "ear.status",
        f"verifier's verdict on {label}",
        failure=Failure.POLICY,
        claim=_worst_claim(appraisal.trust_vector),
        expected="affirming",
        found=appraisal.status.value,
        source=SOURCE,
        remedy="ask the verifier why",
        otherwise=outcome,
        depth=2,
    )
    for claim, value in appraisal.trust_vector.items():
        tier = tier_of_value(value)
        trace.check(
            tier in (Tier.AFFIRMING, Tier.NONE),
            "ear.trust-vector",
            f"{claim.value} of {label}",
            failure=Failure.POLICY,
            claim=claim,
            expected="an affirming value",
            found=f"{value} ({tier.value})",
            source="draft-ietf-rats-ar4si, section 2.3",
            otherwise=tier,
            depth=3,
        )


def _worst_claim(vector: Mapping[Claim, int]) -> Claim:
    rank = {Tier.NONE: 0, Tier.AFFIRMING: 1, Tier.WARNING: 2, Tier.CONTRAINDICATED: 3}
    return max(vector, key=lambda one: rank[tier_of_value(vector[one])], default=Claim.HARDWARE)


def _describe(envelope: Envelope) -> dict[str, Any]:
    return {"header": _plain(envelope.header), "claims": _plain(envelope.claims)}


def _plain(value: Any) -> Any:
    """CBOR values as JSON can show them: byte strings in hex, numbers of keys as text."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Mapping):
        return {
            key if isinstance(key, str) else _plain_key(key): _plain(one)
            for key, one in value.items()
        }
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value


def _plain_key(key: Any) -> str:
    return key.hex() if isinstance(key, bytes) else str(key)
