"""One bit changed anywhere in what a real Keep shows: never affirmed, never a crash."""

from __future__ import annotations

import asyncio
from collections import Counter

import msgspec
import pytest

from enarx.client.agent import AsyncClient
from enarx.client.appraisal import Appraiser
from enarx.client.attestation import Attestation
from enarx.client.identity import Identity
from enarx.errors import EnarxError, ParseError
from enarx.evidence.cmw import CMW_OID, KeepMessage
from enarx.verifier.appraisal import Verifier
from enarx.verifier.policy import Policy
from enarx.verifier.references import Expectations, ReferenceValues
from enarx.verifier.roles import endorsements_from
from enarx.verifier.trace import Tier
from enarx.verifier.x509 import load_certificate
from enarx.wire.attestation import AttestResponse

from .hostile import flip

DEVELOPMENT = Policy.builtin("development")


def attest(host: str, identity: Identity, backend: str) -> tuple[Attestation, AttestResponse]:
    async def scenario() -> tuple[Attestation, AttestResponse]:
        async with AsyncClient(host, identity=identity) as client:
            keep = await client.create(backend=backend)
            attestation = await keep.attest(policy=DEVELOPMENT)
            attestation.verdict.require()
            return attestation, attestation.response

    return asyncio.run(asyncio.wait_for(scenario(), 120))


@pytest.mark.parametrize(
    "every_bit",
    [
        pytest.param(False, id="one bit of every byte"),
        pytest.param(True, id="every bit", marks=pytest.mark.slow),
    ],
)
def test_no_changed_bit_of_the_certificate_of_a_keep_is_affirmed(
    host: str, identity: Identity, *, every_bit: bool
) -> None:
    attestation, response = attest(host, identity, "sim-sgx")
    appraiser = Appraiser()
    outcomes: Counter[str] = Counter()
    size = len(response.certificate)
    bits = range(size * 8) if every_bit else [byte * 8 + byte % 8 for byte in range(size)]
    for bit in bits:
        try:
            verdict = appraiser.appraise(
                msgspec.structs.replace(response, certificate=flip(response.certificate, bit)),
                attestation.asked,
            ).verdict
        except ParseError:
            outcomes["unreadable"] += 1
            continue
        assert verdict.tier is Tier.CONTRAINDICATED, f"bit {bit} can be changed"
        outcomes[str(verdict.failure)] += 1
    assert sum(outcomes.values()) == len(bits)
    assert len(outcomes) > 3  # they do fail for reasons of their own


@pytest.mark.slow
def test_every_bit_of_snp_evidence(host: str, identity: Identity) -> None:
    attestation, response = attest(host, identity, "sim-snp")
    certificate = load_certificate(response.certificate)
    message = KeepMessage.parse(certificate.extensions[CMW_OID])
    verified = attestation.verdict.verified
    assert verified is not None
    verifier = Verifier()
    endorsements = endorsements_from((each.role, each.data) for each in response.endorsements)

    def tier(evidence: bytes) -> Tier:
        return verifier.appraise(
            evidence,
            kind="snp",
            policy=DEVELOPMENT,
            at=attestation.verdict.at,
            endorsements=endorsements,
            references=ReferenceValues(measurements=(verified.measurement,)),
            expectations=Expectations(
                report_data=verified.report_data, host_data=verified.host_data
            ),
        ).tier

    assert tier(message.evidence) is Tier.AFFIRMING
    for bit in range(len(message.evidence) * 8):
        try:
            assert tier(flip(message.evidence, bit)) is Tier.CONTRAINDICATED, f"bit {bit}"
        except ParseError:
            continue


def test_every_byte_of_the_endorsements(host: str, identity: Identity) -> None:
    """What the host passes along is as good as its signatures: a change is an error, or noticed."""
    attestation, response = attest(host, identity, "sim-sgx")
    appraiser = Appraiser()
    (collateral,) = response.endorsements
    unnoticed = []
    for position in range(0, len(collateral.data), 16):
        changed = msgspec.structs.replace(collateral, data=flip(collateral.data, position * 8 + 2))
        try:
            verdict = appraiser.appraise(
                msgspec.structs.replace(response, endorsements=(changed,)), attestation.asked
            ).verdict
        except EnarxError:
            continue
        if verdict.tier is Tier.AFFIRMING:
            unnoticed.append(position)
    # Line breaks inside PEM text, of which there are some, are nobody's signature.
    assert len(unnoticed) < len(collateral.data) // 16 // 20
