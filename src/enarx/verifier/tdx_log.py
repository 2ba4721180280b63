"""Event logs of trust domains: do they explain the registers that the quote signs?

Two forms are read: the firmware's CCEL (TCG records, SHA-384), and the JSON of dstack, whose
run-time events name their own digests. Every register that a log speaks of must replay to the
quote's; RTMR0 to RTMR2 must be spoken of unless they are zero, because a log that leaves out a
register explains nothing of it. RTMR3 belongs to the run time, which firmware logs cannot know.

Sources: *Guest-Hypervisor Communication Interface for TDX*, section 4.3.3; dstack, RTMR3 events:
SHA-384 of event type (u32, little endian), ``:``, name, ``:``, payload.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from typing import Any

from enarx.errors import ParseError
from enarx.evidence.eventlog import (
    MAX_EVENTS,
    parse_ccel_table,
    parse_event_log,
    replay_digests,
)
from enarx.evidence.tdx import TdReportBody
from enarx.verifier import strictjson
from enarx.verifier.endorsements import Endorsements
from enarx.verifier.trace import Claim, Failure, Trace

CCEL_FIRST_RTMR = 1
"""Register index of RTMR0 in a CCEL; index 0 is MRTD, which no event extends."""

CCEL_TDX = 2
"""Confidential computing type of TDX in a CCEL table."""

RTMRS = 4
MAX_JSON_LOG = 8 << 20
"""Bytes of a JSON event log; real ones are about 10 KB."""

_DIGEST_SIZE = 48
_RUNTIME_RTMR = 3
_RUNTIME_EVENT = 0x08000001
"""Event type that dstack gives its own events."""
_DEPTH = 4


def check_event_logs(td: TdReportBody, endorsements: Endorsements, trace: Trace) -> None:
    """Add links for each log that was supplied: CCEL, or an event log of either form."""
    if endorsements.ccel:
        _check("ccel", endorsements.ccel, td, trace)
    table = endorsements.role("ccel_table")
    if table is not None:
        _check_table(table, endorsements.ccel, trace)
    if endorsements.event_log:
        _check("event_log", endorsements.event_log, td, trace)


def _check(role: str, data: bytes, td: TdReportBody, trace: Trace) -> None:
    try:
        registers = _replay_json(data) if data.lstrip()[:1] == b"[" else _replay_ccel(data)
    except ParseError as error:
        trace.check(
            False,
            f"tdx.{role}",
            "event log can be read",
            failure=Failure.BINDING,
            claim=Claim.EXECUTABLES,
            expected="a CCEL, or a JSON list of events",
            found=error.message,
            source=_SOURCE,
            remedy="take the log again from the machine that made the quote",
            depth=_DEPTH,
        )
        return
    for number, signed in enumerate(td.rtmrs):
        replayed = registers.get(number)
        if replayed is None and (number == _RUNTIME_RTMR or not any(signed)):
            continue
        trace.check(
            replayed == signed,
            f"tdx.{role}.rtmr{number}",
            f"event log replays to RTMR{number}",
            failure=Failure.BINDING,
            claim=Claim.EXECUTABLES,
            expected=signed.hex(),
            found=replayed.hex() if replayed is not None else "no events for this register",
            source=_SOURCE,
            remedy="the log is of another boot, or was changed: do not use what it says",
            depth=_DEPTH,
        )


def _check_table(data: bytes, log: bytes, trace: Trace) -> None:
    """The table is one, of a TDX machine, and has room for the log."""
    try:
        table = parse_ccel_table(data)
    except ParseError as error:
        good, found = False, error.message
    else:
        good = table.kind == CCEL_TDX and len(log) <= table.log_size
        found = f"type {table.kind}, {table.log_size} bytes of log"
    trace.check(
        good,
        "tdx.ccel_table",
        "CCEL table is that of the event log",
        failure=Failure.BINDING,
        claim=Claim.EXECUTABLES,
        expected=f"a CCEL table of type {CCEL_TDX} with at least {len(log)} bytes of log",
        found=found,
        source="GHCI for TDX, section 4.3.1: CCEL",
        remedy="take table and log from the machine that made the quote",
        depth=_DEPTH,
    )


_SOURCE = "GHCI for TDX, section 4.3.3: event log"


def _replay_ccel(data: bytes) -> dict[int, bytes]:
    log = parse_event_log(data)
    return {
        index - CCEL_FIRST_RTMR: value
        for index, value in log.replay("sha384").items()
        if index >= CCEL_FIRST_RTMR
    }


def _replay_json(data: bytes) -> dict[int, bytes]:
    # The one strict reader takes objects; the list becomes the only member of one.
    wrapped = b'{"events":' + data + b"}"
    events = strictjson.decode(wrapped, what="event log", limit=MAX_JSON_LOG)
    if set(events) != {"events"} or not isinstance(events["events"], list):
        raise ParseError("event log is not one JSON list", code="eventlog.json")
    if len(events["events"]) > MAX_EVENTS:
        raise ParseError(f"event log has more than {MAX_EVENTS} events", code="eventlog.count")
    digests: dict[int, list[bytes]] = {}
    for number, event in enumerate(events["events"]):
        register, digest = _json_event(event, number)
        digests.setdefault(register, []).append(digest)
    return {
        register: replay_digests("sha384", values, size=_DIGEST_SIZE)
        for register, values in digests.items()
    }


def _json_event(event: Any, number: int) -> tuple[int, bytes]:
    """Register and digest of one event; a run-time event's digest is worked out from its words."""
    if not isinstance(event, Mapping):
        raise _bad(number, "is not an object")
    register, kind = event.get("imr"), event.get("event_type")
    if type(register) is not int or not 0 <= register < RTMRS:
        raise _bad(number, "has no imr from 0 to 3")
    if type(kind) is not int or not 0 <= kind < 1 << 32:
        raise _bad(number, "has no event_type of 32 bits")
    digest = _hex(event.get("digest", ""), number, "digest")
    if register == _RUNTIME_RTMR and kind == _RUNTIME_EVENT:
        name = event.get("event")
        if not isinstance(name, str):
            raise _bad(number, "has no event name")
        payload = _hex(event.get("event_payload", ""), number, "event_payload")
        said = b":".join((struct.pack("<I", kind), name.encode("utf-8", "replace"), payload))
        worked_out = hashlib.sha384(said).digest()
        if digest and digest != worked_out:
            raise _bad(number, "has a digest that is not that of its name and payload")
        return register, worked_out
    if len(digest) != _DIGEST_SIZE:
        raise _bad(number, f"has a digest of {len(digest)} bytes, expected {_DIGEST_SIZE}")
    return register, digest


def _hex(value: Any, number: int, name: str) -> bytes:
    if isinstance(value, str):
        try:
            return bytes.fromhex(value)
        except ValueError as error:
            raise _bad(number, f"has a {name} that is not hex") from error
    raise _bad(number, f"has no {name}")


def _bad(number: int, why: str) -> ParseError:
    return ParseError(f"event {number} of the log {why}", code="eventlog.event")
