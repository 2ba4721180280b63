"""What the TCB levels mean for a person: which part is behind, and what brings it up to date."""

from __future__ import annotations

from collections.abc import Iterator

from enarx.evidence.pck import PckExtension
from enarx.evidence.sgx import SgxReportBody
from enarx.evidence.tdx import TdReportBody
from enarx.verifier.dcap_links import PCS
from enarx.verifier.tcb import (
    ModuleTcb,
    PlatformSvns,
    TcbAssessment,
    TcbStatus,
    assess,
)
from enarx.verifier.tcb_info import IsvLevel, QeIdentity, TcbInfo
from enarx.verifier.trace import Claim, Failure, Link, Tier, Trace

SOURCE = f"{PCS}: Get TCB Info, TCB status determination"

_STATUS_REMEDIES = {
    TcbStatus.UP_TO_DATE: "",
    TcbStatus.SW_HARDENING_NEEDED: "the workload itself must mitigate the advisories listed",
    TcbStatus.CONFIGURATION_NEEDED: "change the BIOS settings that the advisories name",
    TcbStatus.CONFIGURATION_AND_SW_HARDENING_NEEDED: "change the BIOS settings that the "
    "advisories name, and mitigate the rest in the workload",
    TcbStatus.TD_RELAUNCH_ADVISED: "start this TD again: the platform was updated beneath it",
    TcbStatus.TD_RELAUNCH_ADVISED_CONFIGURATION_NEEDED: "start this TD again and change the "
    "BIOS settings that the advisories name",
    TcbStatus.REVOKED: "Intel withdrew this TCB: use another platform",
    TcbStatus.UNKNOWN: "update this program if Intel has a new word for a status",
}


def assess_platform(
    info: TcbInfo,
    identity: QeIdentity,
    extension: PckExtension,
    qe_report: SgxReportBody,
    td: TdReportBody | None,
) -> TcbAssessment:
    """The levels that a platform reaches, from the parts of a quote and its collateral."""
    return assess(
        info,
        platform=PlatformSvns(components=extension.tcb_components, pce_svn=extension.pce_svn),
        qe_levels=identity.levels,
        qe_isv_svn=qe_report.isv_svn,
        tee_tcb_svn=td.tee_tcb_svn if td else None,
        tee_tcb_svn2=td.tee_tcb_svn2 if td else None,
    )


def module_identity_links(kind: str, tcb: TcbAssessment, td: TdReportBody | None) -> Iterator[Link]:
    """Whether the TDX module is the one that the TCB info names: signer and attributes."""
    module = tcb.module
    if module is None or td is None:
        return
    identity = module.identity
    wrong: list[str] = []
    if identity is None:
        wrong.append(f"no identity {module.name}")
    else:
        if td.mr_signer_seam != identity.mr_signer:
            wrong.append("MRSIGNERSEAM")
        mask = identity.attributes_mask
        pairs = zip(td.seam_attributes, identity.attributes, mask, strict=True)
        if any((found ^ wanted) & bits for found, wanted, bits in pairs):
            wrong.append("SEAMATTRIBUTES")
    trace = Trace()
    trace.check(
        not wrong,
        f"{kind}.module.identity",
        "TDX module is one that the TCB info names",
        # Without an identity nothing contradicts the module; it only has no level.
        failure=Failure.TCB_STATUS if identity is None else Failure.BINDING,
        claim=Claim.HARDWARE,
        expected=f"signer and attributes of {module.name}",
        found=f"differs: {', '.join(wrong)}" if wrong else "equal under the masks",
        source=f"{PCS}: Get TCB Info, tdxModuleIdentities",
        remedy="load a TDX module of Intel that the TCB info lists",
        depth=2,
    )
    yield from trace.links


