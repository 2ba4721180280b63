"""Endorsements of many machines in one file, with which verification needs no network.

Deterministic CBOR (RFC 8949, section 4.2.1): ``{"enarx-bundle": 2, "items": [item, ...]}``, each
item a map of ``name``, ``body``, and where there are any ``chain`` and ``signature`` (see
:class:`enarx.endorsements.references.Item`), sorted by name, each name once. The same items give
the same bytes. A bundle is as untrusted as a network: every part carries its vendor's signature.

Bundles of version 1 hold the inputs of one verification, by role
(:mod:`enarx.verifier.bundle`); both are read here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from enarx.endorsements import limits
from enarx.endorsements.needs import needs_of
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
from enarx.errors import EnarxError, ParseError, UsageError
from enarx.verifier.bundle import unpack_bundle
from enarx.verifier.endorsements import DcapCollateral, Endorsements
from enarx.verifier.roles import endorsements_from
from enarx.verifier.x509 import load_certificates
from enarx.wire import cbor

VERSION: Final = 2
MARK: Final = "enarx-bundle"


def write_bundle(items: Iterable[Item]) -> bytes:
    """The one encoding of a set of items.

    Raises:
        UsageError: two different items of one name, or more than a bundle may hold.
    """
    by_name: dict[str, Item] = {}
    for item in items:
        if by_name.setdefault(item.name, item) != item:
            raise UsageError(f"two different items are named {item.name}", code="bundle.twice")
    ordered = [by_name[name] for name in sorted(by_name)]
    plain = msgspec.to_builtins(ordered, builtin_types=(bytes,))
    data = cbor.encode({MARK: VERSION, "items": plain})
    if len(data) > limits.BUNDLE or len(ordered) > limits.BUNDLE_ITEMS:
        raise UsageError(
            f"bundle has {len(ordered)} items in {len(data)} bytes, at most "
            f"{limits.BUNDLE_ITEMS} in {limits.BUNDLE} are allowed",
            hint="make several, for example one a site",
            code="bundle.size",
        )
    return data


def read_bundle(data: bytes) -> tuple[Item, ...]:
    """Items of a bundle, sorted by name; nothing about them is verified.

    Raises:
        ParseError: not a bundle of version 2 (``bundle.*``).
    """
    try:
        value = cbor.decode(data, limit=limits.BUNDLE, what="bundle")
    except EnarxError as error:
        raise ParseError(error.message, hint=error.hint, code="bundle.form") from None
    if not isinstance(value, dict) or MARK not in value:
        raise ParseError("file is not an endorsement bundle", offset=0, code="bundle.form")
    if value[MARK] != VERSION or isinstance(value[MARK], bool):
        raise ParseError(
            f"bundle has version {value[MARK]!r}, expected {VERSION}",
            hint="make it again with `enarx endorsements bundle`",
            code="bundle.version",
        )
    if set(value) != {MARK, "items"}:
        raise ParseError("bundle has members nobody knows", code="bundle.form")
    try:
        items = msgspec.convert(value["items"], tuple[Item, ...], builtin_types=(bytes,))
    except msgspec.ValidationError as error:
        raise ParseError(f"bundle: {error}", code="bundle.form") from None
    names = [item.name for item in items]
    if len(items) > limits.BUNDLE_ITEMS or names != sorted(set(names)):
        raise ParseError("bundle has too many items, or not in their order", code="bundle.form")
    for item in items:
        item.reference  # noqa: B018 - raises for a name that nothing has
    return items


def load_bundle(data: bytes, *, evidence: bytes | None = None) -> Endorsements:
    """What a verifier needs of a bundle, of either version.

    Args:
        data: the file.
        evidence: what is to be verified, to pick what belongs to it; without it everything is
            taken, which only bundles of one platform allow.

    Raises:
        ParseError: not a bundle, or ``evidence`` is not evidence.
        UsageError: no evidence, and a bundle of several platforms (``bundle.several``).
    """
    if _is_version_1(data):
        return endorsements_from(unpack_bundle(data))
    items = {item.name: item for item in read_bundle(data)}
    if evidence is None:
        return endorsements_of(items.values())
    return endorsements_of(choose(items, evidence))


def _is_version_1(data: bytes) -> bool:
    # A map of two whose first key is the shorter of "enarx-bundle" and "entries".
    return data.startswith(b"\xa2\x67entries")


def choose(items: Mapping[str, Item], evidence: bytes) -> tuple[Item, ...]:
    """The items, by name, that evidence needs; VLEKs of its product are all taken along.

    Raises:
        ParseError: not evidence.
        UsageError: no vendor publishes endorsements for it.
    """
    needs = needs_of(evidence)
    options = [[items[one.name] for one in option if one.name in items] for option in needs.options]
    best = max(options, key=len, default=[])
    products = {
        one.product for one in (item.reference for item in best) if isinstance(one, AmdChain)
    }
    vleks = [
        item
        for item in items.values()
        if needs.absent and isinstance(one := item.reference, Vlek) and one.product in products
    ]
    return (*best, *vleks)


def endorsements_of(items: Iterable[Item]) -> Endorsements:
    """Items as the verifier takes them.

    Raises:
        ParseError: a chain that is not PEM.
        UsageError: Intel's documents of more than one platform (``bundle.several``).
    """
    leaves: list[bytes] = []
    authorities: list[bytes] = []
    crls: list[bytes] = []
    parts: dict[str, Item] = {}
    for item in items:
        reference = item.reference
        match reference:
            case Vcek() | Vlek():
                leaves.append(item.body)
            case AmdChain():
                authorities.extend(load_certificates(item.body))
            case AmdCrl():
                crls.append(item.body)
            case _:
                kind = _part(reference)
                if kind in parts:
                    raise UsageError(
                        f"endorsements hold both {parts[kind].name} and {item.name}",
                        hint="one verification takes those of one platform: name the evidence",
                        code="bundle.several",
                    )
                parts[kind] = item
    return Endorsements(
        certificates=tuple(dict.fromkeys((*leaves, *authorities))),
        crls=tuple(dict.fromkeys(crls)),
        dcap=_collateral(parts) if parts else None,
    )


def _part(reference: Reference) -> str:
    names = {TcbInfoOf: "tcb", QeIdentityOf: "qe", PckCrl: "pck", RootCrl: "root"}
    return names[type(reference)]


def _collateral(parts: Mapping[str, Item]) -> DcapCollateral:
    nothing = Item(name="", body=b"")
    tcb, qe = parts.get("tcb", nothing), parts.get("qe", nothing)
    pck, root = parts.get("pck", nothing), parts.get("root", nothing)
    return DcapCollateral(
        pck_crl_issuer_chain=pck.chain,
        tcb_info_issuer_chain=tcb.chain,
        qe_identity_issuer_chain=qe.chain,
        root_ca_crl=root.body,
        pck_crl=pck.body,
        tcb_info=tcb.body,
        tcb_info_signature=tcb.signature,
        qe_identity=qe.body,
        qe_identity_signature=qe.signature,
    )
