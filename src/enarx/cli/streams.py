"""The command's own stdin, stdout and stderr as asynchronous streams, binary-clean.

Descriptors of any kind (terminal, pipe, file) are read and written in threads, so that a
stalled reader or writer holds back the workload and never the handling of signals. The
threads are daemons: one that waits in a system call does not hold up the end.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import sys
import threading
from collections.abc import AsyncIterator
from typing import Final

from enarx.wire import limits

_AHEAD: Final = 2
"""Pieces of input read before the Keep asked for them."""


async def read_descriptor(descriptor: int) -> AsyncIterator[bytes]:
    """Pieces of what can be read, until its end. Raises OSError."""
    _untranslated(descriptor)
    loop = asyncio.get_running_loop()
    pieces: asyncio.Queue[bytes | OSError] = asyncio.Queue()
    permits = threading.Semaphore(_AHEAD)

    def pump() -> None:
        piece: bytes | OSError = b"-"
        while piece and not isinstance(piece, OSError):
            permits.acquire()
            try:
                piece = os.read(descriptor, limits.HTTP_CHUNK)
            except OSError as error:
                piece = error
            try:
                loop.call_soon_threadsafe(pieces.put_nowait, piece)
            except RuntimeError:
                return  # the loop has ended, and nobody wants more

    threading.Thread(target=pump, name=f"read-{descriptor}", daemon=True).start()
    while True:
        piece = await pieces.get()
        if isinstance(piece, OSError):
            raise piece
        if not piece:
            return
        yield piece
        permits.release()


class Output:
    """One descriptor to write to; each write waits until the one before is through."""

    def __init__(self, descriptor: int) -> None:
        _untranslated(descriptor)
        self._descriptor = descriptor
        self._jobs: queue.SimpleQueue[tuple[bytes, asyncio.Future[None]]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    async def write(self, data: bytes) -> None:
        """Write all of it. Raises OSError; BrokenPipeError when who reads is gone."""
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._work, name=f"write-{self._descriptor}", daemon=True
            )
            self._thread.start()
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._jobs.put((data, done))
        await done

    def _work(self) -> None:
        while True:
            data, done = self._jobs.get()
            error: OSError | None = None
            try:
                view = memoryview(data)
                while view:
                    view = view[os.write(self._descriptor, view) :]
            except OSError as caught:
                error = caught
            with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits
                done.get_loop().call_soon_threadsafe(_settle, done, error)


def _untranslated(descriptor: int) -> None:
    """Windows would change line ends on the way, and end input at Ctrl-Z."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.setmode(descriptor, os.O_BINARY)


def _settle(done: asyncio.Future[None], error: OSError | None) -> None:
    if done.done():
        return
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)
