"""Packets with descriptors beside them, over SOCK_SEQPACKET, from an event loop."""

from __future__ import annotations

import array
import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Sequence

from enarx.errors import KeepLostError, LimitError

DESCRIPTORS = 4
"""Most descriptors that one packet of ours carries."""


async def send(sock: socket.socket, packet: bytes, descriptors: Sequence[int] = ()) -> None:
    """Send one packet. KeepLostError where nobody is there any more."""
    control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors).tobytes())]
    while True:
        try:
            sock.sendmsg([packet], control if descriptors else [], socket.MSG_NOSIGNAL)
        except BlockingIOError:
            loop = asyncio.get_running_loop()
            await _ready(sock, loop.add_writer, loop.remove_writer)
        except OSError as error:
            raise _gone(error.strerror or str(error)) from None
        else:
            return


async def receive(sock: socket.socket, limit: int) -> tuple[bytes, list[int]]:
    """One packet of at most `limit` bytes, and the descriptors that came with it.

    They are close-on-exec, and the caller's to close. KeepLostError at the end of file.
    """
    while True:
        try:
            packet, descriptors, flags, _ = socket.recv_fds(
                sock, limit, DESCRIPTORS, socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            loop = asyncio.get_running_loop()
            await _ready(sock, loop.add_reader, loop.remove_reader)
            continue
        except OSError as error:
            raise _gone(error.strerror or str(error)) from None
        if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
            close(descriptors)
            raise LimitError(f"packet is larger than {limit} bytes", code="limit.size")
        if not packet:
            close(descriptors)
            raise _gone("end of file")
        return packet, descriptors


def close(descriptors: Sequence[int]) -> None:
    """Close descriptors that nobody wants."""
    for descriptor in descriptors:
        with contextlib.suppress(OSError):
            os.close(descriptor)


async def _ready(
    sock: socket.socket,
    add: Callable[[socket.socket, Callable[[], object]], object],
    remove: Callable[[socket.socket], object],
) -> None:
    ready = asyncio.Event()
    add(sock, ready.set)
    try:
        await ready.wait()
    finally:
        remove(sock)


def _gone(reason: str) -> KeepLostError:
    return KeepLostError(f"the other side is gone: {reason}", code="peer.gone")
