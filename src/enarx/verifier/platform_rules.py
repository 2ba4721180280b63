"""Rules about the platform: its product, how current it is, and how recent that knowledge is."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from enarx.verifier.expected import EVIDENCE_DEPTH
from enarx.verifier.trace import Claim, Failure, Tier, Trace
from enarx.verifier.verified import Verified


class TcbStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The vendor's TCB status is one that is accepted, or one that only warns.

    Technologies whose vendor gives no status (SNP) are not judged by it, nor is evidence
    without collateral (its absence is another link; see :class:`CollateralRequired`).
    """

    accepted: tuple[str, ...]
    warned: tuple[str, ...] = ()

    def __call__(self, subject: Verified, trace: Trace, /) -> None:
        """See the class."""
        status = subject.tcb_status
        if status is None:
            return
        advisories = f" ({', '.join(subject.advisories)})" if subject.advisories else ""
        trace.check(
            status in self.accepted,
            f"{subject.kind}.tcb_status",
            "TCB status is accepted",
            failure=Failure.TCB_STATUS,
            expected=" or ".join(self.accepted),
            found=status + advisories,
            source="Intel PCS API v4, TCB info: tcbLevels",
            remedy=subject.tcb_remedy
            or "update BIOS, microcode and firmware of the platform, then attest again",
            valid_until=subject.valid_until,
            otherwise=Tier.WARNING if status in self.warned else Tier.CONTRAINDICATED,
            depth=EVIDENCE_DEPTH,
        )


class Advisories(msgspec.Struct, frozen=True, kw_only=True):
    """Every advisory that applies to the TCB is one the relying party has accepted."""

    accepted: tuple[str, ...]
    otherwise: Tier = Tier.CONTRAINDICATED

    def __call__(self, subject: Verified, trace: Trace, /) -> None:
        """See the class."""
        if subject.tcb_status is None:
            return
        open_ones = [name for name in subject.advisories if name not in self.accepted]
        trace.check(
            not open_ones,
            f"{subject.kind}.advisories",
            "every advisory that applies is accepted",
            failure=Failure.TCB_STATUS,
            expected="none but " + (", ".join(self.accepted) or "none"),
            found=", ".join(open_ones) or "none",
            source="Intel PCS API v4, TCB info: advisoryIDs",
            remedy="update the platform, or accept the advisory by its id in the policy",
            otherwise=self.otherwise,
            depth=EVIDENCE_DEPTH,
        )


class Products(msgspec.Struct, frozen=True, kw_only=True):
    """The product line is accepted, or one that only warns (with the reason)."""

    accepted: tuple[str, ...]
    warned: tuple[str, ...] = ()
    reason: str = ""

    def __call__(self, subject: Verified, trace: Trace, /) -> None:
        """See the class."""
        known = subject.product in self.warned
        trace.check(
            subject.product in self.accepted,
            f"{subject.kind}.product",
            "product line is accepted",
            failure=Failure.POLICY,
            expected=" or ".join(self.accepted),
            found=(subject.product or "unknown") + (f": {self.reason}" if known else ""),
            source="policy products",
            remedy="use a machine of an accepted product line",
            otherwise=Tier.WARNING if known else Tier.CONTRAINDICATED,
            depth=EVIDENCE_DEPTH,
        )


class MinimumTcb(msgspec.Struct, frozen=True, kw_only=True):
    """Every TCB version in the evidence is at least this one, component by component.

    Attributes:
        product: the product line, or variant of one, this minimum is for; others are not judged.
        minimum: security versions by component name.
    """

    product: str
    minimum: dict[str, int]
    otherwise: Tier = Tier.CONTRAINDICATED

    def __call__(self, subject: Verified, trace: Trace, /) -> None:
        """See the class."""
        if (subject.variant or subject.product) != self.product:
            return
        tcbs = dict(subject.tcbs) or {"platform": subject.tcb}
        for which, tcb in tcbs.items():
            low = [name for name, least in self.minimum.items() if tcb.get(name, -1) < least]
            trace.check(
                not low,
                f"{subject.kind}.minimum_tcb.{which}",
                f"{which} TCB is at least the minimum for {self.product}",
                failure=Failure.TCB_STATUS,
                expected=_versions(self.minimum),
                found=_versions(tcb),
                source="policy minimum_tcb",
                remedy=_update_remedy(which, low, self.minimum, tcb),
                otherwise=self.otherwise,
                depth=EVIDENCE_DEPTH,
            )


