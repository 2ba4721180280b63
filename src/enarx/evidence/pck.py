"""The SGX extension of a PCK certificate: which platform it is, and at which TCB.

Source: Intel, *SGX PCK Certificate and Certificate Revocation List Profile Specification*
(revision 1.5), section 1.3.5, OID 1.2.840.113741.1.13.1. The value is a SEQUENCE of
(OID, value) pairs; their order is not relied upon, but no pair may come twice.

The same declaration reads and writes, because simulated silicon certifies its own keys.
"""

from __future__ import annotations

from dataclasses import dataclass

from enarx.errors import ParseError, UsageError
from enarx.evidence import der

PCK_EXTENSION_OID = "1.2.840.113741.1.13.1"

PPID_SIZE = 16
CPU_SVN_SIZE = 16
PCE_ID_SIZE = 2
FMSPC_SIZE = 6
PLATFORM_INSTANCE_ID_SIZE = 16
TCB_COMPONENTS = 16

MAX_EXTENSION = 4096
"""Bytes of an extension that are looked at; Intel's are 453 to 600 bytes."""

MAX_COMPONENT_SVN = 0xFF
MAX_PCE_SVN = 0xFFFF
MAX_SGX_TYPE = 0x7F


@dataclass(frozen=True, slots=True, kw_only=True)
class PckExtension:
    """What Intel certifies of a platform in its PCK certificate.

    Attributes:
        ppid: platform provisioning id, 16 bytes.
        tcb_components: the 16 component SVNs, each 0..255, in the order of the TCB info.
        pce_svn: SVN of the provisioning certification enclave.
        cpu_svn: the CPU SVN as the processor reports it, 16 bytes.
        pce_id: 2 bytes, as in the TCB info's ``pceId``.
        fmspc: family-model-stepping-platform-custom SKU, 6 bytes.
        sgx_type: 0 standard, 1 scalable, 2 scalable with integrity.
        platform_instance_id: 16 bytes, only under the Platform CA.
        dynamic_platform: whether the platform may be extended, None where not said.
        cached_keys: whether Intel keeps the platform's root keys, None where not said.
        smt_enabled: whether hyper-threading was on at registration, None where not said.
    """

    ppid: bytes
    tcb_components: tuple[int, ...]
    pce_svn: int
    cpu_svn: bytes
    pce_id: bytes
    fmspc: bytes
    sgx_type: int
    platform_instance_id: bytes | None = None
    dynamic_platform: bool | None = None
    cached_keys: bool | None = None
    smt_enabled: bool | None = None


def parse_pck_extension(value: bytes) -> PckExtension:
    """Read the extension's value (the DER SEQUENCE inside the extension's OCTET STRING).

    Raises:
        ParseError: not DER, a repeated or missing pair, a wrong type or size
            (``parse.pck-extension`` or ``parse.der-*``).
    """
    if len(value) > MAX_EXTENSION:
        raise ParseError(
            f"the SGX extension has {len(value)} bytes, at most {MAX_EXTENSION} are read",
            code="parse.pck-extension",
        )
    outer = _Pairs(der.read_whole(value, tag=der.SEQUENCE))
    tcb = _Pairs(outer.content(_TCB, tag=der.SEQUENCE))
    configuration = _Pairs(
        outer.content(_CONFIGURATION, tag=der.SEQUENCE) if outer.holds(_CONFIGURATION) else b""
    )
    instance = None
    if outer.holds(_PLATFORM_INSTANCE_ID):
        instance = outer.content(
            _PLATFORM_INSTANCE_ID, tag=der.OCTET_STRING, size=PLATFORM_INSTANCE_ID_SIZE
        )
    dynamic_platform, cached_keys, smt_enabled = (configuration.flag(oid) for oid in _FLAGS)
    return PckExtension(
        ppid=outer.content(_PPID, tag=der.OCTET_STRING, size=PPID_SIZE),
        tcb_components=tuple(tcb.svn(oid, limit=MAX_COMPONENT_SVN) for oid in _COMPONENT_OIDS),
        pce_svn=tcb.svn(_PCE_SVN, limit=MAX_PCE_SVN),
        cpu_svn=tcb.content(_CPU_SVN, tag=der.OCTET_STRING, size=CPU_SVN_SIZE),
        pce_id=outer.content(_PCE_ID, tag=der.OCTET_STRING, size=PCE_ID_SIZE),
        fmspc=outer.content(_FMSPC, tag=der.OCTET_STRING, size=FMSPC_SIZE),
        sgx_type=outer.enumerated(_SGX_TYPE),
        platform_instance_id=instance,
        dynamic_platform=dynamic_platform,
        cached_keys=cached_keys,
        smt_enabled=smt_enabled,
    )


