"""What became of what was looked for: fresh, stale, missing, revoked."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec

from enarx.endorsements.checks import Validity
from enarx.endorsements.references import Item
from enarx.errors import EnarxError


class State(StrEnum):
    """What became of one item."""

    FRESH = "fresh"
    STALE = "stale"
    """There, genuine, and not in date."""
    MISSING = "missing"
    REVOKED = "revoked"
    """There, and on a revocation list that is there as well."""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """One item, or why there is none.

    Attributes:
        name: what was asked for.
        state: fresh, stale or missing.
        item: the item; ``None`` when it is missing.
        validity: when it may be used.
        fetched: when it was fetched; aware, UTC.
        problem: why it could not be fetched, also where an older one is good enough.
    """

    name: str
    state: State
    item: Item | None = None
    validity: Validity | None = None
    fetched: datetime | None = None
    problem: EnarxError | None = None


class Collection(msgspec.Struct, frozen=True, kw_only=True):
    """What was found for one piece of evidence; ``absent`` is what no service gives out."""

    found: tuple[Found, ...]
    absent: tuple[str, ...] = ()

    @property
    def items(self) -> tuple[Item, ...]:
        """Everything that is there, fresh or stale."""
        return tuple(one.item for one in self.found if one.item is not None)

    def count(self, state: State) -> int:
        """How many are in this state."""
        return sum(one.state is state for one in self.found)
