"""Endorsements in one file, with which verification needs no network.

Deterministic CBOR (RFC 8949, section 4.2.1)::

    {"enarx-bundle": 1, "items": [item, ...], ? "inputs": [[role, bytes], ...]}

``items`` are what vendors publish: each a map of ``name``, ``body``, and where there are any
``chain`` and ``signature`` (see :class:`enarx.endorsements.references.Item`), sorted by name, each
name once. ``inputs`` are what belongs to one piece of evidence only, by the role names of
:mod:`enarx.verifier.roles`. The same content gives the same bytes. A bundle is as untrusted as a
network: every part carries its vendor's signature.
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
from enarx.verifier.endorsements import DcapCollateral, Endorsements
from enarx.verifier.roles import MAX_INPUTS, ROLES, endorsements_from
from enarx.verifier.x509 import load_certificates
from enarx.wire import cbor

VERSION: Final = 1
MARK: Final = "enarx-bundle"


class Bundle(msgspec.Struct, frozen=True, kw_only=True):
    """What a bundle holds; nothing about it is verified.

    Attributes:
        items: what vendors publish, sorted by name.
        inputs: what else one verification was given: (role, bytes).
    """

    items: tuple[Item, ...] = ()
    inputs: tuple[tuple[str, bytes], ...] = ()


def write_bundle(items: Iterable[Item], *, inputs: Iterable[tuple[str, bytes]] = ()) -> bytes:
    """The one encoding of a set of items and a list of inputs.

    Raises:
        UsageError: two different items of one name, or more than a bundle may hold.
    """
    by_name: dict[str, Item] = {}
    for item in items:
        if by_name.setdefault(item.name, item) != item:
            raise UsageError(f"two different items are named {item.name}", code="bundle.twice")
    ordered = [by_name[name] for name in sorted(by_name)]
    content: dict[str, object] = {
        MARK: VERSION,
        "items": msgspec.to_builtins(ordered, builtin_types=(bytes,)),
    }
    if more := [[role, data] for role, data in inputs]:
        content["inputs"] = more
    data = cbor.encode(content)
    if len(data) > limits.BUNDLE or len(ordered) > limits.BUNDLE_ITEMS or len(more) > MAX_INPUTS:
        raise UsageError(
            f"bundle has {len(ordered)} items and {len(more)} inputs in {len(data)} bytes, at "
            f"most {limits.BUNDLE_ITEMS} and {MAX_INPUTS} in {limits.BUNDLE} are allowed",
            hint="make several, for example one a site",
            code="bundle.size",
        )
    return data


def read_bundle(data: bytes) -> Bundle:
    """What a bundle holds.

    Raises:
        ParseError: not a bundle, or one of another version (``bundle.*``).
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
    if set(value) - {"inputs"} != {MARK, "items"}:
        raise ParseError("bundle has members nobody knows", code="bundle.form")
    members = {name: value[name] for name in value if name != MARK}
    try:
        bundle = msgspec.convert(members, Bundle, builtin_types=(bytes,))
    except msgspec.ValidationError as error:
        raise ParseError(f"bundle: {error}", code="bundle.form") from None
    _check(bundle)
    return bundle


def _check(bundle: Bundle) -> None:
    names = [item.name for item in bundle.items]
    if len(names) > limits.BUNDLE_ITEMS or names != sorted(set(names)):
        raise ParseError("bundle has too many items, or not in their order", code="bundle.form")
    for item in bundle.items:
        item.reference  # noqa: B018 - raises for a name that nothing has
    if len(bundle.inputs) > MAX_INPUTS:
        raise ParseError(f"bundle has more than {MAX_INPUTS} inputs", code="bundle.form")
    for role, _ in bundle.inputs:
        if role not in ROLES:
            raise ParseError(
                f"bundle has an input of unknown role {role[:64]!r}", code="bundle.form"
            )


def load_bundle(data: bytes, *, evidence: bytes | None = None) -> Endorsements:
    """What a verifier needs of a bundle.

    Args:
        data: the file.
        evidence: what is to be verified, to pick what belongs to it; without it everything is
            taken, which only bundles of one platform allow.

    Raises:
        ParseError: not a bundle, or ``evidence`` is not evidence.
        UsageError: no evidence, and a bundle of several platforms (``bundle.several``).
    """
    bundle = read_bundle(data)
    items: Iterable[Item] = bundle.items
    if evidence is not None and bundle.items:
        items = choose({item.name: item for item in bundle.items}, evidence)
    return merge(endorsements_of(items), _of_inputs(bundle.inputs))


def _of_inputs(inputs: Iterable[tuple[str, bytes]]) -> Endorsements:
    try:
        return endorsements_from(inputs)
    except UsageError as error:  # a file that contradicts itself is no mistake of the caller
        raise ParseError(f"bundle: {error.message}", code="bundle.form") from None


def merge(published: Endorsements, given: Endorsements) -> Endorsements:
    """Both together; what was given for this evidence goes before what is published."""
    return msgspec.structs.replace(
        given,
        certificates=tuple(dict.fromkeys((*given.certificates, *published.certificates))),
        crls=tuple(dict.fromkeys((*given.crls, *published.crls))),
        dcap=given.dcap if given.dcap is not None else published.dcap,
    )


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
