"""Between a VM's streams and what the rest of the loader speaks.

The control port is a byte stream of frames; a process Keep's control socket has packets.
The machine's listener is behind a port of 127.0.0.1; the loader's own listener is where
the owner connects to, with the access rights of any Keep's. All that passes there is TLS
between the owner and the Keep.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Final

from enarx.errors import EnarxError, KeepLostError
from enarx.host import packets
from enarx.wire import framing
from enarx.wire.limits import MESSAGE

_PIECE: Final = 64 * 1024
HELLO: Final = b"\nenarx machine is up\n"
"""What the machine begins with (keep.machine.ports). The firmware before it has a driver for
such ports: it would take what is said too early."""
NOISE: Final = 1024 * 1024
"""Bytes that the firmware may write there before that."""
CONNECTIONS: Final = 64
"""Connections of one Keep at a time: it has one owner."""


async def relay_control(stream: socket.socket, packet_socket: socket.socket) -> None:
    """Pass messages on both ways until either side is gone; then both sockets are closed."""
    loop = asyncio.get_running_loop()
    stream.setblocking(False)
    packet_socket.setblocking(False)

    up = asyncio.Event()

    async def to_loader() -> None:
        frames = framing.FrameReader(limit=MESSAGE)
        frames.feed(await _after_hello(stream))
        up.set()
        while piece := await loop.sock_recv(stream, _PIECE):
            frames.feed(piece)
            while (message := frames.next()) is not None:
                await packets.send(packet_socket, message)

    async def to_keep() -> None:
        await up.wait()
        while True:
            packet, descriptors = await packets.receive(packet_socket, MESSAGE)
            packets.close(descriptors)
            await loop.sock_sendall(stream, framing.frame(packet))

    directions = {asyncio.create_task(to_loader()), asyncio.create_task(to_keep())}
    try:
        await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in directions:
            task.cancel()
        for task in directions:
            with contextlib.suppress(EnarxError, OSError, asyncio.CancelledError):
                await task
        stream.close()
        packet_socket.close()


async def _after_hello(stream: socket.socket) -> bytes:
    """Wait for HELLO; what came with it. KeepLostError where it does not come."""
    seen = b""
    total = 0
    while piece := await asyncio.get_running_loop().sock_recv(stream, _PIECE):
        seen += piece
        total += len(piece)
        before, found, after = seen.partition(HELLO)
        if found:
            return after
        if total > NOISE:
            break
        seen = before[-len(HELLO) :]
    raise KeepLostError("the machine never said that it is up", code="keep.lost")


class PortRelay:
    """Takes connections on a listener and passes each on to a port of 127.0.0.1."""

    def __init__(self, listener: socket.socket, port: Callable[[], int]) -> None:
        self._listener, self._port = listener, port
        self._server: asyncio.Server | None = None
        self._open = 0

    async def start(self) -> None:
        """Take connections from now on."""
        self._server = await asyncio.start_server(self._serve, sock=self._listener)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._open >= CONNECTIONS:
            writer.transport.abort()
            return
        self._open += 1
        try:
            there = await asyncio.open_connection("127.0.0.1", self._port())
            async with asyncio.TaskGroup() as both:
                both.create_task(_copy(reader, there[1]))
                both.create_task(_copy(there[0], writer))
        except (OSError, ExceptionGroup):
            writer.transport.abort()
        finally:
            self._open -= 1

    async def close(self) -> None:
        """Take no more; what is open ends with the machine."""
        if self._server is not None:
            self._server.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while piece := await reader.read(_PIECE):
            writer.write(piece)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
    except OSError:
        # One side broke off: the other must see it, too.
        writer.transport.abort()
        raise