def pack_pck_extension(extension: PckExtension) -> bytes:
    """Write the extension's value, in Intel's order.

    Raises:
        UsageError: a value that its field cannot hold.
    """
    _check(extension)
    components = zip(_COMPONENT_OIDS, extension.tcb_components, strict=True)
    tcb = [_pair(oid, der.integer(svn)) for oid, svn in components]
    tcb.append(_pair(_PCE_SVN, der.integer(extension.pce_svn)))
    tcb.append(_pair(_CPU_SVN, der.element(der.OCTET_STRING, extension.cpu_svn)))
    pairs = [
        _pair(_PPID, der.element(der.OCTET_STRING, extension.ppid)),
        _pair(_TCB, der.element(der.SEQUENCE, b"".join(tcb))),
        _pair(_PCE_ID, der.element(der.OCTET_STRING, extension.pce_id)),
        _pair(_FMSPC, der.element(der.OCTET_STRING, extension.fmspc)),
        _pair(_SGX_TYPE, der.element(der.ENUMERATED, bytes((extension.sgx_type,)))),
    ]
    if extension.platform_instance_id is not None:
        instance = der.element(der.OCTET_STRING, extension.platform_instance_id)
        pairs.append(_pair(_PLATFORM_INSTANCE_ID, instance))
    flags = (extension.dynamic_platform, extension.cached_keys, extension.smt_enabled)
    configuration = [
        _pair(oid, der.element(der.BOOLEAN, b"\xff" if flag else b"\x00"))
        for oid, flag in zip(_FLAGS, flags, strict=True)
        if flag is not None
    ]
    if configuration:
        pairs.append(_pair(_CONFIGURATION, der.element(der.SEQUENCE, b"".join(configuration))))
    return der.element(der.SEQUENCE, b"".join(pairs))


class _Pairs:
    """The (OID, value) pairs of one SEQUENCE, each at most once; unknown OIDs are left alone.

    Intel signs the extension and may add to it, so what is not known is not an error; what
    is known must have exactly its type and size.
    """

    def __init__(self, content: bytes) -> None:
        self._found: dict[bytes, tuple[int, bytes]] = {}
        for tag, pair in der.elements(content):
            if tag != der.SEQUENCE:
                raise _malformed(f"an entry has tag 0x{tag:02x}, expected a SEQUENCE")
            oid, end = der.read(pair, 0, tag=der.OBJECT_IDENTIFIER)
            value_tag, value, end = der.read_any(pair, end)
            if end != len(pair):
                raise _malformed("an entry has more than an OID and a value")
            if oid in self._found:
                raise _malformed(f"the OID with DER content {oid.hex()} comes twice")
            self._found[oid] = (value_tag, value)

    def holds(self, oid: str) -> bool:
        return _ENCODED[oid] in self._found

    def content(self, oid: str, *, tag: int, size: int | None = None) -> bytes:
        found, value = self._found.get(_ENCODED[oid], (None, b""))
        if found is None:
            raise _malformed(f"{oid} is missing")
        if found != tag or (size is not None and len(value) != size):
            raise _malformed(
                f"{oid} has tag 0x{found:02x} and {len(value)} bytes, expected tag 0x{tag:02x}"
                + ("" if size is None else f" and {size} bytes")
            )
        return value

    def svn(self, oid: str, *, limit: int) -> int:
        value = der.unsigned(self.content(oid, tag=der.INTEGER))
        if value > limit:
            raise _malformed(f"{oid} is {value}, at most {limit} is possible")
        return value

    def enumerated(self, oid: str) -> int:
        value = self.content(oid, tag=der.ENUMERATED, size=1)[0]
        if value > MAX_SGX_TYPE:
            raise _malformed(f"{oid} is negative")
        return value

    def flag(self, oid: str) -> bool | None:
        if not self.holds(oid):
            return None
        value = self.content(oid, tag=der.BOOLEAN, size=1)
        if value not in (b"\x00", b"\xff"):
            raise _malformed(f"{oid} is a BOOLEAN of value 0x{value.hex()}")
        return value == b"\xff"


