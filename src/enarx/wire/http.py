"""One bounded HTTP/1.1 server for every party (RFC 9112, by h11), made for CBOR messages.

It serves a handler on a listening socket, with or without TLS, and differs from a web
server in three ways: a request's body and its response flow at the same time (a workload's
stdin and stdout share one request), the handler learns who the peer is from the transport
(certificate or user id), and everything a stranger controls has a bound from `limits`.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from types import MappingProxyType
from urllib.parse import parse_qsl, urlsplit

import h11

from enarx.errors import EnarxError, KeepLostError, LimitError, ProtocolError
from enarx.wire import limits, problem
from enarx.wire.codec import Message, pack

MEDIA_TYPE = "application/cbor"


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Who the transport says the other side is.

    certificate: DER, over TLS with a client certificate. uid, pid: over a Unix socket.
    """

    certificate: bytes | None = None
    uid: int | None = None
    pid: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What a handler answers; an iterator is sent piece by piece as it yields.

    headers: further ones, ASCII, for protocols that have their own.
    """

    status: int = 200
    body: bytes | AsyncIterator[bytes] = b""
    media_type: str = MEDIA_TYPE
    headers: tuple[tuple[str, str], ...] = ()


def reply(message: Message, *, status: int = 200) -> Response:
    """A response that is one message."""
    return Response(status=status, body=pack(message))


class Request:
    """One request. Its body is read by the handler, or not at all."""

    def __init__(self, connection: _Connection, event: h11.Request) -> None:
        target = urlsplit(event.target.decode("ascii"))
        self.method = event.method.decode("ascii")
        self.path = target.path
        self.query: Mapping[str, str] = MappingProxyType(
            dict(parse_qsl(target.query, max_num_fields=16))
        )
        self.peer = connection.peer
        self._connection = connection

    async def read(self, limit: int) -> bytes:
        """The whole body; LimitError where it has more than `limit` bytes."""
        pieces, size = [], 0
        async for piece in self.stream():
            size += len(piece)
            if size > limit:
                raise LimitError(f"request body is larger than {limit} bytes", code="limit.size")
            pieces.append(piece)
        return b"".join(pieces)

    async def stream(self) -> AsyncIterator[bytes]:
        """The body's pieces as they arrive; KeepLostError where the peer goes away in it."""
        while (piece := await self._connection.body_piece()) is not None:
            yield piece

    async def disconnected(self) -> None:
        """Wait until the peer has gone, however much of the body is unread. On Linux only."""
        await self._connection.wait_for_end()


Handler = Callable[[Request], Awaitable[Response]]


