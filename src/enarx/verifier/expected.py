"""What holds for every policy: where the chain ends, and what the relying party expects.

These are no rules one could leave out: they run before the rules of any policy.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

import msgspec

from enarx.verifier.references import Expectations, ReferenceValues
from enarx.verifier.trace import Claim, Failure, Tier, Trace
from enarx.verifier.verified import Verified

if TYPE_CHECKING:
    from enarx.verifier.policy import Policy

SIMULATED_WARNING: Final = "SIMULATED silicon: it protects nothing from the host"
EVIDENCE_DEPTH: Final = 3
"""Rules speak about the evidence, which hangs below root, intermediate and leaf."""


def pin_root(subject: Verified, policy: Policy) -> Verified:
    """The evidence, with a TPM's root pinned if the policy names it.

    No TPM vendor's root is in the table of pinned roots, so that only a policy can say that a
    chain of certificates leads to a TPM.
    """
    root = subject.root
    if subject.kind != "tpm" or root is None or root.spki_sha256 not in policy.tpm_roots:
        return subject
    return msgspec.structs.replace(
        subject,
        root=msgspec.structs.replace(root, pinned=True, simulated=False),
        genuine=all(link.outcome is not Tier.CONTRAINDICATED for link in subject.links),
    )


def check_root(subject: Verified, trace: Trace, policy: Policy) -> None:
    """Judge simulated silicon and TPMs; another root was judged when its chain was verified."""
    root = subject.root
    if subject.kind == "tpm" and root is not None and not root.simulated:
        trace.check(
            root.pinned,
            "root.tpm",
            "root of the TPM's chain is pinned",
            failure=Failure.ROOT,
            claim=Claim.INSTANCE_IDENTITY,
            expected="a root that the policy names in tpm_roots",
            found=f"{root.name} ({root.spki_sha256.hex()})",
            source="policy tpm_roots",
            remedy="if this is the TPM vendor's root, name it in tpm_roots of the policy",
        )
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
            depth=EVIDENCE_DEPTH,
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
    # What a Keep states is compared where its claims are read; other evidence states neither.
    for name, values in (("payload", references.payloads), ("runtime", references.runtimes)):
        if values:
            wanted.append((name, values, b""))
    for name, values, found in wanted:
        trace.check(
            bool(found) and found in values,
            f"reference.{name}",
            f"{name} is a reference value",
            failure=Failure.MEASUREMENT,
            claim=Claim.EXECUTABLES,
            expected=one_of(value.hex() for value in values),
            found=found.hex() or "nothing",
            source="reference values of the relying party",
            remedy="this is other code than expected: rebuild it, or add its measurement",
            depth=EVIDENCE_DEPTH,
        )


def one_of(values: Iterable[str]) -> str:
    """Up to three values, and how many more there are."""
    shown = list(values)
    if len(shown) > 3:
        return f"one of {', '.join(shown[:3])} or {len(shown) - 3} more"
    return " or ".join(shown)
