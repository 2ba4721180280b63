"""The chain of trust, link by link: what was checked, against what, and what came of it.

Every check that a verifier makes adds one :class:`Link`. All checks run and all
of them are reported; the first that fails never hides the others. The tier of a
verdict is the worst of its links, and the one ``failure`` of a verdict is the one
that comes first in :class:`Failure`, which is ordered by cause: a report whose
certificate chain is broken also carries a signature that cannot be checked, and
what is wrong with it is the chain.

Sources: RFC 9334 (roles), draft-ietf-rats-ar4si (tiers and trust vector).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Final

import msgspec


class Tier(StrEnum):
    """The four trust tiers of AR4SI (draft-ietf-rats-ar4si, section 2.3.2)."""

    NONE = "none"
    AFFIRMING = "affirming"
    WARNING = "warning"
    CONTRAINDICATED = "contraindicated"


_SEVERITY: Final = {
    Tier.NONE: 0,
    Tier.AFFIRMING: 1,
    Tier.WARNING: 2,
    Tier.CONTRAINDICATED: 3,
}


def worst(tiers: Iterable[Tier]) -> Tier:
    """The tier that decides: contraindicated over warning over affirming over none."""
    return max(tiers, key=_SEVERITY.__getitem__, default=Tier.NONE)


class Failure(StrEnum):
    """Why evidence is not believed. The order is the precedence: the earliest is the cause."""

    STRUCTURE = "structure"
    """The bytes, a version or a certificate have a form that no genuine evidence has."""
    SCHEMA = "schema"
    """Well-formed, but a field that must be there is missing or has an impossible value."""
    CHAIN = "chain"
    """A certificate is missing, damaged or not signed by the one above it."""
    ROOT = "root"
    """The chain ends in a root that is not pinned."""
    SIMULATED = "simulated"
    """The chain ends in simulated silicon, and the policy does not allow that."""
    REVOKED = "revoked"
    """A certificate is on a revocation list of its issuer."""
    BINDING = "binding"
    """Two things that are each good do not belong together."""
    TCB_MISMATCH = "tcb_mismatch"
    """The TCB in the evidence is not the TCB that the certificate speaks of."""
    SIGNATURE = "signature"
    """The signature over the evidence itself does not verify."""
    COLLATERAL = "collateral"
    """Reference material of the vendor is missing, damaged or about something else."""
    DEBUG = "debug"
    """The host may read or change the memory of the attester."""
    TIME = "time"
    """Something is not valid yet, or not any more."""
    TCB_STATUS = "tcb_status"
    """Genuine, but the platform has a TCB that the policy does not accept."""
    MEASUREMENT = "measurement"
    """Genuine, but not the code that was expected."""
    INIT_DATA = "init_data"
    """Genuine, but started with other data than expected."""
    POLICY = "policy"
    """Genuine, but a rule of the policy is not met."""


_PRECEDENCE: Final = {failure: rank for rank, failure in enumerate(Failure)}


def cause(failures: Iterable[Failure]) -> Failure | None:
    """The one failure that names the cause; ``None`` when there is none."""
    return min(failures, key=_PRECEDENCE.__getitem__, default=None)


class Claim(StrEnum):
    """The eight claims of the AR4SI trust vector (draft-ietf-rats-ar4si, section 2.3)."""

    INSTANCE_IDENTITY = "instance-identity"
    CONFIGURATION = "configuration"
    EXECUTABLES = "executables"
    FILE_SYSTEM = "file-system"
    HARDWARE = "hardware"
    RUNTIME_OPAQUE = "runtime-opaque"
    STORAGE_OPAQUE = "storage-opaque"
    SOURCED_DATA = "sourced-data"


AFFIRMING_VALUE: Final = 2
WARNING_VALUE: Final = 32
CONTRAINDICATED_VALUE: Final = 96
UNRECOGNIZED_VALUE: Final = 97
CRYPTO_FAILED_VALUE: Final = 99
"""AR4SI, section 2.3.2: cryptographic validation of the evidence has failed."""

_CRYPTOGRAPHIC: Final = frozenset(
    {
        Failure.CHAIN,
        Failure.REVOKED,
        Failure.SIGNATURE,
        Failure.COLLATERAL,
    }
)
_UNRECOGNIZED: Final = frozenset({Failure.ROOT, Failure.SIMULATED})
_TIER_VALUE: Final = {
    Tier.NONE: 0,
    Tier.AFFIRMING: AFFIRMING_VALUE,
    Tier.WARNING: WARNING_VALUE,
    Tier.CONTRAINDICATED: CONTRAINDICATED_VALUE,
}


class Link(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One link of the chain of trust.

    Attributes:
        name: stable dotted name of the check, such as ``"snp.report.signature"``.
        subject: what was checked, for a person.
        outcome: the tier this check alone gives.
        claim: the claim of the trust vector that it speaks for.
        expected, found: the two sides of the comparison, as text (hex for bytes).
        failure: why it failed; ``None`` unless the outcome is warning or contraindicated.
        source: specification and section that ask for the check.
        valid_until: when what was found stops being good; ``None`` for never.
        remedy: what to do about a failure, one sentence; empty where nothing can be done.
        depth: how far below the root of trust this link hangs (root 0).
    """

    name: str
    subject: str
    outcome: Tier
    claim: Claim
    expected: str = ""
    found: str = ""
    failure: Failure | None = None
    source: str = ""
    valid_until: datetime | None = None
    remedy: str = ""
    depth: int = 0

    @property
    def ok(self) -> bool:
        """Whether the check found what it expected."""
        return self.outcome is Tier.AFFIRMING or self.outcome is Tier.NONE


