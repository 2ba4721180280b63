"""Intel TDX: quotes of trust domains, judged by :mod:`enarx.verifier.dcap`."""

from __future__ import annotations

from datetime import datetime

from enarx.evidence.quote import Quote
from enarx.evidence.tdx import TD_ATTRIBUTES, TdReportBody
from enarx.verifier.cache import Cache
from enarx.verifier.dcap import BodyFacts, parse_quote, require_body, verify_quote
from enarx.verifier.endorsements import Endorsements
from enarx.verifier.verified import Verified

_FINDINGS = (
    ("sept_ve_disable_clear", "the host may inject #VE exceptions on any memory access of the TD"),
    ("pks_enabled", "the TD may use supervisor protection keys"),
    ("migratable", "a migration TD may move this TD, with its memory, to another machine"),
    ("service_td_bound", "a service TD, of the hash MRSERVICETD, has rights over this TD"),
)


class TdxTechnology:
    """How TDX evidence is read and verified."""

    kind = "tdx"

    def parse(self, evidence: bytes) -> Quote:
        """Read a TDX quote of version 4 or 5.

        Raises:
            ParseError: not one.
        """
        quote = parse_quote(evidence)
        require_body(quote, TdReportBody, "TDX")
        return quote

    def verify(
        self, evidence: Quote, *, endorsements: Endorsements, at: datetime, cache: Cache
    ) -> Verified:
        """Run every check that needs no policy."""
        body = evidence.body
        assert isinstance(body, TdReportBody)  # noqa: S101 - parse() made it
        return verify_quote(
            self.kind, evidence, _facts(body), endorsements=endorsements, at=at, cache=cache
        )


def _facts(body: TdReportBody) -> BodyFacts:
    word = int.from_bytes(body.td_attributes, "little")
    flags = {name: bool(word >> bit & 1) for bit, name in TD_ATTRIBUTES}
    flags["service_td_bound"] = body.mr_service_td is not None and any(body.mr_service_td)
    facts = {
        "sept_ve_disable_clear": not flags["sept_ve_disable"],
        "pks_enabled": flags["pks"],
        **flags,
    }
    findings = tuple((name, meaning) for name, meaning in _FINDINGS if facts[name])
    return BodyFacts(
        debug=body.debug,
        measurement=body.mr_td,
        signer=b"",
        registers={
            "mrtd": body.mr_td,
            "mrseam": body.mr_seam,
            "rtmr0": body.rtmr0,
            "rtmr1": body.rtmr1,
            "rtmr2": body.rtmr2,
            "rtmr3": body.rtmr3,
        },
        report_data=body.report_data,
        host_data=body.mr_config_id,
        flags=flags,
        findings=findings,
    )


TECHNOLOGY = TdxTechnology()
