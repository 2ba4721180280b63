"""The SGX enclave report: what the processor says of an enclave.

Source: Intel SDM volume 3D, table 36-21 (REPORT), and *Intel SGX ECDSA Quote Library Reference*,
A.4 (Enclave Report Body). The same structure is the body of an SGX quote and, inside every
quote, the report of the quoting enclave itself.
"""

from __future__ import annotations

from dataclasses import dataclass

from enarx.evidence.layout import Layout, octets, u16

ATTRIBUTE_INIT = 1 << 0
ATTRIBUTE_DEBUG = 1 << 1
ATTRIBUTE_MODE64 = 1 << 2
ATTRIBUTE_PROVISION_KEY = 1 << 4
ATTRIBUTE_EINITTOKEN_KEY = 1 << 5
ATTRIBUTE_CET = 1 << 6
ATTRIBUTE_KSS = 1 << 7

SGX_REPORT_BODY_SIZE = 384


@dataclass(frozen=True, slots=True, kw_only=True)
class SgxReportBody:
    """One enclave, as measured by the processor. Every byte is signed.

    Attributes:
        cpu_svn: SVN of microcode and its like, 16 bytes without order among them.
        misc_select: bit vector of SSA extensions.
        isv_ext_prod_id: extended product id (KSS).
        attributes: flags, 8 bytes, then XFRM, 8 bytes.
        mr_enclave: measurement of the enclave.
        mr_signer: SHA-256 of the signer's modulus.
        config_id: chosen by the host at launch (KSS).
        isv_prod_id, isv_svn: product id and security version from SIGSTRUCT.
        config_svn: chosen by the host at launch (KSS).
        isv_family_id: product family (KSS).
        report_data: 64 bytes of the enclave's choice.
    """

    cpu_svn: bytes = octets(16)
    misc_select: bytes = octets(4)
    reserved1: bytes = octets(12)
    isv_ext_prod_id: bytes = octets(16)
    attributes: bytes = octets(16)
    mr_enclave: bytes = octets(32)
    reserved2: bytes = octets(32)
    mr_signer: bytes = octets(32)
    reserved3: bytes = octets(32)
    config_id: bytes = octets(64)
    isv_prod_id: int = u16()
    isv_svn: int = u16()
    config_svn: int = u16()
    reserved4: bytes = octets(42)
    isv_family_id: bytes = octets(16)
    report_data: bytes = octets(64)

    @classmethod
    def parse(cls, data: bytes, *, offset: int = 0) -> SgxReportBody:
        """Read the 384 bytes at ``offset``.

        Raises:
            ParseError: fewer are left.
        """
        return _LAYOUT.parse(data, offset=offset)

    def pack(self) -> bytes:
        """The 384 bytes that are signed.

        Raises:
            UsageError: a field has another size than the layout gives it.
        """
        return _LAYOUT.pack(self)

    @property
    def flags(self) -> int:
        """The first half of ``attributes`` as a number, to test against ``ATTRIBUTE_*``."""
        return int.from_bytes(self.attributes[:8], "little")

    @property
    def debug(self) -> bool:
        """Whether the host may read and write the enclave's memory."""
        return bool(self.flags & ATTRIBUTE_DEBUG)


_LAYOUT = Layout(SgxReportBody, size=SGX_REPORT_BODY_SIZE)
