"""Links of collateral and quoting enclave: steps 3 and 4 of :mod:`enarx.verifier.dcap_standing`."""

from __future__ import annotations

from enarx.evidence.pck import PckExtension
from enarx.evidence.sgx import SgxReportBody
from enarx.verifier.dcap_chain import PckChain, Vouching
from enarx.verifier.dcap_collateral import CollateralSet, SignedDocument
from enarx.verifier.dcap_links import (
    FOREIGN,
    PCS,
    QUOTE_FORMAT,
    REFETCH,
    Entry,
    Window,
    certificate_window,
    document_window,
    make_link,
)
from enarx.verifier.dcap_trust import same_root
from enarx.verifier.tcb_info import QeIdentity, TcbInfo
from enarx.verifier.trace import Claim, Failure, Link


def document_entries(
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
    if not problem and not same_root(end, chain.root):
        problem = "it is signed under another root than the PCK chain"
    signer = part.path.certificates[0].common_name if part.path else "a TCB signing certificate"
    return make_link(
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
    return make_link(
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
    return make_link(
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


def vouching_entries(kind: str, vouching: Vouching, entries: list[Entry]) -> None:
    """Step 4: the quoting enclave's report, its signature and what it names."""
    entries.append(
        make_link(
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
        make_link(
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


def qe_identity_link(kind: str, report: SgxReportBody, identity: QeIdentity) -> Link:
    """Step 4: whether the quoting enclave is the one of the QE identity, under its masks."""
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
    return make_link(
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
