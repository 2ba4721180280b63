"""The output of a detached workload: the last of it, and how much was lost before."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from enarx.wire import limits
from enarx.wire.session import Event, Lost, Stderr, Stdout

RING = limits.MIB
"""Bytes of output that a Keep holds for its owner."""
ENTRY_COST = 256
"""What one entry takes beside its data; counted, so that tiny pieces cannot fill the memory."""

Kind = type[Stdout] | type[Stderr]


@dataclass(slots=True)
class _Entry:
    kind: Kind
    start: int
    """Bytes of output that came before it."""
    data: bytearray = field(default_factory=bytearray)


class Ring:
    """A bounded run of output. A reader's position is the count of bytes it has passed."""

    def __init__(self, *, size: int = RING) -> None:
        self._size = size
        self._entries: deque[_Entry] = deque()
        self._held = 0
        self.end = 0
        """Bytes of output there ever were."""

    def append(self, kind: Kind, data: bytes) -> None:
        """Add one piece of output; the oldest pieces go where it does not fit."""
        last = self._entries[-1] if self._entries else None
        if last is None or last.kind is not kind or len(last.data) + len(data) > limits.HTTP_CHUNK:
            last = _Entry(kind, self.end)
            self._entries.append(last)
            self._held += ENTRY_COST
        last.data += data
        self.end += len(data)
        self._held += len(data)
        while self._held > self._size and len(self._entries) > 1:
            self._held -= len(self._entries.popleft().data) + ENTRY_COST

    def since(self, position: int) -> Iterator[Event]:
        """What came after `position`, as far as it is still here; what is not, as Lost."""
        for entry in tuple(self._entries):
            if entry.start > position:
                yield Lost(size=entry.start - position)
                position = entry.start
            data = bytes(entry.data[position - entry.start :])
            if data:
                yield entry.kind(data=data)
                position += len(data)