class Trace:
    """Collects links while checks run; nothing stops at the first failure."""

    __slots__ = ("_links",)

    def __init__(self, links: Iterable[Link] = ()) -> None:
        self._links: list[Link] = list(links)

    def add(self, link: Link) -> None:
        """Append a link that was made elsewhere."""
        self._links.append(link)

    def extend(self, links: Iterable[Link]) -> None:
        """Append many links."""
        self._links.extend(links)

    def check(
        self,
        holds: bool,
        name: str,
        subject: str,
        *,
        failure: Failure,
        claim: Claim = Claim.HARDWARE,
        expected: str = "",
        found: str = "",
        source: str = "",
        remedy: str = "",
        valid_until: datetime | None = None,
        otherwise: Tier = Tier.CONTRAINDICATED,
        depth: int = 0,
    ) -> bool:
        """Record that a check held or did not, and say which.

        Args:
            holds: what came of the check.
            otherwise: the tier when it does not hold (``WARNING`` for what is only unwise).

        Returns:
            ``holds``, so that checks that only make sense after this one can depend on it.
        """
        if holds:
            link = Link(
                name=name,
                subject=subject,
                outcome=Tier.AFFIRMING,
                claim=claim,
                expected=expected,
                found=found,
                source=source,
                valid_until=valid_until,
                depth=depth,
            )
        else:
            link = Link(
                name=name,
                subject=subject,
                outcome=otherwise,
                claim=claim,
                expected=expected,
                found=found,
                failure=failure,
                source=source,
                valid_until=valid_until,
                remedy=remedy,
                depth=depth,
            )
        self._links.append(link)
        return holds

    def note(
        self, name: str, subject: str, *, found: str = "", claim: Claim = Claim.HARDWARE,
        source: str = "", remedy: str = "", depth: int = 0,
    ) -> None:  # fmt: skip
        """Record a fact that speaks neither for nor against (tier ``none``)."""
        self._links.append(
            Link(
                name=name,
                subject=subject,
                outcome=Tier.NONE,
                claim=claim,
                found=found,
                source=source,
                remedy=remedy,
                depth=depth,
            )
        )

    @property
    def links(self) -> tuple[Link, ...]:
        """What has been collected so far, in order."""
        return tuple(self._links)

    @property
    def sound(self) -> bool:
        """Whether no check so far is contraindicated."""
        return all(link.outcome is not Tier.CONTRAINDICATED for link in self._links)


def trust_vector(links: Iterable[Link]) -> dict[Claim, int]:
    """The AR4SI trust vector that links add up to: per claim, the worst of its links.

    Claims that no link speaks for are left out (no claim is made).
    """
    worst_link: dict[Claim, Link] = {}
    for link in links:
        if link.outcome is Tier.NONE:
            continue
        seen = worst_link.get(link.claim)
        if seen is None or _badness(link) > _badness(seen):
            worst_link[link.claim] = link
    return {claim: _value(worst_link[claim]) for claim in Claim if claim in worst_link}


def _badness(link: Link) -> tuple[int, int]:
    return _SEVERITY[link.outcome], _value(link)


def _value(link: Link) -> int:
    if link.outcome is Tier.CONTRAINDICATED:
        if link.failure in _CRYPTOGRAPHIC:
            return CRYPTO_FAILED_VALUE
        if link.failure in _UNRECOGNIZED:
            return UNRECOGNIZED_VALUE
    return _TIER_VALUE[link.outcome]
