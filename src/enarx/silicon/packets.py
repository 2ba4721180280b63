"""Packets with descriptors, over non-blocking SOCK_SEQPACKET sockets."""

from __future__ import annotations

import array
import contextlib
import os
import socket
from collections.abc import Sequence

from enarx.errors import LimitError
from enarx.wire.codec import Message, pack

DESCRIPTORS_MAX = 4
"""Most descriptors beside one packet; the most we expect is two."""


def receive(sock: socket.socket, limit: int) -> tuple[bytes, list[int]] | None:
    """One packet and its descriptors, which are the caller's to close; None at the end of file.

    Raises:
        BlockingIOError: there is none after all.
        LimitError: it is longer than `limit`, or too many descriptors came with it; they are
            closed already, and the packet is gone.
    """
    try:
        packet, descriptors, flags, _ = socket.recv_fds(
            sock, limit, DESCRIPTORS_MAX, socket.MSG_CMSG_CLOEXEC
        )
    except BlockingIOError:
        raise
    except OSError:
        return None  # the other side was reset
    if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
        close(descriptors)
        raise LimitError(
            f"a packet has more than {limit} bytes or {DESCRIPTORS_MAX} descriptors",
            code="limit.packet",
        )
    if not packet:
        close(descriptors)
        return None
    return packet, descriptors


def send(sock: socket.socket, message: Message, descriptors: Sequence[int] = ()) -> bool:
    """Send one message; False when the other side is gone or does not read what it is sent."""
    rights = array.array("i", descriptors).tobytes()
    control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if descriptors else []
    try:
        sock.sendmsg([pack(message)], control, socket.MSG_NOSIGNAL | socket.MSG_DONTWAIT)
    except OSError:
        return False
    return True


def close(descriptors: Sequence[int]) -> None:
    """Close descriptors that nobody wants."""
    for descriptor in descriptors:
        with contextlib.suppress(OSError):
            os.close(descriptor)
