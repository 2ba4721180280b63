"""Talking to the silicon (`wire.silicon`): one connection, one question at a time."""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from enarx.errors import HostError, LimitError, ProtocolError
from enarx.host import limits, packets
from enarx.host.process import Process, peer
from enarx.wire import cbor, silicon
from enarx.wire.codec import Message, pack, unpack
from enarx.wire.fields import Endorsements
from enarx.wire.limits import MANIFEST
from enarx.wire.problem import Problem, to_error

T = TypeVar("T")
_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW


class Chip:
    """A connection to the silicon. Its errors are the silicon's own, or HostError."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    @classmethod
    def connect(cls, path: Path) -> Chip:
        """Connect to the silicon that listens at `path`; it must be of our own user."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            sock.connect(str(path))
            _, uid, _ = peer(sock)
        except OSError as error:
            sock.close()
            raise HostError(
                f"the silicon does not answer at {path}: {error.strerror}",
                hint="`enarx host status` tells why; the host starts it again by itself.",
                code="host.silicon",
            ) from None
        if uid not in (os.geteuid(), 0):
            sock.close()
            raise HostError(
                f"user {uid} listens at {path}, where this host's silicon belongs",
                hint="Choose another run directory.",
                code="host.silicon",
            )
        sock.setblocking(False)
        return cls(sock)

    def process(self) -> Process:
        """The silicon's process."""
        return Process.listening_on(self._socket)

    async def status(self) -> silicon.SiliconStatus:
        """What it is and what it has loaded."""
        reply, _ = await self._ask(silicon.SiliconInfo(), silicon.SiliconStatus)
        return reply

    async def endorsements(self, backend: str) -> Endorsements:
        """Certificates and collateral of one back end."""
        reply, _ = await self._ask(
            silicon.GetEndorsements(backend=backend), silicon.EndorsementsReply
        )
        return reply.endorsements

    async def launch(self, launch: silicon.Launch, *, control: int, listener: int) -> Process:
        """Step 5: make a Keep that has these two descriptors and waits for its Boot."""
        _, descriptors = await self._ask(launch, silicon.Launched, [control, listener], expected=1)
        return Process.received(descriptors[0])

    async def manifests(self) -> bytes:
        """The encoded Manifests, unread."""
        reply, descriptors = await self._ask(
            silicon.GetManifests(), silicon.ManifestsReply, expected=1
        )
        with os.fdopen(descriptors[0], "rb") as file:
            if reply.size > MANIFEST:
                raise LimitError(f"manifests of {reply.size} bytes", code="limit.size")
            # Unsealed, it could be cut while it is read, or change under a reader.
            if _seals(file.fileno()) & _SEALS != _SEALS:
                raise ProtocolError("the silicon's manifests are not sealed", code="protocol.seal")
            file.seek(0)
            return file.read(reply.size)

    async def _ask(
        self, request: Message, kind: type[T], send: Sequence[int] = (), *, expected: int = 0
    ) -> tuple[T, list[int]]:
        try:
            async with asyncio.timeout(limits.SILICON_SECONDS):
                await packets.send(self._socket, pack(request), send)
                packet, received = await packets.receive(self._socket, silicon.PACKET)
        except TimeoutError:
            raise HostError(
                f"the silicon did not answer within {limits.SILICON_SECONDS:g} s",
                code="host.silicon",
            ) from None
        try:
            reply = _reply(packet, kind)
            if len(received) != expected:
                raise ProtocolError(
                    f"{len(received)} descriptors from the silicon, expected {expected}",
                    code="protocol.descriptors",
                )
        except BaseException:
            packets.close(received)
            raise
        return reply, received

    def close(self) -> None:
        """Drop the connection."""
        self._socket.close()


def _seals(descriptor: int) -> int:
    try:
        return fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
    except OSError:
        # Only memfds have seals (fcntl(2)).
        return 0


def _reply(packet: bytes, kind: type[T]) -> T:
    """The reply; a Problem, which is told apart by its title, is raised."""
    content = cbor.decode(packet, limit=silicon.PACKET, what=kind.__name__)
    if isinstance(content, dict) and "title" in content:
        raise to_error(unpack(packet, Problem))
    return unpack(packet, kind, limit=silicon.PACKET)
