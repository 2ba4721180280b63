"""Event logs of trust domains have to explain the registers that the quote signs."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import struct
from typing import Any

import pytest
from tests.verifier.dcap_factory import DOMAIN, NOW, Vendor
from tests.verifier.dcap_samples import Sample, samples

from enarx.verifier import Endorsements, Failure, Policy, Tier, Verdict, Verifier

TDX = Vendor("tdx")
ALLOWED = Policy.builtin("genuine").but(allow_simulated=True)
RUNTIME = 0x08000001


def extended(*digests: bytes) -> bytes:
    register = bytes(48)
    for digest in digests:
        register = hashlib.sha384(register + digest).digest()
    return register


def runtime_event(name: str, payload: bytes, **changes: Any) -> dict[str, Any]:
    said = struct.pack("<I", RUNTIME) + b":" + name.encode() + b":" + payload
    return {
        "imr": 3,
        "event_type": RUNTIME,
        "digest": hashlib.sha384(said).hexdigest(),
        "event": name,
        "event_payload": payload.hex(),
    } | changes


BOOT = [
    {"imr": index, "event_type": 4, "digest": bytes([index] * 48).hex(), "event_payload": ""}
    for index in (0, 1, 2)
]
EVENTS = [*BOOT, runtime_event("app-id", b"app"), runtime_event("ready", b"")]
BODY = dataclasses.replace(
    DOMAIN,
    **{f"rtmr{index}": extended(bytes([index] * 48)) for index in (0, 1, 2)},
    rtmr3=extended(*(bytes.fromhex(event["digest"]) for event in EVENTS[3:])),
)


def judge(log: Any, body: Any = BODY) -> Verdict:
    data = log if isinstance(log, bytes) else json.dumps(log).encode()
    endorsements = Endorsements(dcap=TDX.collateral(), event_log=data)
    quote = TDX.quote(body).pack()
    return Verifier().appraise(quote, policy=ALLOWED, at=NOW, endorsements=endorsements)


def test_log_that_explains_every_register_is_a_link_each() -> None:
    verdict = judge(EVENTS)
    assert verdict.tier is Tier.AFFIRMING
    links = {link.name for link in verdict.trace}
    assert {f"tdx.event_log.rtmr{index}" for index in range(4)} <= links


def test_digest_that_is_left_out_is_worked_out_from_the_words() -> None:
    assert judge([*BOOT, *(event | {"digest": ""} for event in EVENTS[3:])]).tier is Tier.AFFIRMING


@pytest.mark.parametrize(
    "events",
    [
        EVENTS[:-1],
        [*EVENTS, EVENTS[-1]],
        [*BOOT, EVENTS[4], EVENTS[3]],
        [*BOOT[1:], *EVENTS[3:]],
        [*BOOT, runtime_event("app-id", b"app", event_payload=b"other".hex()), EVENTS[4]],
        [*BOOT, runtime_event("app-id", b"app", event="other"), EVENTS[4]],
        [*BOOT, runtime_event("app-id", b"other"), EVENTS[4]],
        [],
    ],
    ids=[
        "one-missing",
        "one-more",
        "reordered",
        "register-left-out",
        "payload-not-of-digest",
        "name-not-of-digest",
        "payload-and-digest",
        "empty",
    ],
)
def test_log_that_explains_another_boot_is_refused(events: Any) -> None:
    assert judge(events).failure is Failure.BINDING


@pytest.mark.parametrize(
    "log",
    [
        b"[",
        b"[1]",
        b"[{}]",
        b'[],"x":[1]',
        b"[" * 1000,
        b'[{"imr":4,"event_type":1,"digest":""}]',
        b'[{"imr":true,"event_type":1,"digest":""}]',
        b'[{"imr":0,"event_type":1,"digest":"00"}]',
        b'[{"imr":0,"event_type":1,"digest":7}]',
        b'[{"imr":0,"event_type":-1,"digest":""}]',
        b'[{"imr":0,"imr":1,"event_type":1,"digest":""}]',
        b"nothing",
        bytes(40),
    ],
)
def test_log_that_cannot_be_read_is_refused(log: bytes) -> None:
    assert judge(log).failure is Failure.BINDING


def test_registers_that_no_log_can_explain_yet_are_zero() -> None:
    assert judge([], body=DOMAIN).tier is Tier.AFFIRMING


@pytest.mark.parametrize("sample", samples("tdx"))
def test_firmware_log_replays_and_a_flipped_digest_does_not(sample: Sample) -> None:
    if "ccel" not in sample.expected["files"]:
        pytest.skip("no CCEL with this sample")
    good = sample.endorsements()
    assert sample.appraise().tier is Tier.AFFIRMING
    # A byte of the first event's digest, just behind the record that names the banks.
    position = 32 + struct.unpack_from("<I", good.ccel, 28)[0] + 14
    changed = bytearray(good.ccel)
    changed[position] ^= 1
    endorsements = Endorsements(dcap=good.dcap, ccel=bytes(changed))
    assert sample.appraise(endorsements=endorsements).failure is Failure.BINDING


@pytest.mark.parametrize("sample", samples("tdx"))
def test_table_of_the_log_has_to_be_one(sample: Sample) -> None:
    if "ccel_table" not in sample.expected["files"]:
        pytest.skip("no CCEL table with this sample")
    good, table = sample.endorsements(), sample.read("ccel_table")
    assert "tdx.ccel_table" in {link.name for link in sample.appraise().trace}
    for changed in (b"", table[:-1], b"X" + table[1:], table[:40] + b"\1" + table[41:]):
        endorsements = Endorsements(
            dcap=good.dcap, ccel=good.ccel, extra=(("ccel_table", changed),)
        )
        assert sample.appraise(endorsements=endorsements).failure is Failure.BINDING
