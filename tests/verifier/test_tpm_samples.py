"""Real quotes and logs from real machines get the verdict, cause and values known for them."""

from __future__ import annotations

import json

import pytest
from tests.verifier.tpm_samples import Sample, samples

from enarx.errors import ParseError
from enarx.verifier import Failure, Policy, Tier, Verifier, endorsements_from

ALL = samples("tpm", "azure-vtpm", "eventlog")
_SUPPLIED = ("expected_nonce", "parse_error_seen")
"""Fields that say what the relying party gave, or what another parser said."""


def readable(sample: Sample) -> bool:
    if sample.expected["failure"] != "structure":
        return True
    with pytest.raises(ParseError):
        sample.appraise()
    return False


@pytest.mark.parametrize("sample", ALL)
def test_verdict_and_cause_are_as_known(sample: Sample) -> None:
    if not readable(sample):
        return
    verdict = sample.appraise()
    assert verdict.kind == sample.kind
    assert (verdict.tier is Tier.AFFIRMING) == (sample.expected["verdict"] == "pass")
    assert verdict.failure == sample.expected["failure"]
    if sample.path.name != "gce-cos85-wrong-nonce-google":
        assert verdict.genuine == (sample.expected["crypto_verdict"] == "pass")


@pytest.mark.parametrize("sample", ALL)
def test_every_field_is_as_known(sample: Sample) -> None:
    if not readable(sample):
        return
    fields = json.loads(json.dumps(dict(sample.appraise().fields)))
    for name, value in sample.expected["fields"].items():
        if name in _SUPPLIED or (name.startswith("event_log") and sample.expected["failure"]):
            continue
        found = fields.get(name, "missing")
        if name == "tdx":  # the sample leaves out what the collateral says
            found = {key: found[key] for key in value}
        assert found == value, name


@pytest.mark.parametrize("sample", samples("azure-vtpm"))
def test_findings_of_the_hardware_are_kept(sample: Sample) -> None:
    verified = sample.appraise().verified
    assert verified is not None
    assert set(verified.findings) >= set(sample.expected["findings"])


@pytest.mark.parametrize("sample", samples("tpm", "azure-vtpm", "eventlog", passing=True))
def test_type_is_detected_where_the_first_bytes_tell(sample: Sample) -> None:
    if sample.expected["fields"].get("crypto_agile") is False:
        with pytest.raises(ParseError):
            sample.appraise(kind=None)
        return
    assert sample.appraise(kind=None).tier is Tier.AFFIRMING


@pytest.mark.parametrize("sample", samples("tpm", passing=True))
def test_key_that_was_only_supplied_is_not_enough_by_default(sample: Sample) -> None:
    verdict = sample.appraise(Policy.builtin("default"))
    assert verdict.tier is Tier.CONTRAINDICATED
    assert "tpm.flag.key_proven" in {link.name for link in verdict.failed}


@pytest.mark.parametrize("sample", samples("tpm", "azure-vtpm", passing=True))
def test_nothing_that_came_with_it_may_be_left_out(sample: Sample) -> None:
    needed = {
        "tpm": ("ak_public", "pcrs"),
        "azure-vtpm": ("tpm_quote", "tpm_signature", "pcrs", "vcek"),
    }[sample.kind]
    for role in needed:
        endorsements = sample.endorsements(role, "ak_tpmt_public", "signature_tpmt")
        verdict = sample.appraise(endorsements=endorsements)
        assert verdict.tier is Tier.CONTRAINDICATED, role


@pytest.mark.parametrize("sample", samples("tpm", "azure-vtpm", passing=True))
def test_no_flipped_bit_of_the_quote_is_passed_over(sample: Sample) -> None:
    role = "quote" if sample.kind == "tpm" else "tpm_quote"
    content = sample.read(role)
    for position in range(len(content)):
        changed = bytearray(content)
        changed[position] ^= 1 << position % 8
        try:
            if sample.kind == "tpm":
                verdict = sample.appraise(evidence=bytes(changed))
            else:
                verdict = sample.appraise(
                    endorsements=sample.endorsements(**{role: bytes(changed)})
                )
        except ParseError:
            continue
        assert verdict.tier is Tier.CONTRAINDICATED, position


@pytest.mark.parametrize("sample", samples("tpm", "azure-vtpm", passing=True))
def test_no_flipped_bit_of_a_signature_or_register_is_passed_over(sample: Sample) -> None:
    role = "signature" if sample.kind == "tpm" else "tpm_signature"
    content = sample.read(role)
    for position in range(0, len(content), 7):
        changed = bytearray(content)
        changed[position] ^= 1 << position % 8
        endorsements = sample.endorsements(**{role: bytes(changed)})
        assert sample.appraise(endorsements=endorsements).failure is Failure.SIGNATURE
    values = json.loads(sample.read("pcrs"))
    registers = values.get("pcrs", values)
    for register, value in registers.items():
        registers[register] = f"{int(value[0], 16) ^ 1:x}{value[1:]}"
        endorsements = sample.endorsements(pcrs=json.dumps(values).encode())
        assert sample.appraise(endorsements=endorsements).failure is Failure.BINDING
        registers[register] = value


