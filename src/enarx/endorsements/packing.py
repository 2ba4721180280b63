"""From what one verification was given to a bundle with which it can be repeated.

What vendors publish, and only that, becomes items under their names, so that it can be imported
and used for other evidence too. All the rest (logs, pre-images, certificates that no vendor
signed) stays what it was: an input with a role.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Iterator

from enarx.endorsements.bundle import endorsements_of, write_bundle
from enarx.endorsements.checks import check
from enarx.endorsements.needs import needs_of, reference_of_leaf
from enarx.endorsements.references import (
    AmdChain,
    AmdCrl,
    Item,
    PckCrl,
    QeIdentityOf,
    Reference,
    RootCrl,
    TcbInfoOf,
    Vcek,
    Vlek,
)
from enarx.errors import EnarxError, ParseError
from enarx.verifier.endorsements import NO_ENDORSEMENTS, DcapCollateral, Endorsements
from enarx.verifier.x509 import load_certificate, load_certificates


def bundle_of(endorsements: Endorsements, *, evidence: bytes) -> bytes:
    """A bundle that stands for these endorsements when this evidence is verified.

    Raises:
        UsageError: it gets larger than a bundle may be.
    """
    items = _items(endorsements, evidence)
    published = endorsements_of(items)
    if published.dcap is not None and published.dcap != endorsements.dcap:
        # Its parts would come back otherwise than they were: then it stays in one piece.
        items = tuple(item for item in items if not item.name.startswith("intel/"))
        published = endorsements_of(items)
    return write_bundle(items, inputs=inputs_of(endorsements, without=published))


def inputs_of(
    endorsements: Endorsements, *, without: Endorsements = NO_ENDORSEMENTS
) -> tuple[tuple[str, bytes], ...]:
    """Endorsements as (role, bytes); the inverse of ``endorsements_from``.

    Args:
        without: what is known already, and left out.
    """
    inputs = [
        ("chain", one) for one in endorsements.certificates if one not in without.certificates
    ]
    inputs += [("crl", one) for one in endorsements.crls if one not in without.crls]
    for role in ("cert_table", "event_log", "ccel"):
        data: bytes = getattr(endorsements, role)
        if data:
            inputs.append((role, data))
    if endorsements.dcap is not None and endorsements.dcap != without.dcap:
        inputs.append(("collateral", endorsements.dcap.to_json()))
    return (*inputs, *endorsements.extra)


def _items(endorsements: Endorsements, evidence: bytes) -> tuple[Item, ...]:
    """What of the endorsements a vendor publishes, and this evidence needs."""
    try:
        needs = needs_of(evidence)
    except EnarxError:
        return ()  # nothing is published for it: all of it is kept as inputs
    found: dict[str, Item] = {}
    for option in needs.options:
        for reference in option:
            for item in _candidates(reference, endorsements):
                if item.name not in found and _genuine(item, endorsements.certificates):
                    found[item.name] = item
    if needs.absent:
        for item in _vleks(endorsements.certificates):
            if _genuine(item, endorsements.certificates):
                found[item.name] = item
    return tuple(found.values())


def _genuine(item: Item, authorities: tuple[bytes, ...]) -> bool:
    try:
        check(item, authorities)
    except EnarxError:
        return False
    return True


def _candidates(reference: Reference, endorsements: Endorsements) -> Iterator[Item]:
    """What may be the item of this name; :func:`enarx.endorsements.checks.check` decides."""
    collateral = endorsements.dcap or DcapCollateral()
    match reference:
        case Vcek():
            for der in endorsements.certificates:
                if _leaf_name(der) == reference.name:
                    yield Item(name=reference.name, body=der)
        case AmdChain():
            for pair in _amd_chains(reference, endorsements.certificates):
                yield Item(name=reference.name, body=_pem(pair))
        case AmdCrl():
            for der in endorsements.crls:
                yield Item(name=reference.name, body=der)
        case TcbInfoOf():
            yield Item(
                name=reference.name,
                body=collateral.tcb_info,
                chain=collateral.tcb_info_issuer_chain,
                signature=collateral.tcb_info_signature,
            )
        case QeIdentityOf():
            yield Item(
                name=reference.name,
                body=collateral.qe_identity,
                chain=collateral.qe_identity_issuer_chain,
                signature=collateral.qe_identity_signature,
            )
        case PckCrl():
            yield Item(
                name=reference.name,
                body=collateral.pck_crl,
                chain=collateral.pck_crl_issuer_chain,
            )
        case RootCrl():
            root = _last(collateral.tcb_info_issuer_chain)
            yield Item(name=reference.name, body=collateral.root_ca_crl, chain=root)


def _vleks(certificates: Iterable[bytes]) -> Iterator[Item]:
    for der in certificates:
        name = _leaf_name(der)
        if "/vlek/" in name:
            yield Item(name=name, body=der)


def _leaf_name(der: bytes) -> str:
    try:
        leaf: Vcek | Vlek = reference_of_leaf(der)
    except ParseError:
        return ""
    return leaf.name


def _amd_chains(
    reference: AmdChain, certificates: Iterable[bytes]
) -> Iterator[tuple[bytes, bytes]]:
    """Intermediate and root of these names."""
    prefix = "SEV" if reference.kind == "vcek" else "SEV-VLEK"
    named = [(_common_name(der), der) for der in certificates]
    for intermediate in (der for name, der in named if name == f"{prefix}-{reference.product}"):
        for root in (der for name, der in named if name == f"ARK-{reference.product}"):
            yield intermediate, root


def _common_name(der: bytes) -> str:
    try:
        return load_certificate(der).common_name
    except ParseError:
        return ""


def _last(pem: bytes) -> bytes:
    """The last certificate of a PEM chain: the root, where Intel made it."""
    try:
        return _pem(load_certificates(pem)[-1:]) if pem else b""
    except ParseError:
        return b""


def _pem(ders: Iterable[bytes]) -> bytes:
    return "".join(ssl.DER_cert_to_PEM_cert(der) for der in ders).encode()
