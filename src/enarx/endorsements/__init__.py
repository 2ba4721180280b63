"""Collateral from the vendors: fetch, cache, bundle. The verifier's only I/O.

    collector = open_collector()
    items = collector.collect(needs_of(evidence)).items
    endorsements = endorsements_of(items)

Names are loaded when they are first used: a bundle is read without an HTTP client.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from enarx.endorsements.bundle import (
        Bundle,
        endorsements_of,
        load_bundle,
        read_bundle,
        write_bundle,
    )
    from enarx.endorsements.cache import Cache
    from enarx.endorsements.collector import Collector
    from enarx.endorsements.fetcher import Fetcher
    from enarx.endorsements.found import Collection, Found, State
    from enarx.endorsements.needs import Needs, needs_of
    from enarx.endorsements.packing import bundle_of
    from enarx.endorsements.patience import Patience
    from enarx.endorsements.references import Item
    from enarx.endorsements.setup import open_collector
    from enarx.endorsements.sources import Sources, configured_sources

__all__ = [
    "Bundle",
    "Cache",
    "Collection",
    "Collector",
    "Fetcher",
    "Found",
    "Item",
    "Needs",
    "Patience",
    "Sources",
    "State",
    "bundle_of",
    "configured_sources",
    "endorsements_of",
    "load_bundle",
    "needs_of",
    "open_collector",
    "read_bundle",
    "write_bundle",
]

_HOME = {
    **dict.fromkeys(
        ("Bundle", "endorsements_of", "load_bundle", "read_bundle", "write_bundle"), "bundle"
    ),
    "bundle_of": "packing",
    "Cache": "cache",
    "Collector": "collector",
    **dict.fromkeys(("Collection", "Found", "State"), "found"),
    "Fetcher": "fetcher",
    "Patience": "patience",
    **dict.fromkeys(("Needs", "needs_of"), "needs"),
    "Item": "references",
    "open_collector": "setup",
    **dict.fromkeys(("Sources", "configured_sources"), "sources"),
}


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'enarx.endorsements' has no attribute {name!r}")
    return getattr(import_module(f"enarx.endorsements.{home}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
