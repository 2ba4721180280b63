"""Register values and event logs that come beside a quote, and whether they explain it.

1. The values hash to the digest in the quote.
2. The event log replays to the values, register by register.

Values are JSON, in one of three forms: ``{"0": hex, ...}`` of the SHA-256 bank, ``{"bank":
"sha1", "pcrs": {...}}``, or ``{"sha1": {...}, "sha256": {...}}``.

Sources: TCG *TPM 2.0 Library*, part 3, section 18.4; *PC Client Platform Firmware Profile*,
section 10.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from enarx.errors import ParseError
from enarx.evidence.eventlog import PCR_COUNT, EventLog, parse_event_log
from enarx.evidence.tpm import DIGEST_SIZES, Attest, Banks, pcr_digest
from enarx.verifier import strictjson
from enarx.verifier.trace import Claim, Failure, Trace

MAX_PCRS_JSON: Final = 64 * 1024
"""Bytes of a list of values; four banks of 24 registers take some 12 KB."""

QUOTE_FORMAT: Final = "TPM 2.0 Library, part 2, section 10.12"
LOG_FORMAT: Final = "TCG PC Client Platform Firmware Profile, section 10"
_DEPTH: Final = 4


def read_pcrs(data: bytes) -> Banks:
    """Register values from JSON.

    Raises:
        ParseError: not one of the three forms, or a value of another size than its bank has.
    """
    value = strictjson.decode(data, what="PCR values", limit=MAX_PCRS_JSON)
    if set(value) == {"bank", "pcrs"}:
        value = {str(value["bank"]): value["pcrs"]}
    elif value and all(key.isdecimal() for key in value):
        value = {"sha256": value}
    if not value:
        raise _bad("hold no bank")
    return {bank: _read_bank(bank, registers) for bank, registers in value.items()}


def _read_bank(bank: str, registers: Any) -> Mapping[int, bytes]:
    size = DIGEST_SIZES.get(bank)
    if size is None or not isinstance(registers, dict):
        raise _bad(f"hold {bank[:32]!r}, which is no bank of registers")
    values: dict[int, bytes] = {}
    for key, text in registers.items():
        if not key.isdecimal() or len(key) > 2 or int(key) >= PCR_COUNT or str(int(key)) != key:
            raise _bad(f"name register {key[:32]!r}")
        try:
            digest = bytes.fromhex(text) if isinstance(text, str) else b""
        except ValueError:
            digest = b""
        if len(digest) != size:
            raise _bad(f"give register {key} of bank {bank} no value of {size} bytes")
        values[int(key)] = digest
    return values


def _bad(what: str) -> ParseError:
    return ParseError(f"PCR values {what}", hint='such as {"0": "<hex>"}', code="tpm.pcrs")


def quoted(attest: Attest, banks: Banks) -> Banks:
    """Of the supplied values those that the quote selects: it says nothing about any other."""
    selected: dict[str, set[int]] = {}
    for one in attest.selections:
        selected.setdefault(one.bank, set()).update(one.registers)
    return {
        bank: {index: value for index, value in values.items() if index in selected[bank]}
        for bank, values in banks.items()
        if bank in selected
    }


def check_digest(attest: Attest, hash_name: str, banks: Banks | str, trace: Trace) -> None:
    """Step 1. ``banks`` is a sentence where there are no values.

    Args:
        hash_name: algorithm of the quote's signature; empty where there is none.
    """
    found = ""
    good = False
    if isinstance(banks, str):
        found = banks
    elif hash_name:
        try:
            computed = pcr_digest(hash_name, attest.selections, banks)
            good, found = computed == attest.pcr_digest, computed.hex()
        except ParseError as error:
            found = error.message
    trace.check(
        good and any(one.registers for one in attest.selections),
        "tpm.quote.pcr_digest",
        "register values are those that were quoted",
        failure=Failure.BINDING,
        claim=Claim.EXECUTABLES,
        expected=attest.pcr_digest.hex(),
        found=found or "no hash algorithm",
        source=QUOTE_FORMAT,
        remedy="take quote and register values from the same machine at the same time",
        depth=_DEPTH,
    )


def check_log(data: bytes, banks: Banks, trace: Trace, *, name: str = "tpm.log") -> EventLog | None:
    """Step 2, for every bank that there are values of.

    Returns:
        The log where it can be read and every register replays; else ``None``.
    """
    try:
        log = parse_event_log(data)
    except ParseError as error:
        _log_link(False, f"{name}.form", "event log can be read", "a log", error.message, trace)
        return None
    good = True
    for bank, values in banks.items():
        if bank not in log.banks:
            found = ", ".join(log.banks)
            subject = "event log has the bank of the register values"
            good = _log_link(False, f"{name}.bank", subject, bank, found, trace)
            continue
        for index, replayed in sorted(log.replay(bank).items()):
            value = values.get(index)
            good &= _log_link(
                value == replayed,
                f"{name}.pcr{index}",
                f"event log replays to register {index} ({bank})",
                value.hex() if value is not None else "no value given",
                replayed.hex(),
                trace,
            )
    return log if good else None


def _log_link(
    holds: bool,
    name: str,
    subject: str,
    expected: str,
    found: str,
    trace: Trace,
) -> bool:
    return trace.check(
        holds,
        name,
        subject,
        failure=Failure.BINDING,
        claim=Claim.EXECUTABLES,
        expected=expected,
        found=found,
        source=LOG_FORMAT,
        remedy="the log is of another boot, or was changed: do not use what it says",
        depth=_DEPTH,
    )
