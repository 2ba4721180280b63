"""How long to wait for what, and by which clock."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from enarx.endorsements import limits


class Clock(Protocol):
    """Time as the fetcher needs it."""

    def monotonic(self) -> float:
        """Seconds that never go back."""

    def now(self) -> datetime:
        """The time of day, aware, UTC."""

    def sleep(self, seconds: float) -> None:
        """Wait."""


class SystemClock:
    """The machine's clock."""

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()

    def now(self) -> datetime:
        """The time of day, UTC."""
        return datetime.now(UTC)

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to wait for what, in seconds; see :mod:`enarx.endorsements.limits`.

    Attributes:
        redirects: how many in a row are followed, on the same host; 0 for none.
    """

    total: float = limits.TOTAL_SECONDS
    attempt: float = limits.ATTEMPT_SECONDS
    connect: float = limits.CONNECT_SECONDS
    first_wait: float = limits.FIRST_WAIT_SECONDS
    longest_wait: float = limits.LONGEST_WAIT_SECONDS
    spacing: float = limits.SPACING_SECONDS
    redirects: int = limits.REDIRECTS
