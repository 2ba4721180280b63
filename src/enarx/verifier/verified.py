"""Verified evidence: what the silicon said, once signatures and certificates were checked.

Only :func:`enarx.verifier.appraisal.verify` (through a technology) makes these, so
that unverified evidence cannot be handed to a policy by mistake.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

import msgspec

from enarx.verifier.trace import Link

_EMPTY: Final[Mapping[str, Any]] = MappingProxyType({})


class RootOfTrust(msgspec.Struct, frozen=True, kw_only=True):
    """Where a chain ends.

    Attributes:
        name: the root's common name.
        spki_sha256: SHA-256 over its DER SubjectPublicKeyInfo.
        pinned: it is in the table of vendor roots.
        simulated: it is self-signed and named as simulated silicon names itself.
    """

    name: str
    spki_sha256: bytes
    pinned: bool
    simulated: bool


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """Evidence whose every signature, certificate, binding and date has been looked at.

    It may still be bad: ``links`` says what was found. Policies read the rest, which
    is the same for all technologies where it can be.

    Attributes:
        kind: the technology (``"snp"``, ``"sgx"``, ``"tdx"``, ...).
        evidence: the parsed evidence, of the technology's own type.
        at: the time of appraisal (aware, UTC).
        links: the chain of trust so far, root first.
        genuine: all signatures, chains, bindings and dates good, and the root pinned.
        root: where the chain ends; ``None`` when it ends nowhere.
        has_report: there is evidence, not only a certificate.
        debug: memory can be read by the host; ``None`` when the technology does not say.
        product: vendor's product line (``"Genoa"``), FMSPC for Intel; empty if unknown.
        variant: member of the product line with security versions of its own (``"Bergamo"``);
            empty for the line's name-giver.
        instance: what identifies the machine (SNP chip id, PCK PPID or instance id).
        measurement: launch measurement; empty when there is none.
        signer: identity of who signed the code (MRSIGNER, id key digest); empty if none.
        registers: further measurement registers by name.
        report_data: what the attester chose (64 bytes); empty when there is none.
        host_data: what the host chose at launch; empty when there is none.
        tcb: component security versions of the platform by name, for minimum TCBs.
        tcbs: all TCB versions the evidence names (``"reported"``, ``"committed"``, ...).
        tcb_status: the vendor's status (Intel); ``None`` where the vendor gives none.
        tcb_remedy: what brings the TCB up to date, one sentence; empty where it is.
        advisories: advisory ids that apply to this TCB.
        flags: named switches of the attester and its platform, for required and forbidden ones.
        findings: facts a policy may care about, as short names.
        revocation_checked: revocation lists of the chain were there, genuine and in date.
        collateral_issued: issue date of the oldest part of the collateral; ``None`` without.
        valid_until: when the first certificate, list or collateral part runs out.
        sandbox: sandbox levels in force in a Keep; ``None`` when the evidence is not a Keep's.
        vmpl: privilege level that asked for the evidence (SNP).
        carrier: what the evidence came in (``"ra-tls"``); empty when it came alone.
        describe: makes ``fields``: the parsed values in the documented names and forms.
    """

    kind: str
    evidence: object
    at: datetime
    links: tuple[Link, ...]
    genuine: bool
    root: RootOfTrust | None
    describe: Callable[[], dict[str, Any]]
    has_report: bool = True
    debug: bool | None = None
    product: str = ""
    variant: str = ""
    instance: bytes = b""
    measurement: bytes = b""
    signer: bytes = b""
    registers: Mapping[str, bytes] = _EMPTY
    report_data: bytes = b""
    host_data: bytes = b""
    tcb: Mapping[str, int] = _EMPTY
    tcbs: Mapping[str, Mapping[str, int]] = _EMPTY
    tcb_status: str | None = None
    tcb_remedy: str = ""
    advisories: tuple[str, ...] = ()
    flags: Mapping[str, bool] = _EMPTY
    findings: tuple[str, ...] = ()
    revocation_checked: bool = False
    collateral_issued: datetime | None = None
    valid_until: datetime | None = None
    sandbox: tuple[str, ...] | None = None
    vmpl: int | None = None
    carrier: str = ""

    @property
    def simulated(self) -> bool:
        """Whether the chain ends in simulated silicon."""
        return self.root is not None and self.root.simulated
