"""A bounded memory of what was already validated, owned by whoever owns the verifier.

Only results that are pure functions of bytes are kept, never anything that
depends on time: dates are compared again at every appraisal.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Any, Final, TypeVar

import msgspec

from enarx.errors import UsageError

DEFAULT_ENTRIES: Final = 4096
"""Chains and collateral of some thousand platforms; an SNP chain takes about 15 KiB."""

MAX_KEY_BYTES: Final = 256 * 1024 * 1024
"""Bytes that entries were made from, all together: 1,000 platforms with their collateral take a
third of it. What a host sends may have megabytes, so that entries alone are no bound."""

T = TypeVar("T")


class Cache:
    """Least recently used entries fall out; safe to share between threads.

    Args:
        entries: how many there may be.
        key_bytes: how many bytes their keys may have together.

    Raises:
        UsageError: not even one.
    """

    __slots__ = ("_bytes", "_entries", "_lock", "_most_bytes", "_room")

    def __init__(self, *, entries: int = DEFAULT_ENTRIES, key_bytes: int = MAX_KEY_BYTES) -> None:
        if entries < 1:
            raise UsageError(
                f"a verifier cache of {entries} entries cannot hold anything",
                hint="pass at least 1",
                code="verify.cache",
            )
        self._room = entries
        self._most_bytes = key_bytes
        self._bytes = 0
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
        size = _size(key)
        with self._lock:
            if key not in self._entries:
                self._bytes += size
            self._entries[key] = value
            while len(self._entries) > self._room or self._bytes > self._most_bytes:
                oldest, _ = self._entries.popitem(last=False)
                self._bytes -= _size(oldest)

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


def _size(key: object) -> int:
    """Bytes in a key; parts that several keys share count in each."""
    if isinstance(key, bytes):
        return len(key)
    if isinstance(key, tuple):
        return sum(map(_size, key))
    if isinstance(key, msgspec.Struct):
        return sum(_size(getattr(key, name)) for name in key.__struct_fields__)
    return 0
