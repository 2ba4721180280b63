"""A collector as the commands use it: the user's cache, the configured addresses, the clock."""

from __future__ import annotations

from pathlib import Path

from enarx.endorsements.cache import Cache, default_directory
from enarx.endorsements.collector import Collector
from enarx.endorsements.fetcher import Fetcher
from enarx.endorsements.patience import Clock, Patience, SystemClock
from enarx.endorsements.sources import Sources, configured_sources


def open_collector(
    *,
    at: Sources | None = None,
    directory: Path | None = None,
    patience: Patience | None = None,
    clock: Clock | None = None,
    offline: bool = False,
) -> Collector:
    """Make a collector.

    Args:
        at: addresses; from the environment, else the vendors' own, when ``None``.
        directory: of the cache; the user's when ``None``.
        patience: how long to wait for what.
        clock: the machine's when ``None``.
        offline: ask nobody.

    Raises:
        UsageError: an address or CA file that cannot be used.
    """
    at = at or configured_sources()
    clock = clock or SystemClock()
    fetcher = None if offline else Fetcher(patience=patience, clock=clock, ca_file=at.ca_file)
    cache = Cache(directory or default_directory())
    return Collector(cache=cache, sources=at, fetcher=fetcher, clock=clock)
