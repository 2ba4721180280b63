"""The rules that policies are made of: each is data, and checks one thing.

A rule is anything with the shape of :class:`Check`: it looks at verified evidence and
adds one or more links. Rules that do not apply to a technology add nothing; rules that
do apply and miss the fact they need fail, never pass. Rules about how current a platform
is are in :mod:`enarx.verifier.platform_rules`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Protocol

import msgspec

from enarx.verifier.expected import EVIDENCE_DEPTH, check_references, one_of
from enarx.verifier.references import ReferenceValues
from enarx.verifier.trace import Claim, Failure, Link, Tier, Trace
from enarx.verifier.verified import Verified


class Check(Protocol):
    """What a policy is made of. Own rules only need to have this shape."""

    def __call__(self, subject: Verified, trace: Trace, /) -> None:
        """Look at ``subject`` and add links to ``trace``."""


TYPE_RULE: Final = "type"
"""Name of the link that says whether the technology itself is accepted."""

WITHOUT_DEBUG: Final = ("tpm",)
"""Technologies that protect no memory and so have no debug mode that could open it; their
evidence says so in the flag ``memory_encrypted``."""


class NoDebug(msgspec.Struct, frozen=True):
    """The host cannot debug the attester. Evidence that does not say is refused."""

    def __call__(self, subject: Verified, trace: Trace, /) -> None:
        """See the class."""
        if not subject.has_report or subject.kind in WITHOUT_DEBUG:
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
            depth=EVIDENCE_DEPTH,
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
                depth=EVIDENCE_DEPTH,
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
            depth=EVIDENCE_DEPTH,
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
            depth=EVIDENCE_DEPTH,
        )


class ReportRequired(msgspec.Struct, frozen=True, kw_only=True):
    """There is evidence from the attester, not only a certificate of its chip.

    Attributes:
        exempt: technologies whose word is taken without it (``ear``: another verifier's result).
    """

    exempt: tuple[str, ...] = ()

    def __call__(self, subject: Verified, trace: Trace, /) -> None:
        """See the class."""
        if subject.has_report or subject.kind in self.exempt:
            return
        trace.check(
            False,
            f"{subject.kind}.report",
            "there is evidence to appraise",
            failure=Failure.POLICY,
            claim=Claim.EXECUTABLES,
            expected="an attestation report",
            found="no report of the attester",
            source="RFC 9334, section 4.2",
            remedy="pass the attester's own evidence: nothing else says what runs",
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
            depth=EVIDENCE_DEPTH,
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
            expected=one_of(one.hex() for one in self.accepted),
            found=found.hex() or "nothing",
            source="policy host_data",
            remedy="launch with the expected init data",
            depth=EVIDENCE_DEPTH,
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
            elif all(link.ok for link in links) and _says_something(links):
                trace.extend(links)
                return
            elif _says_something(links) and warned is None:
                warned = links
        if warned is not None:
            trace.extend(warned)
            return
        # Of alternatives for other technologies there is nothing to say.
        failed = [link for link in failed if link.name != TYPE_RULE]
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
            depth=EVIDENCE_DEPTH,
        )


def _says_something(links: Iterable[Link]) -> bool:
    return any(link.outcome is not Tier.NONE for link in links)


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
            TYPE_RULE,
            "technology is accepted",
            failure=Failure.POLICY,
            expected=" or ".join(self.accepted),
            found=subject.kind,
            source="policy types",
            remedy="use a machine with an accepted technology",
        )
