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

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from enarx.evidence.pck import PckExtension
from enarx.evidence.sgx import SgxReportBody
from enarx.evidence.tdx import TdReportBody
from enarx.verifier import roots
from enarx.verifier.crl import RevocationList
from enarx.verifier.dcap_chain import PckChain, Vouching
from enarx.verifier.dcap_collateral import CollateralSet, SignedDocument
from enarx.verifier.dcap_links import (
    PCK_PROFILE,
    PCS,
    REFETCH,
    Entry,
    Window,
    certificate_window,
    crl_window,
    document_window,
)
from enarx.verifier.dcap_tcb import assess_platform, module_identity_links, tcb_notes, tcb_remedy
from enarx.verifier.tcb import TcbAssessment
from enarx.verifier.tcb_info import QeIdentity, TcbInfo
from enarx.verifier.trace import Claim, Failure, Link, Trace
from enarx.verifier.verified import RootOfTrust
from enarx.verifier.x509 import Certificate, Memo

QUOTE_FORMAT = "Intel SGX ECDSA Quote Library Reference, appendix A.4"
FOREIGN = "do not trust the host that sent this"

_ROLE = Claim.INSTANCE_IDENTITY


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
        issued: oldest issue date among the collateral's parts; None without any.
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
        td: the TD report of a TDX quote, for its module; None for SGX.
        memo: of this appraisal.
    """
    entries: list[Entry] = []
    root = _chain_entries(kind, chain, entries)  # 1.
    revocation_checked = _revocation_entries(kind, chain, collateral, memo, entries)  # 2.
    tcb_info, qe_identity = _document_entries(kind, chain, collateral, entries)  # 3.
    _vouching_entries(kind, vouching, entries)  # 4.
    if qe_identity is not None:
        entries.append(_qe_identity_link(kind, qe_report, qe_identity))
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


def _link(
    holds: bool,
    name: str,
    subject: str,
    *,
    failure: Failure,
    claim: Claim = _ROLE,
    expected: str,
    found: str,
    source: str,
    remedy: str,
    depth: int,
) -> Link:
    trace = Trace()
    trace.check(
        holds,
        name,
        subject,
        failure=failure,
        claim=claim,
        expected=expected,
        found=found,
        source=source,
        remedy=remedy,
        depth=depth,
    )
    return trace.links[0]


def _chain_entries(kind: str, chain: PckChain, entries: list[Entry]) -> RootOfTrust | None:
    root: RootOfTrust | None = None
    end = chain.root
    if end is not None:
        known = roots.pinned(end.spki_sha256, kind=kind)
        root = RootOfTrust(
            name=end.common_name,
            spki_sha256=end.spki_sha256,
            pinned=known is not None,
            simulated=known is None and end.common_name == roots.SIMULATED_ROOT_NAME,
        )
        # A simulated root is for the policy to judge: it is neither good nor bad here.
        if not root.simulated:
            entries.append(_root_link(kind, end, known))
    entries.append(
        _link(
            not chain.problem,
            f"{kind}.pck.chain",
            "PCK chain from the platform's certificate to a root",
            failure=Failure.STRUCTURE if chain.structural else Failure.CHAIN,
            expected="PCK certificate, its CA and a root, each signed by the next",
            found=chain.problem
            or " <- ".join(one.common_name for one in reversed(_certificates(chain))),
            source=PCK_PROFILE,
            remedy="take the quote with certification data of type 5, "
            "or supply the platform's PCK chain",
            depth=1,
        )
    )
    certificates = _certificates(chain)
    entries.extend(
        certificate_window(kind, one, depth=depth)
        for depth, one in enumerate(reversed(certificates))
    )
    return root


def _root_link(kind: str, end: Certificate, known: roots.PinnedRoot | None) -> Link:
    return _link(
        known is not None,
        f"{kind}.root",
        f"root of trust {end.common_name}",
        failure=Failure.ROOT,
        expected="a root key of Intel that is pinned",
        found=f"SPKI SHA-256 {end.spki_sha256.hex()}",
        source=known.source if known is not None else "enarx.verifier.roots",
        remedy=f"this chain is not Intel's: {FOREIGN}",
        depth=0,
    )


def _certificates(chain: PckChain) -> tuple[Certificate, ...]:
    return chain.path.certificates if chain.path else ()


def _revocation_entries(
    kind: str,
    chain: PckChain,
    collateral: CollateralSet | None,
    memo: Memo,
    entries: list[Entry],
) -> bool:
    """Step 2; true when both lists were there and are to be believed."""
    if collateral is None:
        return False
    if collateral.crl_issuer_path is not None or collateral.crl_issuer_problem:
        entries.append(_crl_issuer_link(kind, chain, collateral))
    signers = [path.certificates[0] for path in collateral.signer_paths]
    below_root = [one for one in (chain.authority, *signers) if one is not None]
    both = (
        (collateral.root_crl, collateral.root_crl_problem, chain.root, below_root),
        (collateral.pck_crl, collateral.pck_crl_problem, chain.authority, [chain.leaf]),
    )
    believed = 0
    for crl, problem, issuer, certificates in both:
        if crl is None and not problem:
            continue
        believed += _crl_entries(kind, crl, problem, issuer, certificates, memo, entries)
    return believed == len(both)


def _crl_issuer_link(kind: str, chain: PckChain, collateral: CollateralSet) -> Link:
    path, problem = collateral.crl_issuer_path, collateral.crl_issuer_problem
    authority = chain.authority
    if path is not None and not problem and authority is not None:
        if path.certificates[0].spki_sha256 != authority.spki_sha256:
            problem = f"{path.certificates[0].common_name} did not issue the PCK certificate"
        elif not _same_root(path.root, chain.root):
            problem = "it ends in another root than the PCK chain"
    return _link(
        not problem,
        f"{kind}.crl.issuer",
        "issuer chain of the PCK revocation list",
        failure=Failure.COLLATERAL,
        expected="the CA of the PCK certificate, under the same root",
        found=problem or "so it is",
        source=PCS,
        remedy=REFETCH,
        depth=1,
    )


def _same_root(one: Certificate | None, other: Certificate | None) -> bool:
    return one is not None and other is not None and one.spki_sha256 == other.spki_sha256


def _crl_entries(
    kind: str,
    crl: RevocationList | None,
    problem: str,
    issuer: Certificate | None,
    certificates: Iterable[Certificate | None],
    memo: Memo,
    entries: list[Entry],
) -> bool:
    name = issuer.common_name if issuer else "an authority that is missing"
    good = crl is not None and issuer is not None and memo.list_signed_by(crl, issuer)
    entries.append(
        _link(
            good,
            f"{kind}.crl.signature",
            f"revocation list of {name} is signed by it",
            failure=Failure.COLLATERAL,
            expected=name,
            found=problem
            or (crl.issuer_common_name if crl else "nothing")
            + ("" if good else ", not signed by that authority"),
            source=PCK_PROFILE,
            remedy=REFETCH,
            depth=1,
        )
    )
    if crl is None:
        return False
    entries.append(crl_window(kind, crl))
    if not good:
        return False  # what a list says that nobody signed means nothing
    # A serial number only means something on the list of the authority that gave it.
    listed = [
        one.common_name
        for one in certificates
        if one is not None and one.issuer == crl.issuer and crl.lists(one)
    ]
    entries.append(
        _link(
            not listed,
            f"{kind}.revocation",
            f"nothing is on the revocation list of {name}",
            failure=Failure.REVOKED,
            expected="not revoked",
            found=f"revoked: {', '.join(listed)}" if listed else "not revoked",
            source="RFC 5280, section 6.3.3",
            remedy=f"Intel withdrew this key: {FOREIGN}",
            depth=1,
        )
    )
    return True


def _document_entries(
    kind: str, chain: PckChain, collateral: CollateralSet | None, entries: list[Entry]
) -> tuple[TcbInfo | None, QeIdentity | None]:
    """Step 3; the documents, where they are about this kind of platform."""
    if collateral is None:
        return None, None
    info, identity = collateral.tcb_info, collateral.qe_identity
    if not (_there(info) or _there(identity)):
        return None, None
    windows: dict[int, Window] = {}
    for path in (info.path, identity.path):
        for one in path.certificates[:-1] if path else ():
            windows.setdefault(id(one), certificate_window(kind, one, depth=1))
    entries.extend(windows.values())
    entries.append(_document_link(kind, "tcb_info", info, chain))
    entries.append(_document_link(kind, "qe_identity", identity, chain))
    for name, found in (("tcb_info", info.document), ("qe_identity", identity.document)):
        if found is not None:
            entries.append(document_window(kind, name, found.issued, found.next_update))
    fitting_info = fitting_identity = None
    if info.document is not None and chain.extension is not None:
        link = _platform_link(kind, info.document, chain.extension)
        entries.append(link)
        fitting_info = info.document if link.ok else None
    if identity.document is not None:
        link = _identity_kind_link(kind, identity.document)
        entries.append(link)
        fitting_identity = identity.document if link.ok else None
    return fitting_info, fitting_identity


def _there(part: SignedDocument[TcbInfo] | SignedDocument[QeIdentity]) -> bool:
    return part.document is not None or bool(part.problem)


def _document_link(
    kind: str,
    name: str,
    part: SignedDocument[TcbInfo] | SignedDocument[QeIdentity],
    chain: PckChain,
) -> Link:
    title = "TCB info" if name == "tcb_info" else "QE identity"
    problem = part.problem
    if not problem and part.document is None:
        problem = "missing, and the rest of the collateral says nothing without it"
    end = part.path.root if part.path else None
    if not problem and not _same_root(end, chain.root):
        problem = "it is signed under another root than the PCK chain"
    signer = part.path.certificates[0].common_name if part.path else "a TCB signing certificate"
    return _link(
        not problem,
        f"{kind}.{name}.signature",
        f"{title} is signed under the same root",
        failure=Failure.COLLATERAL,
        claim=Claim.HARDWARE,
        expected=f"the exact text, signed by {signer}",
        found=problem or "ECDSA P-256 SHA-256 verifies",
        source=PCS,
        remedy=REFETCH,
        depth=1,
    )


def _platform_link(kind: str, info: TcbInfo, extension: PckExtension) -> Link:
    return _link(
        info.id == kind.upper()
        and info.fmspc == extension.fmspc
        and info.pce_id == extension.pce_id,
        f"{kind}.tcb_info.platform",
        "TCB info is about this kind of platform",
        failure=Failure.COLLATERAL,
        claim=Claim.HARDWARE,
        expected=f"{kind.upper()} FMSPC {extension.fmspc.hex()} PCE {extension.pce_id.hex()}",
        found=f"{info.id} FMSPC {info.fmspc.hex()} PCE {info.pce_id.hex()}",
        source=f"{PCS}: Get TCB Info",
        remedy="fetch the collateral for this FMSPC (enarx endorsements fetch)",
        depth=1,
    )


def _identity_kind_link(kind: str, identity: QeIdentity) -> Link:
    expected = "TD_QE" if kind == "tdx" else "QE"
    return _link(
        identity.id == expected,
        f"{kind}.qe_identity.id",
        "QE identity is that of the right quoting enclave",
        failure=Failure.COLLATERAL,
        claim=Claim.HARDWARE,
        expected=expected,
        found=identity.id,
        source=f"{PCS}: Get QE Identity",
        remedy=REFETCH,
        depth=1,
    )


def _vouching_entries(kind: str, vouching: Vouching, entries: list[Entry]) -> None:
    entries.append(
        _link(
            vouching.signed,
            f"{kind}.qe.signature",
            "report of the quoting enclave is signed by the PCK key",
            failure=Failure.SIGNATURE,
            claim=Claim.HARDWARE,
            expected="a signature that verifies over the 384 bytes of the report",
            found="ECDSA P-256 SHA-256 verifies" if vouching.signed else "does not verify",
            source=QUOTE_FORMAT,
            remedy=f"the quote was changed: {FOREIGN}",
            depth=2,
        )
    )
    entries.append(
        _link(
            vouching.bound,
            f"{kind}.qe.binding",
            "report of the quoting enclave names the attestation key",
            failure=Failure.BINDING,
            claim=Claim.HARDWARE,
            expected="SHA-256 of attestation key and authentication data, then zeros",
            found="equal" if vouching.bound else "another value",
            source=QUOTE_FORMAT,
            remedy=f"the quote was put together from parts: {FOREIGN}",
            depth=2,
        )
    )


def _qe_identity_link(kind: str, report: SgxReportBody, identity: QeIdentity) -> Link:
    comparisons = (
        ("MRSIGNER", report.mr_signer, identity.mr_signer),
        ("ISVPRODID", report.isv_prod_id, identity.isv_prod_id),
        (
            "MISCSELECT",
            masked(report.misc_select, identity.misc_select_mask),
            masked(identity.misc_select, identity.misc_select_mask),
        ),
        (
            "ATTRIBUTES",
            masked(report.attributes, identity.attributes_mask),
            masked(identity.attributes, identity.attributes_mask),
        ),
    )
    wrong = [name for name, found, wanted in comparisons if found != wanted]
    return _link(
        not wrong,
        f"{kind}.qe.identity",
        "quoting enclave is the one of the QE identity",
        failure=Failure.BINDING,
        claim=Claim.HARDWARE,
        expected=f"MRSIGNER {identity.mr_signer.hex()[:16]}…, ISVPRODID {identity.isv_prod_id}",
        found=f"differs in {', '.join(wrong)}" if wrong else "equal under the masks",
        source=f"{PCS}: Get QE Identity",
        remedy=f"another enclave than Intel's made this quote: {FOREIGN}",
        depth=2,
    )


def masked(value: bytes, mask: bytes) -> bytes:
    """The bits of ``value`` that are set in ``mask``, which is as long."""
    return bytes(one & two for one, two in zip(value, mask, strict=True))


def _issued(collateral: CollateralSet | None) -> datetime | None:
    if collateral is None:
        return None
    documents = (collateral.tcb_info.document, collateral.qe_identity.document)
    lists = (collateral.root_crl, collateral.pck_crl)
    dates = [one.issued for one in documents if one is not None]
    dates += [one.this_update for one in lists if one is not None]
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