def tcb_notes(
    kind: str,
    tcb: TcbAssessment,
    info: TcbInfo,
    identity: QeIdentity,
    extension: PckExtension,
    td: TdReportBody | None,
) -> Iterator[Link]:
    """The status part by part; whether it is good enough is for the policy to say."""
    date = tcb.platform.date[:10] if tcb.platform else "none"
    yield _note(
        f"{kind}.tcb.platform",
        "TCB level of the platform",
        f"{tcb.platform_status}, level of {date}",
        _platform_behind(info, extension, td) if tcb.platform_status not in _FINE else "",
    )
    if tcb.module is not None and tcb.module.status is not None:
        yield _note(
            f"{kind}.tcb.module",
            f"TCB level of TDX module {tcb.module.name}",
            f"{tcb.module.status}, ISV SVN {tcb.module.svn}",
            _module_behind(tcb.module),
        )
    yield _note(
        f"{kind}.tcb.qe",
        "TCB level of the quoting enclave",
        f"{tcb.qe_status}" + (f", level of {tcb.qe_level.date[:10]}" if tcb.qe_level else ""),
        "" if tcb.qe_status is TcbStatus.UP_TO_DATE else _qe_behind(identity),
    )
    yield _note(
        f"{kind}.tcb.status",
        "TCB status, all parts together",
        tcb.status + (f" ({', '.join(tcb.advisories)})" if tcb.advisories else ""),
        tcb_remedy(tcb, info, identity, extension, td),
    )


def tcb_remedy(
    tcb: TcbAssessment,
    info: TcbInfo,
    identity: QeIdentity,
    extension: PckExtension,
    td: TdReportBody | None,
) -> str:
    """One sentence about what brings the TCB up to date; empty where it is."""
    if tcb.status in _STATUS_REMEDIES:
        return _STATUS_REMEDIES[tcb.status]
    behind: list[str] = []
    if tcb.platform_status not in _FINE:
        behind.append(_platform_behind(info, extension, td))
    if tcb.module is not None and tcb.module.status is not TcbStatus.UP_TO_DATE:
        behind.append(_module_behind(tcb.module))
    if tcb.qe_status is not TcbStatus.UP_TO_DATE:
        behind.append(_qe_behind(identity))
    return "; ".join(part for part in behind if part) or "update BIOS and microcode"


_FINE = frozenset(
    {
        TcbStatus.UP_TO_DATE,
        TcbStatus.SW_HARDENING_NEEDED,
        TcbStatus.CONFIGURATION_NEEDED,
        TcbStatus.CONFIGURATION_AND_SW_HARDENING_NEEDED,
    }
)


def _note(name: str, subject: str, found: str, remedy: str) -> Link:
    return Link(
        name=name,
        subject=subject,
        outcome=Tier.NONE,
        claim=Claim.HARDWARE,
        found=found,
        source=SOURCE,
        remedy=remedy,
        depth=2,
    )


def _platform_behind(info: TcbInfo, extension: PckExtension, td: TdReportBody | None) -> str:
    """Which SVNs are below those of the newest level, and what carries them."""
    if not info.levels:
        return "the TCB info has no levels"
    newest = info.levels[0]
    behind = [
        f"SGX component {number} ({name or 'unnamed'}) is {have}, needs {want}"
        for number, (have, want, name) in enumerate(
            zip(extension.tcb_components, newest.sgx_components, info.sgx_names, strict=True), 1
        )
        if have < want
    ]
    if extension.pce_svn < newest.pce_svn:
        behind.append(f"PCE SVN is {extension.pce_svn}, needs {newest.pce_svn}")
    if td is not None and newest.tdx_components is not None:
        first = 0 if td.tee_tcb_svn[1] == 0 else 2
        behind += [
            f"TDX component {number} ({name or 'unnamed'}) is {have}, needs {want}"
            for number, (have, want, name) in enumerate(
                zip(td.tee_tcb_svn, newest.tdx_components, info.tdx_names, strict=True), 1
            )
            if have < want and number > first
        ]
    if not behind:
        return ""
    return f"{'; '.join(behind)}: update BIOS, microcode and platform software"


def _module_behind(module: ModuleTcb) -> str:
    if module.status is TcbStatus.UP_TO_DATE or module.status is None:
        return ""
    needed = _newest(module.identity.levels if module.identity else ())
    if needed is None:
        return f"TDX module {module.name} is not in the TCB info: load one that is"
    return f"TDX module ISV SVN is {module.svn}, needs {needed.isv_svn}: update the SEAM loader"


def _qe_behind(identity: QeIdentity) -> str:
    needed = _newest(identity.levels)
    wanted = f" with ISV SVN {needed.isv_svn} or later" if needed else ""
    return f"install a quoting enclave{wanted} (SGX DCAP packages of the host)"


def _newest(levels: tuple[IsvLevel, ...]) -> IsvLevel | None:
    return next((one for one in levels if one.status == TcbStatus.UP_TO_DATE), None)
