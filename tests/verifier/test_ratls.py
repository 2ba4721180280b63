"""Quotes in RA-TLS certificates: the certificate's key, the claims and the quote fit together."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from tests.verifier.snp_factory import FROM, UNTIL, chip, name_of

from enarx.errors import ParseError
from enarx.evidence.ratls import RATLS_OID, RatlsEvidence, pack_ratls
from enarx.verifier import Failure, Policy, Tier, Verdict, Verifier, endorsements_from
from enarx.verifier.x509 import load_certificate

VECTORS = Path(__file__).resolve().parents[3] / "shared" / "vectors" / "ra-tls"
GENUINE = Policy.builtin("genuine")


@dataclass(frozen=True)
class Sample:
    path: Path
    expected: dict[str, Any]

    def read(self, role: str) -> bytes:
        return (self.path / self.expected["files"][role]).read_bytes()

    def appraise(self, certificate: bytes | None = None, **replaced: bytes) -> Verdict:
        roles = [role for role in self.expected["files"] if role != "certificate"]
        given = [(role, replaced.get(role) or self.read(role)) for role in roles]
        return Verifier().appraise(
            certificate or self.read("certificate"),
            policy=GENUINE,
            at=datetime.fromisoformat(self.expected["verify_at"]),
            endorsements=endorsements_from(given),
        )

    def carried(self) -> RatlsEvidence:
        certificate = load_certificate(self.read("certificate"))
        return RatlsEvidence.parse(certificate.extensions[RATLS_OID])


def samples() -> list[Any]:
    found = [
        Sample(path.parent, json.loads(path.read_text()))
        for path in sorted(VECTORS.glob("*/expected.json"))
    ]
    if not found:
        skip = pytest.mark.skip(reason=f"no samples in {VECTORS}")
        return [pytest.param(None, marks=skip, id="no-samples")]
    return [pytest.param(sample, id=sample.path.name) for sample in found]


def certificate(value: bytes) -> bytes:
    """A self-signed certificate that carries anything."""
    private = ec.generate_private_key(ec.SECP256R1())
    builder = (
        x509.CertificateBuilder()
        .subject_name(name_of("x"))
        .issuer_name(name_of("x"))
        .public_key(private.public_key())
        .serial_number(1)
        .not_valid_before(FROM)
        .not_valid_after(UNTIL)
        .add_extension(
            x509.UnrecognizedExtension(x509.ObjectIdentifier(RATLS_OID), value), critical=False
        )
    )
    return builder.sign(private, hashes.SHA256()).public_bytes(Encoding.DER)


def failed(verdict: Verdict) -> set[str]:
    return {link.name for link in verdict.failed}


@pytest.mark.parametrize("sample", samples())
def test_verdict_and_cause_are_as_known(sample: Sample) -> None:
    verdict = sample.appraise()
    assert verdict.kind == "ra-tls"
    assert (verdict.tier is Tier.AFFIRMING) == (sample.expected["verdict"] == "pass")
    assert verdict.failure == sample.expected["failure"]
    for name, value in sample.expected["fields"].items():
        assert verdict.fields[name] == value, name


@pytest.mark.parametrize("sample", samples())
def test_binding_of_the_genuine_ones_holds(sample: Sample) -> None:
    assert not {name for name in failed(sample.appraise()) if name.startswith("ratls.")}


@pytest.mark.parametrize("sample", samples())
def test_evidence_in_another_certificate_is_refused(sample: Sample) -> None:
    carried = sample.carried()
    verdict = sample.appraise(certificate(pack_ratls(carried.quote, carried.claims)))
    assert verdict.failure is Failure.BINDING
    assert "ratls.key" in failed(verdict)
    assert not verdict.genuine


@pytest.mark.parametrize("sample", samples())
def test_changed_claims_are_refused(sample: Sample) -> None:
    carried = sample.carried()
    changed = carried.claims.replace(carried.key_digest, bytes(32))
    verdict = sample.appraise(certificate(pack_ratls(carried.quote, changed)))
    assert {"ratls.report_data", "ratls.key"} <= failed(verdict)


@pytest.mark.parametrize("sample", samples())
def test_changed_certificate_is_refused(sample: Sample) -> None:
    changed = bytearray(sample.read("certificate"))
    changed[-1] ^= 1
    assert "ratls.certificate" in failed(sample.appraise(bytes(changed)))


@pytest.mark.parametrize("sample", samples())
def test_quote_beside_it_must_be_the_one_inside(sample: Sample) -> None:
    other = bytearray(sample.read("quote"))
    other[200] ^= 1
    assert "ratls.quote" in failed(sample.appraise(quote=bytes(other)))


@pytest.mark.parametrize("value", [b"", b"\xa0", pack_ratls(b"", b""), pack_ratls(b"x", b"\xa0")])
def test_malformed_extension_is_a_parse_error(value: bytes) -> None:
    with pytest.raises(ParseError):
        Verifier().appraise(certificate(value), policy=GENUINE, at=FROM)


def test_certificate_without_evidence_is_none() -> None:
    with pytest.raises(ParseError) as caught:
        Verifier().appraise(chip().ark.der(), policy=GENUINE, at=FROM)
    assert caught.value.code == "ratls.none"
