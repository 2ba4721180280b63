"""Measured-boot event logs: what firmware and loaders say they put into the registers.

A log proves nothing by itself: it explains register values that something else signed. Replay
it and compare. What an event's data says is only as good as its digest, and only some kinds of
event hash exactly their data.

Sources: *TCG PC Client Platform Firmware Profile* (1.06), section 10; *Guest-Hypervisor
Communication Interface for TDX*, section 4.3.3 (CCEL: the same records, where index 0 is MRTD
and 1 to 4 are RTMR0 to RTMR3).
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from enarx.errors import ParseError

EV_NO_ACTION = 0x00000003
PCR_COUNT = 24

MAX_LOG = 4 << 20
"""Bytes of a log that are read; buffers of 256 KiB are usual, 60 KB of them filled."""

MAX_EVENTS = 16384
"""Events of one log; a long boot has some 300."""

MAX_EVENT_DATA = 1 << 20
"""Bytes of data of one event; signature databases of UEFI reach some 30 KB."""

MAX_BANKS = 8
"""Digest algorithms of one log; the TCG registry has six for PCRs."""

ALGORITHMS: Mapping[int, str] = MappingProxyType(
    {0x0004: "sha1", 0x000B: "sha256", 0x000C: "sha384", 0x000D: "sha512", 0x0012: "sm3_256"}
)
"""Algorithm ids of the TCG registry, by hashlib's names."""

_HASHES: Mapping[str, Callable[[bytes], hashlib._Hash]] = MappingProxyType(
    {
        "sha1": lambda data: hashlib.sha1(data, usedforsecurity=False),
        "sha256": hashlib.sha256,
        "sha384": hashlib.sha384,
        "sha512": hashlib.sha512,
    }
)
_SPEC_ID = b"Spec ID Event03\0"
_STARTUP_LOCALITY = b"StartupLocality\0"
_LEGACY = struct.Struct("<II20sI")
_SPEC_HEADER = struct.Struct("<16sI4BI")
_RECORD = struct.Struct("<III")
_BANK = struct.Struct("<HH")
_CCEL = struct.Struct("<4xI28xBBxxQQ")
_U16 = struct.Struct("<H")
_U32 = struct.Struct("<I")


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One record.

    Attributes:
        index: register it was extended into (0 to 23 for a TPM).
        kind: event type, such as ``EV_NO_ACTION``.
        digests: by hashlib's name of the algorithm.
        data: what the event says about itself; not covered by the digest in general.
    """

    index: int
    kind: int
    digests: Mapping[str, bytes]
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class EventLog:
    """A parsed log.

    Attributes:
        events: in order, without the first record of a crypto-agile log, which names the banks.
        banks: algorithms of the digests.
        crypto_agile: whether it has more than the SHA-1 form.
        size: bytes the log itself takes.
        padding: bytes behind it, all 0x00 or all 0xff.
    """

    events: tuple[Event, ...]
    banks: tuple[str, ...]
    crypto_agile: bool
    size: int
    padding: int

    @property
    def records(self) -> int:
        """Records of the log, the one that names the banks included."""
        return len(self.events) + self.crypto_agile

    def replay(self, bank: str) -> dict[int, bytes]:
        """Values of the registers that the events extend, from zeros.

        Raises:
            ParseError: an event has no digest of this bank (``eventlog.bank``).
        """
        size = len(_HASHES[bank](b"").digest()) if bank in _HASHES else 0
        if not size or bank not in self.banks:
            raise ParseError(
                f"event log has no {bank} bank that can be replayed", code="eventlog.bank"
            )
        registers: dict[int, bytes] = {}
        for event in self.events:
            if event.kind == EV_NO_ACTION:
                if event.data.startswith(_STARTUP_LOCALITY) and event.index == 0:
                    locality = event.data[len(_STARTUP_LOCALITY) : len(_STARTUP_LOCALITY) + 1]
                    registers[0] = locality.rjust(size, b"\0")
                continue
            before = registers.get(event.index, bytes(size))
            registers[event.index] = extend(bank, before, event.digests[bank])
        return registers


def extend(bank: str, register: bytes, digest: bytes) -> bytes:
    """The register's value after one extension: hash of the value before and the digest."""
    return _HASHES[bank](register + digest).digest()


def replay_digests(bank: str, digests: Iterable[bytes], *, size: int) -> bytes:
    """A register of ``size`` bytes after extensions with ``digests``, from zeros."""
    register = bytes(size)
    for digest in digests:
        register = extend(bank, register, digest)
    return register


