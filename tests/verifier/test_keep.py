"""A Keep is believed only when certificate, claims, evidence and code are what was asked for."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tests.verifier.snp_factory import AT, SIMULATED, Snp, chip, name_of

from enarx.errors import ParseError, VerificationError
from enarx.evidence import cbor
from enarx.evidence.claims import Claims, report_data
from enarx.evidence.cmw import CMW_OID, MEDIA_TYPES, KeepMessage
from enarx.evidence.ratls import RATLS_OID, pack_ratls
from enarx.verifier import (
    Failure,
    KeepAppraisal,
    KeepRequest,
    Policy,
    ReferenceValues,
    Tier,
    appraise_keep,
)
from enarx.verifier.rules import Sandbox

INIT_DATA = b"init data as the client computed it"
NONCE = b"n" * 32
PAYLOAD, RUNTIME, MEASUREMENT = b"p" * 32, b"r" * 32, b"m" * 48
KEY = ec.generate_private_key(ec.SECP256R1())
REQUEST = KeepRequest(
    kind="snp",
    nonce=NONCE,
    init_data=INIT_DATA,
    references=ReferenceValues(
        payloads=(PAYLOAD,), runtimes=(RUNTIME,), measurements=(MEASUREMENT,)
    ),
)


def spki_digest(key: ec.EllipticCurvePrivateKey) -> bytes:
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(public).digest()


CLAIMS = Claims(
    key_digest=spki_digest(KEY),
    nonce=NONCE,
    init_data=hashlib.sha256(INIT_DATA).digest(),
    payload=PAYLOAD,
    runtime=RUNTIME,
    sandbox=("seccomp", "landlock"),
)


@dataclass(frozen=True)
class MadeKeep:
    """A Keep's certificate, of which everything can be made wrong."""

    claims: Claims = CLAIMS
    claims_bytes: bytes | None = None
    claimed: Claims | None = None
    key: ec.EllipticCurvePrivateKey = KEY
    signer: ec.EllipticCurvePrivateKey = KEY
    measurement: bytes = MEASUREMENT
    host_data: bytes = CLAIMS.init_data
    media_type: str = MEDIA_TYPES["snp"]
    lifetime: timedelta = timedelta(minutes=5)
    start: timedelta = timedelta(seconds=-5)
    chip: Snp = field(default_factory=chip)
    ratls: bytes | None = None
    extension: bytes | None = None
    fixed_evidence: bytes | None = None

    def evidence(self) -> bytes:
        if self.fixed_evidence is not None:
            return self.fixed_evidence
        over = self.claims_bytes or (self.claimed or self.claims).pack()
        return self.chip.with_report(
            report_data=report_data(over),
            measurement=self.measurement,
            host_data=self.host_data,
        ).evidence()

    def certificate(self) -> bytes:
        evidence = self.evidence()
        claims = self.claims_bytes or self.claims.pack()
        message = KeepMessage(media_type=self.media_type, evidence=evidence, claims=claims)
        value = message.pack() if self.extension is None else self.extension
        builder = (
            x509.CertificateBuilder()
            .subject_name(name_of("keep"))
            .issuer_name(name_of("keep"))
            .public_key(self.key.public_key())
            .serial_number(7)
            .not_valid_before(AT + self.start)
            .not_valid_after(AT + self.start + self.lifetime)
            .add_extension(
                x509.UnrecognizedExtension(x509.ObjectIdentifier(CMW_OID), value), critical=False
            )
        )
        if self.ratls is not None:
            oid = x509.ObjectIdentifier(RATLS_OID)
            builder = builder.add_extension(
                x509.UnrecognizedExtension(oid, self.ratls), critical=False
            )
        return builder.sign(self.signer, hashes.SHA256()).public_bytes(Encoding.DER)

    def appraise(
        self, request: KeepRequest = REQUEST, policy: Policy = SIMULATED, **more: Any
    ) -> KeepAppraisal:
        given = {"at": AT, "endorsements": self.chip.endorsements()} | more
        return appraise_keep(self.certificate(), request, policy=policy, **given)


def failure(keep: MadeKeep, **more: Any) -> Failure | None:
    appraisal = keep.appraise(**more)
    assert appraisal.verdict.tier is Tier.CONTRAINDICATED
    with pytest.raises(VerificationError):
        appraisal.verdict.require()
    return appraisal.verdict.failure


def test_keep_that_is_what_was_asked_for_is_affirmed() -> None:
    appraisal = MadeKeep().appraise()
    assert appraisal.verdict.require().tier is Tier.AFFIRMING
    assert appraisal.verdict.simulated
    assert appraisal.claims == CLAIMS
    assert appraisal.verdict.fields["keep"]["payload"] == PAYLOAD.hex()


def test_verdict_is_valid_no_longer_than_the_certificate() -> None:
    verdict = MadeKeep().appraise().verdict
    assert verdict.valid_until == AT + timedelta(minutes=5, seconds=-5)


def test_certificate_presented_by_another_key_is_refused() -> None:
    other = ec.generate_private_key(ec.SECP256R1())
    assert failure(MadeKeep(key=other, signer=other)) is Failure.BINDING


def test_certificate_signed_by_another_key_is_refused() -> None:
    assert failure(MadeKeep(signer=ec.generate_private_key(ec.SECP256R1()))) is Failure.SIGNATURE


def test_replayed_nonce_is_refused() -> None:
    assert failure(MadeKeep(claims=_but(nonce=b"o" * 32))) is Failure.BINDING


def test_claims_that_the_silicon_did_not_see_are_refused() -> None:
    keep = MadeKeep(claims=CLAIMS, claimed=_but(sandbox=()))
    assert failure(keep) is Failure.BINDING


