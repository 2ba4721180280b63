"""Links of DCAP verification that can be made before the time of appraisal is known.

A platform's standing is the same for every quote it makes, except for the time: so a check of
dates is kept as a :class:`Window`, and becomes a link when somebody asks at a certain time.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from enarx.verifier.crl import RevocationList
from enarx.verifier.trace import Claim, Failure, Link, Tier, Trace
from enarx.verifier.x509 import Certificate

QUOTE_FORMAT = "Intel SGX ECDSA Quote Library Reference, appendix A.4"
PCS = "Intel PCS API v4"
PCK_PROFILE = "Intel PCK Certificate and CRL Profile"
FOREIGN = "do not trust the host that sent this"
REFETCH = "fetch the collateral again (enarx endorsements fetch)"
CLOCK = "check the clock of this machine; if it is right, do not trust this host"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Window:
    """A period within which something counts.

    Attributes:
        start: it counts from here on.
        end: it counts until here; None for something that never counts.
        inclusive: whether ``end`` itself is still inside.
        good: the link for a time inside.
        remedy: what to do about a time outside.
    """

    start: datetime
    end: datetime | None
    inclusive: bool
    good: Link
    remedy: str

    def at(self, time: datetime) -> Link:
        """The link for an appraisal at this time."""
        end = self.end
        if (
            end is not None
            and self.start <= time
            and (time < end or (self.inclusive and time == end))
        ):
            return self.good
        good = self.good
        return Link(
            name=good.name,
            subject=good.subject,
            outcome=Tier.CONTRAINDICATED,
            claim=good.claim,
            expected=good.expected,
            found=time.isoformat(),
            failure=Failure.TIME,
            source=good.source,
            valid_until=end,
            remedy=self.remedy,
            depth=good.depth,
        )


Entry = Link | Window
"""A finished link, or one that waits for the time."""


def make_link(
    holds: bool,
    name: str,
    subject: str,
    *,
    failure: Failure,
    claim: Claim = Claim.INSTANCE_IDENTITY,
    expected: str,
    found: str,
    source: str,
    remedy: str,
    depth: int,
) -> Link:
    """One link by itself; arguments as for :meth:`enarx.verifier.trace.Trace.check`."""
    trace = Trace()
    trace.check(
        holds,
        name,
        subject,
        failure=failure,
        claim=claim,
        expected=expected,
        found=found,
        source=source,
        remedy=remedy,
        depth=depth,
    )
    return trace.links[0]


def certificate_window(kind: str, certificate: Certificate, *, depth: int) -> Window:
    """Validity of a certificate; both ends are inside (RFC 5280, section 4.1.2.5)."""
    return _window(
        f"{kind}.certificate.dates",
        f"{certificate.common_name or 'certificate'} is in date",
        certificate.not_before,
        certificate.not_after,
        inclusive=True,
        source="RFC 5280, section 4.1.2.5",
        remedy=CLOCK,
        depth=depth,
    )


def crl_window(kind: str, crl: RevocationList) -> Window:
    """Validity of a revocation list; one without an end never counts."""
    return _window(
        f"{kind}.crl.dates",
        f"revocation list of {crl.issuer_common_name} is in date",
        crl.this_update,
        crl.next_update,
        inclusive=True,
        source="RFC 5280, section 5.1.2",
        remedy=REFETCH,
        depth=1,
    )


def document_window(kind: str, name: str, start: datetime, end: datetime) -> Window:
    """Validity of a TCB info or QE identity: issueDate <= time < nextUpdate."""
    return _window(
        f"{kind}.{name}.dates",
        f"{name.replace('_', ' ').replace('tcb', 'TCB').replace('qe', 'QE')} is in date",
        start,
        end,
        inclusive=False,
        source=PCS,
        remedy=REFETCH,
        depth=1,
    )


def _window(
    name: str,
    subject: str,
    start: datetime,
    end: datetime | None,
    *,
    inclusive: bool,
    source: str,
    remedy: str,
    depth: int,
) -> Window:
    last = end.isoformat() if end else "no end given"
    period = f"{start.isoformat()} to {last}"
    good = Link(
        name=name,
        subject=subject,
        outcome=Tier.AFFIRMING,
        claim=Claim.INSTANCE_IDENTITY,
        expected=period,
        found="within",
        source=source,
        valid_until=end,
        depth=depth,
    )
    return Window(start=start, end=end, inclusive=inclusive, good=good, remedy=remedy)
