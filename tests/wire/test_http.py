"""The HTTP layer over real sockets: streams in both directions, bounds, hostile peers."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from enarx.errors import (
    EnarxError,
    KeepLostError,
    LimitError,
    ProtocolError,
    RefusedError,
    UnreachableError,
)
from enarx.wire import limits
from enarx.wire.endpoint import Endpoint
from enarx.wire.http import Handler, Request, Response, serve
from enarx.wire.http_client import Connection


def run(tmp_path: Path, handler: Handler, body: Callable[[Connection], Awaitable[None]]) -> None:
    """Serve `handler` on a Unix socket and run `body` with a connection to it."""

    async def main() -> None:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(tmp_path / "s"))
        server = await serve(handler, listener)
        connection = await Connection.open(Endpoint(path=str(tmp_path / "s")), timeout=5)
        try:
            await body(connection)
        finally:
            await connection.close()
            server.close()
            await server.wait_closed()

    asyncio.run(asyncio.wait_for(main(), 30))


async def echo(request: Request) -> Response:
    return Response(body=await request.read(1000))


async def echo_stream(request: Request) -> Response:
    return Response(body=request.stream())


def test_requests_follow_one_another_on_one_connection(tmp_path: Path) -> None:
    async def body(connection: Connection) -> None:
        for word in (b"one", b"two", b""):
            assert await connection.request("POST", "/", word, limit=10, timeout=5) == word

    run(tmp_path, echo, body)


def test_stream_answers_while_the_request_is_still_being_sent(tmp_path: Path) -> None:
    async def body(connection: Connection) -> None:
        answers: asyncio.Queue[bytes] = asyncio.Queue()

        async def questions() -> AsyncIterator[bytes]:
            for n in range(5):
                yield b"%d" % n
                # The next piece goes out only after this one has come back.
                assert await answers.get() == b"%d" % n

        async with connection.stream("POST", "/", questions(), timeout=5) as pieces:
            async for piece in pieces:
                answers.put_nowait(piece)
        assert answers.empty()

    run(tmp_path, echo_stream, body)


def test_large_streams_pass_unchanged_under_back_pressure(tmp_path: Path) -> None:
    async def body(connection: Connection) -> None:
        sent = bytes(range(256)) * 256

        async def pieces() -> AsyncIterator[bytes]:
            for _ in range(256):
                yield sent

        received = 0
        async with connection.stream("POST", "/", pieces(), timeout=5) as answer:
            async for piece in answer:
                received += len(piece)
        assert received == 256 * len(sent)

    run(tmp_path, echo_stream, body)


def test_refusal_arrives_as_the_error_it_was(tmp_path: Path) -> None:
    async def refuse(request: Request) -> Response:
        raise RefusedError("no", hint="ask nicely", code="keep.not-owner")

    async def body(connection: Connection) -> None:
        with pytest.raises(RefusedError) as caught:
            await connection.request("POST", "/", b"x" * 100_000, limit=10, timeout=5)
        assert (caught.value.code, caught.value.hint) == ("keep.not-owner", "ask nicely")

    run(tmp_path, refuse, body)


def test_refusal_of_a_stream_arrives_although_the_body_is_still_going(tmp_path: Path) -> None:
    async def refuse(request: Request) -> Response:
        raise RefusedError("no", code="keep.workload-taken")

    async def forever() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 1000
            await asyncio.sleep(0.001)

    async def body(connection: Connection) -> None:
        with pytest.raises(RefusedError) as caught:
            async with connection.stream("POST", "/", forever(), timeout=5):
                pass
        assert caught.value.code == "keep.workload-taken"

    run(tmp_path, refuse, body)


def test_request_body_over_its_limit_is_refused(tmp_path: Path) -> None:
    async def body(connection: Connection) -> None:
        with pytest.raises(LimitError):
            await connection.request("POST", "/", b"x" * 1001, limit=10, timeout=5)

    run(tmp_path, echo, body)


def test_gigabyte_answer_is_refused_at_the_limit(tmp_path: Path) -> None:
    sent = 0

    async def gush(request: Request) -> Response:
        async def pieces() -> AsyncIterator[bytes]:
            nonlocal sent
            for _ in range(16_384):
                sent += 65_536
                yield bytes(65_536)

        return Response(body=pieces())

    async def body(connection: Connection) -> None:
        with pytest.raises(LimitError):
            await connection.request("GET", "/", limit=limits.MESSAGE, timeout=10)
        await connection.close()
        assert sent < 64 * limits.MIB

    run(tmp_path, gush, body)


def test_silent_server_is_given_up_after_the_timeout(tmp_path: Path) -> None:
    async def sleep(request: Request) -> Response:
        await asyncio.sleep(20)
        return Response()

    async def body(connection: Connection) -> None:
        with pytest.raises(UnreachableError) as caught:
            await connection.request("GET", "/", limit=10, timeout=0.2)
        assert caught.value.code == "host.timeout"

    run(tmp_path, sleep, body)


def test_handler_notices_that_the_peer_has_gone(tmp_path: Path) -> None:
    noticed = asyncio.Event()

    async def wait(request: Request) -> Response:
        await request.read(10)
        await request.disconnected()
        noticed.set()
        return Response()

    async def body(connection: Connection) -> None:
        asking = asyncio.create_task(connection.request("GET", "/", limit=10, timeout=5))
        await asyncio.sleep(0.1)
        await connection.close()
        await asyncio.wait_for(noticed.wait(), 5)
        with pytest.raises((UnreachableError, ProtocolError)):
            await asking

    run(tmp_path, wait, body)


def test_handler_notices_a_body_that_breaks_off(tmp_path: Path) -> None:
    caught: list[EnarxError] = []

    async def read(request: Request) -> Response:
        try:
            await request.read(1000)
        except (KeepLostError, ProtocolError) as error:
            caught.append(error)
        return Response()

    async def body(connection: Connection) -> None:
        reader, writer = await asyncio.open_unix_connection(connection.endpoint.path)
        writer.write(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nabc")
        writer.write_eof()
        await asyncio.wait_for(reader.read(), 5)
        writer.close()
        assert [error.code for error in caught] == ["peer.gone"]

    run(tmp_path, read, body)


@pytest.mark.parametrize(
    "garbage",
    [
        b"\0" * 100,
        b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 10_000,
        b"GET / HTTP/1.1\r\ncontent-length: 9999999999999999999999\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nZZZ\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_garbage_is_answered_with_a_refusal_and_the_server_lives(
    tmp_path: Path, garbage: bytes
) -> None:
    async def body(connection: Connection) -> None:
        reader, writer = await asyncio.open_unix_connection(connection.endpoint.path)
        writer.write(garbage)
        writer.write_eof()
        answer = await asyncio.wait_for(reader.read(), 5)
        assert answer == b"" or answer.startswith((b"HTTP/1.1 4", b"HTTP/1.1 5"))
        writer.close()
        assert await connection.request("POST", "/", b"ok", limit=10, timeout=5) == b"ok"

    run(tmp_path, echo, body)


def test_unix_peer_is_known_by_its_user_id(tmp_path: Path) -> None:
    import os

    async def who(request: Request) -> Response:
        return Response(body=b"%d" % (request.peer.uid if request.peer.uid is not None else -1))

    async def body(connection: Connection) -> None:
        answer = await connection.request("GET", "/", limit=10, timeout=5)
        assert answer == b"%d" % os.getuid()

    run(tmp_path, who, body)


def test_nobody_there_is_unreachable(tmp_path: Path) -> None:
    with pytest.raises(UnreachableError):
        asyncio.run(Connection.open(Endpoint(path=str(tmp_path / "none")), timeout=1))


def test_answer_that_comes_before_the_end_of_the_body_is_read_whole(tmp_path: Path) -> None:
    """The server ends first, the peer still sends: no reset may swallow the answer."""
    answer = b"x" * 100_000

    async def handler(request: Request) -> Response:
        return Response(body=answer)

    async def body(connection: Connection) -> None:
        for _ in range(20):
            async with connection.stream("POST", "/", _endless(), timeout=5) as pieces:
                await asyncio.sleep(0.02)
                assert b"".join([piece async for piece in pieces]) == answer
            connection = await Connection.open(connection.endpoint, timeout=5)
        await connection.close()

    run(tmp_path, handler, body)


async def _endless() -> AsyncIterator[bytes]:
    while True:
        yield bytes(1000)
        await asyncio.sleep(0)
