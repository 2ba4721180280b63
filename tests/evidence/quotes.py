"""Quotes made by hand, and the real ones where they are at hand, for the tests of this room."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from enarx.evidence.quote import (
    CERTIFICATION_PCK_CHAIN,
    INTEL_QE_VENDOR_ID,
    KEY_TYPE_ECDSA_P256,
    TEE_SGX,
    TEE_TDX,
    Quote,
    QuoteHeader,
    QuoteSignature,
)
from enarx.evidence.sgx import SgxReportBody
from enarx.evidence.tdx import TdReportBody

VECTORS = Path(__file__).resolve().parents[3] / "shared" / "vectors"


@dataclass(frozen=True)
class Sample:
    """One directory of real evidence with its expected values."""

    path: Path
    expected: dict[str, Any]

    def read(self, role: str) -> bytes:
        return (self.path / self.expected["files"][role]).read_bytes()


def samples(*tees: str) -> list[Any]:
    """Pytest parameters, one a sample; a single skipped one where the samples are not there."""
    found = [
        path.parent for tee in tees for path in sorted((VECTORS / tee).glob("*/expected.json"))
    ]
    if not found:
        skip = pytest.mark.skip(reason=f"no samples in {VECTORS}")
        return [pytest.param(None, marks=skip, id="no-samples")]
    return [
        pytest.param(Sample(path, json.loads((path / "expected.json").read_text())), id=path.name)
        for path in found
    ]


def numbered(size: int, start: int = 0) -> bytes:
    """``size`` bytes that differ from their neighbours, so that no two fields can be mixed up."""
    return bytes((start + index) % 251 for index in range(size))


SGX_BODY = SgxReportBody.parse(numbered(384, 1))
TD_10 = TdReportBody.parse(numbered(584, 2))
TD_15 = TdReportBody.parse_15(numbered(648, 3))


def made_quote(version: int, body: SgxReportBody | TdReportBody) -> Quote:
    """A quote whose every field is filled, with signatures that nobody made."""
    return Quote(
        header=QuoteHeader(
            version=version,
            attestation_key_type=KEY_TYPE_ECDSA_P256,
            tee_type=TEE_SGX if isinstance(body, SgxReportBody) else TEE_TDX,
            qe_svn=7,
            pce_svn=9,
            qe_vendor_id=INTEL_QE_VENDOR_ID,
            user_data=numbered(20),
        ),
        body=body,
        signature=QuoteSignature(
            signature=numbered(64, 10),
            attestation_key=numbered(64, 20),
            qe_report=SGX_BODY,
            qe_report_signature=numbered(64, 30),
            authentication_data=numbered(32),
            certification_type=CERTIFICATION_PCK_CHAIN,
            certification_data=b"-----BEGIN CERTIFICATE-----\n\0",
        ),
    )


MADE_QUOTES = [
    pytest.param(made_quote(3, SGX_BODY), id="sgx-v3"),
    pytest.param(made_quote(4, SGX_BODY), id="sgx-v4"),
    pytest.param(made_quote(5, SGX_BODY), id="sgx-v5"),
    pytest.param(made_quote(4, TD_10), id="td-1.0-v4"),
    pytest.param(made_quote(5, TD_10), id="td-1.0-v5"),
    pytest.param(made_quote(5, TD_15), id="td-1.5-v5"),
]
