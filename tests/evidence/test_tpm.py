"""What a TPM marshals: read as written, and nothing else is read."""

from __future__ import annotations

import hashlib
import struct

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from hypothesis import given
from hypothesis import strategies as st

from enarx.errors import ParseError, UsageError
from enarx.evidence import cbor
from enarx.evidence.boot_log import TAG_INITRD, layers
from enarx.evidence.eventlog import Event, EventLog
from enarx.evidence.hcl import HCL_HEADER, HclHeader, HclReport
from enarx.evidence.tpm import MAGIC, TYPE_QUOTE, Attest, PcrSelection, pcr_digest
from enarx.evidence.tpm_bundle import (
    BOOT_PCRS,
    RuntimeEvent,
    TpmBundle,
    activation_proof,
    boot_digest,
)
from enarx.evidence.tpm_keys import (
    DECRYPT,
    RESTRICTED,
    Public,
    Signature,
    attestation_key_template,
    bare_signature,
)
from enarx.evidence.tpm_layout import tpm2b

ATTEST = Attest(
    magic=MAGIC,
    type=TYPE_QUOTE,
    qualified_signer=b"\0\x0b" + b"q" * 32,
    extra_data=b"n" * 32,
    clock=5,
    reset_count=2,
    restart_count=1,
    safe=1,
    firmware_version=7,
    selections=(PcrSelection.of("sha256", range(16)),),
    pcr_digest=b"d" * 32,
)
BUNDLE = TpmBundle(
    quote=b"q",
    signature=b"s",
    ak=b"a",
    ek=(b"c", b"i"),
    pcrs={0: b"0" * 32, 11: b"1" * 32},
    log=b"l",
    events=(RuntimeEvent(register=11, digest=b"i" * 32, label="init-data"),),
)


def public(attributes: int, key: ec.EllipticCurvePublicKey) -> bytes:
    numbers = key.public_numbers()
    head = attestation_key_template()[:-4]
    point = tpm2b(numbers.x.to_bytes(32)) + tpm2b(numbers.y.to_bytes(32))
    return head[:4] + struct.pack(">I", attributes) + head[8:] + point


def test_attest_is_packed_as_it_was_read() -> None:
    assert Attest.parse(ATTEST.pack()) == ATTEST
    assert ATTEST.selections[0].registers == tuple(range(16))


@pytest.mark.parametrize(
    ("at", "value", "code"),
    [
        (0, b"\xff\x54\x43\x48", "tpm.magic"),
        (4, b"\x80\x17", "tpm.type"),
        (6, b"\xff\xff", "tpm.size"),
    ],
)
def test_bytes_that_are_no_quote_are_refused_by_name(at: int, value: bytes, code: str) -> None:
    data = bytearray(ATTEST.pack())
    data[at : at + len(value)] = value
    with pytest.raises(ParseError) as caught:
        Attest.parse(bytes(data))
    assert caught.value.code == code


def test_attest_is_read_whole_or_not_at_all() -> None:
    data = ATTEST.pack()
    for length in range(len(data)):
        with pytest.raises(ParseError):
            Attest.parse(data[:length])
    with pytest.raises(ParseError) as caught:
        Attest.parse(data + b"\0")
    assert caught.value.code == "tpm.trailing"


def test_selection_of_one_bank_twice_or_of_no_register_is_refused() -> None:
    for selections in (
        ATTEST.selections * 2,
        (PcrSelection(algorithm=0xB, bitmap=b"\0\0\0\x01"),),
    ):
        fields = {name: getattr(ATTEST, name) for name in Attest.__dataclass_fields__}
        with pytest.raises(ParseError) as caught:
            Attest.parse(Attest(**{**fields, "selections": selections}).pack())
        assert caught.value.code == "tpm.selection"


def test_pcr_digest_is_over_the_values_in_ascending_order() -> None:
    values = {index: bytes([index]) * 32 for index in (3, 1)}
    digest = pcr_digest("sha256", (PcrSelection.of("sha256", (3, 1)),), {"sha256": values})
    assert digest == hashlib.sha256(values[1] + values[3]).digest()
    with pytest.raises(ParseError) as caught:
        pcr_digest("sha256", (PcrSelection.of("sha256", (3, 2)),), {"sha256": values})
    assert caught.value.code == "tpm.pcr"


def test_public_area_gives_key_name_and_attributes() -> None:
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    attributes = struct.unpack(">I", attestation_key_template()[4:8])[0]
    data = public(attributes, key)
    read = Public.parse(data)
    assert read.key == key
    assert read.is_attestation_key
    assert read.name == b"\0\x0b" + hashlib.sha256(data).digest()
    assert not Public.parse(public(attributes & ~RESTRICTED, key)).is_attestation_key
    assert not Public.parse(public(attributes | DECRYPT, key)).is_attestation_key


