"""Processes by pidfd: a descriptor that means this process and never a later one of its pid."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import socket
import struct
from collections.abc import Callable, Iterator

from enarx.errors import ProtocolError

_SO_PEERPIDFD = 77
"""Linux 6.5; the socket module has no name for it."""


class Process:
    """Somebody's process. It need not be a child, so there is no exit status."""

    def __init__(self, *, pid: int, pidfd: int) -> None:
        self.pid = pid
        self._pidfd = pidfd
        self._callbacks: list[Callable[[], None]] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    @classmethod
    def open(cls, pid: int) -> Process:
        """Take hold of a process that is known to be alive. Raises ProcessLookupError."""
        return cls(pid=pid, pidfd=os.pidfd_open(pid))

    @classmethod
    def listening_on(cls, sock: socket.socket) -> Process:
        """The process that listens at the other end of a connected Unix socket."""
        pid, _, _ = peer(sock)
        try:
            pidfd = sock.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD)
        except OSError:
            return cls.open(pid)
        os.set_inheritable(pidfd, False)
        return cls(pid=pid, pidfd=pidfd)

    @classmethod
    def received(cls, pidfd: int) -> Process:
        """A process whose pidfd came over a socket; pid 0 where it has ended already.

        Raises ProtocolError where it is another descriptor.
        """
        with open(f"/proc/self/fdinfo/{pidfd}", encoding="ascii") as info:
            pids = [int(line.split()[1]) for line in info if line.startswith("Pid:")]
        if not pids:
            os.close(pidfd)
            raise ProtocolError("a descriptor is not a pidfd", code="protocol.descriptors")
        return cls(pid=max(0, pids[0]), pidfd=pidfd)

    def alive(self) -> bool:
        """Whether it has not ended yet."""
        if self._pidfd < 0:
            return False
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        return not poll.poll(0)

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal; nothing happens where the process has ended or is not ours."""
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                signal.pidfd_send_signal(self._pidfd, number)

    def on_end(self, callback: Callable[[], None]) -> None:
        """Call back, once, from the event loop, when it has ended."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._loop.add_reader(self._pidfd, self._ended)
        self._callbacks.append(callback)

    def _ended(self) -> None:
        callbacks = self._callbacks
        self._stop_watching()
        for callback in callbacks:
            callback()

    def _stop_watching(self) -> None:
        self._callbacks = []
        if self._loop is not None:
            self._loop.remove_reader(self._pidfd)
            self._loop = None

    async def wait(self, timeout: float) -> bool:
        """Wait until it has ended; False where it has not within `timeout` seconds."""
        if not self.alive():
            return True
        ended = asyncio.Event()
        self.on_end(ended.set)
        try:
            async with asyncio.timeout(timeout):
                await ended.wait()
        except TimeoutError:
            return False
        finally:
            with contextlib.suppress(ValueError):
                self._callbacks.remove(ended.set)
        return True

    @contextlib.contextmanager
    def duplicate(self) -> Iterator[int]:
        """Another descriptor for the process, to be sent to somebody."""
        descriptor = os.dup(self._pidfd)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Let go of it; from now on it counts as ended, and nobody is called back."""
        if self._pidfd >= 0:
            self._stop_watching()
            os.close(self._pidfd)
            self._pidfd = -1


def peer(sock: socket.socket) -> tuple[int, int, int]:
    """pid, uid and gid of who connected or listens (unix(7), SO_PEERCRED)."""
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    pid, uid, gid = struct.unpack("3i", raw)
    return pid, uid, gid
