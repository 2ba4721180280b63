"""A measured-boot log by itself: can it be read, and does it replay to values that are known?

A log is not evidence: nothing signs it, so there is no report, and a policy that asks for one
refuses it. Register values come as the input ``pcrs``.

Source: *TCG PC Client Platform Firmware Profile* (1.06), section 10.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from enarx.errors import ParseError
from enarx.evidence.eventlog import EventLog, parse_event_log
from enarx.evidence.tpm import DIGEST_SIZES, Banks
from enarx.verifier.cache import Cache
from enarx.verifier.endorsements import Endorsements
from enarx.verifier.tpm_pcrs import LOG_FORMAT, check_log, read_pcrs
from enarx.verifier.trace import Claim, Failure, Trace
from enarx.verifier.unread import refuse_unread
from enarx.verifier.verified import Verified


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """A log and its bytes."""

    raw: bytes
    log: EventLog


class EventLogTechnology:
    """How a log by itself is read and checked."""

    kind = "eventlog"

    def parse(self, evidence: bytes) -> Log:
        """Read a log, SHA-1 or crypto-agile.

        Raises:
            ParseError: not one.
        """
        log = parse_event_log(evidence)
        if not log.events:
            raise ParseError("event log has no events", code="eventlog.empty")
        return Log(raw=evidence, log=log)

    def verify(
        self, evidence: Log, *, endorsements: Endorsements, at: datetime, cache: Cache
    ) -> Verified:
        """Replay the log, and compare with what was supplied."""
        trace = Trace()
        log = evidence.log
        trace.note(
            "eventlog.form",
            "event log is whole and replays",
            claim=Claim.EXECUTABLES,
            found=f"{len(log.events)} events, banks {', '.join(log.banks)}",
            source=LOG_FORMAT,
        )
        banks = _compare(evidence, endorsements, trace)
        refuse_unread(self.kind, endorsements, trace)
        return Verified(
            kind=self.kind,
            evidence=evidence,
            at=at,
            links=trace.links,
            genuine=trace.sound,
            root=None,
            has_report=False,
            describe=lambda: _describe(evidence, banks),
        )


TECHNOLOGY: Final = EventLogTechnology()


def _compare(evidence: Log, endorsements: Endorsements, trace: Trace) -> Banks:
    """Compare with the supplied register values, and return them."""
    data = endorsements.role("pcrs")
    if data is None:
        trace.note(
            "eventlog.pcrs",
            "register values",
            found="none supplied: nothing vouches for this log (--with pcrs=FILE)",
            claim=Claim.EXECUTABLES,
            source=LOG_FORMAT,
        )
        return {}
    try:
        banks = read_pcrs(data)
    except ParseError as error:
        trace.check(
            False,
            "eventlog.pcrs",
            "register values can be read",
            failure=Failure.BINDING,
            claim=Claim.EXECUTABLES,
            expected="JSON",
            found=error.message,
            source="relying party",
            remedy="supply values as enarx.verifier.tpm_pcrs reads them",
        )
        return {}
    check_log(evidence.raw, banks, trace, name="eventlog")
    return banks


def _describe(evidence: Log, banks: Banks) -> dict[str, Any]:
    log = evidence.log
    return {
        "events": log.records,
        "banks": list(log.banks),
        "crypto_agile": log.crypto_agile,
        "parsed_bytes": log.size,
        "file_bytes": log.size + log.padding,
        "replayed": {
            bank: {str(index): value.hex() for index, value in sorted(log.replay(bank).items())}
            for bank in log.banks
            if bank in DIGEST_SIZES
        },
        "pcrs": {
            bank: {str(index): value.hex() for index, value in sorted(values.items())}
            for bank, values in banks.items()
        },
    }
