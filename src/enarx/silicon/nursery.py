"""Keeps come from here: the zygote, watched, and the launches that wait for it.

A zygote that dies takes its Keeps with it (their report channels close) and is started
again out of the same measured tree, which nothing can have changed.
"""

from __future__ import annotations

import os
import socket
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from enarx.errors import EnarxError, HostError, KeepLostError, LimitError, ProtocolError
from enarx.silicon import packets, spawn
from enarx.silicon.loop import Loop
from enarx.silicon.snapshot import Snapshot
from enarx.wire import zygote
from enarx.wire.codec import unpack
from enarx.wire.problem import to_error

READY_SECONDS: Final = 60.0
"""How long a zygote may take to import everything from source; it takes one, on a busy machine
ten."""
LAUNCH_SECONDS: Final = 10.0
"""How long a fork may take; it takes milliseconds."""
FORKS_IN_FLIGHT: Final = 16
"""Forks that the zygote is asked for at once: their packets fit its socket's buffer."""
LAUNCHES_WAITING: Final = 256
"""Launches that may wait; beyond that they are refused at once."""
RESTARTS: Final = 5
"""Zygotes that may die within RESTARTS_SECONDS before the silicon gives up."""
RESTARTS_SECONDS: Final = 60.0

Answer = Callable[[zygote.Forked | EnarxError, int], None]
"""Called once with the result and, for a Keep, its pidfd, which is then the callee's."""


@dataclass(slots=True)
class _Waiting:
    """A launch, and the descriptors that go with it, which are ours to close."""

    fork: zygote.Fork
    descriptors: tuple[int, ...]
    answer: Answer
    sent: bool = False


