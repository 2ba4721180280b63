"""The verdict: an EAT Attestation Result (draft-ietf-rats-ear) that cannot be overlooked.

A verdict has no truth value. Who wants to go on calls :meth:`Verdict.require`,
which raises unless the verdict is affirming.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, NoReturn

from enarx.errors import VerificationError
from enarx.verifier.trace import Claim, Failure, Link, Tier, cause, trust_vector, worst
from enarx.verifier.verified import Verified


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What came of an appraisal.

    Attributes:
        kind: the technology of the evidence, or what carried it (``"ra-tls"``).
        tier: affirming, warning, contraindicated or none.
        failure: the class of the cause when the tier is contraindicated, else ``None``.
        genuine: all signatures, chains, bindings and dates good, under a pinned vendor root.
        simulated: the chain ends in simulated silicon: it protects nothing.
        trace: every link of the chain of trust, root first.
        policy: name of the policy that was applied.
        at: the time of appraisal.
        valid_until: when the first thing it rests on runs out; ``None`` for never.
        verified: the verified evidence, for callers that need more.
    """

    kind: str
    tier: Tier
    failure: Failure | None
    genuine: bool
    simulated: bool
    trace: tuple[Link, ...]
    policy: str
    at: datetime
    valid_until: datetime | None
    verified: Verified | None = field(repr=False)
    _describe: Callable[[], dict[str, Any]] = field(repr=False)

    def __bool__(self) -> NoReturn:
        raise TypeError(
            "a Verdict has no truth value: call require(), or compare its tier explicitly"
        )

    @cached_property
    def fields(self) -> Mapping[str, Any]:
        """Parsed values of the evidence, in documented names and forms (hex, integers)."""
        return self._describe()

    @cached_property
    def trust_vector(self) -> Mapping[Claim, int]:
        """The AR4SI trust vector; claims nothing speaks for are left out."""
        return trust_vector(self.trace)

    @property
    def failed(self) -> tuple[Link, ...]:
        """The links that are contraindicated."""
        return tuple(link for link in self.trace if link.outcome is Tier.CONTRAINDICATED)

    @property
    def warnings(self) -> tuple[Link, ...]:
        """The links that warn."""
        return tuple(link for link in self.trace if link.outcome is Tier.WARNING)

    def require(self, *, accept_warning: bool = False) -> Verdict:
        """Return the verdict if it is affirming; raise otherwise.

        Args:
            accept_warning: also go on with a warning. Say so only where a person decided it.

        Raises:
            VerificationError: the verdict does not allow to go on.
        """
        if self.tier is Tier.AFFIRMING or (accept_warning and self.tier is Tier.WARNING):
            return self
        bad = self.failed or self.warnings
        reasons = "; ".join(_reason(link) for link in bad[:4]) or "nothing was verified"
        more = f" (and {len(bad) - 4} more)" if len(bad) > 4 else ""
        first = next((link for link in bad if link.failure == self.failure), None)
        raise VerificationError(
            f"{self.kind} evidence is {self.tier.value} under policy '{self.policy}': "
            f"{reasons}{more}",
            hint=(first.remedy if first and first.remedy else "see the trace of the verdict"),
            code=f"verification.{self.failure or self.tier}",
        )


def _reason(link: Link) -> str:
    if link.expected and link.found:
        return f"{link.subject}: expected {link.expected}, found {link.found}"
    return f"{link.subject}: {link.found or 'failed'}"


def conclude(verified: Verified, *, links: tuple[Link, ...], policy: str) -> Verdict:
    """Add up links to a verdict; the worst decides, the cause names the failure."""
    tier = worst(link.outcome for link in links)
    failure = cause(
        link.failure
        for link in links
        if link.outcome is Tier.CONTRAINDICATED and link.failure is not None
    )
    # A rule such as the maximum age may let go of what the evidence itself would still allow.
    ends = [link.valid_until for link in links if link.ok and link.valid_until is not None]
    if verified.valid_until is not None:
        ends.append(verified.valid_until)
    return Verdict(
        kind=verified.carrier or verified.kind,
        tier=tier,
        failure=failure,
        genuine=verified.genuine,
        simulated=verified.simulated,
        trace=links,
        policy=policy,
        at=verified.at,
        valid_until=min(ends, default=None),
        verified=verified,
        _describe=verified.describe,
    )
