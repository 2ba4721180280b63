"""Measured-boot event logs: real ones replay to known registers, and nothing else is read."""

from __future__ import annotations

import hashlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx.errors import ParseError
from enarx.evidence.eventlog import EV_NO_ACTION, MAX_LOG, parse_event_log

from .quotes import Sample, samples

SHA384 = 0x000C


def spec_id(*banks: tuple[int, int]) -> bytes:
    body = b"Spec ID Event03\0" + struct.pack("<I4BI", 0, 0, 2, 0, 2, len(banks))
    body += b"".join(struct.pack("<HH", *bank) for bank in banks) + b"\0"
    return struct.pack("<II20sI", 0, EV_NO_ACTION, bytes(20), len(body)) + body


def record(index: int, kind: int, digest: bytes, data: bytes = b"") -> bytes:
    head = struct.pack("<IIIH", index, kind, 1, SHA384)
    return head + digest + struct.pack("<I", len(data)) + data


LOG = (
    spec_id((SHA384, 48))
    + record(1, 0x80000001, b"a" * 48, b"first")
    + record(2, 4, b"b" * 48)
    + record(1, 4, b"c" * 48)
    + record(0xFFFFFFFF, EV_NO_ACTION, bytes(48), b"not extended")
)


@pytest.mark.parametrize("sample", samples("eventlog"))
def test_real_log_replays_to_known_registers(sample: Sample) -> None:
    data, fields = sample.read("event_log"), sample.expected["fields"]
    if sample.expected["failure"] == "structure":
        with pytest.raises(ParseError):
            parse_event_log(data)
        return
    log = parse_event_log(data)
    assert log.crypto_agile == fields["crypto_agile"]
    assert list(log.banks) == fields["banks"]
    for bank, registers in fields["replayed"].items():
        replayed = {str(index): value.hex() for index, value in log.replay(bank).items()}
        assert replayed == registers


def test_registers_are_chains_of_hashes_from_zeros() -> None:
    registers = parse_event_log(LOG).replay("sha384")
    first = hashlib.sha384(bytes(48) + b"a" * 48).digest()
    assert registers == {
        1: hashlib.sha384(first + b"c" * 48).digest(),
        2: hashlib.sha384(bytes(48) + b"b" * 48).digest(),
    }


@pytest.mark.parametrize("padding", [b"", bytes(500), b"\xff" * 500])
def test_padding_ends_a_log(padding: bytes) -> None:
    log = parse_event_log(LOG + padding)
    assert (log.size, log.padding, len(log.events)) == (len(LOG), len(padding), 4)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        LOG + bytes(200) + b"\1",
        LOG + record(24, 4, bytes(48)),
        spec_id((SHA384, 32)),
        spec_id((SHA384, 48), (SHA384, 48)),
        spec_id(),
        spec_id((0x9999, 0)),
        spec_id((SHA384, 48)) + struct.pack("<IIIH", 1, 4, 1, 0x000B) + bytes(32 + 4),
        spec_id((SHA384, 48)) + struct.pack("<III", 1, 4, 0) + bytes(4),
        spec_id((SHA384, 48)) + struct.pack("<III", 1, 4, 0xFFFFFFFF) + bytes(400),
        bytes(MAX_LOG + 1),
    ],
)
def test_what_is_no_log_is_refused(data: bytes) -> None:
    with pytest.raises(ParseError):
        parse_event_log(data)


def test_log_cut_inside_a_record_is_refused() -> None:
    whole = [len(LOG[: len(spec_id((SHA384, 48)))])]
    log = parse_event_log(LOG)
    position = whole[0]
    for event in log.events:
        position += 14 + 48 + 4 + len(event.data)
        whole.append(position)
    assert position == len(LOG)
    # The last record starts with four bytes 0xff, which alone are padding like any other.
    padding = range(whole[-2], whole[-2] + 5)
    for length in range(len(LOG)):
        if length in whole or length in padding:
            continue
        with pytest.raises(ParseError):
            parse_event_log(LOG[:length])


def test_bank_that_is_not_in_the_log_is_refused() -> None:
    with pytest.raises(ParseError):
        parse_event_log(LOG).replay("sha256")


@given(st.binary(max_size=400))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for candidate in (data, spec_id((SHA384, 48)) + data):
        try:
            parse_event_log(candidate)
        except ParseError:
            continue
