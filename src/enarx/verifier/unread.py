"""Inputs that nothing compares with this evidence: they are refused, not passed over.

Whoever hands in a log, a page or a pre-image wants to know whether it fits. A verdict that
says nothing about it would be taken for a yes.
"""

from __future__ import annotations

from typing import Final

from enarx.verifier.endorsements import Endorsements
from enarx.verifier.trace import Claim, Failure, Trace

_PREIMAGES: Final = ("csr", "host_data_preimage", "report_data_preimage")
_COMMON: Final = (*_PREIMAGES, "report", "quote")
READ: Final = {
    "snp": (*_COMMON, "id_auth", "id_block", "measurement_endorsement"),
    "sgx": _COMMON,
    "tdx": (*_COMMON, "ccel", "ccel_table", "event_log"),
    "tpm": (*_PREIMAGES, "activation"),
    "tpm-quote": (
        *_PREIMAGES,
        "ak_public",
        "ak_tpmt_public",
        "event_log",
        "pcrs",
        "signature",
        "signature_tpmt",
    ),
    "azure-vtpm": (
        *_PREIMAGES,
        "event_log",
        "pcrs",
        "td_quote",
        "tpm_quote",
        "tpm_signature",
    ),
    "eventlog": ("pcrs",),
}
"""Roles that are compared with evidence of each technology, or are its evidence itself."""

_DEPTH: Final = 4


def refuse_unread(kind: str, endorsements: Endorsements, trace: Trace) -> None:
    """Add a link that fails if something was supplied that evidence of this kind has no use for."""
    given = [role for role, _ in endorsements.extra]
    given += [role for role in ("ccel", "event_log") if getattr(endorsements, role)]
    unread = sorted(set(given) - set(READ[kind]))
    if unread:
        trace.check(
            False,
            f"{kind}.unread",
            "everything that was supplied is about this evidence",
            failure=Failure.BINDING,
            claim=Claim.EXECUTABLES,
            expected=f"inputs that are compared with {kind} evidence",
            found=", ".join(unread),
            source="relying party",
            remedy="leave out what does not belong to this evidence",
            depth=_DEPTH,
        )
