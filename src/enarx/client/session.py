"""The attested session (steps 8 to 10): the only thing that can send anything to a Keep.

A `Session` is had from `Attestation.session()`, whose verdict allowed it, or from the
registry of Keeps whose verdict allowed it when they were deployed. It opens a TLS
connection for each request, to exactly the attested certificate.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final, cast

from enarx.client.bounds import DEFAULT, Timeouts
from enarx.client.identity import Identity
from enarx.client.tls import open_keep
from enarx.errors import KeepLostError, LimitError, ProtocolError, UnreachableError
from enarx.wire import limits
from enarx.wire.codec import pack, unpack
from enarx.wire.endpoint import Endpoint
from enarx.wire.fields import Limits
from enarx.wire.framing import FrameReader, frame
from enarx.wire.http_client import Connection
from enarx.wire.session import (
    Ended,
    Event,
    Exit,
    Failed,
    Input,
    KeepReport,
    Killed,
    Lost,
    Started,
    Stdin,
    StdinEnd,
    Trap,
    Workload,
)

_ENDS: Final = (Exit, Trap, Killed, Failed)
_COMPILE_FACTOR: Final = 4
"""How much longer compiling may take on the clock than on the processor: a busy host."""


class Session:
    """An owner's session with one attested Keep.

    Attributes:
        address: where the Keep listens, as its host says.
        endpoint: the same, as a place to connect to.
        certificate: the attested certificate, DER.
    """

    def __init__(
        self,
        *,
        address: str,
        endpoint: Endpoint,
        identity: Identity,
        certificate: bytes,
        limits: Limits,
        timeouts: Timeouts = DEFAULT,
    ) -> None:
        self.address, self.endpoint = address, endpoint
        self.certificate = certificate
        self._identity, self._limits, self._timeouts = identity, limits, timeouts

    @contextlib.asynccontextmanager
    async def run(
        self, workload: Workload, *, stdin: AsyncIterator[bytes] | None = None
    ) -> AsyncIterator[Run]:
        """9. Send the one workload of this Keep; it ends when this context does.

        Args:
            workload: module, configuration and secrets.
            stdin: what it reads, in pieces; nothing at all when None.

        Raises:
            RefusedError: the Keep has had its workload, or this is not its owner.
        """
        connection = await self._open()
        try:
            run = Run(connection, self._limits, self._timeouts)
            body = run.feed(workload, stdin)
            async with connection.stream(
                "POST", "/v1/workload", body, timeout=self._start_seconds()
            ) as pieces:
                run.receive(pieces)
                yield run
        finally:
            await connection.close()

    async def deploy(self, workload: Workload) -> KeepReport:
        """9. Send the one workload of this Keep, and leave it there to run."""
        body = frame(pack(workload)) + frame(pack(StdinEnd()))
        return await self._call("POST", "/v1/workload", body, timeout=self._start_seconds())

    async def status(self) -> KeepReport:
        """What the Keep says of itself."""
        return await self._call("GET", "/v1/status")

    async def stop(self) -> KeepReport:
        """End the workload, and the Keep with it."""
        return await self._call("POST", "/v1/stop")

    async def logs(self, *, follow: bool = False) -> AsyncIterator[Event]:
        """What a deployed workload wrote, oldest first; `follow`: until it ends."""
        connection = await self._open()
        try:
            path = "/v1/logs?follow=1" if follow else "/v1/logs"
            async with connection.stream(
                "GET", path, _nothing(), timeout=self._timeouts.session
            ) as pieces:
                reader = FrameReader(limit=limits.FRAME)
                async for piece in pieces:
                    for event in _events(reader, piece):
                        yield event
                reader.finish()
        finally:
            await connection.close()

    async def _call(
        self, method: str, path: str, body: bytes = b"", *, timeout: float | None = None
    ) -> KeepReport:
        connection = await self._open()
        try:
            answer = await connection.request(
                method,
                path,
                body,
                limit=limits.MESSAGE,
                timeout=self._timeouts.session if timeout is None else timeout,
            )
        finally:
            await connection.close()
        return unpack(answer, KeepReport)

    async def _open(self) -> Connection:
        return await open_keep(
            self.endpoint,
            self._identity,
            certificate=self.certificate,
            timeout=self._timeouts.connect,
        )

    def _start_seconds(self) -> float:
        return self._timeouts.start + _COMPILE_FACTOR * self._limits.compile / 1000


class Run:
    """10. A workload that runs: iterate over it for its events, in order.

    Attributes:
        ended: how the workload ended, once it has.
    """

    def __init__(self, connection: Connection, bounds: Limits, timeouts: Timeouts) -> None:
        self.ended: Ended | None = None
        self._connection, self._limits, self._timeouts = connection, bounds, timeouts
        self._pieces: AsyncIterator[bytes] | None = None
        self._input_error: BaseException | None = None

    async def feed(
        self, workload: Workload, stdin: AsyncIterator[bytes] | None
    ) -> AsyncIterator[bytes]:
        """The body of the request: the workload, then its standard input as it comes."""
        first = memoryview(frame(pack(workload)))
        for start in range(0, len(first), limits.MIB):
            yield bytes(first[start : start + limits.MIB])
        try:
            if stdin is not None:
                async for data in stdin:
                    for start in range(0, len(data), limits.HTTP_CHUNK):
                        yield _input(Stdin(data=data[start : start + limits.HTTP_CHUNK]))
        except BaseException as error:
            # No end of input is sent: it would pass half an input for a whole one. Who reads
            # the events is told by the closed connection, who comes for them later by `receive`.
            self._input_error = error
            if self._pieces is not None:
                await self._connection.close()
            raise
        yield _input(StdinEnd())

    def receive(self, pieces: AsyncIterator[bytes]) -> None:
        """Take the response that carries the events. Raises KeepLostError: no more input."""
        self._pieces = pieces
        if self._input_error is not None:
            # It came before there was anybody to tell: the Keep would wait for input for ever.
            raise self._why_gone(self._input_error)

    async def __aiter__(self) -> AsyncIterator[Event]:
        """`Started`, output as it comes, and how it ended as the last.

        Raises:
            KeepLostError: the Keep went away before the workload ended.
            LimitError: it neither started nor ended within its bounds.
            ProtocolError: the events are not in their order.
        """
        reader = FrameReader(limit=limits.FRAME)
        order = _Order()
        loop = asyncio.get_running_loop()
        deadline: float | None = (
            loop.time() + self._timeouts.start + _COMPILE_FACTOR * self._limits.compile / 1000
        )
        while (piece := await self._next_piece(deadline)) is not None:
            for event in _events(reader, piece):
                order.check(event)
                if isinstance(event, Started):
                    wall = self._limits.wall
                    deadline = (
                        None if wall is None else loop.time() + wall / 1000 + self._timeouts.grace
                    )
                if isinstance(event, _ENDS):
                    self.ended = event
                yield event
        reader.finish()
        if self.ended is None:
            raise _lost("the stream of events ended before the workload did")

    async def _next_piece(self, deadline: float | None) -> bytes | None:
        if self._pieces is None:
            raise AssertionError("events are read inside Session.run")
        try:
            async with asyncio.timeout_at(deadline):
                return await anext(self._pieces, None)
        except TimeoutError:
            raise LimitError(
                "the Keep neither ended the workload nor said anything within its limits",
                hint="the host may hold the Keep or its answers back",
                code="limit.silent",
            ) from None
        except (OSError, UnreachableError) as error:
            raise self._why_gone(error) from None

    def _why_gone(self, error: BaseException) -> Exception:
        cause = self._input_error
        if isinstance(cause, OSError):
            return KeepLostError(
                f"standard input cannot be read: {cause.strerror}", code="client.stdin"
            )
        return cause if isinstance(cause, Exception) else _lost(str(error))


class _Order:
    """`Started` first and once, then output, then one end, then nothing."""

    def __init__(self) -> None:
        self._started = self._ended = False

    def check(self, event: Event) -> None:
        name = type(event).__name__
        if self._ended:
            raise _disorder(f"{name} after the end")
        if isinstance(event, Started):
            if self._started:
                raise _disorder("Started twice")
            self._started = True
        elif isinstance(event, _ENDS):
            self._ended = True
        elif isinstance(event, Lost) or not self._started:
            raise _disorder(f"{name} where it cannot be")


def _events(reader: FrameReader, piece: bytes) -> list[Event]:
    reader.feed(piece)
    events = []
    while (message := reader.next()) is not None:
        events.append(cast(Event, unpack(message, Event, limit=limits.FRAME)))  # type: ignore[arg-type]
    return events


def _input(message: Input) -> bytes:
    return frame(pack(message))


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""


def _lost(detail: str) -> KeepLostError:
    return KeepLostError(
        f"the Keep went away while the workload ran: {detail}",
        hint="it, or what it stands on, was ended on the host; see `enarx keep show`",
        code="keep.lost",
    )


def _disorder(what: str) -> ProtocolError:
    return ProtocolError(f"events of the workload out of order: {what}", code="protocol.order")
