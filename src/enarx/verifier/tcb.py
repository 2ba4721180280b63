"""TCB status: how far a genuine platform is behind what Intel calls up to date.

Pure functions from SVNs and signed TCB levels to a status; no signature is looked at here.

1. Platform level: the first level (they come newest first) none of whose SVNs is above the
   platform's (PCS API v4, "Get TCB Info", *TCB status determination*).
2. TDX module: version 0 is part of the platform level; a later version has its own identity and
   levels, and SVNs 0 and 1 of TEE_TCB_SVN leave the platform comparison.
3. TDX 1.5: the level at launch counts; where only that is behind, a relaunch is advised.
4. Quoting enclave: its own levels; one that is out of date takes the platform down with it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from enarx.verifier.tcb_info import IsvLevel, TcbInfo, TcbLevel, TdxModuleIdentity


class TcbStatus(StrEnum):
    """Intel's words for the state of a TCB, and two of ours for when it gives none."""

    UP_TO_DATE = "UpToDate"
    SW_HARDENING_NEEDED = "SWHardeningNeeded"
    CONFIGURATION_NEEDED = "ConfigurationNeeded"
    CONFIGURATION_AND_SW_HARDENING_NEEDED = "ConfigurationAndSWHardeningNeeded"
    TD_RELAUNCH_ADVISED = "TDRelaunchAdvised"
    TD_RELAUNCH_ADVISED_CONFIGURATION_NEEDED = "TDRelaunchAdvisedConfigurationNeeded"
    OUT_OF_DATE = "OutOfDate"
    OUT_OF_DATE_CONFIGURATION_NEEDED = "OutOfDateConfigurationNeeded"
    REVOKED = "Revoked"
    NO_MATCHING_LEVEL = "NoMatchingLevel"
    """No level fits: the platform is below all of them, or its TDX module is unknown."""
    UNKNOWN = "Unknown"
    """Intel uses a word that is not in this list: it is never guessed at."""


_PLATFORM_WORDS = frozenset(
    {
        TcbStatus.UP_TO_DATE,
        TcbStatus.SW_HARDENING_NEEDED,
        TcbStatus.CONFIGURATION_NEEDED,
        TcbStatus.CONFIGURATION_AND_SW_HARDENING_NEEDED,
        TcbStatus.OUT_OF_DATE,
        TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED,
        TcbStatus.REVOKED,
    }
)
_ISV_WORDS = frozenset({TcbStatus.UP_TO_DATE, TcbStatus.OUT_OF_DATE, TcbStatus.REVOKED})

_CONFIGURATION = frozenset(
    {
        TcbStatus.CONFIGURATION_NEEDED,
        TcbStatus.CONFIGURATION_AND_SW_HARDENING_NEEDED,
        TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED,
        TcbStatus.TD_RELAUNCH_ADVISED_CONFIGURATION_NEEDED,
    }
)
_BEHIND = frozenset({TcbStatus.OUT_OF_DATE, TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED})
_CURRENT = frozenset(
    {
        TcbStatus.UP_TO_DATE,
        TcbStatus.SW_HARDENING_NEEDED,
        TcbStatus.CONFIGURATION_NEEDED,
        TcbStatus.CONFIGURATION_AND_SW_HARDENING_NEEDED,
    }
)
_FINAL = frozenset({TcbStatus.NO_MATCHING_LEVEL, TcbStatus.UNKNOWN})

