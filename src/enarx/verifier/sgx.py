"""Intel SGX: quotes of enclaves, judged by :mod:`enarx.verifier.dcap`."""

from __future__ import annotations

from datetime import datetime

from enarx.evidence.quote import Quote
from enarx.evidence.sgx import (
    ATTRIBUTE_DEBUG,
    ATTRIBUTE_EINITTOKEN_KEY,
    ATTRIBUTE_INIT,
    ATTRIBUTE_KSS,
    ATTRIBUTE_MODE64,
    ATTRIBUTE_PROVISION_KEY,
    SgxReportBody,
)
from enarx.verifier.cache import Cache
from enarx.verifier.dcap import BodyFacts, parse_quote, require_body, verify_quote
from enarx.verifier.endorsements import Endorsements
from enarx.verifier.verified import Verified

_FLAGS = (
    ("init", ATTRIBUTE_INIT),
    ("debug", ATTRIBUTE_DEBUG),
    ("mode64", ATTRIBUTE_MODE64),
    ("provision_key", ATTRIBUTE_PROVISION_KEY),
    ("launch_key", ATTRIBUTE_EINITTOKEN_KEY),
    ("kss", ATTRIBUTE_KSS),
)


class SgxTechnology:
    """How SGX evidence is read and verified."""

    kind = "sgx"

    def parse(self, evidence: bytes) -> Quote:
        """Read an SGX quote of version 3, 4 or 5.

        Raises:
            ParseError: not one.
        """
        quote = parse_quote(evidence)
        require_body(quote, SgxReportBody, "SGX")
        return quote

    def verify(
        self, evidence: Quote, *, endorsements: Endorsements, at: datetime, cache: Cache
    ) -> Verified:
        """Run every check that needs no policy."""
        body = evidence.body
        assert isinstance(body, SgxReportBody)  # noqa: S101 - parse() made it
        return verify_quote(
            self.kind, evidence, _facts(body), endorsements=endorsements, at=at, cache=cache
        )


def _facts(body: SgxReportBody) -> BodyFacts:
    word = body.flags
    return BodyFacts(
        debug=body.debug,
        measurement=body.mr_enclave,
        signer=body.mr_signer,
        registers={"mrenclave": body.mr_enclave, "mrsigner": body.mr_signer},
        report_data=body.report_data,
        host_data=body.config_id,
        flags={name: bool(word & bit) for name, bit in _FLAGS},
        findings=(),
    )


TECHNOLOGY = SgxTechnology()
