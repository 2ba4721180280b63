"""The silicon's socket: who may ask, and what is answered.

What arrives is untrusted: a packet that cannot be read gets a problem in reply, a peer that
does not read its replies is dropped, and nobody is served more than one packet before
everybody else. Reports are not asked for here, but on each Keep's own channel (`keeps`).
"""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path
from typing import Final

from enarx.errors import EnarxError, HostError, LimitError, ProtocolError, RefusedError, UsageError
from enarx.image.launch import BACKENDS
from enarx.silicon import chip, packets, pki
from enarx.silicon.amd import AmdPki
from enarx.silicon.amdkeys import AmdVendor
from enarx.silicon.chip import Chip
from enarx.silicon.intel import IntelPki
from enarx.silicon.keeps import Keeps
from enarx.silicon.loop import Loop
from enarx.silicon.manifests import manifests_descriptor, seal_manifests
from enarx.silicon.nursery import Nursery, check_launch_descriptors
from enarx.silicon.snapshot import Snapshot
from enarx.wire import problem, silicon, zygote
from enarx.wire.codec import Message, unpack
from enarx.wire.fields import Endorsement

CONNECTIONS: Final = 256
"""Connections that are served at once; the loaders' questions take milliseconds."""
BACKLOG: Final = 128
ACCEPT_PAUSE: Final = 0.1
"""Seconds without new connections after one that could not be taken."""
_UCRED: Final = struct.Struct("3i")