class Server:
    """A running server. `close` ends it and all its connections."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._tasks: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(limits.HTTP_CONNECTIONS)
        self._server: asyncio.Server | None = None

    async def _start(self, listener: socket.socket, tls: ssl.SSLContext | None) -> None:
        listener.setblocking(False)
        self._server = await asyncio.start_server(
            self._accept,
            sock=listener,
            ssl=tls,
            ssl_handshake_timeout=limits.HTTP_HEAD_SECONDS if tls else None,
            limit=limits.HTTP_CHUNK,
            backlog=limits.HTTP_BACKLOG,
        )

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a stream callback always runs in a task
        self._tasks.add(task)
        try:
            async with self._slots:
                await _Connection(reader, writer).serve(self._handler)
        except asyncio.CancelledError:
            # Only `close` cancels; the task ends with it, and asyncio must not log it.
            return
        finally:
            self._tasks.discard(task)
            await _close(writer)

    def close(self) -> None:
        """Stop listening and drop all connections."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()

    async def wait_closed(self) -> None:
        """Wait until all connections have ended."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))


async def serve(
    handler: Handler, listener: socket.socket, *, tls: ssl.SSLContext | None = None
) -> Server:
    """Serve `handler` on a socket that listens already."""
    server = Server(handler)
    await server._start(listener, tls)
    return server


class _Connection:
    """One connection: h11's state machine between a handler and a pair of streams."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._reading = asyncio.Lock()
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=limits.HTTP_HEAD)
        self.peer = _peer(writer)

    async def serve(self, handler: Handler) -> None:
        wait = limits.HTTP_HEAD_SECONDS
        try:
            while True:
                async with asyncio.timeout(wait):
                    event = await self._next_event()
                if not isinstance(event, h11.Request):
                    return
                if event.http_version != b"1.1":
                    await self._refuse(ProtocolError("only HTTP/1.1 is spoken here"), 505)
                    return
                await self._answer(handler, event)
                if self._http.their_state is h11.SEND_BODY:
                    # The end of a body that no handler read: nothing is waited for.
                    self._http.next_event()
                if self._http.states != {h11.CLIENT: h11.DONE, h11.SERVER: h11.DONE}:
                    await self._linger()
                    return
                self._http.start_next_cycle()
                wait = limits.HTTP_IDLE_SECONDS
        except h11.RemoteProtocolError as error:
            refusal = ProtocolError(f"not a request: {error}", code="protocol.http")
            await self._refuse(refusal, error.error_status_hint)
            await self._linger()
        except (TimeoutError, OSError, KeepLostError):
            # The peer fell silent or went away: nobody is left to be told.
            return

    async def _answer(self, handler: Handler, event: h11.Request) -> None:
        try:
            response = await handler(Request(self, event))
        except EnarxError as error:
            await self._refuse(error)
            return
        await self._send_head(response.status, response.media_type, response.body, response.headers)
        if isinstance(response.body, bytes):
            await self._send(h11.Data(data=response.body))
        else:
            async with contextlib.aclosing(response.body) as pieces:  # type: ignore[type-var]
                async for piece in pieces:
                    await self._send(h11.Data(data=piece))
        await self._send(h11.EndOfMessage())

    async def _send_head(
        self,
        status: int,
        media_type: str,
        body: bytes | AsyncIterator[bytes],
        further: tuple[tuple[str, str], ...] = (),
    ) -> None:
        headers = [("content-type", media_type), ("cache-control", "no-store"), *further]
        if isinstance(body, bytes):
            headers.append(("content-length", str(len(body))))
        reason = HTTPStatus(status).phrase.encode()
        await self._send(h11.Response(status_code=status, headers=headers, reason=reason))

    async def _refuse(self, error: EnarxError, status: int = 0) -> None:
        if self._http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        told = problem.from_error(error)
        body = pack(told)
        await self._send_head(status or told.status, problem.MEDIA_TYPE, body)
        await self._send(h11.Data(data=body))
        await self._send(h11.EndOfMessage())

    async def _next_event(self) -> object:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(await self._read(limits.HTTP_CHUNK))
        return event

    async def _read(self, size: int) -> bytes:
        # A handler may still read the body while its response ends: one at a time.
        async with self._reading:
            return await self._reader.read(size)

    async def _linger(self) -> None:
        """Let a peer that still sends read the answer before it is cut off (RFC 9112, 9.6).

        Closing with bytes unread would reset the connection, and the answer with it.
        """
        with contextlib.suppress(TimeoutError, OSError):
            async with asyncio.timeout(limits.HTTP_LINGER_SECONDS):
                while not self._reader.at_eof():
                    await self._read(limits.HTTP_CHUNK)

    async def body_piece(self) -> bytes | None:
        """The next piece of the request's body, None at its end."""
        if self._http.they_are_waiting_for_100_continue:
            await self._send(h11.InformationalResponse(status_code=100, headers=[]))
        try:
            event = await self._next_event()
        except h11.RemoteProtocolError as error:
            if self._reader.at_eof():
                raise KeepLostError("the peer went away in a body", code="peer.gone") from None
            raise ProtocolError(f"broken request body: {error}", code="protocol.http") from None
        except OSError as error:
            raise KeepLostError(f"the peer went away: {error}", code="peer.gone") from None
        if isinstance(event, h11.Data):
            return bytes(event.data)
        if isinstance(event, h11.EndOfMessage) or event is h11.PAUSED:
            return None
        raise KeepLostError("the peer went away in the middle of a body", code="peer.gone")

    async def wait_for_end(self) -> None:
        # While nobody reads, the stream does not see its end; the socket does. A duplicate,
        # because asyncio closes its own when it sees the end first.
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            sock = stack.enter_context(self._writer.get_extra_info("socket").dup())
            watch = stack.enter_context(select.epoll())
            watch.register(sock, select.EPOLLRDHUP)
            loop.add_reader(watch, ended.set)
            stack.callback(loop.remove_reader, watch)
            await ended.wait()

    async def _send(self, event: h11.Event) -> None:
        data = self._http.send(event)
        if data:
            self._writer.write(data)
            await self._writer.drain()


def _peer(writer: asyncio.StreamWriter) -> Peer:
    tls = writer.get_extra_info("ssl_object")
    if tls is not None:
        return Peer(certificate=tls.getpeercert(True))
    sock = writer.get_extra_info("socket")
    option = getattr(socket, "SO_PEERCRED", None)
    if option is not None and sock.family == socket.AF_UNIX:
        pid, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, option, 12))
        return Peer(uid=uid, pid=pid)
    return Peer()


async def _close(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, TimeoutError, asyncio.CancelledError):
        writer.close()
        async with asyncio.timeout(1):
            await writer.wait_closed()
