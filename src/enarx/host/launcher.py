"""Step 2: how loaders are started. One seam, two launchers: `supervised` and `systemd`."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from pathlib import Path
from typing import Any, Protocol

from enarx.errors import EnarxError, HostError, KeepLostError
from enarx.host import limits, loaders, packets
from enarx.host.order import LOADER_SOCKET
from enarx.host.process import Process
from enarx.wire.codec import pack, unpack


class Launcher(Protocol):
    """Starts loaders. `name` is what `HostStatus.launcher` says."""

    name: str

    async def launch(self, kuuid: bytes, directory: Path) -> Process:
        """The process of a loader that listens on DIRECTORY/loader.sock. Raises HostError."""

    async def end(self, kuuid: bytes, process: Process) -> None:
        """Kill a loader that does not end by itself, and what belongs to it."""

    async def close(self) -> None:
        """End the launcher. Loaders go on."""


_ATTEMPTS = 2
"""A fork server may have died; a second one that dies as well is no accident."""


class SupervisedLauncher:
    """Loaders forked from a fork server. They outlive it and the manager."""

    name = "supervised"

    def __init__(self, *, guard: Path | None) -> None:
        self._guard = guard
        self._guarded: list[Process] = []
        self._channel: socket.socket | None = None
        self._server: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        self._started: dict[bytes, asyncio.Future[Process]] = {}
        self._listening: dict[bytes, asyncio.Future[None]] = {}

    async def start(self) -> None:
        """Start the fork server unless it runs."""
        async with self._starting:
            if self._reader is not None and not self._reader.done():
                return
            await self._start()

    async def _start(self) -> None:
        if self._channel is not None:
            self._channel.close()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        self._channel = ours
        guard = ["--guard", str(self._guard)] if self._guard else []
        with theirs:
            self._server = await asyncio.create_subprocess_exec(
                sys.executable, "-I", "-m", "enarx.host.forkserver",
                "--channel", str(theirs.fileno()), *guard,
                stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
                pass_fds=[theirs.fileno()], start_new_session=True,
            )  # fmt: skip
        try:
            async with asyncio.timeout(limits.LAUNCH_SECONDS):
                await packets.receive(ours, loaders.PACKET)
        except (EnarxError, TimeoutError) as error:
            raise HostError(
                f"the fork server did not start: {error}", code="host.launcher"
            ) from None
        self._reader = asyncio.create_task(self._read(ours))
        for process in self._guarded:
            await self._send_guard(process)

    async def guard(self, process: Process) -> None:
        """Private hosts: have `process` ended when the manager dies."""
        if self._guard is not None:
            self._guarded = [p for p in self._guarded if p.alive()] + [process]
            await self._send_guard(process)

    async def _send_guard(self, process: Process) -> None:
        if self._channel is not None:
            with process.duplicate() as descriptor:
                await packets.send(self._channel, pack(loaders.Guard()), [descriptor])

    async def launch(self, kuuid: bytes, directory: Path) -> Process:
        """Fork a loader. A fork server that died since the last one is started again."""
        for _ in range(_ATTEMPTS):
            await self.start()
            try:
                async with asyncio.timeout(limits.LAUNCH_SECONDS):
                    return await self._fork(kuuid, directory)
            except KeepLostError:
                await self._await_end_of_server()
                (directory / LOADER_SOCKET).unlink(missing_ok=True)
            except TimeoutError:
                break
        raise HostError(
            "the fork server does not start loaders",
            hint="Try again; the host's log may tell why.",
            code="host.launcher",
        )

    async def _fork(self, kuuid: bytes, directory: Path) -> Process:
        """One attempt. KeepLostError where the fork server is gone."""
        channel = self._channel
        if channel is None:
            raise KeepLostError("there is no fork server", code="peer.gone")
        loop = asyncio.get_running_loop()
        started: asyncio.Future[Process] = loop.create_future()
        listening: asyncio.Future[None] = loop.create_future()
        self._started[kuuid], self._listening[kuuid] = started, listening
        try:
            request = loaders.StartLoader(kuuid=kuuid, directory=str(directory))
            await packets.send(channel, pack(request))
            process = await started
            process.on_end(lambda: _fail(listening, _died()))
            await listening
        except BaseException:
            if started.done() and not started.cancelled() and not started.exception():
                started.result().kill()
            raise
        finally:
            del self._started[kuuid], self._listening[kuuid]
        return process

    async def _await_end_of_server(self) -> None:
        """What it still said is read, and its end is known, before another is started."""
        if self._reader is not None:
            _, pending = await asyncio.wait({self._reader}, timeout=limits.CONTROL_SECONDS)
            for reader in pending:
                reader.cancel()

    async def _read(self, channel: socket.socket) -> None:
        """Hand what comes from the fork server to who waits for it, until it is gone."""
        with contextlib.suppress(EnarxError):
            while True:
                packet, descriptors = await packets.receive(channel, loaders.PACKET)
                match unpack(packet, loaders.FromServer):  # type: ignore[arg-type]
                    case loaders.LoaderStarted(kuuid=kuuid, pid=pid) if descriptors:
                        started = self._started.get(kuuid)
                        process = Process(pid=pid, pidfd=descriptors[0])
                        if started is None or started.done():
                            # Whoever asked for it has given up.
                            process.kill()
                            process.close()
                        else:
                            started.set_result(process)
                    case loaders.LoaderReady(kuuid=kuuid):
                        listening = self._listening.get(kuuid)
                        if listening is not None and not listening.done():
                            listening.set_result(None)
        for started in self._started.values():
            _fail(started, KeepLostError("the fork server is gone", code="peer.gone"))
        for listening in self._listening.values():
            _fail(listening, KeepLostError("the fork server is gone", code="peer.gone"))

    async def end(self, kuuid: bytes, process: Process) -> None:
        """Kill the loader; the Keep sees the end of its control socket."""
        process.kill()

    async def close(self) -> None:
        """End the fork server."""
        if self._reader is not None:
            self._reader.cancel()
        if self._channel is not None:
            self._channel.close()
        if self._server is not None:
            try:
                async with asyncio.timeout(limits.HALT_SECONDS):
                    await self._server.wait()
            except TimeoutError:
                self._server.kill()
                await self._server.wait()


def _fail(waiting: asyncio.Future[Any], error: EnarxError) -> None:
    if not waiting.done():
        waiting.set_exception(error)


def _died() -> HostError:
    return HostError(
        "the keep loader ended before it was ready",
        hint="The host's log tells why.",
        code="host.loader",
    )


async def choose(name: str, *, guard: Path | None) -> Launcher:
    """The launcher of that name; `auto` is systemd where it is the init and answers.

    Args:
        name: auto, systemd or supervised.
        guard: the run directory of a private host, which must not outlive its manager.
    """
    from enarx.host.systemd import SystemdLauncher, unavailable

    if name == "systemd" or (name == "auto" and guard is None):
        reason = unavailable()
        if not reason:
            try:
                return await SystemdLauncher.connect()
            except HostError as error:
                reason = error.message
        if name == "systemd":
            raise HostError(
                f"loaders cannot be systemd units here: {reason}",
                hint="Use --launcher supervised.",
                code="host.launcher",
            )
    launcher = SupervisedLauncher(guard=guard)
    await launcher.start()
    return launcher