def test_public_area_that_is_no_key_is_refused() -> None:
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    data = public(0, key)
    for length in range(len(data)):
        with pytest.raises(ParseError):
            Public.parse(data[:length])
    for broken in (
        data + b"\0",
        b"\0\x08" + data[2:],
        data[:-1] + bytes([data[-1] ^ 1]),
        b"\0" * 2000,
    ):
        with pytest.raises(ParseError):
            Public.parse(broken)


def test_signatures_verify_under_their_own_scheme_only() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    r, s = decode_dss_signature(key.sign(b"message", ec.ECDSA(hashes.SHA256())))
    numbers = tpm2b(r.to_bytes(32)) + tpm2b(s.to_bytes(32))
    read = Signature.parse(struct.pack(">HH", 0x18, 0xB) + numbers)
    assert read.verifies(key.public_key(), b"message")
    assert not read.verifies(key.public_key(), b"massage")
    other = rsa.generate_private_key(65537, 2048).public_key()
    assert not read.verifies(other, b"message")
    for head in (struct.pack(">HH", 0x18, 0x4), struct.pack(">HH", 0x1A, 0xB)):  # SHA-1; ECDAA
        with pytest.raises(ParseError) as caught:
            Signature.parse(head + numbers)
        assert caught.value.code == "tpm.signature"
    with pytest.raises(UsageError):
        bare_signature(other, b"")


def test_bundle_is_packed_as_it_was_read() -> None:
    assert TpmBundle.parse(BUNDLE.pack()) == BUNDLE


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"version": True},
        {"more": b""},
        {"quote": "text"},
        {"quote": bytes(4000)},
        {"ek": [b""] * 9},
        {"ek": b""},
        {"pcrs": {24: bytes(32)}},
        {"pcrs": {0: bytes(31)}},
        {"pcrs": {"0": bytes(32)}},
        {"events": [[10, bytes(32), "kernel's own"]]},
        {"events": [[11, bytes(20), "short"]]},
        {"events": [[11, bytes(32), ""]]},
        {"events": [[11, bytes(32), "\n"]]},
        {"events": [[11, bytes(32)]]},
        {"events": [[12, bytes(32), "x"]] * 100},
        {"log": bytes(30_000)},
    ],
)
def test_bundle_of_another_form_is_refused(change: dict[str, object]) -> None:
    value = cbor.decode(BUNDLE.pack(), what="bundle", limit=10_000)
    with pytest.raises(ParseError):
        TpmBundle.parse(cbor.encode({**value, **change}))


@given(st.binary(max_size=200))
def test_noise_is_refused_and_nothing_else_happens(noise: bytes) -> None:
    for read in (Attest.parse, Public.parse, Signature.parse, TpmBundle.parse, HclReport.parse):
        with pytest.raises(ParseError):
            read(noise)


def test_boot_digest_needs_every_register() -> None:
    values = {index: bytes([index]) * 32 for index in range(16)}
    joined = b"".join(values[index] for index in BOOT_PCRS)
    assert boot_digest(values) == hashlib.sha256(joined).digest()
    del values[9]
    assert boot_digest(values) == b""


def test_activation_proof_is_of_one_secret_and_one_quote() -> None:
    proofs = {activation_proof(secret, quote) for secret in (b"a", b"b") for quote in (b"c", b"d")}
    assert len(proofs) == 4


def test_layer_that_is_there_twice_is_not_named() -> None:
    def log(count: int) -> EventLog:
        event = Event(
            index=9,
            kind=6,
            digests={"sha256": b"i" * 32},
            data=struct.pack("<II", TAG_INITRD, 0),
        )
        return EventLog(
            events=(event,) * count, banks=("sha256",), crypto_agile=True, size=0, padding=0
        )

    assert layers(log(1), "sha256") == {"initrd": b"i" * 32}
    assert layers(log(2), "sha256") == {}
    assert layers(log(0), "sha256") == {}


def hcl(**changed: object) -> bytes:
    data = b'{"keys":[]}'
    fields = {
        "signature": b"HCLA", "version": 2, "size": 1236 + len(data), "request_type": 2,
        "data_size": 20 + len(data), "data_version": 1, "report_type": 2, "hash_type": 1,
        "length": len(data),
    }  # fmt: skip
    return HCL_HEADER.pack(HclHeader(**{**fields, **changed})) + data + bytes(8)


def test_hcl_report_is_cut_by_its_lengths() -> None:
    report = HclReport.parse(hcl())
    assert report.runtime_data == b'{"keys":[]}'
    assert report.runtime_digest == hashlib.sha256(report.runtime_data).digest()


@pytest.mark.parametrize(
    "changed",
    [
        {"signature": b"HCLB"},
        {"version": 3},
        {"size": 1},
        {"request_type": 1},
        {"data_size": 0},
        {"data_version": 9},
        {"report_type": 3},
        {"hash_type": 2},
        {"length": 1 << 31},
        {"length": 3},
        {"reserved": b"x" * 16},
        {"report_type": 4, "hardware_report": b"x" * 1184},
    ],
)
def test_hcl_report_that_contradicts_itself_is_refused(changed: dict[str, object]) -> None:
    with pytest.raises(ParseError):
        HclReport.parse(hcl(**changed))