def parse_event_log(data: bytes) -> EventLog:
    """Read a TCG event log, SHA-1 or crypto-agile, and the padding behind it.

    Raises:
        ParseError: not such a log, cut off, or more than the named limits (``eventlog.*``).
    """
    if len(data) > MAX_LOG:
        raise ParseError(
            f"event log has {len(data)} bytes, at most {MAX_LOG} are read", code="eventlog.size"
        )
    first, offset = _legacy_event(data, 0)
    if not (first.kind == EV_NO_ACTION and first.data.startswith(_SPEC_ID)):
        events, offset = _read_events(data, 0, _legacy_event)
        return _finish(data, events, ("sha1",), offset, crypto_agile=False)
    sizes = _banks(first.data)
    names = tuple(ALGORITHMS.get(algorithm, f"alg_{algorithm:04x}") for algorithm in sizes)
    events, offset = _read_events(data, offset, lambda raw, at: _agile_event(raw, at, sizes))
    return _finish(data, events, names, offset, crypto_agile=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class CcelTable:
    """The ACPI table that says where firmware left its log, and of which technology it is.

    Attributes:
        kind: confidential computing type: 1 SEV, 2 TDX.
        log_size: bytes of the log area.
        log_address: physical address of the log area.
    """

    kind: int
    log_size: int
    log_address: int


def parse_ccel_table(data: bytes) -> CcelTable:
    """Read a CCEL ACPI table (GHCI for TDX, section 4.3.1; ACPI 6.5, section 5.2.6).

    Raises:
        ParseError: another signature or length, or the bytes do not add up to zero.
    """
    if len(data) != _CCEL.size or data[:4] != b"CCEL":
        raise ParseError(
            f"CCEL table has {len(data)} bytes and signature {data[:4]!r}, expected "
            f"{_CCEL.size} bytes and b'CCEL'",
            offset=0,
            code="eventlog.ccel-table",
        )
    length, kind, _, log_size, log_address = _CCEL.unpack(data)
    if length != len(data) or sum(data) & 0xFF:
        raise ParseError("CCEL table has a wrong length or checksum", code="eventlog.ccel-table")
    return CcelTable(kind=kind, log_size=log_size, log_address=log_address)


def _finish(
    data: bytes, events: list[Event], banks: tuple[str, ...], offset: int, *, crypto_agile: bool
) -> EventLog:
    rest = data[offset:]
    if rest.strip(b"\0") and rest.strip(b"\xff"):
        raise ParseError(
            f"{len(rest)} bytes follow the event log that are neither zeros nor 0xff",
            offset=offset,
            code="eventlog.trailing",
        )
    return EventLog(
        events=tuple(events),
        banks=banks,
        crypto_agile=crypto_agile,
        size=offset,
        padding=len(rest),
    )


def _read_events(
    data: bytes, offset: int, read: Callable[[bytes, int], tuple[Event, int]]
) -> tuple[list[Event], int]:
    events: list[Event] = []
    while offset < len(data) and not _is_padding(data, offset):
        if len(events) >= MAX_EVENTS:
            raise ParseError(
                f"event log has more than {MAX_EVENTS} events", offset=offset, code="eventlog.count"
            )
        event, offset = read(data, offset)
        events.append(event)
    return events, offset


def _is_padding(data: bytes, offset: int) -> bool:
    """Whether no record starts here: register index and type cannot both be all ones or zeros."""
    head = data[offset : offset + 8]
    return head in (bytes(len(head)), b"\xff" * len(head))


def _legacy_event(data: bytes, offset: int) -> tuple[Event, int]:
    index, kind, digest, size = _fixed(_LEGACY, data, offset)
    body, end = _data(data, offset + _LEGACY.size, size)
    return _event(index, kind, {"sha1": digest}, body, offset), end


def _agile_event(data: bytes, offset: int, sizes: Mapping[int, int]) -> tuple[Event, int]:
    index, kind, count = _fixed(_RECORD, data, offset)
    position = offset + _RECORD.size
    if count > len(sizes):
        raise ParseError(
            f"event has {count} digests, the log has {len(sizes)} banks",
            offset=position - 4,
            code="eventlog.digests",
        )
    digests: dict[str, bytes] = {}
    for _ in range(count):
        (algorithm,) = _fixed(_U16, data, position)
        if algorithm not in sizes:
            raise ParseError(
                f"event has a digest of algorithm 0x{algorithm:04x}, which is no bank of the log",
                offset=position,
                code="eventlog.digests",
            )
        name = ALGORITHMS.get(algorithm, f"alg_{algorithm:04x}")
        digest, position = _data(data, position + _U16.size, sizes[algorithm])
        digests[name] = digest
    if len(digests) != len(sizes):
        raise ParseError(
            f"event has digests of {len(digests)} banks, the log has {len(sizes)}",
            offset=offset,
            code="eventlog.digests",
        )
    (size,) = _fixed(_U32, data, position)
    body, end = _data(data, position + _U32.size, size)
    return _event(index, kind, digests, body, offset), end


def _event(index: int, kind: int, digests: dict[str, bytes], data: bytes, offset: int) -> Event:
    # EV_NO_ACTION extends nothing, so its index may be anything (0xffffffff is in use).
    if index >= PCR_COUNT and kind != EV_NO_ACTION:
        raise ParseError(
            f"event extends register {index}, there are {PCR_COUNT}",
            offset=offset,
            code="eventlog.index",
        )
    return Event(index=index, kind=kind, digests=digests, data=data)


def _banks(spec: bytes) -> dict[int, int]:
    """Digest sizes by algorithm, from the Spec ID event."""
    (_, _, _, _, _, _, count) = _fixed(_SPEC_HEADER, spec, 0)
    if not 1 <= count <= MAX_BANKS:
        raise ParseError(f"event log names {count} banks", code="eventlog.banks")
    sizes: dict[int, int] = {}
    for number in range(count):
        algorithm, size = _fixed(_BANK, spec, _SPEC_HEADER.size + number * _BANK.size)
        name = ALGORITHMS.get(algorithm, "")
        known = len(_HASHES[name](b"").digest()) if name in _HASHES else size
        if algorithm in sizes or size != known or not 1 <= size <= 64:
            raise ParseError(
                f"event log has a bank 0x{algorithm:04x} of {size} bytes", code="eventlog.banks"
            )
        sizes[algorithm] = size
    return sizes


def _fixed(form: struct.Struct, data: bytes, offset: int) -> tuple[Any, ...]:
    if offset + form.size > len(data):
        raise ParseError("event log is cut off", offset=offset, code="eventlog.truncated")
    return form.unpack_from(data, offset)


def _data(data: bytes, offset: int, size: int) -> tuple[bytes, int]:
    if size > min(MAX_EVENT_DATA, len(data) - offset):
        raise ParseError(
            f"event claims {size} bytes, {len(data) - offset} are left and at most "
            f"{MAX_EVENT_DATA} are read",
            offset=offset,
            code="eventlog.truncated",
        )
    return data[offset : offset + size], offset + size