class TcbsInOrder(msgspec.Struct, frozen=True):
    """No TCB the host may choose or commit to is above the one that runs (SNP).

    Firmware keeps this order (AMD 56860, sections 3.3 and 8.7); a report that breaks it comes
    from firmware that does not.
    """

    def __call__(self, subject: Verified, trace: Trace, /) -> None:
        """See the class."""
        current = subject.tcbs.get("current")
        if subject.kind != "snp" or current is None:
            return
        for which in ("reported", "committed"):
            tcb = subject.tcbs.get(which, {})
            trace.check(
                bool(tcb)
                and all(version <= current.get(name, -1) for name, version in tcb.items()),
                f"snp.tcb_order.{which}",
                f"{which} TCB is not above the current one",
                failure=Failure.TCB_STATUS,
                expected=f"at most {_versions(current)}",
                found=_versions(tcb),
                source="AMD 56860, section 3.3",
                remedy="do not trust this host's firmware",
                depth=EVIDENCE_DEPTH,
            )


def _versions(tcb: object) -> str:
    if not hasattr(tcb, "items"):
        return "nothing"
    return " ".join(f"{name} {version}" for name, version in tcb.items()) or "nothing"


def _update_remedy(which: str, low: list[str], minimum: dict[str, int], found: object) -> str:
    if not low:
        return ""
    name = low[0]
    has = getattr(found, "get", lambda _name, _other: "none")(name, "none")
    parts = {
        "ucode": "microcode",
        "snp": "SEV-SNP firmware",
        "bl": "boot loader (BIOS)",
        "tee": "TEE firmware (BIOS)",
        "fmc": "FMC (BIOS)",
    }
    return (
        f"{which} TCB: {parts.get(name, name)} is {has}, needs {minimum[name]}: "
        f"update the {parts.get(name, name)} of the host"
    )


class RevocationChecked(msgspec.Struct, frozen=True, kw_only=True):
    """Revocation lists for the chain were supplied (and were found good)."""

    otherwise: Tier = Tier.CONTRAINDICATED

    def __call__(self, subject: Verified, trace: Trace, /) -> None:
        """See the class."""
        trace.check(
            subject.revocation_checked,
            f"{subject.kind}.revocation",
            "revocation lists of the chain were checked",
            failure=Failure.COLLATERAL,
            claim=Claim.INSTANCE_IDENTITY,
            expected="checked",
            found="checked" if subject.revocation_checked else "no list supplied",
            source="RFC 5280, section 6.3",
            remedy="supply the vendor's revocation list (enarx endorsements fetch)",
            otherwise=self.otherwise,
            depth=1,
        )


class CollateralRequired(msgspec.Struct, frozen=True, kw_only=True):
    """The vendor's TCB status was worked out: collateral was supplied (SGX, TDX)."""

    kinds: tuple[str, ...] = ("sgx", "tdx")
    otherwise: Tier = Tier.CONTRAINDICATED

    def __call__(self, subject: Verified, trace: Trace, /) -> None:
        """See the class."""
        if subject.kind not in self.kinds:
            return
        trace.check(
            subject.tcb_status is not None,
            f"{subject.kind}.collateral",
            "TCB collateral was supplied",
            failure=Failure.COLLATERAL,
            expected="TCB info and QE identity",
            found="TCB status " + (subject.tcb_status or "unknown"),
            source="Intel PCS API v4",
            remedy="supply the collateral of the platform (enarx endorsements fetch)",
            otherwise=self.otherwise,
            depth=1,
        )


class MaximumAge(msgspec.Struct, frozen=True, kw_only=True):
    """The oldest part of the collateral was issued at most this long before the appraisal.

    Evidence without any dated collateral fails: who leaves it out must not gain by it.
    """

    age: timedelta

    def __call__(self, subject: Verified, trace: Trace, /) -> None:
        """See the class."""
        issued = subject.collateral_issued
        trace.check(
            issued is not None and subject.at - issued <= self.age,
            f"{subject.kind}.collateral_age",
            "collateral is recent enough",
            failure=Failure.TIME,
            expected=f"at most {_age(self.age)} old",
            found=f"{_age(subject.at - issued)} old" if issued else "nothing that has a date",
            source="policy max_age",
            remedy="fetch fresh collateral (enarx endorsements fetch)",
            valid_until=_later(issued, self.age),
            depth=1,
        )


def _later(issued: datetime | None, age: timedelta) -> datetime | None:
    """When what was issued gets too old; None where that is after the end of the calendar."""
    try:
        return issued + age if issued is not None else None
    except OverflowError:  # strangers write dates too
        return None


def _age(age: timedelta) -> str:
    """Days where there are any, otherwise hours, minutes and seconds."""
    return f"{age.days} days" if age.days else str(age)