@pytest.mark.parametrize("sample", samples("azure-vtpm", passing=True))
def test_no_flipped_bit_of_an_hcl_report_is_passed_over(sample: Sample) -> None:
    content = sample.evidence
    covered = [*range(8), *range(32, 32 + 672, 5), *range(1216, 2430, 5)]
    for position in covered:
        changed = bytearray(content)
        changed[position] ^= 1 << position % 8
        try:
            verdict = sample.appraise(evidence=bytes(changed))
        except ParseError:
            continue
        assert verdict.tier is Tier.CONTRAINDICATED, position


@pytest.mark.parametrize("sample", samples("azure-vtpm"))
def test_quote_of_another_machine_is_not_taken(sample: Sample) -> None:
    others = [
        param.values[0]
        for param in samples("azure-vtpm")
        if param.values[0] and param.values[0].evidence != sample.evidence
    ]
    for other in others:
        endorsements = sample.endorsements(
            **{role: other.read(role) for role in ("tpm_quote", "tpm_signature", "pcrs")}
        )
        verdict = sample.appraise(endorsements=endorsements)
        assert "tpm.quote.signature" in {link.name for link in verdict.failed}


@pytest.mark.parametrize("sample", samples("azure-vtpm"))
def test_nonce_is_that_of_the_quote(sample: Sample) -> None:
    from enarx.verifier import Expectations

    right = bytes.fromhex(sample.expected["fields"]["tpm_nonce"])
    for nonce, good in ((right, True), (right[:-1] + b"\xff", False)):
        verdict = sample.appraise(expectations=Expectations(nonce=nonce))
        assert ("expected.nonce" not in {link.name for link in verdict.failed}) == good


@pytest.mark.parametrize("sample", samples("azure-vtpm"))
def test_policies_judge_the_hardware_below(sample: Sample) -> None:
    verdict = sample.appraise(Policy.builtin("default"))
    names = {link.name for link in verdict.trace}
    assert {"snp.vmpl", "snp.product"} <= names or "tdx.flag.sept_ve_disable" in names


@pytest.mark.parametrize("sample", samples("eventlog", passing=True))
def test_log_that_nothing_vouches_for_is_never_affirmed(sample: Sample) -> None:
    assert sample.appraise(endorsements=endorsements_from([])).tier is Tier.NONE
    assert sample.appraise(Policy.builtin("default")).tier is Tier.CONTRAINDICATED


@pytest.mark.parametrize("sample", samples("tpm"))
def test_public_key_in_any_form_is_one_key(sample: Sample) -> None:
    if "ak_tpmt_public" not in sample.expected["files"]:
        pytest.skip("sample has the key in one form only")
    only = sample.endorsements("ak_public", "signature")
    assert sample.appraise(endorsements=only).tier is Tier.AFFIRMING
    other = next(
        param.values[0]
        for param in samples("tpm")
        if param.values[0].read("ak_public") != sample.read("ak_public")
    )
    mixed = sample.endorsements(ak_public=other.read("ak_public"))
    assert sample.appraise(endorsements=mixed).failure is Failure.BINDING


@pytest.mark.parametrize("sample", samples("tpm", "azure-vtpm", "eventlog", passing=True))
def test_input_that_nothing_reads_is_refused(sample: Sample) -> None:
    verdict = sample.appraise(endorsements=sample.endorsements(id_block=b"x"))
    assert any(link.name.endswith(".unread") for link in verdict.failed)


@pytest.mark.parametrize("sample", samples("tpm", "azure-vtpm", passing=True))
def test_preimage_of_another_nonce_does_not_fit(sample: Sample) -> None:
    verdict = sample.appraise(endorsements=sample.endorsements(report_data_preimage=b"x"))
    assert verdict.failure is Failure.BINDING


def test_verifier_remembers_nothing_of_a_tpm() -> None:
    found = [param.values[0] for param in samples("tpm", passing=True) if param.values[0]]
    if not found:
        pytest.skip("no samples")
    verifier = Verifier()
    for sample in found * 2:
        verdict = verifier.appraise(
            sample.evidence,
            policy=Policy.builtin("genuine"),
            at=sample.at,
            endorsements=sample.endorsements(),
        )
        assert verdict.tier is Tier.AFFIRMING
