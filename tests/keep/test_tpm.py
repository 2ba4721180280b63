"""The Keep's side of a TPM, against a real one in software."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.keep.swtpm import Authority, manufacture, needs_swtpm, running

from enarx.errors import HostError, UsageError
from enarx.evidence.cmw import MEDIA_TYPES
from enarx.evidence.tpm import Attest
from enarx.evidence.tpm_bundle import TpmBundle, activation_proof
from enarx.evidence.tpm_keys import Public, Signature
from enarx.keep.tpm import Device, Stream, Tpm, TpmAttester
from enarx.verifier.tpm_activation import Challenge, make_challenge

INIT, NONCE = b"i" * 32, b"n" * 32
ZERO = bytes(32)
pytestmark = needs_swtpm


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("tpm") / "authority")


@pytest.fixture(scope="module")
def states(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two TPMs of one host."""
    directory = tmp_path_factory.mktemp("states")
    return manufacture(directory / "one", authority), manufacture(directory / "two", authority)


@pytest.fixture
def tpm(states: tuple[Path, Path]) -> Iterator[Tpm]:
    with running(states[0]) as tpm:
        yield tpm


def challenge(evidence: bytes, secret: bytes = b"s" * 32) -> Challenge:
    return make_challenge(evidence, secret=secret, seed=os.urandom(32))


def test_quote_carries_the_claims_digest_and_is_signed_by_a_key_that_only_quotes(tpm: Tpm) -> None:
    attester = TpmAttester(tpm)
    reply = attester.report(NONCE + ZERO)
    bundle = TpmBundle.parse(reply.evidence)
    public = Public.parse(bundle.ak)

    assert reply.media_type == MEDIA_TYPES["tpm"]
    assert bundle.pack() == reply.evidence
    assert Attest.parse(bundle.quote).extra_data == NONCE
    assert Attest.parse(bundle.quote).selections[0].registers == tuple(range(16))
    assert Signature.parse(bundle.signature).verifies(public.key, bundle.quote)
    assert public.is_attestation_key
    assert len(bundle.ek) == 1


def test_bound_init_data_and_workloads_are_in_their_registers_and_events(tpm: Tpm) -> None:
    attester = TpmAttester(tpm)
    attester.bind(INIT)
    attester.measure("workload", b"w" * 32)
    bundle = TpmBundle.parse(attester.report(NONCE + ZERO).evidence)

    assert bundle.pcrs[11] == hashlib.sha256(ZERO + INIT).digest()
    assert bundle.pcrs[12] == hashlib.sha256(ZERO + b"w" * 32).digest()
    assert [(one.register, one.digest, one.label) for one in bundle.events] == [
        (11, INIT, "init-data"),
        (12, b"w" * 32, "workload"),
    ]


@pytest.mark.parametrize("register", [11, 12])
def test_register_that_somebody_extended_before_is_refused(tpm: Tpm, register: int) -> None:
    tpm.extend(register, b"x" * 32)
    with pytest.raises(HostError) as caught:
        TpmAttester(tpm).bind(INIT)
    assert caught.value.code == "tpm.taken"
    assert f"register {register}" in str(caught.value)


def test_second_binding_is_refused(tpm: Tpm) -> None:
    attester = TpmAttester(tpm)
    attester.bind(INIT)
    with pytest.raises(HostError) as caught:
        attester.bind(INIT)
    assert caught.value.code == "tpm.taken"


def test_activation_answers_under_the_secret_over_the_last_quote(tpm: Tpm) -> None:
    attester = TpmAttester(tpm)
    evidence = attester.report(NONCE + ZERO).evidence
    asked = challenge(evidence)
    proof = attester.activate(credential=asked.credential, encrypted_seed=asked.encrypted_seed)
    assert proof == activation_proof(b"s" * 32, TpmBundle.parse(evidence).quote)


