"""Which technology bytes are evidence of, told from their first bytes and their length."""

from __future__ import annotations

from typing import Final

from enarx.errors import ParseError

SNP_REPORT_BYTES: Final = 1184
"""SNP ABI specification, table 23."""

_INTEL_QE_VENDOR: Final = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
_QE_VENDOR_AT: Final = 12
_TEE_TYPE_AT: Final = 4
_TEE_SGX: Final = bytes.fromhex("00000000")
_TEE_TDX: Final = bytes.fromhex("81000000")
_DER_SEQUENCE: Final = 0x30
_AMD_OID: Final = bytes.fromhex("2b060104019c7801")


def kind_of(evidence: bytes) -> str:
    """Name the technology.

    Raises:
        ParseError: the bytes look like no evidence known.
    """
    if evidence[_QE_VENDOR_AT : _QE_VENDOR_AT + 16] == _INTEL_QE_VENDOR:
        tee = evidence[_TEE_TYPE_AT : _TEE_TYPE_AT + 4]
        if tee == _TEE_SGX:
            return "sgx"
        if tee == _TEE_TDX:
            return "tdx"
    if len(evidence) == SNP_REPORT_BYTES:
        return "snp"
    if evidence[:1] and evidence[0] == _DER_SEQUENCE:
        return "snp" if _AMD_OID in evidence else "ra-tls"
    raise ParseError(
        f"{len(evidence)} bytes that look like no evidence known",
        offset=0,
        hint="name the type with --type if you know it",
        code="verify.unrecognised",
    )
