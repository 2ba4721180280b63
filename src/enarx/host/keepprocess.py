"""Step 5: the loader makes the Keep, and holds on to it until it is gone."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import socket
from collections.abc import Callable
from pathlib import Path

from enarx.errors import HostError, KeepLostError, ProtocolError
from enarx.host import limits, packets
from enarx.host.cgroup import KeepGroup, place
from enarx.host.chip import Chip
from enarx.host.order import CGROUP, KEEP_SOCKET, Order, directory_name
from enarx.host.process import Process
from enarx.wire.attestation import init_data
from enarx.wire.codec import pack, unpack
from enarx.wire.limits import MESSAGE
from enarx.wire.loader import (
    Activate,
    Activated,
    Boot,
    BootFailed,
    FromKeep,
    Halt,
    Progress,
    Ready,
)
from enarx.wire.manager import State
from enarx.wire.problem import to_error
from enarx.wire.silicon import Launch

_BACKLOG = 16
"""Connections that wait while the Keep is busy: it has one owner."""


class KeepProcess:
    """A Keep that was launched. `state` is its own word; `detail` belongs to it."""

    def __init__(
        self,
        *,
        process: Process,
        control: socket.socket,
        address: str,
        socket_path: Path | None,
        overhead: int = limits.KEEP_OVERHEAD,
        processes: int = limits.KEEP_PIDS,
        boot_seconds: float = limits.BOOT_SECONDS,
    ) -> None:
        """
        Args:
            overhead: bytes of memory that it takes beside its workload.
            processes: processes and threads it may have.
            boot_seconds: from Boot to Ready.
        """
        self.process = process
        self.address = address
        self.group = KeepGroup()
        self.state = State.INDETERMINATE
        self.detail = ""
        self._control = control
        self._overhead, self._processes = overhead, processes
        self._boot_seconds = boot_seconds
        self._socket_path = socket_path
        self._activating = asyncio.Lock()
        self._activation: asyncio.Future[bytes] | None = None

    @classmethod
    async def launch(cls, order: Order, directory: Path, chip: Chip) -> KeepProcess:
        """Have the silicon make the Keep. It waits for `boot` then."""
        listener, address, path = listen(order, directory)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        try:
            with listener, theirs:
                process = await chip.launch(
                    Launch(
                        backend=order.backend,
                        kuuid=order.kuuid,
                        host_data=hashlib.sha256(init_data_of(order)).digest(),
                        uid=order.uid,
                    ),
                    control=theirs.fileno(),
                    listener=listener.fileno(),
                )
        except BaseException:
            ours.close()
            raise
        return cls(process=process, control=ours, address=address, socket_path=path)

    def confine(self, order: Order, directory: Path, *, unit: bool) -> None:
        """Put it under the limits of its contract before it has read a byte of anybody's."""
        if not self.process.pid:
            return
        self.group = place(
            self.process.pid,
            name=f"enarx-keep-{directory_name(order.kuuid)}",
            memory=order.limits.memory + self._overhead,
            pids=self._processes,
            unit=unit,
        )
        # Read by a manager that outlives this loader.
        with contextlib.suppress(OSError):
            (directory / CGROUP).write_text("".join(f"{path}\n" for path in self.group.paths))

    async def boot(self, order: Order) -> bytes:
        """Steps 6 and 7, in the Keep: its one-use certificate, once it listens."""
        boot = Boot(init_data=init_data_of(order), owner=order.owner)
        # One that could not even wait for this has said why: that is heard below.
        with contextlib.suppress(KeepLostError):
            await packets.send(self._control, pack(boot))
        try:
            async with asyncio.timeout(self._boot_seconds):
                while True:
                    match await self._hear():
                        case Ready(certificate=certificate):
                            self.state = State.READY
                            return certificate
                        case BootFailed(problem=problem):
                            raise to_error(problem)
                        case Progress(state=state, detail=detail):
                            self.state, self.detail = state, detail
        except TimeoutError:
            raise KeepLostError(
                f"the Keep was not ready within {self._boot_seconds:g} s", code="keep.boot"
            ) from None

    async def activate(self, *, credential: bytes, seed: bytes) -> bytes:
        """The Keep's answer to a credential. Raises what it refuses with; one at a time."""
        async with self._activating:
            self._activation = asyncio.get_running_loop().create_future()
            try:
                await packets.send(self._control, pack(Activate(credential=credential, seed=seed)))
                async with asyncio.timeout(limits.SILICON_SECONDS):
                    return await self._activation
            except TimeoutError:
                raise KeepLostError("the Keep did not answer", code="keep.activation") from None
            finally:
                self._activation = None

    def _activated(self, message: Activated | BootFailed) -> None:
        """Give the answer to who waits for it; there was no question where nobody does."""
        waiting = self._activation
        if waiting is None or waiting.done():
            raise ProtocolError("the Keep is ready already", code="protocol.order")
        if isinstance(message, Activated):
            waiting.set_result(message.proof)
        else:
            waiting.set_exception(to_error(message.problem))

    async def follow(self, changed: Callable[[], None]) -> None:
        """Hear what the Keep says of its state until it is gone; call back at each change."""
        try:
            with contextlib.suppress(KeepLostError):
                while True:
                    match await self._hear():
                        case Progress(state=state, detail=detail):
                            self.state, self.detail = state, detail
                            changed()
                        case Activated() | BootFailed() as answer:
                            self._activated(answer)
                        case _:
                            raise ProtocolError("the Keep is ready already", code="protocol.order")
        finally:
            waiting = self._activation
            if waiting is not None and not waiting.done():
                waiting.set_exception(KeepLostError("the Keep is gone", code="keep.lost"))

    async def _hear(self) -> Ready | Progress | Activated | BootFailed:
        packet, descriptors = await packets.receive(self._control, MESSAGE)
        packets.close(descriptors)
        message: Ready | Progress | Activated | BootFailed = unpack(packet, FromKeep)  # type: ignore[arg-type]
        return message

    async def halt(self) -> None:
        """Ask it to end in good order; kill it when it has not after HALT_SECONDS."""
        with contextlib.suppress(KeepLostError):
            await packets.send(self._control, pack(Halt()))
        if not await self.process.wait(limits.HALT_SECONDS):
            self.process.kill()

    async def bury(self) -> int:
        """Make sure that it is gone, with all it made; how many OOM kills there were."""
        self.process.kill()
        await self.process.wait(limits.HALT_SECONDS)
        kills = self.group.oom_kills()
        await asyncio.to_thread(self.group.remove)
        self.process.close()
        self._control.close()
        if self._socket_path is not None:
            self._socket_path.unlink(missing_ok=True)
        return kills


