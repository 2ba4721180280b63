"""What was fetched is verified before it is kept: it is what was asked for, a pinned key signed it.

The verifier checks everything again, with its own rules and at its own time. This only keeps
out of the cache what could never be of use: another machine's certificate, a list that somebody
else signed, half a file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NoReturn

import msgspec

from enarx.endorsements.references import (
    AmdChain,
    AmdCrl,
    Item,
    PckCrl,
    QeIdentityOf,
    RootCrl,
    TcbInfoOf,
    Vcek,
    Vlek,
    components,
)
from enarx.errors import ParseError, ProtocolError
from enarx.evidence.vcek import LeafExtensions
from enarx.verifier import roots
from enarx.verifier.crl import RevocationList, load_crl
from enarx.verifier.dcap_collateral import read_collateral
from enarx.verifier.endorsements import DcapCollateral
from enarx.verifier.x509 import (
    Certificate,
    Memo,
    Path,
    build_path,
    load_certificate,
    load_certificates,
    load_pool,
)


class Validity(msgspec.Struct, frozen=True, kw_only=True):
    """When something that was verified may be used.

    Attributes:
        start, end: aware, UTC; ``end`` is the first moment at which it is stale.
        renewed: the vendor publishes a next one, at ``end`` or before.
    """

    start: datetime
    end: datetime
    renewed: bool

    def holds(self, at: datetime) -> bool:
        """Whether it is in date."""
        return self.start <= at < self.end


def check(item: Item, authorities: Sequence[bytes] = ()) -> Validity:
    """Verify that an item is what its name says, signed under a pinned vendor key.

    Args:
        item: what came.
        authorities: DER certificates from elsewhere that its chain may need; untrusted.

    Raises:
        ProtocolError: it is something else, or nobody pinned signed it (``endorsements.wrong``).
    """
    try:
        reference = item.reference
        match reference:
            case AmdChain():
                return _certificates(_amd_chain(item, reference))
            case Vcek():
                return _certificates(_vcek(item, reference, authorities))
            case Vlek():
                return _certificates(_vlek(item, reference, authorities))
            case AmdCrl():
                return _amd_crl(item, reference, authorities)
            case TcbInfoOf():
                return _tcb_info(item, reference)
            case QeIdentityOf():
                return _qe_identity(item, reference)
            case PckCrl():
                return _pck_crl(item, reference)
            case RootCrl():
                return _root_crl(item)
    except ParseError as error:
        _wrong(item, error.message)


def _amd_chain(item: Item, reference: AmdChain) -> Path:
    ders = load_certificates(item.body)
    pool = _pool(item, ders)
    path = build_path(pool[0], pool)
    product = reference.product
    prefix = "SEV" if reference.kind == "vcek" else "SEV-VLEK"
    names = tuple(one.common_name for one in path.certificates)
    if names != (f"{prefix}-{product}", f"ARK-{product}") or len(ders) != len(names):
        _wrong(item, f"it holds {', '.join(one.common_name or 'unnamed' for one in pool)}")
    if not pool[0].authority:
        _wrong(item, f"{names[0]} is not a certificate authority")
    _require_root(item, path, kind="snp")
    return path


def _vcek(item: Item, reference: Vcek, authorities: Sequence[bytes]) -> Path:
    path, leaf = _leaf(item, authorities)
    tcb = tuple(leaf.tcb.get(name, -1) for name in components(reference.product))
    if leaf.product != reference.product or leaf.hwid != reference.chip or tcb != reference.tcb:
        _wrong(item, f"it is of {leaf.product_name}, chip {(leaf.hwid or b'').hex()}, TCB {tcb}")
    return path


def _vlek(item: Item, reference: Vlek, authorities: Sequence[bytes]) -> Path:
    path, leaf = _leaf(item, authorities)
    if (
        leaf.product != reference.product
        or leaf.kind != "vlek"
        or hashlib.sha256(item.body).digest() != reference.digest
    ):
        _wrong(item, f"it is a {leaf.kind.upper()} of {leaf.product_name}")
    return path


def _leaf(item: Item, authorities: Sequence[bytes]) -> tuple[Path, LeafExtensions]:
    certificate = load_certificate(item.body)
    path = build_path(certificate, _pool(item, authorities))
    _require_root(item, path, kind="snp")
    leaf = LeafExtensions.parse(certificate.extensions)
    prefix = "SEV-VLEK" if leaf.kind == "vlek" else "SEV"
    if path.certificates[1].common_name != f"{prefix}-{leaf.product}":
        _wrong(item, f"{path.certificates[1].common_name} signed it")
    return path, leaf


def _amd_crl(item: Item, reference: AmdCrl, authorities: Sequence[bytes]) -> Validity:
    revoked = load_crl(item.body)
    pool = _pool(item, authorities)
    issuer = next((one for one in pool if one.common_name == f"ARK-{reference.product}"), None)
    if issuer is None:
        _wrong(item, "the root that must have signed it is not there")
    _require_root(item, build_path(issuer, pool), kind="snp")
    return _list(item, revoked, issuer)


def _tcb_info(item: Item, reference: TcbInfoOf) -> Validity:
    signed = read_collateral(
        DcapCollateral(
            tcb_info_issuer_chain=item.chain,
            tcb_info=item.body,
            tcb_info_signature=item.signature,
        ),
        Memo(),
    ).tcb_info
    info = signed.document
    if signed.problem or info is None or signed.path is None:
        _wrong(item, signed.problem or "it is empty")
    _require_root(item, signed.path, kind=reference.tee)
    if info.id != reference.tee.upper() or info.fmspc != reference.fmspc:
        _wrong(item, f"it is of {info.id}, FMSPC {info.fmspc.hex()}")
    return Validity(start=info.issued, end=info.next_update, renewed=True)


def _qe_identity(item: Item, reference: QeIdentityOf) -> Validity:
    signed = read_collateral(
        DcapCollateral(
            qe_identity_issuer_chain=item.chain,
            qe_identity=item.body,
            qe_identity_signature=item.signature,
        ),
        Memo(),
    ).qe_identity
    identity = signed.document
    if signed.problem or identity is None or signed.path is None:
        _wrong(item, signed.problem or "it is empty")
    _require_root(item, signed.path, kind=reference.tee)
    if identity.id != ("QE" if reference.tee == "sgx" else "TD_QE"):
        _wrong(item, f"it is of {identity.id}")
    return Validity(start=identity.issued, end=identity.next_update, renewed=True)


def _pck_crl(item: Item, reference: PckCrl) -> Validity:
    revoked = load_crl(item.body)
    pool = _pool(item, load_certificates(item.chain))
    issuer = pool[0]
    if reference.authority not in issuer.common_name.lower() or not issuer.authority:
        _wrong(item, f"it is of {issuer.common_name}")
    _require_root(item, build_path(issuer, pool), kind="sgx")
    return _list(item, revoked, issuer)


def _root_crl(item: Item) -> Validity:
    revoked = load_crl(item.body)
    pool = _pool(item, load_certificates(item.chain))
    _require_root(item, build_path(pool[0], pool[:1]), kind="sgx")
    return _list(item, revoked, pool[0])


def _list(item: Item, revoked: RevocationList, issuer: Certificate) -> Validity:
    if not revoked.signed_by(issuer):
        _wrong(item, f"{issuer.common_name} did not sign it")
    if revoked.next_update is None:
        _wrong(item, "it does not say when the next one comes")
    return Validity(start=revoked.this_update, end=revoked.next_update, renewed=True)


def _certificates(path: Path) -> Validity:
    start = max(one.not_before for one in path.certificates)
    return Validity(start=start, end=path.valid_until, renewed=False)


def _pool(item: Item, ders: Iterable[bytes]) -> tuple[Certificate, ...]:
    pool, problems = load_pool(dict.fromkeys(ders))
    if problems:
        _wrong(item, problems[0])
    if not pool:
        _wrong(item, "there are no certificates over it")
    return pool


def _require_root(item: Item, path: Path, *, kind: str) -> None:
    root = path.root
    if root is None:
        _wrong(item, path.problem)
    if roots.pinned(root.spki_sha256, kind=kind) is None:
        _wrong(item, f"its root {root.common_name or 'without name'} is not pinned")


def _wrong(item: Item, problem: str) -> NoReturn:
    raise ProtocolError(
        f"{item.name} is not what it should be: {problem}",
        hint="the service, mirror or file is damaged or hostile; nothing of it was kept",
        code="endorsements.wrong",
    )
