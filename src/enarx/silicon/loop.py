"""The silicon's one thread: whatever is readable is served in turn, and deadlines are kept.

Every callback handles at most one packet, so that nobody who floods the silicon keeps
others waiting for longer than one packet takes.
"""

from __future__ import annotations

import heapq
import itertools
import selectors
import signal
import socket
import time
from collections.abc import Callable
from types import FrameType
from typing import Protocol


class Readable(Protocol):
    """Anything with a descriptor."""

    def fileno(self) -> int:
        """Its descriptor."""


class Loop:
    """Waits for descriptors and times. `run` returns after `stop` or a signal to end."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._times: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._running = True

    def add(self, source: Readable | int, callback: Callable[[], None]) -> None:
        """Call `callback` whenever `source` is readable or at its end."""
        self._selector.register(source, selectors.EVENT_READ, callback)

    def remove(self, source: Readable | int) -> None:
        """Call for `source` no more; nothing where it was not added. Call before closing it."""
        if source in self._selector.get_map():
            self._selector.unregister(source)

    def later(self, seconds: float, callback: Callable[[], None]) -> None:
        """Call `callback` once, after this time."""
        heapq.heappush(self._times, (time.monotonic() + seconds, next(self._order), callback))

    def stop(self) -> None:
        """Let `run` return."""
        self._running = False

    def end_on(self, *signals: signal.Signals) -> None:
        """Stop at these signals, also while nothing happens."""
        reading, writing = socket.socketpair()
        for end in (reading, writing):
            end.setblocking(False)

        def ignore(number: int, frame: FrameType | None) -> None:
            """The wakeup descriptor does the work."""

        for number in signals:
            signal.signal(number, ignore)
        signal.set_wakeup_fd(writing.detach())
        self.add(reading, self.stop)

    def run(self) -> None:
        """Serve until `stop`."""
        while self._running:
            now = time.monotonic()
            while self._times and self._times[0][0] <= now:
                heapq.heappop(self._times)[2]()
            if not self._running:
                return
            timeout = self._times[0][0] - time.monotonic() if self._times else None
            ready = self._selector.select(max(timeout, 0.0) if timeout is not None else None)
            for key, _ in ready:
                # An earlier callback of this turn may have taken it out, or put another there.
                if self._selector.get_map().get(key.fd) is key:
                    key.data()