def _malformed(what: str) -> ParseError:
    return ParseError(f"SGX extension of the PCK certificate: {what}", code="parse.pck-extension")


def _pair(oid: str, value: bytes) -> bytes:
    return der.element(der.SEQUENCE, der.element(der.OBJECT_IDENTIFIER, _ENCODED[oid]) + value)


def _check(extension: PckExtension) -> None:
    """Refuse to certify what could not be read back."""
    sizes = (
        ("ppid", extension.ppid, PPID_SIZE),
        ("cpu_svn", extension.cpu_svn, CPU_SVN_SIZE),
        ("pce_id", extension.pce_id, PCE_ID_SIZE),
        ("fmspc", extension.fmspc, FMSPC_SIZE),
        ("platform_instance_id", extension.platform_instance_id, PLATFORM_INSTANCE_ID_SIZE),
    )
    for name, value, size in sizes:
        if value is not None and len(value) != size:
            raise UsageError(f"PCK extension {name} has {len(value)} bytes, it must have {size}")
    if len(extension.tcb_components) != TCB_COMPONENTS:
        raise UsageError(f"PCK extension needs {TCB_COMPONENTS} TCB components")
    if not all(0 <= svn <= MAX_COMPONENT_SVN for svn in extension.tcb_components):
        raise UsageError(f"PCK extension: a TCB component SVN is not in 0..{MAX_COMPONENT_SVN}")
    if not 0 <= extension.pce_svn <= MAX_PCE_SVN:
        raise UsageError(f"PCK extension: pce_svn is not in 0..{MAX_PCE_SVN}")
    if not 0 <= extension.sgx_type <= MAX_SGX_TYPE:
        raise UsageError(f"PCK extension: sgx_type is not in 0..{MAX_SGX_TYPE}")


_PPID = f"{PCK_EXTENSION_OID}.1"
_TCB = f"{PCK_EXTENSION_OID}.2"
_PCE_ID = f"{PCK_EXTENSION_OID}.3"
_FMSPC = f"{PCK_EXTENSION_OID}.4"
_SGX_TYPE = f"{PCK_EXTENSION_OID}.5"
_PLATFORM_INSTANCE_ID = f"{PCK_EXTENSION_OID}.6"
_CONFIGURATION = f"{PCK_EXTENSION_OID}.7"
_COMPONENT_OIDS = tuple(f"{_TCB}.{number}" for number in range(1, TCB_COMPONENTS + 1))
_PCE_SVN = f"{_TCB}.17"
_CPU_SVN = f"{_TCB}.18"
_FLAGS = tuple(f"{_CONFIGURATION}.{number}" for number in (1, 2, 3))
_ENCODED = {
    oid: der.object_identifier(oid)[2:]
    for oid in (
        _PPID,
        _TCB,
        _PCE_ID,
        _FMSPC,
        _SGX_TYPE,
        _PLATFORM_INSTANCE_ID,
        _CONFIGURATION,
        _PCE_SVN,
        _CPU_SVN,
        *_COMPONENT_OIDS,
        *_FLAGS,
    )
}
