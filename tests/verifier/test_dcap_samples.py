"""Real quotes from real platforms get the verdict, cause and values that are known for them."""

from __future__ import annotations

import json

import pytest
from tests.verifier.dcap_samples import Sample, samples

from enarx.errors import VerificationError
from enarx.verifier import DcapCollateral, Endorsements, Failure, Policy, Tier, Verifier

NOT_IN_DATE = "sgx-intel-sdk-ccc"
"""Its PCK certificate is valid from December 2023 on; it is to be judged at March 2023."""


@pytest.mark.parametrize("sample", samples("sgx", "tdx", "ra-tls"))
def test_verdict_and_cause_are_as_known(sample: Sample) -> None:
    verdict = sample.appraise()

    assert (verdict.tier is Tier.AFFIRMING) == (sample.expected["verdict"] == "pass")
    assert verdict.failure == sample.expected["failure"]
    if sample.path.name == NOT_IN_DATE:
        assert not verdict.genuine
        assert "sgx.certificate.dates" in {link.name for link in verdict.failed}
    else:
        assert verdict.genuine == (sample.expected["crypto_verdict"] == "pass")


@pytest.mark.parametrize("sample", samples("sgx", "tdx", "ra-tls"))
def test_every_field_is_as_known(sample: Sample) -> None:
    fields = json.loads(json.dumps(dict(sample.appraise().fields)))

    for name, value in sample.expected["fields"].items():
        assert fields.get(name, "missing") == value, name


@pytest.mark.parametrize("sample", samples("sgx", "tdx"))
def test_findings_are_as_known(sample: Sample) -> None:
    verified = sample.appraise().verified
    assert verified is not None
    assert set(verified.findings) == set(sample.expected["findings"])


@pytest.mark.parametrize("sample", samples("sgx", "tdx"))
def test_what_is_remembered_changes_no_verdict(sample: Sample) -> None:
    verifier = Verifier()
    first = sample.appraise(verifier=verifier)
    again = sample.appraise(verifier=verifier)
    assert (first.tier, first.failure, first.trace) == (again.tier, again.failure, again.trace)


@pytest.mark.parametrize("sample", samples("sgx", "tdx"))
def test_a_bad_quote_runs_all_checks_and_cannot_be_overlooked(sample: Sample) -> None:
    verdict = sample.appraise()
    assert {f"{verdict.kind}.quote.signature", f"{verdict.kind}.qe.binding"} <= {
        link.name for link in verdict.trace
    }
    if sample.expected["verdict"] == "pass":
        assert verdict.require() is verdict
        return
    with pytest.raises(VerificationError) as caught:
        verdict.require()
    assert caught.value.hint
    assert all(link.source for link in verdict.trace)
    assert all(link.remedy for link in verdict.failed)


@pytest.mark.parametrize("sample", samples("sgx", "tdx", passing=True))
def test_passing_quote_without_collateral_is_not_affirmed_by_default(sample: Sample) -> None:
    verdict = sample.appraise(Policy.builtin("default"), endorsements=Endorsements())
    assert verdict.tier is Tier.CONTRAINDICATED
    assert verdict.failure is Failure.COLLATERAL


@pytest.mark.parametrize("sample", samples("sgx", "tdx", passing=True))
def test_collateral_survives_its_json_form(sample: Sample) -> None:
    collateral = DcapCollateral.from_json(sample.read("collateral"))
    again = DcapCollateral.from_json(collateral.to_json())
    assert again == collateral
    assert sample.appraise(endorsements=Endorsements(dcap=again)).tier is Tier.AFFIRMING
