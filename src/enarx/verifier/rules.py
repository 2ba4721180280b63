"""The rules that policies are made of: each is data, and checks one thing.

A rule is anything with the shape of :class:`Check`: it looks at verified evidence and
adds one or more links. Rules that do not apply to a technology add nothing; rules that
do apply and miss the fact they need fail, never pass.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from enarx.verifier.references import Expectations, ReferenceValues
from enarx.verifier.trace import Claim, Failure, Link, Tier, Trace
from enarx.verifier.verified import Verified

if TYPE_CHECKING:
    from collections.abc import Iterable

    from enarx.verifier.policy import Policy

SIMULATED_WARNING: Final = "SIMULATED silicon: it protects nothing from the host"
_EVIDENCE_DEPTH: Final = 3
"""Rules speak about the evidence, which hangs below root, intermediate and leaf."""


class Check(Protocol):
    """What a policy is made of. Own rules only need to have this shape."""

    def __call__(self, subject: Verified, trace: Trace, /) -> None:
        """Look at ``subject`` and add links to ``trace``."""


def check_root(subject: Verified, trace: Trace, policy: Policy) -> None:
    """Judge simulated silicon; a vendor root was judged when the chain was verified."""
    root = subject.root
    if root is None or not root.simulated:
        return
    allowed = policy.allow_simulated and (
        not policy.simulated_roots or root.spki_sha256 in policy.simulated_roots
    )
    trace.check(
        allowed,
        "root.simulated",
        SIMULATED_WARNING,
        failure=Failure.SIMULATED,
        claim=Claim.INSTANCE_IDENTITY,
        expected="a pinned vendor root" if not policy.allow_simulated else "a simulated root",
        found=f"{root.name} ({root.spki_sha256.hex()[:16]}…)",
        source="policy allow_simulated",
        remedy="run on real hardware, or allow simulated silicon for development only",
    )


def check_expectations(subject: Verified, trace: Trace, expected: Expectations) -> None:
    """Compare what this one attestation has to carry with what it carries."""
    for name, want, found in (
        ("report_data", expected.report_data, subject.report_data),
        ("nonce", expected.nonce, subject.report_data),
        ("host_data", expected.host_data, subject.host_data),
    ):
        if want is None:
            continue
        trace.check(
            bool(found) and want.ljust(len(found), b"\0") == found,
            f"expected.{name}",
            f"{name.replace('_', ' ')} is what the relying party expects",
            failure=Failure.INIT_DATA if name == "host_data" else Failure.BINDING,
            claim=Claim.INSTANCE_IDENTITY if name == "nonce" else Claim.CONFIGURATION,
            expected=want.hex(),
            found=found.hex() or "nothing",
            source="RFC 9334, section 10 (freshness)" if name == "nonce" else "relying party",
            remedy="ask the attester again with this value; a replayed answer never fits",
            depth=_EVIDENCE_DEPTH,
        )


def check_references(subject: Verified, trace: Trace, references: ReferenceValues) -> None:
    """Compare measurements with reference values."""
    wanted: list[tuple[str, tuple[bytes, ...], bytes]] = []
    if references.measurements:
        wanted.append(("measurement", references.measurements, subject.measurement))
    if references.signers:
        wanted.append(("signer", references.signers, subject.signer))
    wanted.extend(
        (name, values, subject.registers.get(name, b"")) for name, values in references.registers
    )
    for name, values, found in wanted:
        trace.check(
            bool(found) and found in values,
            f"reference.{name}",
            f"{name} is a reference value",
            failure=Failure.MEASUREMENT,
            claim=Claim.EXECUTABLES,
            expected=_one_of(value.hex() for value in values),
            found=found.hex() or "nothing",
            source="reference values of the relying party",
            remedy="this is other code than expected: rebuild it, or add its measurement",
            depth=_EVIDENCE_DEPTH,
        )


def _one_of(values: Iterable[str]) -> str:
    shown = list(values)
    if len(shown) > 3:
        return f"one of {', '.join(shown[:3])} or {len(shown) - 3} more"
    return " or ".join(shown)


class NoDebug(msgspec.Struct, frozen=True):
    """The host cannot debug the attester. Evidence that does not say is refused."""

    def __call__(self, subject: Verified, trace: Trace, /) -> None:
        """See the class."""
        if not subject.has_report:
            return
        trace.check(
            subject.debug is False,
            f"{subject.kind}.debug",
            "debug mode is off",
            failure=Failure.DEBUG,
            claim=Claim.RUNTIME_OPAQUE,
            expected="off",
            found={True: "on", False: "off", None: "not stated"}[subject.debug],
            source="guest policy / attributes of the evidence",
            remedy="launch without debug: the host reads the memory of what runs in debug mode",
            depth=_EVIDENCE_DEPTH,
        )


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
            depth=_EVIDENCE_DEPTH,
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
            depth=_EVIDENCE_DEPTH,
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
            depth=_EVIDENCE_DEPTH,
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
                depth=_EVIDENCE_DEPTH,
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
                depth=_EVIDENCE_DEPTH,
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


class Flags(msgspec.Struct, frozen=True, kw_only=True):
    """Named switches of the evidence are on (required) or off (forbidden).

    Attributes:
        kind: the technology that has these flags; others are not judged by it.
    """

    kind: str
    required: tuple[str, ...] = ()
    forbidden: tuple[str, ...] = ()
    otherwise: Tier = Tier.CONTRAINDICATED

    def __call__(self, subject: Verified, trace: Trace, /) -> None:
        """See the class."""
        if subject.kind != self.kind or not subject.has_report:
            return
        wanted = [(name, True) for name in self.required]
        wanted += [(name, False) for name in self.forbidden]
        for name, want in wanted:
            found = subject.flags.get(name)
            trace.check(
                found is want,
                f"{subject.kind}.flag.{name}",
                f"{name.replace('_', ' ')} is {'on' if want else 'off'}",
                failure=Failure.POLICY,
                claim=Claim.CONFIGURATION,
                expected="on" if want else "off",
                found={True: "on", False: "off", None: "not stated"}[found],
                source="policy flags",
                remedy=f"configure {name} on the host or in the launch, then attest again",
                otherwise=self.otherwise,
                depth=_EVIDENCE_DEPTH,
            )


class Vmpl(msgspec.Struct, frozen=True, kw_only=True):
    """The report was asked for at one of these privilege levels (SNP; 0 is the most)."""

    accepted: tuple[int, ...] = (0,)

    def __call__(self, subject: Verified, trace: Trace, /) -> None:
        """See the class."""
        if subject.kind != "snp" or not subject.has_report:
            return
        trace.check(
            subject.vmpl in self.accepted,
            "snp.vmpl",
            "report was made at an accepted VMPL",
            failure=Failure.POLICY,
            claim=Claim.CONFIGURATION,
            expected=" or ".join(map(str, self.accepted)),
            found=str(subject.vmpl),
            source="SNP ABI, table 23: VMPL",
            remedy="ask for the report at an accepted VMPL, or accept the paravisor below it",
            depth=_EVIDENCE_DEPTH,
        )


class Instances(msgspec.Struct, frozen=True, kw_only=True):
    """The machine is on the list (SNP chip id, Intel instance id)."""

    accepted: tuple[bytes, ...]

    def __call__(self, subject: Verified, trace: Trace, /) -> None:
        """See the class."""
        trace.check(
            bool(subject.instance) and subject.instance in self.accepted,
            f"{subject.kind}.instance",
            "machine is on the allow-list",
            failure=Failure.POLICY,
            claim=Claim.INSTANCE_IDENTITY,
            expected=f"one of {len(self.accepted)} machines",
            found=subject.instance.hex() or "not stated",
            source="policy instances",
            remedy="use a machine of the list, or add this one",
            depth=_EVIDENCE_DEPTH,
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
    """The oldest part of the collateral was issued at most this long before the appraisal."""

    age: timedelta

    def __call__(self, subject: Verified, trace: Trace, /) -> None:
        """See the class."""
        issued = subject.collateral_issued
        if issued is None:
            return
        trace.check(
            subject.at - issued <= self.age,
            f"{subject.kind}.collateral_age",
            "collateral is recent enough",
            failure=Failure.TIME,
            expected=f"at most {self.age} old",
            found=f"{subject.at - issued} old",
            source="policy max_age",
            remedy="fetch fresh collateral (enarx endorsements fetch)",
            valid_until=issued + self.age,
            depth=1,
        )


class ReportRequired(msgspec.Struct, frozen=True):
    """There is evidence from the attester, not only a certificate of its chip."""

    def __call__(self, subject: Verified, trace: Trace, /) -> None:
        """See the class."""
        if subject.has_report:
            return
        trace.check(
            False,
            f"{subject.kind}.report",
            "there is evidence to appraise",
            failure=Failure.POLICY,
            claim=Claim.EXECUTABLES,
            expected="an attestation report",
            found="a certificate only",
            source="RFC 9334, section 4.2",
            remedy="pass the report; a certificate says nothing about what runs",
        )


class Sandbox(msgspec.Struct, frozen=True, kw_only=True):
    """A Keep states that these sandbox levels are in force; without a statement it fails."""

    required: tuple[str, ...]

    def __call__(self, subject: Verified, trace: Trace, /) -> None:
        """See the class."""
        found = subject.sandbox or ()
        missing = [level for level in self.required if level not in found]
        trace.check(
            not missing,
            "keep.sandbox",
            "required sandbox levels are in force",
            failure=Failure.POLICY,
            claim=Claim.RUNTIME_OPAQUE,
            expected=", ".join(self.required),
            found=", ".join(found) or "none stated",
            source="policy keep.sandbox",
            remedy=f"the host lacks: {', '.join(missing)}",
            depth=_EVIDENCE_DEPTH,
        )


class Reference(msgspec.Struct, frozen=True, kw_only=True):
    """Measurements named in the policy itself, for one technology or for all."""

    values: ReferenceValues
    kind: str = ""

    def __call__(self, subject: Verified, trace: Trace, /) -> None:
        """See the class."""
        if not self.kind or self.kind == subject.kind:
            check_references(subject, trace, self.values)


class HostData(msgspec.Struct, frozen=True, kw_only=True):
    """The field the host chose at launch has one of these values."""

    accepted: tuple[bytes, ...]

    def __call__(self, subject: Verified, trace: Trace, /) -> None:
        """See the class."""
        found = subject.host_data
        trace.check(
            bool(found) and any(one.ljust(len(found), b"\0") == found for one in self.accepted),
            f"{subject.kind}.host_data",
            "host data is one that the policy names",
            failure=Failure.INIT_DATA,
            claim=Claim.CONFIGURATION,
            expected=_one_of(one.hex() for one in self.accepted),
            found=found.hex() or "nothing",
            source="policy host_data",
            remedy="launch with the expected init data",
            depth=_EVIDENCE_DEPTH,
        )


class AllOf(msgspec.Struct, frozen=True):
    """Every one of these checks holds."""

    checks: tuple[Check, ...]

    def __call__(self, subject: Verified, trace: Trace, /) -> None:
        """See the class."""
        for check in self.checks:
            check(subject, trace)


class AnyOf(msgspec.Struct, frozen=True):
    """At least one of these checks holds; the links of the best alternative are reported."""

    checks: tuple[Check, ...]

    def __call__(self, subject: Verified, trace: Trace, /) -> None:
        """See the class."""
        failed: list[Link] = []
        warned: tuple[Link, ...] | None = None
        for check in self.checks:
            attempt = Trace()
            check(subject, attempt)
            links = attempt.links
            bad = [link for link in links if link.outcome is Tier.CONTRAINDICATED]
            if bad:
                failed.append(bad[0])
            elif links and all(link.ok for link in links):
                trace.extend(links)
                return
            elif links and warned is None:
                warned = links
        if warned is not None:
            trace.extend(warned)
            return
        trace.check(
            False,
            f"{subject.kind}.any_of",
            f"one of {len(self.checks)} alternatives of the policy holds",
            failure=(failed[0].failure if failed else None) or Failure.POLICY,
            claim=Claim.CONFIGURATION,
            expected="one alternative",
            found="; ".join(f"{link.subject}: {link.found}" for link in failed) or "none applies",
            source="policy any",
            remedy=failed[0].remedy if failed else "add an alternative for this technology",
            depth=_EVIDENCE_DEPTH,
        )


class ForType(msgspec.Struct, frozen=True, kw_only=True):
    """These checks, for evidence of one technology only."""

    kind: str
    checks: tuple[Check, ...]

    def __call__(self, subject: Verified, trace: Trace, /) -> None:
        """See the class."""
        if subject.kind == self.kind:
            for check in self.checks:
                check(subject, trace)


class Types(msgspec.Struct, frozen=True, kw_only=True):
    """The technology itself is one of these."""

    accepted: tuple[str, ...]

    def __call__(self, subject: Verified, trace: Trace, /) -> None:
        """See the class."""
        trace.check(
            subject.kind in self.accepted,
            "type",
            "technology is accepted",
            failure=Failure.POLICY,
            expected=" or ".join(self.accepted),
            found=subject.kind,
            source="policy types",
            remedy="use a machine with an accepted technology",
        )
