"""AMD's key distribution service: addresses, and what its answers hold.

Source: AMD 57230, sections 4.1 (VCEK), 4.2 (VLEK) and 4.3 (revocation lists).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlencode

from enarx.endorsements.references import (
    AmdChain,
    AmdCrl,
    Item,
    Reference,
    Vcek,
    components,
    parse_name,
)
from enarx.errors import ParseError
from enarx.evidence.snp import Product

_PATH: Final = re.compile(
    rf"/(?P<kind>vcek|vlek)/v1/(?P<product>{'|'.join(Product)})/(?P<what>[0-9A-Za-z_]+)"
)


def path_of(reference: Vcek | AmdChain | AmdCrl) -> str:
    """Path and query under the service's base address."""
    match reference:
        case AmdChain():
            return f"/{reference.kind}/v1/{reference.product}/cert_chain"
        case AmdCrl():
            return f"/{reference.kind}/v1/{reference.product}/crl"
        case Vcek():
            names = components(reference.product)
            values = (f"{value:02d}" for value in reference.tcb)
            query = urlencode(dict(zip((f"{name}SPL" for name in names), values, strict=True)))
            return f"/vcek/v1/{reference.product}/{reference.chip.hex()}?{query}"


def reference_of(path: str, query: Mapping[str, str]) -> Reference | None:
    """What a request asks for; ``None`` if nothing. The inverse of :func:`path_of`."""
    match = _PATH.fullmatch(path)
    if match is None:
        return None
    kind, product, what = match["kind"], match["product"], match["what"]
    if what == "cert_chain":
        return parse_name(f"amd/{product}/{kind}-chain")
    if what == "crl":
        return parse_name(f"amd/{product}/{kind}-crl")
    if kind != "vcek":
        return None
    values = [query.get(f"{name}SPL", "") for name in components(Product(product))]
    if not all(value.isdecimal() and value.isascii() and len(value) <= 3 for value in values):
        return None
    tcb = "-".join(str(int(value)) for value in values)
    try:
        return parse_name(f"amd/{product}/vcek/{what.lower()}/{tcb}")
    except ParseError:
        return None


def media_type(item: Item) -> str:
    """How the service labels this."""
    reference = item.reference
    if isinstance(reference, AmdChain):
        return "application/x-pem-file"
    return "application/pkix-crl" if isinstance(reference, AmdCrl) else "application/pkix-cert"
