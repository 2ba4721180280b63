"""Intel's TCB info (version 3) and enclave identity (version 2): what is read of the JSON.

Source: Intel SGX and TDX Provisioning Certification Service API version 4, "Get TCB Info" and
"Get QE Identity". The signature is over the exact text, so the text is checked first and read
afterwards (:mod:`enarx.verifier.dcap_collateral`); here the text is only turned into values.

Members that are not known are left alone (Intel adds some), known ones must have exactly their
type, and no name may come twice in one object: of two equal names every reader picks its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn, TypeVar

import msgspec

from enarx.errors import ParseError
from enarx.verifier import strictjson

MAX_JSON = 1 << 20
"""Bytes of one signed JSON text that are read; Intel's largest is about 15,000."""

MAX_LEVELS = 256
"""Entries of one list of TCB levels; Intel's longest has 17."""

MAX_MODULE_IDENTITIES = 64
"""TDX module identities in one TCB info; Intel lists two."""

COMPONENTS = 16
MAX_COMPONENT_SVN = 255
TCB_INFO_VERSION = 3
QE_IDENTITY_VERSION = 2
TCB_TYPE = 0

_HEX_DIGITS = frozenset("0123456789abcdefABCDEF")


@dataclass(frozen=True, slots=True, kw_only=True)
class TcbLevel:
    """One level of a platform: reached when no SVN here is above the platform's.

    Attributes:
        sgx_components: 16 SVNs against those of the PCK certificate.
        tdx_components: 16 SVNs against ``tee_tcb_svn``; None in an SGX TCB info.
        pce_svn: against the one of the PCK certificate.
        date: as Intel writes it, ``2024-03-13T00:00:00Z``.
        status: Intel's word; :mod:`enarx.verifier.tcb` knows which there are.
        advisories: Intel security advisories that this level is behind on.
    """

    sgx_components: tuple[int, ...]
    tdx_components: tuple[int, ...] | None
    pce_svn: int
    date: str
    status: str
    advisories: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class IsvLevel:
    """One level of an enclave or TDX module: reached when ``isv_svn`` is not above its SVN."""

    isv_svn: int
    date: str
    status: str
    advisories: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TdxModuleIdentity:
    """Which TDX module may run, and its levels. ``id`` is empty for the one of version 0."""

    id: str
    mr_signer: bytes
    attributes: bytes
    attributes_mask: bytes
    levels: tuple[IsvLevel, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TcbInfo:
    """The TCB levels of one kind of platform.

    Attributes:
        id: ``SGX`` or ``TDX``.
        issued: valid from this time on.
        next_update: valid before this time.
        fmspc: the 6 bytes that the PCK certificate must name too.
        pce_id: the 2 bytes that the PCK certificate must name too.
        evaluation_number: ``tcbEvaluationDataNumber``, rises with every TCB recovery.
        tdx_module: identity of TDX module version 0; None in an SGX TCB info.
        tdx_modules: identities of the later TDX module versions, by ``TDX_xx``.
        levels: newest first.
        sgx_names, tdx_names: what Intel calls the 16 components, for people; often empty.
    """

    id: str
    issued: datetime
    next_update: datetime
    fmspc: bytes
    pce_id: bytes
    evaluation_number: int
    tdx_module: TdxModuleIdentity | None
    tdx_modules: tuple[TdxModuleIdentity, ...]
    levels: tuple[TcbLevel, ...]
    sgx_names: tuple[str, ...]
    tdx_names: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class QeIdentity:
    """Which quoting enclave may sign, and its levels.

    Attributes:
        id: ``QE`` or ``TD_QE``.
        issued: valid from this time on.
        next_update: valid before this time.
        evaluation_number: as in :class:`TcbInfo`.
        misc_select: 4 bytes in report order, to compare under ``misc_select_mask``.
        attributes: 16 bytes to compare under ``attributes_mask``.
        mr_signer: 32 bytes.
        isv_prod_id: to be equal.
        levels: newest first.
    """

    id: str
    issued: datetime
    next_update: datetime
    evaluation_number: int
    misc_select: bytes
    misc_select_mask: bytes
    attributes: bytes
    attributes_mask: bytes
    mr_signer: bytes
    isv_prod_id: int
    levels: tuple[IsvLevel, ...]


def parse_tcb_info(text: bytes) -> TcbInfo:
    """Read a TCB info from its JSON text.

    Raises:
        ParseError: not the JSON it must be (``json.*``, ``parse.collateral-json``), or
            of another version (``parse.tcb-info-version``).
    """
    raw = strictjson.decode(text, what="TCB info", limit=MAX_JSON)
    version = raw.get("version")
    if version != TCB_INFO_VERSION:
        raise ParseError(
            f"TCB info has version {version!r}, expected {TCB_INFO_VERSION}",
            hint="Version 2 is the form of the retired API v3: fetch the collateral from API v4.",
            code="parse.tcb-info-version",
        )
    info = _convert(raw, _TcbInfo, "TCB info")
    if info.tcbType != TCB_TYPE:
        _fail("TCB info", f"has tcbType {info.tcbType}, only {TCB_TYPE} is defined")
    newest = info.tcbLevels[0].tcb if info.tcbLevels else None
    return TcbInfo(
        id=info.id,
        issued=_time(info.issueDate, "TCB info"),
        next_update=_time(info.nextUpdate, "TCB info"),
        fmspc=_hex(info.fmspc, 6, "fmspc"),
        pce_id=_hex(info.pceId, 2, "pceId"),
        evaluation_number=info.tcbEvaluationDataNumber,
        tdx_module=None if info.tdxModule is None else _module(info.tdxModule),
        tdx_modules=_modules(info.tdxModuleIdentities),
        levels=tuple(_level(level, tdx=info.id == "TDX") for level in _few(info.tcbLevels)),
        sgx_names=_names(newest.sgxtcbcomponents if newest else None),
        tdx_names=_names(newest.tdxtcbcomponents if newest else None),
    )


def parse_qe_identity(text: bytes) -> QeIdentity:
    """Read a QE identity from its JSON text.

    Raises:
        ParseError: not the JSON it must be (``json.*``, ``parse.collateral-json``), or
            of another version (``parse.qe-identity-version``).
    """
    raw = strictjson.decode(text, what="QE identity", limit=MAX_JSON)
    version = raw.get("version")
    if version != QE_IDENTITY_VERSION:
        raise ParseError(
            f"QE identity has version {version!r}, expected {QE_IDENTITY_VERSION}",
            hint="Fetch the collateral from API v4.",
            code="parse.qe-identity-version",
        )
    identity = _convert(raw, _QeIdentity, "QE identity")
    return QeIdentity(
        id=identity.id,
        issued=_time(identity.issueDate, "QE identity"),
        next_update=_time(identity.nextUpdate, "QE identity"),
        evaluation_number=identity.tcbEvaluationDataNumber,
        misc_select=_hex(identity.miscselect, 4, "miscselect"),
        misc_select_mask=_hex(identity.miscselectMask, 4, "miscselectMask"),
        attributes=_hex(identity.attributes, 16, "attributes"),
        attributes_mask=_hex(identity.attributesMask, 16, "attributesMask"),
        mr_signer=_hex(identity.mrsigner, 32, "mrsigner"),
        isv_prod_id=identity.isvprodid,
        levels=tuple(_isv_level(level) for level in _few(identity.tcbLevels)),
    )


_Document = TypeVar("_Document")
_Any = TypeVar("_Any")


class _Component(msgspec.Struct):
    svn: int
    type: str = ""


class _Tcb(msgspec.Struct):
    sgxtcbcomponents: list[_Component]
    pcesvn: int
    tdxtcbcomponents: list[_Component] | None = None


class _Level(msgspec.Struct):
    tcb: _Tcb
    tcbDate: str
    tcbStatus: str
    advisoryIDs: list[str] = []


class _IsvTcb(msgspec.Struct):
    isvsvn: int


class _IsvLevel(msgspec.Struct):
    tcb: _IsvTcb
    tcbDate: str
    tcbStatus: str
    advisoryIDs: list[str] = []


class _Module(msgspec.Struct):
    mrsigner: str
    attributes: str
    attributesMask: str
    id: str = ""
    tcbLevels: list[_IsvLevel] = []


class _TcbInfo(msgspec.Struct):
    id: str
    issueDate: str
    nextUpdate: str
    fmspc: str
    pceId: str
    tcbType: int
    tcbEvaluationDataNumber: int
    tcbLevels: list[_Level]
    tdxModule: _Module | None = None
    tdxModuleIdentities: list[_Module] = []


class _QeIdentity(msgspec.Struct):
    id: str
    issueDate: str
    nextUpdate: str
    tcbEvaluationDataNumber: int
    miscselect: str
    miscselectMask: str
    attributes: str
    attributesMask: str
    mrsigner: str
    isvprodid: int
    tcbLevels: list[_IsvLevel]


def _fail(what: str, why: str) -> NoReturn:
    raise ParseError(f"{what} {why}", code="parse.collateral-json")


def _convert(raw: dict[str, Any], kind: type[_Document], what: str) -> _Document:
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        _fail(what, f"does not have its members: {error}")


def _hex(value: str, size: int, name: str) -> bytes:
    if len(value) == 2 * size and not set(value) - _HEX_DIGITS:
        return bytes.fromhex(value)
    _fail("collateral JSON", f"has {name} {value[:80]!r}, expected {2 * size} hex digits")


def _time(value: str, what: str) -> datetime:
    try:
        if len(value) == len("YYYY-MM-DDTHH:MM:SSZ") and value[10] + value[19] == "TZ":
            return datetime.fromisoformat(value).astimezone(UTC)
    except ValueError:
        pass  # the one message below is for every form that it cannot have
    _fail(what, f"has the time {value[:40]!r}, expected YYYY-MM-DDTHH:MM:SSZ")


def _svns(components: list[_Component]) -> tuple[int, ...]:
    svns = tuple([component.svn for component in components])
    if len(svns) != COMPONENTS or min(svns) < 0 or max(svns) > MAX_COMPONENT_SVN:
        _fail("TCB info", f"has a level without {COMPONENTS} SVNs of 0..{MAX_COMPONENT_SVN}")
    return svns


def _names(components: list[_Component] | None) -> tuple[str, ...]:
    return tuple(component.type for component in components or ())


def _level(level: _Level, *, tdx: bool) -> TcbLevel:
    tcb = level.tcb
    if (tcb.tdxtcbcomponents is not None) != tdx:
        _fail("TCB info", "has a level whose TDX components do not fit its id")
    return TcbLevel(
        sgx_components=_svns(tcb.sgxtcbcomponents),
        tdx_components=None if tcb.tdxtcbcomponents is None else _svns(tcb.tdxtcbcomponents),
        pce_svn=tcb.pcesvn,
        date=level.tcbDate,
        status=level.tcbStatus,
        advisories=tuple(level.advisoryIDs),
    )


def _isv_level(level: _IsvLevel) -> IsvLevel:
    return IsvLevel(
        isv_svn=level.tcb.isvsvn,
        date=level.tcbDate,
        status=level.tcbStatus,
        advisories=tuple(level.advisoryIDs),
    )


def _few(levels: list[_Any]) -> list[_Any]:
    if len(levels) > MAX_LEVELS:
        _fail("collateral JSON", f"has {len(levels)} levels in one list, at most {MAX_LEVELS}")
    return levels


def _modules(modules: list[_Module]) -> tuple[TdxModuleIdentity, ...]:
    if len(modules) > MAX_MODULE_IDENTITIES:
        _fail("TCB info", f"has {len(modules)} TDX modules, at most {MAX_MODULE_IDENTITIES}")
    if len({module.id for module in modules}) != len(modules):
        _fail("TCB info", "names one TDX module twice")
    return tuple(_module(module) for module in modules)


def _module(module: _Module) -> TdxModuleIdentity:
    return TdxModuleIdentity(
        id=module.id,
        mr_signer=_hex(module.mrsigner, 48, "mrsigner"),
        attributes=_hex(module.attributes, 8, "attributes"),
        attributes_mask=_hex(module.attributesMask, 8, "attributesMask"),
        levels=tuple(_isv_level(level) for level in _few(module.tcbLevels)),
    )
