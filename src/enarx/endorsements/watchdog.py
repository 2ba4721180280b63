"""A hold on the connection of one request, so that it ends in time whatever the server does."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Any


class Watchdog:
    """Ends whatever one request waits for when its time is over, be it the slowest of headers.

    Time-outs of a client bound each wait for a few bytes, and a server that sends one byte at a
    time restarts them. This holds the connection's descriptor and shuts it down.
    """

    def __init__(self, seconds: float) -> None:
        self.barked = False
        self._held: list[socket.socket] = []
        self._lock = threading.Lock()
        self._timer = threading.Timer(seconds, self._bark)
        self._timer.daemon = True

    def __enter__(self) -> Watchdog:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        with self._lock:
            for held in self._held:
                held.close()
            self._held.clear()

    def trace(self, event: str, info: dict[str, Any]) -> None:
        """Told by the HTTP client what happens; takes hold of the connection when it is made."""
        if event != "connection.connect_tcp.complete":
            return
        connected = info["return_value"].get_extra_info("socket")
        with self._lock:
            # A duplicate: TLS takes the original apart, shutting this down still works.
            self._held.append(connected.dup())
            barked = self.barked
        if barked:
            self._shut_down()

    def _bark(self) -> None:
        self.barked = True
        self._shut_down()

    def _shut_down(self) -> None:
        with self._lock:
            for held in self._held:
                with contextlib.suppress(OSError):
                    held.shutdown(socket.SHUT_RDWR)