def init_data_of(order: Order) -> bytes:
    """The init data, as the client computes it from what it asked for."""
    return init_data(
        kuuid=order.kuuid,
        backend=order.backend,
        nonce=order.nonce,
        owner=hashlib.sha256(order.owner).digest(),
        limits=order.limits,
    )


def listen(order: Order, directory: Path) -> tuple[socket.socket, str, Path | None]:
    """The Keep's listener, its address, and its path where it has one."""
    if order.listen:
        family = socket.AF_INET6 if ":" in order.listen else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
    else:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if order.listen:
            listener.bind((order.listen, 0))
            listener.listen(_BACKLOG)
            return listener, f"tcp:{listener.getsockname()[1]}", None
        path = directory / KEEP_SOCKET
        listener.bind(str(path))
        listener.listen(_BACKLOG)
        _admit(path, order.reader)
    except OSError as error:
        listener.close()
        raise HostError(
            f"cannot listen for the Keep on {order.listen or directory}: {error.strerror}",
            code="host.listen",
        ) from None
    return listener, f"unix:{path}", path


def _admit(path: Path, reader: int) -> None:
    """Who may connect. The Keep asks for its owner's key in any case."""
    path.chmod(0o600)
    if reader == os.geteuid():
        return
    try:
        os.chown(path, reader, -1)
    except PermissionError:
        path.chmod(0o666)
