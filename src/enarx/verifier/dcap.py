"""Intel DCAP: does this quote come from a genuine platform, and how up to date is it?

1. to 5. The platform's standing (:mod:`enarx.verifier.dcap_standing`), which is remembered,
   with the dates of everything it rests on compared at every appraisal.
6. The attestation key signed header and body.
7. Extra inputs: pre-images of report data, and event logs that must replay to the registers.

Whether debug mode, the TCB status and the findings are acceptable is for the policy to say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import msgspec

from enarx.errors import ParseError
from enarx.evidence.quote import INTEL_QE_VENDOR_ID, Quote, Trailing
from enarx.evidence.sgx import SgxReportBody
from enarx.evidence.tdx import TdReportBody
from enarx.verifier.cache import Cache
from enarx.verifier.crl import load_crl
from enarx.verifier.dcap_chain import PckChain, Vouching, read_pck_chain, verify_p256, vouch
from enarx.verifier.dcap_collateral import read_collateral
from enarx.verifier.dcap_fields import describe
from enarx.verifier.dcap_links import FOREIGN, QUOTE_FORMAT
from enarx.verifier.dcap_standing import Standing, stand
from enarx.verifier.endorsements import DcapCollateral, Endorsements
from enarx.verifier.preimages import check_preimages
from enarx.verifier.tdx_log import check_event_logs
from enarx.verifier.trace import Claim, Failure, Link, Trace
from enarx.verifier.unread import refuse_unread
from enarx.verifier.verified import Verified
from enarx.verifier.x509 import Memo

BODY_FORMAT = "Intel TDX Module Base Architecture Specification: TD attributes"
_DEPTH = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyFacts:
    """What a policy asks about, read from the body of either technology."""

    debug: bool
    measurement: bytes
    signer: bytes
    registers: Mapping[str, bytes]
    report_data: bytes
    host_data: bytes
    flags: Mapping[str, bool]
    findings: tuple[tuple[str, str], ...]
    """Short name, and what it means for the owner of the workload."""


def parse_quote(evidence: bytes) -> Quote:
    """Read a quote; bytes behind it are cut off and become a finding.

    Raises:
        ParseError: not a quote.
    """
    return Quote.parse(evidence, trailing=Trailing.CUT)


def verify_quote(
    kind: str,
    quote: Quote,
    facts: BodyFacts,
    *,
    endorsements: Endorsements,
    at: datetime,
    cache: Cache,
) -> Verified:
    """Take all steps of this module's docstring."""
    chain, vouching, standing = _standing(kind, quote, endorsements, cache)
    trace = Trace(entry if isinstance(entry, Link) else entry.at(at) for entry in standing.entries)
    _check_signature(kind, quote, vouching, standing, trace)  # 6.
    root = standing.root
    genuine = trace.sound and root is not None and root.pinned
    check_preimages(facts.report_data, facts.host_data, endorsements, trace)  # 7.
    if isinstance(quote.body, TdReportBody):
        check_event_logs(quote.body, endorsements, trace)
    refuse_unread(kind, endorsements, trace)
    findings = _findings(kind, quote, facts, standing, trace)
    tcb, extension = standing.tcb, chain.extension
    return Verified(
        kind=kind,
        evidence=quote,
        at=at,
        links=trace.links,
        genuine=genuine,
        root=root,
        describe=lambda: describe(quote, chain, tcb, standing.evaluation_number),
        debug=facts.debug,
        product=extension.fmspc.hex() if extension else "",
        instance=(extension.platform_instance_id or extension.ppid) if extension else b"",
        measurement=facts.measurement,
        signer=facts.signer,
        registers=facts.registers,
        report_data=facts.report_data,
        host_data=facts.host_data,
        tcb=standing.components,
        tcb_status=str(tcb.status) if tcb else None,
        tcb_remedy=standing.remedy,
        advisories=tcb.advisories if tcb else (),
        flags=facts.flags,
        findings=findings,
        revocation_checked=standing.revocation_checked,
        collateral_issued=standing.issued,
        valid_until=standing.valid_until,
    )


def _standing(
    kind: str, quote: Quote, endorsements: Endorsements, cache: Cache
) -> tuple[PckChain, Vouching, Standing]:
    """Steps 1 to 5, each remembered under exactly the bytes that it depends on."""
    signature, memo = quote.signature, Memo(cache)
    chain_key = (
        "dcap.chain",
        signature.certification_type,
        signature.certification_data,
        endorsements.certificates,
    )
    chain = cache.get_or_make(
        chain_key,
        lambda: read_pck_chain(
            signature.certification_type,
            signature.certification_data,
            endorsements.certificates,
            memo,
        ),
    )
    vouching_key = (
        "dcap.vouching",
        chain_key,
        signature.qe_report,
        signature.qe_report_signature,
        signature.bound_data,
    )
    vouching = cache.get_or_make(vouching_key, lambda: vouch(signature, chain.leaf))
    supplied, more = _supplied(endorsements, chain)
    td = quote.body if isinstance(quote.body, TdReportBody) else None
    td_key = (td.tee_tcb_svn, td.tee_tcb_svn2, td.mr_signer_seam, td.seam_attributes) if td else ()

    def make() -> Standing:
        collateral = None
        if supplied is not None:
            collateral = cache.get_or_make(
                ("dcap.collateral", supplied), lambda: read_collateral(supplied, memo)
            )
        return stand(kind, chain, vouching, signature.qe_report, collateral, more, td, memo)

    standing = cache.get_or_make(
        ("dcap.standing", kind, vouching_key, supplied, more, td_key), make
    )
    return chain, vouching, standing


