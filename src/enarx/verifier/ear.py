"""EAT Attestation Results (EAR): a verdict as a signed statement that others can check.

An EAR says of one or more attesters which trust tier an appraisal gave them, under which
policy, and why (the AR4SI trust vector). Tokens are read and written as JWT
(:mod:`enarx.verifier.ear_jwt`) and as CWT (:mod:`enarx.verifier.ear_cwt`); how claims are
named in each is in :mod:`enarx.verifier.ear_claims`.

Sources: draft-ietf-rats-ear, sections 3 (claims) and 4 (extensions); draft-ietf-rats-ar4si,
section 2.3 (tiers and vector); RFC 9711 (EAT).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, Final, NoReturn

from enarx.errors import UsageError, VerificationError
from enarx.verifier.trace import Claim, Tier, worst
from enarx.verifier.verdict import Verdict

PROFILE: Final = "tag:github.com,2023:veraison/ear"
"""The profile that the draft names; what we write carries it."""

APPRAISAL_EXTENSION: Final = "enarx.appraisal"
"""Our own claim of an appraisal: cause of failure, genuine, simulated, failed links."""

MAX_FAILED_LINKS: Final = 32
"""Names of failed links that a token carries; a hopeless report fails about twenty."""

NO_LEEWAY: Final = timedelta(0)

_NONE: Final[Mapping[str, Any]] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifierId:
    """Which software made the appraisal: a build, and who is responsible for it."""

    build: str
    developer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Appraisal:
    """What an EAR says of one attester.

    Attributes:
        status: the tier as the token states it.
        trust_vector: AR4SI values from -128 to 127; claims that are not made are left out.
        policy_id: the appraisal policy; ``None`` where the token does not say.
        extensions: further claims, as they were; nothing here judges by them.
    """

    status: Tier
    trust_vector: Mapping[Claim, int] = field(default_factory=dict)
    policy_id: str | None = None
    extensions: Mapping[str | int, Any] = field(default_factory=dict)

    @property
    def tier(self) -> Tier:
        """The tier that counts: the status, but never better than the worst of the vector.

        A status of none is no affirmation, whatever the vector affirms.
        Source: draft-ietf-rats-ear, section 3.2 (``ear.status``).
        """
        decided = worst((self.status, *map(tier_of_value, self.trust_vector.values())))
        unsaid = self.status is Tier.NONE and decided is Tier.AFFIRMING
        return Tier.NONE if unsaid else decided


@dataclass(frozen=True, slots=True, kw_only=True)
class Ear:
    """The claims of an attestation result. Reading a token gives one only if it verifies.

    Attributes:
        profile: the EAT profile, a URI or OID.
        verifier: who appraised.
        appraisals: by label of the attester; at least one.
        issued, not_before, expires: aware, UTC, whole seconds; ``None`` where not stated.
        nonce: what the relying party asked to be echoed; bytes in CWT, text in JWT.
        raw_evidence: the evidence that was appraised, if the token carries it.
        extensions: further claims, as they were.
    """

    profile: str
    verifier: VerifierId
    appraisals: Mapping[str, Appraisal]
    issued: datetime | None = None
    not_before: datetime | None = None
    expires: datetime | None = None
    nonce: tuple[bytes | str, ...] = ()
    raw_evidence: bytes | None = None
    extensions: Mapping[str | int, Any] = field(default_factory=dict)

    def __bool__(self) -> NoReturn:
        raise TypeError("an EAR has no truth value: call require(), or compare its tier")

    @property
    def tier(self) -> Tier:
        """The worst tier of all attesters; one of tier none leaves the whole at none."""
        tiers = [appraisal.tier for appraisal in self.appraisals.values()]
        decided = worst(tiers)
        return Tier.NONE if decided is Tier.AFFIRMING and Tier.NONE in tiers else decided

    def require(self, *, accept_warning: bool = False) -> Ear:
        """Return the result if every attester is affirmed; raise otherwise.

        Args:
            accept_warning: also go on with a warning. Say so only where a person decided it.

        Raises:
            VerificationError: some attester is not affirmed.
        """
        tier = self.tier
        if tier is Tier.AFFIRMING or (accept_warning and tier is Tier.WARNING):
            return self
        said = ", ".join(f"{label} is {one.tier}" for label, one in self.appraisals.items())
        raise VerificationError(
            f"attestation result by {self.verifier.developer} is {tier}: {said}",
            hint="ask the verifier for the trace of its verdict",
            code=f"verification.{tier}",
        )

    def check_time(self, at: datetime, *, leeway: timedelta = NO_LEEWAY) -> None:
        """Check that the token is valid at a time.

        Args:
            at: the time to judge at; aware, UTC.
            leeway: by how much the issuer's clock may be ahead or behind.

        Raises:
            UsageError: ``at`` is not in UTC.
            VerificationError: expired, or not valid yet (``ear.time``).
        """
        if at.utcoffset() != timedelta(0):
            raise UsageError(
                f"the time {at.isoformat()} is not in UTC",
                hint="pass an aware datetime in UTC",
                code="ear.time-zone",
            )
        if self.expires is not None and at >= self.expires + leeway:
            _untimely(f"expired at {self.expires.isoformat()}, it is {at.isoformat()}")
        for what, start in (("issued", self.issued), ("valid", self.not_before)):
            if start is not None and at < start - leeway:
                _untimely(f"{what} only from {start.isoformat()}, it is {at.isoformat()}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A token that verified.

    Attributes:
        ear: what it says.
        header: as the sender wrote it; nothing in it was believed.
        claims: all claims as they were written.
    """

    ear: Ear
    header: Mapping[Any, Any]
    claims: Mapping[Any, Any]


