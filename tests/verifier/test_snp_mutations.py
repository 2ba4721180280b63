"""No changed bit of anything that is signed is ever accepted.

The quick run takes a sample of positions; ``-m slow`` takes every bit of every signed byte
of every genuine sample: the report, and the signed part of each certificate.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.verifier.snp_samples import GENUINE, Sample, genuine_reports

from enarx.errors import ParseError
from enarx.evidence.snp import SIGNED_SIZE
from enarx.verifier import Endorsements, Tier, Verdict, Verifier
from enarx.verifier.x509 import load_certificate, load_certificates

QUICK_FLIPS = 40
"""Positions of each signed range in the quick run, spread evenly and odd so that bits differ."""

MIXED_LENGTHS = (0, 1, 0x7F, 0x80, 0xFFFF, 0xFFFFFFFF)


def flips(data: bytes, start: int, end: int, count: int | None = None) -> Iterator[bytes]:
    """The data with one bit of [start, end) changed, at every position or at some."""
    bits = (end - start) * 8
    step = 1 if count is None else max(1, bits // count) | 1
    for position in range(0, bits, step):
        changed = bytearray(data)
        changed[start + position // 8] ^= 1 << (position % 8)
        yield bytes(changed)


def signed_range(der: bytes) -> tuple[int, int]:
    """Where the signed part of a certificate lies."""
    tbs = load_certificate(der).parsed.tbs_certificate_bytes
    start = der.index(tbs)
    return start, start + len(tbs)


def bare(sample: Sample) -> Endorsements:
    """Only certificates: nothing else that could make a flipped one unnecessary or wrong."""
    return Endorsements(certificates=sample.endorsements().certificates)


def accepted(verdict: Verdict) -> bool:
    return verdict.tier is not Tier.CONTRAINDICATED or verdict.genuine


def check_report(sample: Sample, count: int | None) -> None:
    verifier, evidence = Verifier(), sample.evidence
    for changed in flips(evidence, 0, SIGNED_SIZE, count):
        verdict = sample.appraise(
            evidence=changed, kind="snp", verifier=verifier, endorsements=bare(sample)
        )
        assert not accepted(verdict), changed.hex()


def check_certificates(sample: Sample, count: int | None) -> None:
    certificates = bare(sample).certificates
    for number, der in enumerate(certificates):
        for changed in flips(der, *signed_range(der), count):
            given = (*certificates[:number], changed, *certificates[number + 1 :])
            verdict = Verifier(cache_entries=2).appraise(
                sample.evidence,
                policy=GENUINE,
                at=sample.at,
                endorsements=Endorsements(certificates=given),
            )
            assert not accepted(verdict), (number, changed.hex())


@pytest.mark.parametrize("sample", genuine_reports())
def test_no_flipped_bit_of_a_report_is_accepted(sample: Sample) -> None:
    check_report(sample, QUICK_FLIPS)


@pytest.mark.parametrize("sample", genuine_reports())
def test_no_flipped_bit_of_a_certificate_is_accepted(sample: Sample) -> None:
    check_certificates(sample, QUICK_FLIPS)


@pytest.mark.slow
@pytest.mark.parametrize("sample", genuine_reports())
def test_no_single_bit_of_any_report_is_accepted(sample: Sample) -> None:
    check_report(sample, None)


@pytest.mark.slow
@pytest.mark.parametrize("sample", genuine_reports())
def test_no_single_bit_of_any_certificate_is_accepted(sample: Sample) -> None:
    check_certificates(sample, None)


@pytest.mark.parametrize("sample", genuine_reports())
def test_no_flipped_bit_of_a_signature_is_accepted(sample: Sample) -> None:
    verifier = Verifier()
    for changed in flips(sample.evidence, SIGNED_SIZE, len(sample.evidence), QUICK_FLIPS * 4):
        verdict = sample.appraise(
            evidence=changed, kind="snp", verifier=verifier, endorsements=bare(sample)
        )
        assert not accepted(verdict)


@pytest.mark.parametrize("sample", genuine_reports())
def test_lying_lengths_in_the_certificate_table_are_refused(sample: Sample) -> None:
    if "cert_table" not in sample.expected["files"]:
        pytest.skip("sample has no certificate table")
    table = sample.read("cert_table")
    for entry in range(3):
        for field in (16, 20):
            for value in MIXED_LENGTHS:
                at = entry * 24 + field
                lying = table[:at] + value.to_bytes(4, "little") + table[at + 4 :]
                verdict = sample.appraise(endorsements=sample.endorsements(cert_table=lying))
                assert verdict.tier is Tier.CONTRAINDICATED
    for length in range(1, len(table), 97):
        verdict = sample.appraise(endorsements=sample.endorsements(cert_table=table[:length]))
        assert verdict.tier is Tier.CONTRAINDICATED


@pytest.mark.parametrize("sample", genuine_reports())
def test_flipped_bits_of_a_pem_chain_are_never_accepted_with_another_meaning(
    sample: Sample,
) -> None:
    chain = sample.read("chain")
    honest = set(load_certificates(chain))
    for changed in flips(chain, 0, len(chain), QUICK_FLIPS * 2):
        try:
            endorsements = sample.endorsements(chain=changed)
        except ParseError:
            continue
        same = honest <= set(endorsements.certificates)
        assert same or accepted(sample.appraise(endorsements=endorsements)) is False
