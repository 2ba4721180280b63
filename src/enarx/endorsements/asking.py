"""One item from a vendor's service or its mirror: where it is, and how its answer is read."""

from __future__ import annotations

from typing import Final, assert_never

from enarx.endorsements import kds, limits, pcs
from enarx.endorsements.fetcher import Fetcher
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
from enarx.endorsements.sources import Sources
from enarx.errors import RefusedError

HEX: Final = 2
"""A PCCS sends lists in hex, which is twice as long."""


def address_of(reference: Reference, sources: Sources) -> str:
    """The address of an item; empty for what no service gives out."""
    match reference:
        case Vcek() | AmdChain() | AmdCrl():
            return sources.kds + kds.path_of(reference)
        case TcbInfoOf() | QeIdentityOf() | PckCrl():
            return sources.pcs + pcs.path_of(reference)
        case RootCrl():
            return sources.root_crl
        case Vlek():
            return ""
        case _:
            assert_never(reference)


def source_of(reference: Reference, sources: Sources) -> str:
    """The address without what stands behind the question mark, for people."""
    return address_of(reference, sources).partition("?")[0]


def ask(fetcher: Fetcher, sources: Sources, reference: Reference, *, deadline: float) -> Item:
    """Fetch an item, which is not verified.

    Raises:
        RefusedError: it is not there, or given out by no service.
        ParseError: the answer does not have its form.
        EnarxError: whatever the fetcher raises.
    """
    address = address_of(reference, sources)
    match reference:
        case Vcek() | AmdChain() | AmdCrl():
            largest = limits.REVOCATION_LIST if isinstance(reference, AmdCrl) else limits.CHAIN
            reply = fetcher.get(address, limit=largest, deadline=deadline)
            return Item(name=reference.name, body=reply.body)
        case TcbInfoOf() | QeIdentityOf() | PckCrl():
            list_size = HEX * limits.REVOCATION_LIST
            largest = list_size if isinstance(reference, PckCrl) else limits.DOCUMENT
            reply = fetcher.get(address, limit=largest, deadline=deadline)
            return pcs.read(reference, reply.body, reply.headers)
        case _:
            raise RefusedError(
                f"{reference.name} is given out by no service alone",
                hint="the cloud provider passes it along with the evidence",
                code="endorsements.vlek",
            )


def ask_for_root_crl(fetcher: Fetcher, sources: Sources, root: bytes, *, deadline: float) -> Item:
    """Fetch the list of Intel's root, which comes without the root's certificate.

    Args:
        root: that certificate, PEM.
    """
    largest = HEX * limits.REVOCATION_LIST
    reply = fetcher.get(sources.root_crl, limit=largest, deadline=deadline)
    return Item(name=RootCrl().name, body=pcs.read_list(reply.body), chain=root)