MODULE_ZERO = "tdxModule"
"""Name under which the TDX module of version 0 stands in the TCB info."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformSvns:
    """What the PCK certificate says of the platform."""

    components: tuple[int, ...]
    pce_svn: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleTcb:
    """State of the TDX module.

    Attributes:
        name: ``tdxModule`` or the id of its identity, ``TDX_01``.
        identity: that identity; None where the TCB info has none under the name.
        svn: its ISV SVN, ``tee_tcb_svn[0]``.
        level: the level it reached; None for version 0, or where it reaches none.
        status: None for version 0, whose SVN is part of the platform level.
    """

    name: str
    identity: TdxModuleIdentity | None
    svn: int
    level: IsvLevel | None
    status: TcbStatus | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TcbAssessment:
    """What the levels say, part by part and together.

    Attributes:
        status: all parts together.
        platform: the platform's level; None where it reaches none.
        platform_status: the status of that level.
        module: state of the TDX module at launch; None for SGX.
        qe_level: level of the quoting enclave; None where it reaches none.
        qe_status: the status of that level.
        advisories: union over all levels reached, sorted.
    """

    status: TcbStatus
    platform: TcbLevel | None
    platform_status: TcbStatus
    module: ModuleTcb | None
    qe_level: IsvLevel | None
    qe_status: TcbStatus
    advisories: tuple[str, ...]


def assess(
    info: TcbInfo,
    *,
    platform: PlatformSvns,
    qe_levels: tuple[IsvLevel, ...],
    qe_isv_svn: int,
    tee_tcb_svn: bytes | None = None,
    tee_tcb_svn2: bytes | None = None,
) -> TcbAssessment:
    """Find the levels that a platform reaches, and what they mean together.

    Args:
        info: TCB info of the platform.
        platform: SVNs of the PCK certificate.
        qe_levels: levels of the QE identity.
        qe_isv_svn: ISV SVN of the QE report.
        tee_tcb_svn: of the TD, 16 bytes, at launch; None for SGX.
        tee_tcb_svn2: of the TD, now; None for SGX and TDX 1.0.
    """
    # 1. and 2.
    level, module = _reached(info, platform, tee_tcb_svn)
    platform_status = _level_status(level)
    status = _converge(platform_status, module.status if module else None)
    # 3. Only a status that stands may be changed for the better word; and what the TD runs
    # under now must be known at all.
    if tee_tcb_svn2 is not None:
        now_level, now_module = _reached(info, platform, tee_tcb_svn2)
        now = _converge(_level_status(now_level), now_module.status if now_module else None)
        status = _relaunch(status, now)
    # 4.
    qe_level = isv_level(qe_levels, qe_isv_svn)
    qe_status = isv_status(qe_level)
    reached = (level, module.level if module else None, qe_level)
    return TcbAssessment(
        status=_converge(status, qe_status),
        platform=level,
        platform_status=platform_status,
        module=module,
        qe_level=qe_level,
        qe_status=qe_status,
        advisories=_union(part.advisories for part in reached if part is not None),
    )


def isv_level(levels: tuple[IsvLevel, ...], svn: int) -> IsvLevel | None:
    """The first level whose ISV SVN is not above ``svn``."""
    return next((level for level in levels if level.isv_svn <= svn), None)


def isv_status(level: IsvLevel | None) -> TcbStatus:
    """The status of an enclave's or module's level, which knows three words only."""
    if level is None:
        return TcbStatus.NO_MATCHING_LEVEL
    return TcbStatus(level.status) if level.status in _ISV_WORDS else TcbStatus.UNKNOWN


def tdx_module(info: TcbInfo, tee_tcb_svn: bytes) -> ModuleTcb:
    """State of the TDX module that ``tee_tcb_svn`` speaks of (byte 1 version, byte 0 SVN)."""
    svn, version = tee_tcb_svn[0], tee_tcb_svn[1]
    if version == 0:
        return ModuleTcb(
            name=MODULE_ZERO, identity=info.tdx_module, svn=svn, level=None, status=None
        )
    name = f"TDX_{version:02X}"
    identity = next((found for found in info.tdx_modules if found.id.upper() == name), None)
    level = None if identity is None else isv_level(identity.levels, svn)
    return ModuleTcb(name=name, identity=identity, svn=svn, level=level, status=isv_status(level))


def _reached(
    info: TcbInfo, platform: PlatformSvns, tee_tcb_svn: bytes | None
) -> tuple[TcbLevel | None, ModuleTcb | None]:
    """The platform level and module state under one TEE_TCB_SVN."""
    module = None if tee_tcb_svn is None else tdx_module(info, tee_tcb_svn)
    # From module version 1 on the module has levels of its own.
    first = 0 if tee_tcb_svn is None or tee_tcb_svn[1] == 0 else 2
    for level in info.levels:
        if level.pce_svn > platform.pce_svn or _above(level.sgx_components, platform.components):
            continue
        if tee_tcb_svn is None:
            return level, module
        tdx = level.tdx_components
        if tdx is not None and not _above(tdx[first:], tuple(tee_tcb_svn[first:])):
            return level, module
    return None, module


def _above(wanted: tuple[int, ...], there: tuple[int, ...]) -> bool:
    return any(want > have for want, have in zip(wanted, there, strict=True))


def _level_status(level: TcbLevel | None) -> TcbStatus:
    if level is None:
        return TcbStatus.NO_MATCHING_LEVEL
    return TcbStatus(level.status) if level.status in _PLATFORM_WORDS else TcbStatus.UNKNOWN


def _converge(status: TcbStatus, part: TcbStatus | None) -> TcbStatus:
    """Take a part (TDX module or quoting enclave) into account that can only make it worse."""
    if part is None or part is TcbStatus.UP_TO_DATE:
        return status
    if TcbStatus.REVOKED in (status, part):
        return TcbStatus.REVOKED
    if status in _FINAL:
        return status
    if part in _FINAL:
        return part
    # What is left is a part that is out of date.
    if status in _CONFIGURATION:
        return TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED
    return TcbStatus.OUT_OF_DATE


def _relaunch(launch: TcbStatus, now: TcbStatus) -> TcbStatus:
    """TDX 1.5: whether starting the TD again would bring it up to date."""
    if launch is TcbStatus.REVOKED or now is TcbStatus.REVOKED:
        return TcbStatus.REVOKED
    if now in _FINAL:
        return now
    if launch not in _BEHIND or now not in _CURRENT:
        return launch
    if launch in _CONFIGURATION or now in _CONFIGURATION:
        return TcbStatus.TD_RELAUNCH_ADVISED_CONFIGURATION_NEEDED
    return TcbStatus.TD_RELAUNCH_ADVISED


def _union(advisories: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(sorted({name for names in advisories for name in names}))