class Server:
    """Serves one silicon. `open` when the zygote is ready."""

    def __init__(
        self,
        loop: Loop,
        snapshot: Snapshot,
        *,
        signer: Chip,
        intel: IntelPki,
        amd: AmdVendor,
        missing: tuple[str, ...],
    ) -> None:
        self._loop, self._snapshot = loop, snapshot
        self._intel, self._amd, self._missing = intel, amd, missing
        self.keeps = Keeps(loop, signer, snapshot.installation)
        self._connections: set[socket.socket] = set()
        self._listener: socket.socket | None = None
        self._manifests, self._manifests_size = seal_manifests(snapshot.installation)
        self.nursery: Nursery | None = None

    def open(self, listener: socket.socket) -> None:
        """Take connections from now on."""
        self._listener = listener
        self._loop.add(listener, self._accept)

    def close(self) -> None:
        """Let go of every connection and channel."""
        for connection in list(self._connections):
            self._hang_up(connection)
        self.keeps.lose_all()
        os.close(self._manifests)

    def _accept(self) -> None:
        assert self._listener is not None  # noqa: S101 - it is what was readable
        listener = self._listener
        try:
            connection, _ = listener.accept()
        except BlockingIOError:
            return  # it is gone already
        except OSError:
            # No descriptors are left for it: let it wait, without asking all the time.
            self._loop.remove(self._listener)
            self._loop.later(ACCEPT_PAUSE, lambda: self.open(listener))
            return
        connection.setblocking(False)
        peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        uid = _UCRED.unpack(peer)[1]
        if uid not in (os.geteuid(), 0) or len(self._connections) >= CONNECTIONS:
            refusal = RefusedError(
                "this silicon serves its own user only"
                if len(self._connections) < CONNECTIONS
                else f"{CONNECTIONS} connections are open already",
                code="silicon.refused",
            )
            packets.send(connection, problem.from_error(refusal))
            connection.close()
            return
        self._connections.add(connection)
        self._loop.add(connection, lambda: self._serve(connection))

    def _serve(self, connection: socket.socket) -> None:
        """One packet of one connection."""
        descriptors: list[int] = []
        try:
            received = packets.receive(connection, silicon.PACKET)
            if received is None:
                self._hang_up(connection)
                return
            packet, descriptors = received
            request: silicon.Request = unpack(
                packet,
                silicon.Request,  # type: ignore[arg-type]
                limit=silicon.PACKET,
            )
            self._answer(connection, request, descriptors)
        except BlockingIOError:
            return
        except EnarxError as error:
            self._reply(connection, problem.from_error(error))
        finally:
            packets.close(descriptors)

    def _answer(
        self, connection: socket.socket, request: silicon.Request, descriptors: list[int]
    ) -> None:
        """Answer one request; descriptors that are taken over are taken out of the list."""
        if descriptors and not isinstance(request, silicon.Launch):
            raise ProtocolError("no descriptors belong there", code="protocol.descriptors")
        if isinstance(request, silicon.SiliconInfo):
            self._reply(connection, self._status())
        elif isinstance(request, silicon.GetManifests):
            descriptor = manifests_descriptor(self._manifests)
            reply = silicon.ManifestsReply(size=self._manifests_size)
            self._reply(connection, reply, [descriptor])
            os.close(descriptor)
        elif isinstance(request, silicon.GetEndorsements):
            self._endorse(connection, request.backend)
        else:
            self._launch(connection, request, descriptors)

    def _reply(
        self, connection: socket.socket, message: Message, descriptors: list[int] | None = None
    ) -> None:
        if connection in self._connections and not packets.send(
            connection, message, descriptors or ()
        ):
            self._hang_up(connection)

    def _hang_up(self, connection: socket.socket) -> None:
        self._connections.discard(connection)
        self._loop.remove(connection)
        connection.close()

    def _pause(self, connection: socket.socket) -> None:
        """One question at a time: the next one is read when this one is answered."""
        self._loop.remove(connection)

    def _resume(self, connection: socket.socket) -> None:
        if connection in self._connections:
            self._loop.add(connection, lambda: self._serve(connection))

    def _status(self) -> silicon.SiliconStatus:
        installation = self._snapshot.installation
        return silicon.SiliconStatus(
            backends=tuple(BACKENDS),
            payload=installation.payload_digest,
            runtime=installation.runtime_digest,
            root=self._intel.root_spki_sha256,
            sandbox=self._missing,
        )

    def _endorse(self, connection: socket.socket, backend: str) -> None:
        _check_backend(backend)
        if BACKENDS[backend] != "snp":
            self._reply(connection, self._endorsements(backend, None))
            return
        self._pause(connection)

        def answer(result: AmdPki | EnarxError) -> None:
            self._resume(connection)
            if isinstance(result, EnarxError):
                self._reply(connection, problem.from_error(result))
            else:
                self._reply(connection, self._endorsements(backend, result))

        self._amd.ask(answer)

    def _endorsements(self, backend: str, amd: AmdPki | None) -> silicon.EndorsementsReply:
        found = chip.endorsements(backend, pki=self._intel, amd_pki=amd, at=pki.now())
        return silicon.EndorsementsReply(
            endorsements=tuple(Endorsement(role=role, data=data) for role, data in found)
        )

    def _launch(
        self, connection: socket.socket, request: silicon.Launch, descriptors: list[int]
    ) -> None:
        """Step 5: measure, make the report channel, fork."""
        assert self.nursery is not None  # noqa: S101 - set before the socket is opened
        _check_backend(request.backend)
        check_launch_descriptors(descriptors)
        if BACKENDS[request.backend] == "snp":
            self._amd.ask(lambda _: None)  # so that its certificates are there when asked for
        installation = self._snapshot.installation
        measured = chip.Launch.new(
            backend=request.backend,
            measurement=installation.measurement(request.backend),
            host_data=request.host_data,
        )
        fork = zygote.Fork(
            kuuid=request.kuuid,
            uid=request.uid,
            backend=request.backend,
            payload=installation.payload_digest,
            runtime=installation.runtime_digest,
        )
        theirs = self.keeps.open(request.kuuid, measured)
        handed_over = (theirs, *descriptors)
        descriptors.clear()
        self._pause(connection)

        def answer(result: zygote.Forked | EnarxError, pidfd: int) -> None:
            self._resume(connection)
            if isinstance(result, EnarxError):
                self.keeps.ended(request.kuuid)
                self._reply(connection, problem.from_error(result))
                return
            self._reply(connection, silicon.Launched(pid=result.pid), [pidfd])
            os.close(pidfd)

        try:
            self.nursery.launch(fork, handed_over, answer)
        except LimitError:
            self.keeps.ended(request.kuuid)
            self._resume(connection)
            raise


def listen(path: Path) -> socket.socket:
    """Listen at `path`, which a silicon that is gone may have left behind.

    Raises:
        HostError: a silicon answers there, or the socket cannot be made (`silicon.socket`).
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as probe:
            if probe.connect_ex(str(path)) == 0:
                raise HostError(f"a silicon serves {path} already", code="silicon.running")
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.is_socket():
            path.unlink()
        previous = os.umask(0o177)
        try:
            listener.bind(str(path))
        finally:
            os.umask(previous)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise HostError(
            f"cannot listen at {path}: {error.strerror or error}",
            hint="choose a directory that can be written, with a path of under 100 bytes",
            code="silicon.socket",
        ) from None
    except HostError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


def _check_backend(backend: str) -> None:
    if backend not in BACKENDS:
        raise UsageError(
            f"this silicon has no back end {backend!r}",
            hint=f"it has: {', '.join(BACKENDS)}",
            code="usage.backend",
        )