def _supplied(
    endorsements: Endorsements, chain: PckChain
) -> tuple[DcapCollateral | None, tuple[bytes, ...]]:
    """The collateral, with lists that came by themselves, and lists beyond the two it holds.

    Lists of other authorities are left alone where one of this chain's is there too: a fleet has
    both of Intel's PCK authorities.
    """
    collateral = endorsements.dcap or _NO_COLLATERAL
    more: list[bytes] = []
    foreign: list[bytes] = []
    for list_der in endorsements.crls:
        name = _place(list_der, chain)
        if name is None:
            foreign.append(list_der)
        elif not getattr(collateral, name):
            collateral = msgspec.structs.replace(collateral, **{name: list_der})
        elif getattr(collateral, name) != list_der:
            more.append(list_der)
    if foreign and not (collateral.root_ca_crl or collateral.pck_crl):
        collateral = msgspec.structs.replace(collateral, pck_crl=foreign[0])
    return (None if collateral == _NO_COLLATERAL else collateral), tuple(more)


def _place(list_der: bytes, chain: PckChain) -> str | None:
    """Where in the collateral a list belongs; None for one of nobody in this chain."""
    try:
        issuer = load_crl(list_der).issuer
    except ParseError:
        return "pck_crl"  # it will be read again, and its fault named
    if chain.root is not None and issuer == chain.root.subject:
        return "root_ca_crl"
    authority = chain.authority
    return "pck_crl" if authority is not None and issuer == authority.subject else None


_NO_COLLATERAL = DcapCollateral()


def _check_signature(
    kind: str, quote: Quote, vouching: Vouching, standing: Standing, trace: Trace
) -> None:
    trace.check(
        quote.header.qe_vendor_id == INTEL_QE_VENDOR_ID,
        f"{kind}.quote.vendor",
        "quoting enclave is Intel's",
        failure=Failure.STRUCTURE,
        expected=INTEL_QE_VENDOR_ID.hex(),
        found=quote.header.qe_vendor_id.hex(),
        source=QUOTE_FORMAT,
        remedy=f"only Intel's quoting enclave can be judged: {FOREIGN}",
        depth=_DEPTH,
    )
    signed = verify_p256(vouching.attestation_key, quote.signature.signature, quote.signed_bytes)
    trace.check(
        signed,
        f"{kind}.quote.signature",
        "quote is signed by the attestation key",
        failure=Failure.SIGNATURE,
        claim=Claim.HARDWARE,
        expected="a signature that verifies over header and body",
        found="ECDSA P-256 SHA-256 verifies" if signed else "does not verify",
        source=QUOTE_FORMAT,
        remedy=f"the quote was changed: {FOREIGN}",
        valid_until=standing.valid_until,
        depth=_DEPTH,
    )


def _findings(
    kind: str, quote: Quote, facts: BodyFacts, standing: Standing, trace: Trace
) -> tuple[str, ...]:
    for name, meaning in facts.findings:
        trace.note(
            f"{kind}.finding.{name}",
            name.replace("_", " "),
            found=meaning,
            claim=Claim.CONFIGURATION,
            source=BODY_FORMAT,
            depth=_DEPTH,
        )
    findings = (*(name for name, _ in facts.findings), *standing.findings)
    if quote.trailing:
        findings = ("trailing_bytes", *findings)
        trace.note(
            f"{kind}.quote.trailing",
            "bytes behind the quote, which nobody signed and nothing reads",
            found=f"{quote.trailing} bytes",
            claim=Claim.CONFIGURATION,
            source=QUOTE_FORMAT,
            remedy="cut the buffer to the length of the quote",
            depth=_DEPTH,
        )
    return findings


def require_body(quote: Quote, kind: type[SgxReportBody] | type[TdReportBody], name: str) -> None:
    """Refuse a quote of the other technology.

    Raises:
        ParseError: its body is not a ``kind`` (``quote.tee-type``).
    """
    if not isinstance(quote.body, kind):
        raise ParseError(
            f"this is not an {name} quote: its TEE type is 0x{quote.header.tee_type:08x}",
            offset=4,
            hint="leave the type out, so that it is detected",
            code="quote.tee-type",
        )