class Nursery:
    """Forks Keeps. `start` it once; `close` ends the zygote."""

    def __init__(
        self,
        loop: Loop,
        snapshot: Snapshot,
        *,
        ready: Callable[[], None],
        ended: Callable[[bytes, int], None],
        lost: Callable[[], None],
        failed: Callable[[str], None],
        say: Callable[[str], None],
    ) -> None:
        """
        Args:
            ready: called when the first zygote is ready.
            ended: called with kuuid and status when a Keep ended.
            lost: called when a zygote died: all Keeps are lost.
            failed: called with the reason when no zygote can be had any more.
            say: writes one line for whoever runs the silicon.
        """
        self._loop, self._snapshot = loop, snapshot
        self._ready, self._ended, self._lost, self._failed = ready, ended, lost, failed
        self._say = say
        self._zygote: spawn.Zygote | None = None
        self._is_ready = False
        self._was_ready = False
        self._waiting: dict[bytes, _Waiting] = {}
        self._queue: deque[bytes] = deque()
        self._deaths: list[float] = []

    def start(self) -> None:
        """Start a zygote. Raises HostError where no process can be made."""
        try:
            self._zygote = started = spawn.spawn(self._snapshot)
        except OSError as error:
            raise HostError(f"cannot start the zygote: {error}", code="silicon.zygote") from None
        self._is_ready = False
        self._loop.add(started.channel, self._receive)
        self._loop.add(started.pidfd, self._died)
        self._loop.later(READY_SECONDS, lambda: self._too_late(started))

    def launch(self, fork: zygote.Fork, descriptors: tuple[int, ...], answer: Answer) -> None:
        """Have a Keep forked. The descriptors are taken over.

        Raises:
            LimitError: too many launches wait already (`silicon.busy`).
        """
        if len(self._waiting) >= LAUNCHES_WAITING:
            packets.close(descriptors)
            raise LimitError(
                f"{LAUNCHES_WAITING} launches wait already", hint="try again", code="silicon.busy"
            )
        waiting = _Waiting(fork=fork, descriptors=descriptors, answer=answer)
        self._waiting[fork.kuuid] = waiting
        self._queue.append(fork.kuuid)
        self._loop.later(LAUNCH_SECONDS, lambda: self._expire(waiting))
        self._send()

    def close(self) -> None:
        """End the zygote, and with it every Keep."""
        self._drop()
        self._refuse_all(KeepLostError("the silicon is ending", code="silicon.ending"))

    def _send(self) -> None:
        """Hand launches to the zygote, as many as it may have."""
        in_flight = sum(waiting.sent for waiting in self._waiting.values())
        while self._zygote and self._is_ready and self._queue and in_flight < FORKS_IN_FLIGHT:
            waiting = self._waiting.get(self._queue.popleft())
            if waiting is None or waiting.sent:
                continue  # it expired meanwhile
            if not packets.send(self._zygote.channel, waiting.fork, waiting.descriptors):
                self._restart("the zygote does not listen")
                return
            waiting.sent = True
            in_flight += 1
            packets.close(waiting.descriptors)
            waiting.descriptors = ()

    def _receive(self) -> None:
        """One packet of the zygote's."""
        assert self._zygote is not None  # noqa: S101 - it is what was readable
        descriptors: list[int] = []
        try:
            received = packets.receive(self._zygote.channel, zygote.PACKET)
            if received is None:
                self._loop.remove(self._zygote.channel)
                return  # its pidfd tells the rest
            packet, descriptors = received
            message: zygote.FromZygote = unpack(
                packet,
                zygote.FromZygote,  # type: ignore[arg-type]
                limit=zygote.PACKET,
            )
            self._heed(message, descriptors)
        except BlockingIOError:
            return
        except EnarxError as error:
            self._restart(f"the zygote broke the protocol: {error.message}")
        finally:
            packets.close(descriptors)

    def _heed(self, message: zygote.FromZygote, descriptors: list[int]) -> None:
        """Act on a message; descriptors that are taken are taken out of the list."""
        if isinstance(message, zygote.ZygoteReady):
            self._is_ready = True
            if not self._was_ready:
                self._was_ready = True
                self._ready()
        elif isinstance(message, zygote.Ended):
            self._ended(message.kuuid, message.status)
        elif isinstance(message, zygote.ForkFailed):
            self._answer(message.kuuid, to_error(message.problem), -1)
        elif len(descriptors) != 1:
            raise ProtocolError("a Keep came without its pidfd", code="protocol.descriptors")
        else:
            self._answer(message.kuuid, message, descriptors.pop())
        self._send()

    def _answer(self, kuuid: bytes, result: zygote.Forked | EnarxError, pidfd: int) -> None:
        waiting = self._waiting.pop(kuuid, None)
        if waiting is None:
            # Nobody waits any more; its report channel is closed, so that it ends by itself.
            packets.close([pidfd] if pidfd >= 0 else [])
            return
        packets.close(waiting.descriptors)
        waiting.answer(result, pidfd)

    def _expire(self, waiting: _Waiting) -> None:
        if self._waiting.get(waiting.fork.kuuid) is waiting:
            error = HostError(
                f"the Keep was not forked within {LAUNCH_SECONDS:g} s", code="silicon.timeout"
            )
            self._answer(waiting.fork.kuuid, error, -1)

    def _died(self) -> None:
        assert self._zygote is not None  # noqa: S101 - it is what was readable
        ended = os.waitid(os.P_PIDFD, self._zygote.pidfd, os.WEXITED | os.WNOWAIT)
        how = "unknown"
        if ended is not None:
            killed = ended.si_code != os.CLD_EXITED
            how = f"signal {ended.si_status}" if killed else f"exit {ended.si_status}"
        self._restart(f"the zygote ended ({how})")

    def _too_late(self, started: spawn.Zygote) -> None:
        if self._zygote is started and not self._is_ready:
            self._restart(f"the zygote was not ready within {READY_SECONDS:g} s")

    def _restart(self, why: str) -> None:
        self._drop()
        self._refuse_all(KeepLostError(f"{why} before the Keep was made", code="silicon.zygote"))
        if not self._was_ready:
            self._failed(why)
            return
        self._lost()
        now = time.monotonic()
        self._deaths = [at for at in self._deaths if now - at < RESTARTS_SECONDS] + [now]
        if len(self._deaths) > RESTARTS:
            self._failed(f"{why}, {len(self._deaths)} times within {RESTARTS_SECONDS:g} s")
            return
        self._say(f"{why}; its Keeps are lost, and it is started again from the measured tree")
        try:
            self.start()
        except HostError as error:
            self._failed(error.message)

    def _drop(self) -> None:
        if self._zygote is not None:
            self._loop.remove(self._zygote.channel)
            self._loop.remove(self._zygote.pidfd)
            self._zygote.kill()
            self._zygote = None
        self._is_ready = False

    def _refuse_all(self, error: EnarxError) -> None:
        self._queue.clear()
        for kuuid in list(self._waiting):
            self._answer(kuuid, error, -1)


def check_launch_descriptors(descriptors: list[int]) -> None:
    """Raise unless these are a control socket and a listener, in this order.

    Raises:
        ProtocolError: they are not (`protocol.descriptors`).
    """
    if len(descriptors) != 2:
        raise ProtocolError(
            f"a launch comes with 2 descriptors, not {len(descriptors)}",
            code="protocol.descriptors",
        )
    control, listener = descriptors
    if _socket_kind(control) != (socket.SOCK_SEQPACKET, False):
        raise ProtocolError(
            "the first descriptor of a launch is not a SOCK_SEQPACKET socket",
            code="protocol.descriptors",
        )
    if _socket_kind(listener) != (socket.SOCK_STREAM, True):
        raise ProtocolError(
            "the second descriptor of a launch is not a listening stream socket",
            code="protocol.descriptors",
        )


def _socket_kind(descriptor: int) -> tuple[int, bool] | None:
    """Type of a socket, and whether it listens; None where it is no socket."""
    try:
        duplicate = socket.socket(fileno=os.dup(descriptor))
    except OSError:
        return None
    with duplicate:
        try:
            kind = duplicate.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE)
            listens = duplicate.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        except OSError:
            return None
        return kind, bool(listens)
