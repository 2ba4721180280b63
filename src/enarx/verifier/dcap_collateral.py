"""Intel DCAP collateral: is every part signed by Intel, and whose is it?

Everything here is a pure function of the collateral's bytes: dates are not looked at, so that
the result can be remembered. Source: Intel SGX and TDX PCS API version 4; *Intel SGX PCK
Certificate and Certificate Revocation List Profile Specification*, sections 2 and 3.

A part that is missing is None with an empty problem; a part that is there and bad has one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from enarx.errors import ParseError
from enarx.evidence.pck import PCK_EXTENSION_OID
from enarx.verifier.crl import RevocationList, load_crl
from enarx.verifier.dcap_chain import verify_p256
from enarx.verifier.endorsements import DcapCollateral
from enarx.verifier.tcb_info import QeIdentity, TcbInfo, parse_qe_identity, parse_tcb_info
from enarx.verifier.x509 import Memo, Path, build_path, load_certificates, load_pool

TCB_SIGNER_PATH_LENGTH = 2
"""TCB signing certificate and root."""

TCB_SIGNER_NAME = "SGX TCB Signing"
"""Part of the common name, section 3 of the profile."""

_Document = TypeVar("_Document", TcbInfo, QeIdentity)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SignedDocument(Generic[_Document]):
    """A TCB info or QE identity with what came of its signature.

    Attributes:
        document: what was read; None where it is missing or cannot be read.
        path: chain of the signer, as far as it is signed.
        problem: why it is not to be believed; empty when it is good or missing.
    """

    document: _Document | None
    path: Path | None
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CollateralSet:
    """Collateral, each part judged by itself.

    Attributes:
        tcb_info, qe_identity: signed documents.
        root_crl, pck_crl: revocation lists, their signatures not checked yet (it depends on
            the quote's chain who has to have signed them); None where missing or unreadable.
        root_crl_problem, pck_crl_problem: why they cannot be read; empty otherwise.
        crl_issuer_path: chain of the PCK revocation list's issuer; None where missing.
        crl_issuer_problem: why that chain is not whole; empty otherwise.
    """

    tcb_info: SignedDocument[TcbInfo]
    qe_identity: SignedDocument[QeIdentity]
    root_crl: RevocationList | None
    root_crl_problem: str
    pck_crl: RevocationList | None
    pck_crl_problem: str
    crl_issuer_path: Path | None
    crl_issuer_problem: str

    @property
    def signer_paths(self) -> tuple[Path, ...]:
        """Chains of whoever signed a part, without repetition."""
        paths = (self.tcb_info.path, self.qe_identity.path, self.crl_issuer_path)
        return tuple({id(path): path for path in paths if path is not None}.values())


def read_collateral(collateral: DcapCollateral, memo: Memo) -> CollateralSet:
    """Read every part and check the signatures that do not depend on a quote."""
    tcb_path, tcb_chain_problem = _signer_path(collateral.tcb_info_issuer_chain, memo)
    # Intel sends the same chain twice; it is built once.
    if collateral.qe_identity_issuer_chain == collateral.tcb_info_issuer_chain:
        qe_path, qe_chain_problem = tcb_path, tcb_chain_problem
    else:
        qe_path, qe_chain_problem = _signer_path(collateral.qe_identity_issuer_chain, memo)
    root_crl, root_crl_problem = read_list(collateral.root_ca_crl)
    pck_crl, pck_crl_problem = read_list(collateral.pck_crl)
    crl_path, crl_path_problem = _path(collateral.pck_crl_issuer_chain, memo)
    return CollateralSet(
        tcb_info=_document(
            collateral.tcb_info,
            collateral.tcb_info_signature,
            tcb_path,
            tcb_chain_problem,
            parse_tcb_info,
        ),
        qe_identity=_document(
            collateral.qe_identity,
            collateral.qe_identity_signature,
            qe_path,
            qe_chain_problem,
            parse_qe_identity,
        ),
        root_crl=root_crl,
        root_crl_problem=root_crl_problem,
        pck_crl=pck_crl,
        pck_crl_problem=pck_crl_problem,
        crl_issuer_path=crl_path,
        crl_issuer_problem=crl_path_problem,
    )


def _document(
    text: bytes,
    signature: bytes,
    path: Path | None,
    chain_problem: str,
    parse: Callable[[bytes], _Document],
) -> SignedDocument[_Document]:
    if not text:
        return SignedDocument(document=None, path=None, problem="")
    problem = chain_problem
    if not problem and path is None:
        problem = "its issuer chain is missing"
    # Over the exact text: JSON has many texts for one value, and only this one was signed.
    if (
        path is not None
        and not problem
        and not verify_p256(path.certificates[0].public_key, signature, text)
    ):
        problem = f"the key of {path.certificates[0].common_name!r} did not sign this text"
    document: _Document | None = None
    try:
        document = parse(text)
    except ParseError as error:
        problem = problem or error.message
    return SignedDocument(document=document, path=path, problem=problem)


def _signer_path(pem: bytes, memo: Memo) -> tuple[Path | None, str]:
    """Chain of a TCB signing certificate, which must be one and nothing else."""
    path, problem = _path(pem, memo)
    if path is None or problem:
        return path, problem
    leaf = path.certificates[0]
    under_root = len(path.certificates) == TCB_SIGNER_PATH_LENGTH and not leaf.authority
    if not under_root or TCB_SIGNER_NAME not in leaf.common_name:
        return path, f"{leaf.common_name!r} is not a TCB signing certificate under the root"
    if PCK_EXTENSION_OID in leaf.extensions:
        return path, f"{leaf.common_name!r} is the certificate of a platform"
    return path, ""


def _path(pem: bytes, memo: Memo) -> tuple[Path | None, str]:
    """The chain in a PEM text whose first certificate is its leaf."""
    if not pem:
        return None, ""
    try:
        pool, problems = load_pool(load_certificates(pem.rstrip(b"\0")), load=memo.load)
    except ParseError as error:
        return None, error.message
    if problems:
        return None, "; ".join(problems)
    path = build_path(pool[0], pool, signed=memo.signed_by)
    return path, path.problem


def read_list(der: bytes) -> tuple[RevocationList | None, str]:
    """A revocation list, and why it cannot be read; neither where there are no bytes."""
    if not der:
        return None, ""
    try:
        return load_crl(der), ""
    except ParseError as error:
        return None, error.message