def _untimely(problem: str) -> NoReturn:
    raise VerificationError(
        f"attestation result is {problem}",
        hint="ask the verifier for a new one, and check both clocks",
        code="ear.time",
    )


_TIER_BOUNDS: Final = (
    (Tier.CONTRAINDICATED, range(96, 128), range(-128, -96)),
    (Tier.WARNING, range(32, 96), range(-96, -32)),
    (Tier.AFFIRMING, range(2, 32), range(-32, -1)),
)
"""draft-ietf-rats-ar4si, section 2.3.2: standard values, and those private to a verifier."""


def tier_of_value(value: int) -> Tier:
    """The tier that a value of the trust vector belongs to."""
    for tier, standard, private in _TIER_BOUNDS:
        if value in standard or value in private:
            return tier
    return Tier.NONE


def ear_of(
    verdict: Verdict,
    *,
    verifier: VerifierId,
    issued: datetime,
    lifetime: timedelta | None = None,
    nonce: bytes | None = None,
    raw_evidence: bytes | None = None,
) -> Ear:
    """State a verdict as an EAR; the attester's label is its technology.

    Args:
        verdict: what came of an appraisal.
        verifier: who says so.
        issued: now; aware, UTC.
        lifetime: how long the statement may be relied on; never longer than the verdict is.
        nonce: 8 to 64 bytes to echo.
        raw_evidence: the evidence itself, for auditors; it may identify a machine.
    """
    ends = [end for end in (verdict.valid_until, issued + lifetime if lifetime else None) if end]
    failed = list(dict.fromkeys(link.name for link in verdict.failed))[:MAX_FAILED_LINKS]
    appraisal = Appraisal(
        status=verdict.tier,
        trust_vector=dict(verdict.trust_vector),
        policy_id=verdict.policy,
        extensions={
            APPRAISAL_EXTENSION: {
                "failed": failed,
                "failure": None if verdict.failure is None else verdict.failure.value,
                "genuine": verdict.genuine,
                "simulated": verdict.simulated,
            }
        },
    )
    return Ear(
        profile=PROFILE,
        verifier=verifier,
        appraisals={verdict.kind: appraisal},
        issued=_whole_seconds(issued),
        expires=_whole_seconds(min(ends)) if ends else None,
        nonce=() if nonce is None else (nonce,),
        raw_evidence=raw_evidence,
    )


def _whole_seconds(time: datetime) -> datetime:
    return time.astimezone(UTC).replace(microsecond=0)
