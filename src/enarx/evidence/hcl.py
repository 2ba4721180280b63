"""The report that a paravisor keeps in the virtual TPM of a confidential VM (Azure).

At boot the paravisor asks the silicon for a report whose report data is the SHA-256 of its
*runtime data*: JSON that holds the public part of the virtual TPM's attestation key. So the
silicon vouches for the key, and the key for the virtual machine's registers.

The hardware report has a field of 1184 bytes: an SNP report, or a TDREPORT of 1024 bytes and
zeros. TDREPORTs cannot be checked from afar; a TD quote with the same report data goes along.

Source: Microsoft, *Azure confidential VMs guest attestation design*, HCL attestation report.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from enarx.errors import ParseError
from enarx.evidence.layout import Layout, octets, u32

SIGNATURE: Final = b"HCLA"
VERSIONS: Final = (1, 2)
REQUEST_ATTESTATION: Final = 2
DATA_VERSION: Final = 1

REPORT_SNP: Final = 2
REPORT_TDX: Final = 4
HASH_SHA256: Final = 1

SNP_REPORT_BYTES: Final = 1184
TD_REPORT_BYTES: Final = 1024

MAX_HCL: Final = 64 * 1024
"""Bytes of the report with padding; it is read from an NV index of 2600."""

_TD_REPORT_DATA: Final = slice(128, 192)
_TD_MRTD: Final = slice(528, 576)
"""REPORTMACSTRUCT.REPORTDATA and TDINFO.MRTD (Intel TDX Module ABI, TDREPORT_STRUCT)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HclHeader:
    """In front of the hardware report."""

    signature: bytes = octets(4)
    version: int = u32()
    size: int = u32()
    request_type: int = u32()
    reserved: bytes = octets(16)
    hardware_report: bytes = octets(SNP_REPORT_BYTES)
    data_size: int = u32()
    data_version: int = u32()
    report_type: int = u32()
    hash_type: int = u32()
    length: int = u32()


HCL_HEADER: Final = Layout(HclHeader, size=1236)
_DATA_HEAD: Final = 20
"""Bytes that ``data_size`` counts before the runtime data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HclReport:
    """The report, cut up.

    Attributes:
        report_type: :data:`REPORT_SNP` or :data:`REPORT_TDX`.
        hardware_report: SNP report or TDREPORT, without padding.
        runtime_data: JSON, byte for byte as hashed.
    """

    report_type: int
    hardware_report: bytes
    runtime_data: bytes

    @property
    def runtime_digest(self) -> bytes:
        """What the silicon's report data begins with."""
        return hashlib.sha256(self.runtime_data).digest()

    @property
    def td_report_data(self) -> bytes:
        """Report data of the TDREPORT."""
        return self.hardware_report[_TD_REPORT_DATA]

    @property
    def td_mrtd(self) -> bytes:
        """MRTD of the TDREPORT."""
        return self.hardware_report[_TD_MRTD]

    @classmethod
    def parse(cls, data: bytes) -> HclReport:
        """Read the report and the zeros behind it.

        Raises:
            ParseError: another signature, version, type or hash; lengths that do not fit each
                other or the bytes; something behind it that is not zero.
        """
        if len(data) > MAX_HCL:
            raise ParseError(f"HCL report has {len(data)} bytes", code="hcl.size")
        header = HCL_HEADER.parse(data)
        if header.signature != SIGNATURE or header.version not in VERSIONS:
            raise ParseError(
                f"bytes begin with {header.signature!r}, version {header.version}; an HCL report "
                f"begins with {SIGNATURE!r}, version 1 or 2",
                offset=0,
                code="hcl.form",
            )
        if (
            header.request_type != REQUEST_ATTESTATION
            or header.data_version != DATA_VERSION
            or any(header.reserved)
        ):
            raise ParseError(
                f"HCL report is of request type {header.request_type} and data version "
                f"{header.data_version}; {REQUEST_ATTESTATION} and {DATA_VERSION} are known",
                code="hcl.form",
            )
        if header.report_type not in (REPORT_SNP, REPORT_TDX) or header.hash_type != HASH_SHA256:
            raise ParseError(
                f"HCL report has type {header.report_type} and hash {header.hash_type}; types "
                f"{REPORT_SNP} (SNP) and {REPORT_TDX} (TDX) with hash {HASH_SHA256} are known",
                code="hcl.type",
            )
        end = HCL_HEADER.size + header.length
        if (
            end > len(data)
            or header.data_size != _DATA_HEAD + header.length
            or header.size != end
            or any(data[end:])
        ):
            raise ParseError(
                f"HCL report of {len(data)} bytes says it has {header.size}, of which "
                f"{header.length} are runtime data",
                code="hcl.length",
            )
        size = SNP_REPORT_BYTES if header.report_type == REPORT_SNP else TD_REPORT_BYTES
        if any(header.hardware_report[size:]):
            raise ParseError("HCL report has bytes behind its TDREPORT", code="hcl.length")
        return cls(
            report_type=header.report_type,
            hardware_report=header.hardware_report[:size],
            runtime_data=data[HCL_HEADER.size : end],
        )