def test_other_init_data_in_the_claims_is_refused() -> None:
    assert failure(MadeKeep(claims=_but(init_data=b"x" * 32))) is Failure.INIT_DATA


def test_other_init_data_in_the_silicon_is_refused() -> None:
    assert failure(MadeKeep(host_data=b"x" * 32)) is Failure.INIT_DATA


def test_init_data_is_what_the_client_asked_for_not_what_the_host_says() -> None:
    request = _request(init_data=b"another owner")
    assert failure(MadeKeep(), request=request) is Failure.INIT_DATA


def test_other_payload_is_refused() -> None:
    assert failure(MadeKeep(claims=_but(payload=b"q" * 32))) is Failure.MEASUREMENT


def test_other_runtime_is_refused() -> None:
    assert failure(MadeKeep(claims=_but(runtime=b"q" * 32))) is Failure.MEASUREMENT


def test_other_measurement_is_refused() -> None:
    assert failure(MadeKeep(measurement=b"q" * 48)) is Failure.MEASUREMENT


@pytest.mark.parametrize("missing", ["payloads", "runtimes", "measurements"])
def test_without_a_reference_value_no_code_is_good(missing: str) -> None:
    given = {"payloads": (PAYLOAD,), "runtimes": (RUNTIME,), "measurements": (MEASUREMENT,)}
    references = ReferenceValues(**(given | {missing: ()}))
    assert failure(MadeKeep(), request=_request(references=references)) is Failure.MEASUREMENT


def test_other_technology_than_was_asked_for_is_refused() -> None:
    assert failure(MadeKeep(), request=_request(kind="sgx")) is Failure.BINDING


def test_debug_mode_is_refused() -> None:
    keep = MadeKeep(chip=chip().with_report(policy=0x30000 | 1 << 19))
    assert failure(keep) is Failure.DEBUG


def test_simulated_silicon_is_refused_without_leave() -> None:
    assert failure(MadeKeep(), policy=Policy.builtin("genuine")) is Failure.SIMULATED


def test_certificate_that_lives_too_long_is_refused() -> None:
    assert failure(MadeKeep(lifetime=timedelta(hours=2))) is Failure.TIME


def test_certificate_of_yesterday_is_refused() -> None:
    assert failure(MadeKeep(start=timedelta(days=-1))) is Failure.TIME


def test_clocks_may_differ_by_minutes() -> None:
    keep = MadeKeep(start=timedelta(minutes=4))
    assert keep.appraise().verdict.tier is Tier.AFFIRMING
    assert failure(MadeKeep(start=timedelta(minutes=6))) is Failure.TIME


@pytest.mark.parametrize("same", [True, False])
def test_interoperable_form_must_say_the_same(same: bool) -> None:
    keep = MadeKeep(fixed_evidence=MadeKeep().evidence())
    claims = CLAIMS.pack() if same else _but(nonce=b"o" * 32).pack()
    both = replace(keep, ratls=pack_ratls(keep.evidence(), claims))
    if same:
        assert both.appraise().verdict.tier is Tier.AFFIRMING
    else:
        assert failure(both) is Failure.BINDING


def test_interoperable_form_that_is_malformed_is_refused() -> None:
    assert failure(MadeKeep(ratls=b"\x80")) is Failure.BINDING


def test_required_sandbox_levels_must_be_stated() -> None:
    demanding = Policy(
        name="demanding",
        checks=(*SIMULATED.checks, Sandbox(required=("seccomp", "cgroup"))),
        allow_simulated=True,
    )
    assert failure(MadeKeep(), policy=demanding) is Failure.POLICY
    with_cgroup = MadeKeep(claims=_but(sandbox=("cgroup", "seccomp")))
    assert with_cgroup.appraise(policy=demanding).verdict.tier is Tier.AFFIRMING


def test_certificate_without_evidence_is_no_keep() -> None:
    with pytest.raises(ParseError) as caught:
        appraise_keep(chip().ark.der(), REQUEST, policy=SIMULATED, at=AT)
    assert caught.value.code == "keep.no-evidence"


@pytest.mark.parametrize(
    "extension",
    [b"", b"\x04\x00", b"\x04\x01\xa0", b"\x0c\x02{}", b"\x04\x03\xa1\x61a", bytes(100)],
)
def test_malformed_extension_is_a_parse_error(extension: bytes) -> None:
    with pytest.raises(ParseError):
        MadeKeep(extension=extension).appraise()


def test_claims_in_another_encoding_are_a_parse_error() -> None:
    # The same claims with keys in another order would be other bytes for the same meaning.
    entries = {
        "sandbox": cbor.encode([]),
        "runtime": RUNTIME,
        "payload": PAYLOAD,
        "init-data": CLAIMS.init_data,
        "nonce": NONCE,
        "pubkey-hash": cbor.encode([1, CLAIMS.key_digest]),
    }
    packed = b"\xa6" + b"".join(
        cbor.encode(name) + cbor.encode(value) for name, value in entries.items()
    )
    with pytest.raises(ParseError) as caught:
        MadeKeep(claims_bytes=packed).appraise()
    assert caught.value.code == "cbor.deterministic"


def _but(**changes: Any) -> Claims:
    fields = {name: getattr(CLAIMS, name) for name in CLAIMS.__struct_fields__}
    return Claims(**(fields | changes))


def _request(**changes: Any) -> KeepRequest:
    fields = {name: getattr(REQUEST, name) for name in REQUEST.__struct_fields__}
    return KeepRequest(**(fields | changes))
