"""Evidence that simulated silicon signs, judged by the verifier that judges real silicon's."""

from __future__ import annotations

import hashlib
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dcap_qvl
import pytest
from tests.silicon.rig import Silicon

from enarx.image import manifest
from enarx.image.installation import measure_installation
from enarx.image.launch import BACKENDS, launch_measurement
from enarx.verifier import (
    DcapCollateral,
    Endorsements,
    Expectations,
    Failure,
    Policy,
    ReferenceValues,
    Tier,
    Verdict,
    Verifier,
    endorsements_from,
)
from enarx.wire import silicon

REPORT_DATA = hashlib.sha256(b"claims").digest() + bytes(32)
INIT_DATA = hashlib.sha256(b"init data").digest()


@pytest.fixture(scope="module", params=list(BACKENDS))
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def evidence(shared: Silicon, backend: str) -> tuple[silicon.ReportReply, Endorsements]:
    keep = shared.launch(backend=backend, host_data=INIT_DATA)
    reply = keep.report(REPORT_DATA)
    keep.close()
    return reply, _endorsements(shared, backend)


def _endorsements(shared: Silicon, backend: str) -> Endorsements:
    found = shared.ask(silicon.GetEndorsements(backend=backend), silicon.EndorsementsReply)
    return endorsements_from([(one.role, one.data) for one in found.endorsements])


def _appraise(evidence: tuple[silicon.ReportReply, Endorsements], policy: str) -> Verdict:
    return Verifier().appraise(
        evidence[0].evidence,
        endorsements=evidence[1],
        policy=Policy.builtin(policy),
        at=datetime.now(UTC),
    )


def test_simulated_evidence_is_affirming_under_the_development_policy(evidence: Any) -> None:
    verdict = _appraise(evidence, "development")
    assert verdict.tier is Tier.AFFIRMING, verdict.trace
    assert verdict.simulated
    assert not verdict.genuine


def test_simulated_evidence_is_contraindicated_under_the_default_policy(evidence: Any) -> None:
    verdict = _appraise(evidence, "default")
    assert verdict.tier is Tier.CONTRAINDICATED
    assert verdict.failure is Failure.SIMULATED


def test_nothing_but_the_root_speaks_against_it_under_the_default_policy(evidence: Any) -> None:
    verdict = _appraise(evidence, "default")
    assert {link.failure for link in verdict.failed} == {Failure.SIMULATED}
    assert not verdict.warnings


def test_the_technology_is_the_back_ends_own(evidence: Any, backend: str) -> None:
    verdict = _appraise(evidence, "development")
    assert verdict.kind == BACKENDS[backend]


def test_the_platform_is_up_to_date(evidence: Any, backend: str) -> None:
    verified = _appraise(evidence, "development").verified
    assert verified is not None
    assert verified.tcb_status == (None if backend == "sim-snp" else "UpToDate")
    assert not verified.advisories
    assert verified.revocation_checked


def test_report_data_and_host_data_are_what_was_asked_and_launched(evidence: Any) -> None:
    verdict = Verifier().appraise(
        evidence[0].evidence,
        endorsements=evidence[1],
        policy=Policy.builtin("development"),
        at=datetime.now(UTC),
        expectations=Expectations(report_data=REPORT_DATA, host_data=INIT_DATA),
    )
    assert verdict.tier is Tier.AFFIRMING, verdict.trace


def test_the_measurement_is_what_a_client_computes_from_the_same_files(
    evidence: Any, backend: str, puppet: Path
) -> None:
    installation = measure_installation(manifest.Disk(), payload=puppet)
    verdict = Verifier().appraise(
        evidence[0].evidence,
        endorsements=evidence[1],
        policy=Policy.builtin("development"),
        at=datetime.now(UTC),
        references=ReferenceValues(measurements=(installation.measurement(backend),)),
    )
    assert verdict.tier is Tier.AFFIRMING, verdict.trace


def test_the_root_is_the_one_the_silicon_names(shared: Silicon, evidence: Any) -> None:
    verdict = _appraise(evidence, "development")
    assert verdict.verified is not None
    root = verdict.verified.root
    assert root is not None
    assert root.name == "SIMULATED ROOT - NOT HARDWARE"
    assert not root.pinned
    if verdict.kind != "snp":  # AMD's root has a key of its own
        assert root.spki_sha256 == shared.status().root


@pytest.mark.parametrize("backend", ["sim-sgx", "sim-tdx"], scope="module")
def test_another_implementation_accepts_the_quote_under_the_simulated_root(
    evidence: Any, backend: str
) -> None:
    collateral: DcapCollateral = evidence[1].dcap
    chain = collateral.tcb_info_issuer_chain.decode()
    root = "-----BEGIN" + chain.rpartition("-----BEGIN")[2]
    report = dcap_qvl.verify_with_root_ca(
        evidence[0].evidence,
        dcap_qvl.QuoteCollateralV3.from_json(collateral.to_json().decode()),
        _der(root),
        int(time.time()),
    )
    assert report.status == "UpToDate"


def _der(pem: str) -> bytes:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    return x509.load_pem_x509_certificate(pem.encode()).public_bytes(Encoding.DER)


def test_every_back_end_launches_the_same_payload(shared: Silicon) -> None:
    records = []
    for backend in BACKENDS:
        keep = shared.launch(backend=backend)
        records.append(keep.record)
        keep.close()
    assert {record.backend for record in records} == set(BACKENDS)
    status = shared.status()
    assert {record.payload for record in records} == {status.payload}
    assert {record.runtime for record in records} == {status.runtime}


def test_a_flipped_byte_of_the_signed_part_is_not_affirmed(evidence: Any) -> None:
    reply, endorsements = evidence
    damaged = bytearray(reply.evidence)
    damaged[200] ^= 1
    verdict = Verifier().appraise(
        bytes(damaged),
        endorsements=endorsements,
        policy=Policy.builtin("development"),
        at=datetime.now(UTC),
        kind=_kind(reply),
    )
    assert verdict.tier is Tier.CONTRAINDICATED


def _kind(reply: silicon.ReportReply) -> str:
    return next(kind for kind in ("sgx", "snp", "tdx") if kind in reply.media_type)


def test_a_report_is_for_the_launch_whose_channel_it_came_over(shared: Silicon) -> None:
    letters = [b"a" * 32, b"b" * 32]
    keeps = [shared.launch(host_data=letter) for letter in letters]
    try:
        for own, other, keep in zip(letters, reversed(letters), keeps, strict=True):
            evidence = keep.report().evidence
            assert own in evidence
            assert other not in evidence
    finally:
        for keep in keeps:
            keep.close()


def test_the_measurement_depends_on_both_components() -> None:
    one, other = b"1" * 32, b"2" * 32
    for backend in BACKENDS:
        found = {
            launch_measurement(backend, payload=payload, runtime=runtime)
            for payload in (one, other)
            for runtime in (one, other)
        }
        assert len(found) == 4
