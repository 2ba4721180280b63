"""Real evidence from real chips gets the verdict, cause and values that are known for it."""

from __future__ import annotations

import pytest
from tests.verifier.snp_samples import Sample, genuine_reports, samples

from enarx.errors import ParseError, VerificationError
from enarx.evidence.snp import REPORT_SIZE, Report
from enarx.verifier import Endorsements, Expectations, Failure, Policy, Tier, Verifier


@pytest.mark.parametrize("sample", samples())
def test_verdict_cause_and_every_field_are_as_known(sample: Sample) -> None:
    verdict = sample.appraise()
    assert verdict.kind == "snp"
    assert (verdict.tier is Tier.AFFIRMING) == (sample.expected["verdict"] == "pass")
    assert verdict.failure == sample.expected["failure"]
    assert verdict.fields == sample.expected["fields"]
    assert verdict.genuine == (sample.expected["crypto_verdict"] == "pass")
    assert not verdict.simulated


@pytest.mark.parametrize("sample", samples())
def test_what_is_remembered_changes_no_verdict(sample: Sample) -> None:
    verifier = Verifier()
    first = sample.appraise(verifier=verifier)
    again = sample.appraise(verifier=verifier)
    assert (first.tier, first.failure, first.trace) == (again.tier, again.failure, again.trace)


@pytest.mark.parametrize("sample", samples())
def test_a_verdict_that_does_not_affirm_cannot_be_overlooked(sample: Sample) -> None:
    verdict = sample.appraise()
    with pytest.raises(TypeError, match="no truth value"):
        bool(verdict)
    if sample.expected["verdict"] == "pass":
        assert verdict.require() is verdict
    else:
        with pytest.raises(VerificationError) as caught:
            verdict.require()
        assert caught.value.code == f"verification.{sample.expected['failure']}"
        assert caught.value.hint


@pytest.mark.parametrize("sample", genuine_reports())
def test_report_packs_to_the_bytes_it_was_read_from(sample: Sample) -> None:
    assert Report.parse(sample.evidence).pack() == sample.evidence


@pytest.mark.parametrize("sample", genuine_reports())
def test_without_certificates_nothing_is_believed(sample: Sample) -> None:
    verdict = sample.appraise(endorsements=Endorsements())
    assert verdict.tier is Tier.CONTRAINDICATED
    assert verdict.failure is Failure.CHAIN
    assert not verdict.genuine


@pytest.mark.parametrize("sample", genuine_reports())
def test_expected_report_data_must_be_there(sample: Sample) -> None:
    right = Expectations(report_data=bytes.fromhex(sample.expected["fields"]["report_data"]))
    wrong = Expectations(report_data=b"\x5a" * 64)
    assert sample.appraise(expectations=right).tier is Tier.AFFIRMING
    verdict = sample.appraise(expectations=wrong)
    assert verdict.failure is Failure.BINDING
    assert verdict.genuine  # the evidence is good, it only is not the one that was asked for


@pytest.mark.parametrize("sample", genuine_reports())
def test_milan_is_never_more_than_a_warning_by_default(sample: Sample) -> None:
    verdict = sample.appraise(Policy.builtin("default"))
    assert verdict.tier is not Tier.AFFIRMING or sample.expected["product"] != "Milan"
    assert verdict.genuine


@pytest.mark.parametrize("sample", genuine_reports())
def test_every_other_length_is_no_report(sample: Sample) -> None:
    evidence = sample.evidence
    for length in range(0, REPORT_SIZE, 7):
        with pytest.raises(ParseError):
            sample.appraise(evidence=evidence[:length], kind="snp")
    with pytest.raises(ParseError) as caught:
        sample.appraise(evidence=evidence + b"\0", kind="snp")
    assert caught.value.code == "snp.length"


@pytest.mark.parametrize("sample", genuine_reports())
def test_truncated_certificates_break_the_chain(sample: Sample) -> None:
    leaf = "vlek" if "vlek" in sample.expected["files"] else "vcek"
    content = sample.read(leaf)
    for length in range(1, len(content), 61):
        endorsements = sample.endorsements(**{leaf: content[:length]})
        assert sample.appraise(endorsements=endorsements).failure is Failure.CHAIN


def test_a_preimage_that_does_not_fit_is_a_broken_binding() -> None:
    sample = next(
        (
            param.values[0]
            for param in samples()
            if param.values[0] and "host_data_preimage" in param.values[0].expected["files"]
        ),
        None,
    )
    if sample is None:
        pytest.skip("no sample with a pre-image")
    endorsements = sample.endorsements(host_data_preimage=b"another policy")
    verdict = sample.appraise(endorsements=endorsements)
    assert verdict.failure is Failure.BINDING
    assert verdict.genuine


@pytest.mark.parametrize("sample", samples())
def test_no_changed_bit_of_a_measurement_endorsement_is_passed_over(sample: Sample) -> None:
    if "measurement_endorsement" not in sample.expected["files"]:
        pytest.skip("sample has no measurement endorsement")
    content = sample.read("measurement_endorsement")
    # The unprotected header (a time stamp) is not signed; payload and signature stand last.
    positions = [*range(0, 64, 5), *range(len(content) - 560, len(content), 11)]
    for position in positions:
        changed = bytearray(content)
        changed[position] ^= 1
        endorsements = sample.endorsements(measurement_endorsement=bytes(changed))
        verdict = sample.appraise(endorsements=endorsements)
        assert verdict.tier is Tier.CONTRAINDICATED, position
        assert verdict.genuine


def test_certificate_alone_says_nothing_about_what_runs() -> None:
    sample = next(
        (
            param.values[0]
            for param in samples()
            if param.values[0] and param.values[0].role != "report"
        ),
        None,
    )
    if sample is None:
        pytest.skip("no sample without a report")
    assert sample.appraise().tier is Tier.AFFIRMING
    assert sample.appraise(Policy.builtin("default")).tier is Tier.CONTRAINDICATED
    assert sample.appraise(context="release-secrets").tier is Tier.CONTRAINDICATED
    wanted = Expectations(nonce=b"nonce")
    assert sample.appraise(expectations=wanted).tier is Tier.CONTRAINDICATED
