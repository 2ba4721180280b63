"""The client's half of `http`: one connection, bounded answers, bodies in both directions."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from typing import TypeVar

import h11

from enarx.errors import EnarxError, LimitError, ProtocolError, UnreachableError
from enarx.wire import limits, problem
from enarx.wire.codec import Message, pack, unpack
from enarx.wire.endpoint import Endpoint
from enarx.wire.http import MEDIA_TYPE

T = TypeVar("T")


class Connection:
    """One HTTP/1.1 connection over TLS or a Unix socket; one request at a time.

    Every wait has a bound, in seconds. A problem the server tells of is raised as the error
    it was there. Errors: UnreachableError, ProtocolError, LimitError and the server's own.
    """

    def __init__(
        self, endpoint: Endpoint, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.endpoint = endpoint
        self._reader, self._writer = reader, writer
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=limits.HTTP_HEAD)
        tls = writer.get_extra_info("ssl_object")
        self.peer_certificate: bytes | None = tls.getpeercert(True) if tls else None

    @classmethod
    async def open(
        cls, endpoint: Endpoint, *, tls: ssl.SSLContext | None = None, timeout: float
    ) -> Connection:
        """Connect; over TLS where a context is given, whatever the transport below is."""
        name = endpoint.host or "keep"
        try:
            async with asyncio.timeout(timeout):
                if endpoint.path:
                    reader, writer = await asyncio.open_unix_connection(
                        endpoint.path,
                        ssl=tls,
                        server_hostname=name if tls else None,
                        limit=limits.HTTP_CHUNK,
                    )
                else:
                    reader, writer = await asyncio.open_connection(
                        endpoint.host,
                        endpoint.port,
                        ssl=tls,
                        server_hostname=name if tls else None,
                        limit=limits.HTTP_CHUNK,
                    )
        except ssl.SSLError as error:
            raise tls_error(endpoint, error) from None
        except TimeoutError:
            raise _silent(endpoint, timeout) from None
        except OSError as error:
            raise UnreachableError(
                f"nobody answers at {endpoint}: {error.strerror or error}",
                hint="Is the host up? `enarx host status` there tells.",
            ) from None
        return cls(endpoint, reader, writer)

    async def call(
        self,
        method: str,
        path: str,
        message: Message | None,
        kind: type[T],
        *,
        limit: int = limits.MESSAGE,
        timeout: float,
    ) -> T:
        """Send one message (or none) and read the message that answers it."""
        body = b"" if message is None else pack(message)
        return unpack(
            await self.request(method, path, body, limit=limit, timeout=timeout), kind, limit=limit
        )

    async def request(
        self, method: str, path: str, body: bytes = b"", *, limit: int, timeout: float
    ) -> bytes:
        """Send one body and read the body that answers it, of at most `limit` bytes."""
        try:
            async with asyncio.timeout(timeout):
                await self._send_head(method, path, length=len(body))
                await self._send(h11.Data(data=body), h11.EndOfMessage())
                await self._check_status()
                return await self._read(limit)
        except TimeoutError:
            raise _silent(self.endpoint, timeout) from None
        except ssl.SSLError as error:
            raise tls_error(self.endpoint, error) from None
        except OSError as error:
            raise _gone(self.endpoint, error) from None

    @contextlib.asynccontextmanager
    async def stream(
        self, method: str, path: str, body: AsyncIterator[bytes], *, timeout: float
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Send `body` as it yields while the response's pieces come back.

        `timeout` bounds the wait for the response's head, not the streams.
        """
        sender = asyncio.create_task(self._send_stream(method, path, body))
        try:
            await self._await_head(sender, timeout)
            yield self._pieces()
            await self.close()
        finally:
            sender.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError, EnarxError):
                await sender

    async def close(self) -> None:
        """Drop the connection, with whatever the other side does not read any more."""
        self._writer.close()
        closed = asyncio.ensure_future(self._writer.wait_closed())
        await asyncio.wait({closed}, timeout=1)
        if not closed.done():
            # On a transport that has closed already, asyncio's abort fails.
            self._writer.transport.abort()
        with contextlib.suppress(OSError):
            await closed

    async def _await_head(self, sender: asyncio.Task[None], timeout: float) -> None:
        head = asyncio.create_task(self._check_status())
        try:
            async with asyncio.timeout(timeout):
                await asyncio.wait({head, sender}, return_when=asyncio.FIRST_COMPLETED)
                if not head.done() and sender.exception():
                    # The server may have answered before it closed: its word comes first.
                    await asyncio.wait({head}, timeout=1)
                    if not head.done():
                        await sender
                await head
        except TimeoutError:
            raise _silent(self.endpoint, timeout) from None
        except ssl.SSLError as error:
            raise tls_error(self.endpoint, error) from None
        except OSError as error:
            raise _gone(self.endpoint, error) from None
        finally:
            head.cancel()

    async def _send_stream(self, method: str, path: str, body: AsyncIterator[bytes]) -> None:
        await self._send_head(method, path, length=None)
        async for piece in body:
            await self._send(h11.Data(data=piece))
        await self._send(h11.EndOfMessage())

    async def _send_head(self, method: str, path: str, *, length: int | None) -> None:
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
        framing = (
            ("transfer-encoding", "chunked") if length is None else ("content-length", str(length))
        )
        await self._send(
            h11.Request(
                method=method,
                target=path,
                headers=[
                    ("host", self.endpoint.host or "localhost"),
                    ("content-type", MEDIA_TYPE),
                    framing,
                ],
            )
        )

    async def _check_status(self) -> None:
        """Read the response's head; where it is a problem, read it whole and raise it."""
        event = await self._next_event()
        while isinstance(event, h11.InformationalResponse):
            event = await self._next_event()
        if not isinstance(event, h11.Response):
            raise _gone(self.endpoint, None)
        if 200 <= event.status_code < 300:
            return
        body = await self._read(limits.MESSAGE)
        headers = {bytes(name).lower(): bytes(value) for name, value in event.headers}
        if headers.get(b"content-type") == problem.MEDIA_TYPE.encode():
            raise problem.to_error(unpack(body, problem.Problem))
        raise ProtocolError(
            f"{self.endpoint} answered {event.status_code} without saying why",
            hint="Is this an enarx host?",
            code="protocol.http",
        )

    async def _read(self, limit: int) -> bytes:
        pieces, size = [], 0
        async for piece in self._pieces():
            size += len(piece)
            if size > limit:
                raise LimitError(
                    f"{self.endpoint} answers with more than {limit} bytes", code="limit.size"
                )
            pieces.append(piece)
        return b"".join(pieces)

    async def _pieces(self) -> AsyncIterator[bytes]:
        while True:
            event = await self._next_event()
            if isinstance(event, h11.Data):
                yield bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return
            else:
                raise _gone(self.endpoint, None)

    async def _next_event(self) -> object:
        data = b"-"
        try:
            while (event := self._http.next_event()) is h11.NEED_DATA:
                data = await self._reader.read(limits.HTTP_CHUNK)
                self._http.receive_data(data)
        except h11.RemoteProtocolError as error:
            if not data:
                raise _gone(self.endpoint, None) from None
            raise ProtocolError(
                f"{self.endpoint} does not speak HTTP/1.1 as it must: {error}",
                code="protocol.http",
            ) from None
        return event

    async def _send(self, *events: h11.Event) -> None:
        data = b"".join(filter(None, map(self._http.send, events)))
        if data:
            self._writer.write(data)
            await self._writer.drain()


def tls_error(endpoint: Endpoint, error: ssl.SSLError) -> ProtocolError:
    """What went wrong in TLS, in words."""
    reason = getattr(error, "verify_message", "") or error.reason or str(error)
    return ProtocolError(
        f"TLS with {endpoint} failed: {reason}",
        hint="Check the address, and the #sha256= pin that `enarx host up` printed.",
        code="protocol.tls",
    )


def _silent(endpoint: Endpoint, timeout: float) -> UnreachableError:
    return UnreachableError(f"{endpoint} did not answer within {timeout:g} s", code="host.timeout")


def _gone(endpoint: Endpoint, error: OSError | None) -> UnreachableError:
    detail = f": {error.strerror or error}" if error else ""
    return UnreachableError(f"{endpoint} closed the connection{detail}", code="host.gone")
