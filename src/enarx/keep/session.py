"""The owner's session with its Keep: one workload, once (steps 8 to 10).

State: READY until the owner sends a workload, or the certificate expires; RUNNING until
the workload has ended; then SHUTDOWN. A detached workload's Keep stays in RUNNING after
that, for its logs, until it is stopped or nobody came for them for `LINGER_SECONDS`.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from typing import Any

from enarx.errors import KeepLostError, ProtocolError, RefusedError, UsageError
from enarx.keep.ring import Ring
from enarx.keep.workload import WorkloadProcess
from enarx.wire import framing, limits
from enarx.wire.codec import Message, pack, unpack
from enarx.wire.http import Request, Response, reply
from enarx.wire.manager import State
from enarx.wire.session import (
    MEDIA_TYPE,
    Ended,
    Event,
    Exit,
    Failed,
    Input,
    KeepReport,
    Killed,
    Started,
    Stderr,
    Stdin,
    Stdout,
    Trap,
    Workload,
)

LINGER_SECONDS = 24 * 3600.0
"""How long the logs of a detached workload that has ended can still be read."""

_INPUT: Any = Input
_ENDINGS = (Exit, Trap, Killed, Failed)


class Session:
    """State machine and request handler of one Keep.

    Args:
        owner: the owner's certificate, DER.
        process: the process that waits for the workload.
        deadline: when the certificate expires, by `time.monotonic`.
        progress: tells the host of a new state and why.
    """

    def __init__(
        self,
        *,
        owner: bytes,
        process: WorkloadProcess,
        deadline: float,
        progress: Callable[[State, str], None],
    ) -> None:
        self.state, self.detail = State.READY, ""
        self._owner, self._process, self._progress = owner, process, progress
        self._deadline = deadline
        self._started: Started | None = None
        self._started_at: int | None = None
        self._ended: Ended | None = None
        self._ring: Ring | None = None
        self._changed = asyncio.Event()
        self._over = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def finished(self) -> None:
        """Wait until this Keep has nothing left to do."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, self._deadline - time.monotonic())):
                await self._over.wait()
        if self.state is State.READY:
            self.end(State.SHUTDOWN, "nobody used it before its certificate expired")
        await self._over.wait()

    def end(self, state: State, detail: str) -> None:
        """End the Keep, and its workload if there is one; the owner is told why."""
        if self._over.is_set():
            return
        self._process.kill(reason="stopped", detail=detail)
        self.state, self.detail = state, detail
        self._over.set()
        self._wake()

    async def handle(self, request: Request) -> Response:
        """Answer one request, of the owner only."""
        certificate = request.peer.certificate or b""
        if not hmac.compare_digest(
            hashlib.sha256(certificate).digest(), hashlib.sha256(self._owner).digest()
        ):
            raise RefusedError(
                "this Keep belongs to somebody else",
                hint="Only the owner it was created with can use it.",
                code="keep.not-owner",
            )
        match request.method, request.path:
            case "POST", "/v1/workload":
                return await self._workload(request)
            case "GET", "/v1/logs":
                return self._logs(follow=request.query.get("follow") == "1")
            case "POST", "/v1/stop":
                return await self._stop()
            case "GET", "/v1/status":
                return reply(self._report())
        raise UsageError(f"there is no {request.method} {request.path} here", code="usage.path")

    async def _workload(self, request: Request) -> Response:
        """9. Take the workload: certificate and nonce are spent from here on."""
        self._take()
        try:
            reader = framing.FrameReader(limit=limits.WORKLOAD)
            messages = framing.frames(request.stream(), reader)
            first = await anext(messages, b"")
            reader.limit = limits.FRAME
            detach = unpack(first, Workload, limit=limits.WORKLOAD).detach
        except BaseException:
            self.end(State.ERROR, "the workload did not come through")
            raise
        events = self._events(first)
        del first
        self._start(self._feed(messages, detach=detach))
        if not detach:
            watch = self._start(self._watch(request))
            return Response(body=self._attached(events, watch), media_type=MEDIA_TYPE)
        self._ring = Ring()
        self._start(self._collect(events, self._ring))
        while self._started is None and self._ended is None:
            await self._change()
        return reply(self._report())

    def _take(self) -> None:
        if self._over.is_set():
            raise KeepLostError(f"this Keep has ended: {self.detail}", code="keep.ended")
        if self.state is not State.READY:
            raise RefusedError(
                "this Keep has had its one workload",
                hint="Create a new Keep for another.",
                code="keep.workload-taken",
            )
        if time.monotonic() >= self._deadline:
            raise RefusedError(
                "this Keep's certificate has expired",
                hint="Create a new Keep.",
                code="keep.expired",
            )
        self.state = State.RUNNING
        self._progress(self.state, "")

    async def _events(self, workload: bytes) -> AsyncGenerator[Event, None]:
        """The workload's events; notes its start and its end."""
        async with contextlib.aclosing(self._process.events(workload)) as events:
            del workload
            async for event in events:
                if isinstance(event, Started):
                    self._started, self._started_at = event, int(time.time())
                elif isinstance(event, _ENDINGS):
                    self._ended = event
                self._wake()
                yield event

    async def _attached(
        self, events: AsyncGenerator[Event, None], watch: asyncio.Task[None]
    ) -> AsyncIterator[bytes]:
        """10. The events as frames; the Keep ends when they do, or when the owner goes away."""
        try:
            async with contextlib.aclosing(events):
                async for event in events:
                    yield _frame(event)
        finally:
            watch.cancel()
            self.end(State.SHUTDOWN, "" if self._ended else "its owner went away")

    async def _collect(self, events: AsyncIterator[Event], ring: Ring) -> None:
        async for event in events:
            if isinstance(event, Stdout | Stderr):
                ring.append(type(event), event.data)
                self._wake()
        loop = asyncio.get_running_loop()
        loop.call_later(LINGER_SECONDS, self.end, State.SHUTDOWN, "its logs were kept long enough")

    async def _feed(self, messages: AsyncIterator[bytes], *, detach: bool) -> None:
        """Pass on standard input, at the workload's pace."""
        try:
            async for message in messages:
                piece: Input = unpack(message, _INPUT, limit=limits.FRAME)
                if not isinstance(piece, Stdin):
                    break
                await self._process.feed(piece.data)
            self._process.end_input()
        except KeepLostError:
            if not detach:
                self.end(State.SHUTDOWN, "its owner went away")
        except ProtocolError as error:
            self.end(State.ERROR, error.message)

    async def _watch(self, request: Request) -> None:
        """End the workload when its owner goes away, even while it reads and writes nothing."""
        await request.disconnected()
        self.end(State.SHUTDOWN, "its owner went away")

    def _logs(self, *, follow: bool) -> Response:
        if self._ring is None:
            raise RefusedError(
                "this Keep holds no logs",
                hint="Only a workload that was deployed has logs.",
                code="keep.no-logs",
            )
        return Response(body=self._follow(self._ring, follow=follow), media_type=MEDIA_TYPE)

    async def _follow(self, ring: Ring, *, follow: bool) -> AsyncIterator[bytes]:
        if self._started is not None:
            yield _frame(self._started)
        position = 0
        while True:
            ended = self._ended
            upto = ring.end
            for event in ring.since(position):
                yield _frame(event)
            position = upto
            if ended is not None or not follow:
                break
            if ring.end == position:
                await self._change()
        if ended is not None:
            yield _frame(ended)

    async def _stop(self) -> Response:
        self._process.kill(reason="stopped", detail="stopped by its owner")
        while self.state is State.RUNNING and self._ended is None and not self._over.is_set():
            await self._change()
        self.end(State.SHUTDOWN, "stopped by its owner")
        return reply(self._report())

    def _report(self) -> KeepReport:
        return KeepReport(
            state=self.state,
            module=self._started.module if self._started else None,
            started=self._started_at,
            ended=(self._ended,) if self._ended else (),
        )

    def _start(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _wake(self) -> None:
        """Wake everybody who waits in `_change`."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def _change(self) -> None:
        await self._changed.wait()


def _frame(message: Message) -> bytes:
    return framing.frame(pack(message))
