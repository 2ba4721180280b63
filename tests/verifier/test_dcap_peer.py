"""Every real quote with every real collateral: a second implementation says the same.

Nearly all of these pairs are wrong, each in its own way; what both accept, they must give the
same TCB status and advisories.
"""

from __future__ import annotations

from functools import cache

import pytest
from tests.verifier.dcap_samples import GENUINE, Sample, samples

from enarx.verifier import DcapCollateral, Endorsements, Failure, Verifier

dcap_qvl = pytest.importorskip("dcap_qvl", reason="the peer is not installed")

REFUSED_BY_ITS_POLICY = (
    "Invalid MR service TD",
    "SEPT_VE_DISABLE is not enabled",
    "Debug mode is enabled",
)
"""What the peer refuses and this verifier leaves to the policy."""

NO_LEVEL = "No matching TCB level found"
NEEDS_LISTS = "invalid type: null"


@cache
def collaterals() -> tuple[Sample, ...]:
    found = (parameter.values[0] for parameter in samples("sgx", "tdx", "ra-tls"))
    return tuple(one for one in found if one is not None and "collateral" in one.expected["files"])


@pytest.mark.parametrize("sample", samples("sgx", "tdx", "ra-tls"))
def test_second_implementation_agrees(sample: Sample) -> None:
    verifier, quote = Verifier(), sample.quote
    for other in collaterals():
        data = other.read("collateral")
        verdict = verifier.appraise(
            quote,
            policy=GENUINE,
            at=other.at,
            endorsements=Endorsements(dcap=DcapCollateral.from_json(data)),
        )
        fields = verdict.fields
        try:
            theirs = dcap_qvl.verify(
                quote,
                dcap_qvl.QuoteCollateralV3.from_json(data.decode()),
                int(other.at.timestamp()),
            )
        except ValueError as error:
            reason = str(error)
            if any(known in reason for known in REFUSED_BY_ITS_POLICY) or NEEDS_LISTS in reason:
                continue
            if NO_LEVEL in reason:
                assert fields["tcb_status"] == "NoMatchingLevel", other.path.name
            assert not verdict.genuine or NO_LEVEL in reason, (other.path.name, reason)
            continue
        assert verdict.genuine, other.path.name
        assert verdict.failure in (None, Failure.TCB_STATUS)
        assert fields["tcb_status"] == theirs.status, other.path.name
        assert fields["advisory_ids"] == sorted(theirs.advisory_ids), other.path.name
