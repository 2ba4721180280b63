"""How a platform stands: its chain, its collateral and its TCB, for every quote it makes.

The steps, root first; each adds links:

1. PCK chain: a pinned root, three certificates, each signed by the next, in date.
2. Revocation: the root's list names no CA and no signer, the CA's list not the platform.
3. TCB info and QE identity: signed under the same root, in date, about this kind of platform.
4. Quoting enclave: its report signed by the PCK key, naming the attestation key, and being
   the enclave of the QE identity.
5. TCB: which levels platform, TDX module and quoting enclave reach (:mod:`enarx.verifier.tcb`).

A pure function of bytes. Sources: *Intel SGX ECDSA Quote Library Reference*, appendix A;
Intel SGX and TDX PCS API version 4; *Intel SGX PCK Certificate and CRL Profile*.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from enarx.evidence.pck import PckExtension
from enarx.evidence.sgx import SgxReportBody
from enarx.evidence.tdx import TdReportBody
from enarx.verifier.dcap_chain import PckChain, Vouching
from enarx.verifier.dcap_collateral import CollateralSet
from enarx.verifier.dcap_documents import document_entries, qe_identity_link, vouching_entries
from enarx.verifier.dcap_links import Entry, Window
from enarx.verifier.dcap_tcb import assess_platform, module_identity_links, tcb_notes, tcb_remedy
from enarx.verifier.dcap_trust import chain_entries, revocation_entries
from enarx.verifier.tcb import TcbAssessment
from enarx.verifier.verified import RootOfTrust
from enarx.verifier.x509 import Memo


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Standing:
    """What can be said of a platform before the time is known.

    Attributes:
        entries: links and windows, root first.
        root: where the PCK chain ends.
        tcb: levels reached; None without collateral that is about this platform.
        evaluation_number: the lower of those of TCB info and QE identity, as Intel's own
            library reports it; 0 without either.
        revocation_checked: both lists were there, genuine and of the right issuers.
        issued: oldest issue date among the parts that Intel renews every month: TCB info, QE
            identity and the PCK authority's list; None without any. The root's list lives a year.
        valid_until: when the first part runs out; None where nothing has an end.
        remedy: what to do about the TCB status; empty where it is up to date.
        findings: facts that a policy may care about.
        components: SVNs of the PCK certificate by name.
    """

    entries: tuple[Entry, ...]
    root: RootOfTrust | None
    tcb: TcbAssessment | None
    evaluation_number: int
    revocation_checked: bool
    issued: datetime | None
    valid_until: datetime | None
    remedy: str
    findings: tuple[str, ...]
    components: Mapping[str, int]


def stand(
    kind: str,
    chain: PckChain,
    vouching: Vouching,
    qe_report: SgxReportBody,
    collateral: CollateralSet | None,
    lists: tuple[bytes, ...],
    td: TdReportBody | None,
    memo: Memo,
) -> Standing:
    """Take all steps of this module's docstring.

    Args:
        kind: ``sgx`` or ``tdx``, the first part of every link's name.
        chain: of the quote's certification data.
        vouching: what came of the quoting enclave's report.
        qe_report: that report.
        collateral: None where none was supplied.
        lists: revocation lists of the chain's authorities beyond those of the collateral, DER.
        td: the TD report of a TDX quote, for its module; None for SGX.
        memo: of this appraisal.
    """
    entries: list[Entry] = []
    root = chain_entries(kind, chain, entries)  # 1.
    revocation_checked = revocation_entries(kind, chain, collateral, lists, memo, entries)  # 2.
    tcb_info, qe_identity = document_entries(kind, chain, collateral, entries)  # 3.
    vouching_entries(kind, vouching, entries)  # 4.
    if qe_identity is not None:
        entries.append(qe_identity_link(kind, qe_report, qe_identity))
    tcb: TcbAssessment | None = None
    remedy = ""
    if tcb_info is not None and qe_identity is not None and chain.extension is not None:  # 5.
        tcb = assess_platform(tcb_info, qe_identity, chain.extension, qe_report, td)
        remedy = tcb_remedy(tcb, tcb_info, qe_identity, chain.extension, td)
        entries.extend(module_identity_links(kind, tcb, td))
        entries.extend(tcb_notes(kind, tcb, tcb_info, qe_identity, chain.extension, td))
    windows = [entry for entry in entries if isinstance(entry, Window)]
    return Standing(
        entries=tuple(entries),
        root=root,
        tcb=tcb,
        evaluation_number=min(
            (one.evaluation_number for one in (tcb_info, qe_identity) if one is not None),
            default=0,
        ),
        revocation_checked=revocation_checked,
        issued=_issued(collateral),
        valid_until=min((one.end for one in windows if one.end is not None), default=None),
        remedy=remedy,
        findings=_findings(chain, collateral),
        components=_components(chain.extension),
    )


def _issued(collateral: CollateralSet | None) -> datetime | None:
    if collateral is None:
        return None
    documents = (collateral.tcb_info.document, collateral.qe_identity.document)
    dates = [one.issued for one in documents if one is not None]
    if collateral.pck_crl is not None:
        dates.append(collateral.pck_crl.this_update)
    return min(dates, default=None)


def _findings(chain: PckChain, collateral: CollateralSet | None) -> tuple[str, ...]:
    findings = ("pck_chain_order_leaf_root_intermediate",) if chain.root_second else ()
    if collateral is None:
        return (*findings, "no_collateral")
    if collateral.root_crl is None or collateral.pck_crl is None:
        return (*findings, "no_crl")
    return findings


def _components(extension: PckExtension | None) -> dict[str, int]:
    if extension is None:
        return {}
    components = {f"sgx{n:02}": svn for n, svn in enumerate(extension.tcb_components, start=1)}
    return components | {"pce": extension.pce_svn}
