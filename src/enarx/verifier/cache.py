"""A bounded memory of what was already validated, owned by whoever owns the verifier.

Only results that are pure functions of bytes are kept, never anything that
depends on time: dates are compared again at every appraisal.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Any, Final, TypeVar

from enarx.errors import UsageError

DEFAULT_ENTRIES: Final = 4096
"""Chains and collateral of some thousand platforms; an SNP chain takes about 15 KiB."""

T = TypeVar("T")


class Cache:
    """Least recently used entries fall out; safe to share between threads."""

    __slots__ = ("_entries", "_lock", "_room")

    def __init__(self, *, entries: int = DEFAULT_ENTRIES) -> None:
        if entries < 1:
            raise UsageError(
                f"a verifier cache of {entries} entries cannot hold anything",
                hint="pass at least 1",
                code="verify.cache",
            )
        self._room = entries
        self._entries: OrderedDict[Hashable, Any] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, key: Hashable) -> Any:
        """What was kept under this key; ``None`` where nothing is."""
        with self._lock:
            if key not in self._entries:
                return None
            self._entries.move_to_end(key)
            return self._entries[key]

    def keep(self, key: Hashable, value: object) -> None:
        """Keep what is a pure function of the key."""
        with self._lock:
            self._entries[key] = value
            if len(self._entries) > self._room:
                self._entries.popitem(last=False)

    def get_or_make(self, key: Hashable, make: Callable[[], T]) -> T:
        """What ``make`` gave for this key before, or gives now. ``make`` must be pure.

        Nothing is kept when ``make`` raises.
        """
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
                kept: T = self._entries[key]
                return kept
        made = make()
        self.keep(key, made)
        return made