def test_activation_may_be_asked_for_often(tpm: Tpm) -> None:
    attester = TpmAttester(tpm)
    evidence = attester.report(NONCE + ZERO).evidence
    for number in range(8):  # more than a TPM has room for keys and sessions
        asked = challenge(evidence, secret=bytes([number]) * 32)
        proof = attester.activate(credential=asked.credential, encrypted_seed=asked.encrypted_seed)
        assert proof == activation_proof(bytes([number]) * 32, TpmBundle.parse(evidence).quote)


def test_refused_activations_leave_the_tpm_usable(tpm: Tpm) -> None:
    attester = TpmAttester(tpm)
    asked = challenge(attester.report(NONCE + ZERO).evidence)
    for _ in range(8):
        with pytest.raises(HostError) as caught:
            attester.activate(credential=b"\0" * 68, encrypted_seed=asked.encrypted_seed)
        assert caught.value.code == "tpm.refused"
    attester.activate(credential=asked.credential, encrypted_seed=asked.encrypted_seed)


def test_another_tpm_cannot_answer(states: tuple[Path, Path]) -> None:
    with running(states[0]) as tpm:
        asked = challenge(TpmAttester(tpm).report(NONCE + ZERO).evidence)
    with running(states[1]) as other:
        attester = TpmAttester(other)
        attester.report(NONCE + ZERO)
        with pytest.raises(HostError) as caught:
            attester.activate(credential=asked.credential, encrypted_seed=asked.encrypted_seed)
    assert caught.value.code == "tpm.refused"


def test_activation_before_any_quote_is_refused(tpm: Tpm) -> None:
    with pytest.raises(HostError) as caught:
        TpmAttester(tpm).activate(credential=b"", encrypted_seed=b"")
    assert caught.value.code == "tpm.activation"


def test_attestation_key_is_the_same_after_the_next_power_on(states: tuple[Path, Path]) -> None:
    keys = []
    for _ in range(2):
        with running(states[0]) as tpm:
            keys.append(tpm.create_attestation_key()[1])
    assert keys[0] == keys[1]


def test_endorsement_key_is_the_one_of_the_certificate(tpm: Tpm) -> None:
    from cryptography import x509

    _, public = tpm.endorsement_key()
    certificate = x509.load_der_x509_certificate(tpm.read_ek_certificate())
    assert Public.parse(public).key == certificate.public_key()


def test_report_data_of_another_form_is_refused(tpm: Tpm) -> None:
    attester = TpmAttester(tpm)
    for data in (b"", b"x" * 32, b"x" * 64):
        with pytest.raises(UsageError):
            attester.report(data)


def test_too_large_an_event_log_stays_at_home(tpm: Tpm) -> None:
    attester = TpmAttester(tpm, log=bytes(1 << 20))
    assert TpmBundle.parse(attester.report(NONCE + ZERO).evidence).log == b""


def test_machine_without_a_tpm_says_so(tmp_path: Path) -> None:
    for broken in (
        lambda: Device(str(tmp_path / "none")),
        lambda: Stream.connect(str(tmp_path / "none")),
    ):
        with pytest.raises(HostError) as caught:
            broken()
        assert caught.value.code == "tpm.none"


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b"", "tpm.gone"),
        (b"\x80\x01\0\0\0\x0a\0\0", "tpm.gone"),
        (b"\x80\x01\xff\xff\xff\xff\0\0\0\0", "tpm.response"),
        (b"\x80\x01\0\0\0\x0a\0\0\x01\x01", "tpm.refused"),
        (b"\x80\x01\0\0\0\x0a\0\0\0\0", "tpm.response"),
    ],
)
def test_tpm_that_answers_nonsense_is_an_error_with_a_code(answer: bytes, code: str) -> None:
    ours, theirs = socket.socketpair()

    def play() -> None:
        theirs.recv(4096)
        theirs.sendall(answer)
        theirs.close()

    thread = threading.Thread(target=play)
    thread.start()
    with pytest.raises(HostError) as caught:
        Tpm(Stream(ours)).read_pcrs((0,))
    thread.join()
    assert caught.value.code == code
