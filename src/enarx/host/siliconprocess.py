"""The silicon as a process of this host: started or adopted, watched, started again.

It is started in a session of its own and outlives the manager, because the Keeps it vouches
for do. A manager that comes later finds it at its socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from enarx.errors import HostError, KeepLostError
from enarx.host import limits
from enarx.host.chip import Chip
from enarx.host.process import Process
from enarx.wire.silicon import SiliconStatus

log = logging.getLogger("enarx.host")

COMMAND: tuple[str, ...] = (sys.executable, "-I", "-m", "enarx.silicon")
_READY_BYTES = 4096
"""What a process may write to say that it is ready; one byte is enough."""


class SiliconProcess:
    """The silicon of one host."""

    def __init__(
        self,
        socket: Path,
        state: Path,
        *,
        payload: Path | None,
        command: Sequence[str] = COMMAND,
        met: Callable[[Process], Awaitable[None]],
        lost: Callable[[], None],
    ) -> None:
        """`met` is awaited for each process found or started; `lost` is called at its death."""
        self._socket, self._state, self._payload = socket, state, payload
        self._command = tuple(command)
        self._met, self._lost = met, lost
        self._starting = asyncio.Lock()
        self._started = -limits.SILICON_PAUSE
        self._child: asyncio.subprocess.Process | None = None
        self._closed = False
        self.process: Process | None = None
        self.status: SiliconStatus | None = None
        self.trouble = "not started"

    @property
    def running(self) -> bool:
        """Whether Keeps can be launched now."""
        return self.process is not None and self.status is not None

    async def ensure(self) -> SiliconStatus:
        """Its status; it is adopted or started where it does not run. Raises HostError."""
        async with self._starting:
            if self._closed:
                raise HostError("this host is ending", code="host.ending")
            if self.process is None or self.status is None:
                try:
                    await (self._adopt() if self._socket.exists() else self._start())
                except HostError as error:
                    self.trouble = error.message
                    raise
            assert self.status is not None  # noqa: S101 - both ways set it or raise
            return self.status

    async def find(self) -> bool:
        """Adopt it if it runs; never start it."""
        async with self._starting:
            with contextlib.suppress(HostError, KeepLostError):
                await self._meet()
        return self.running

    async def _adopt(self) -> None:
        """Take over one that answers at the socket; start another where none does."""
        try:
            await self._meet()
        except (HostError, KeepLostError):
            self._socket.unlink(missing_ok=True)
            await self._start()
        else:
            log.info("found the silicon running (process %d)", self._pid())

    async def _start(self) -> None:
        pause = self._started + limits.SILICON_PAUSE - time.monotonic()
        if pause > 0:
            await asyncio.sleep(pause)
        self._started = time.monotonic()
        reading, writing = os.pipe()
        payload = ["--payload", str(self._payload)] if self._payload else []
        try:
            self._child = await asyncio.create_subprocess_exec(
                *self._command, "--socket", str(self._socket), "--state", str(self._state),
                "--ready-fd", str(writing), *payload,
                stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
                pass_fds=[writing], start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            os.close(reading)
            raise HostError(f"cannot start the silicon: {error}", code="host.silicon") from None
        finally:
            os.close(writing)
        if not await _said_ready(reading):
            with contextlib.suppress(ProcessLookupError):
                self._child.kill()
            code = await self._child.wait()
            raise HostError(
                f"the silicon did not start (exit {code})",
                hint="What it said stands above, or in the host's log.",
                code="host.silicon",
            )
        await self._meet()
        log.info("started the silicon (process %d)", self._pid())

    async def _meet(self) -> None:
        with contextlib.closing(Chip.connect(self._socket)) as chip:
            status = await chip.status()
            process = chip.process()
        if not process.alive():
            raise HostError("the silicon ended at once", code="host.silicon")
        self.process, self.status, self.trouble = process, status, ""
        process.on_end(lambda: self._ended(process))
        await self._met(process)

    def _ended(self, process: Process) -> None:
        process.close()
        if self.process is process:
            self.process = self.status = None
            self.trouble = "it died"
            if not self._closed:
                self._lost()

    def _pid(self) -> int:
        return self.process.pid if self.process else 0

    async def close(self) -> None:
        """End it for good."""
        self._closed = True
        async with self._starting:
            process = self.process
            if process is not None:
                with process.duplicate() as descriptor:
                    held = Process(pid=process.pid, pidfd=os.dup(descriptor))
                held.kill(signal.SIGTERM)
                if not await held.wait(limits.HALT_SECONDS):
                    held.kill()
                    await held.wait(limits.HALT_SECONDS)
                held.close()
            if self._child is not None:
                await self._child.wait()
            self._socket.unlink(missing_ok=True)


async def _said_ready(reading: int) -> bool:
    """Whether anything came through the pipe before its end, which may take some time."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    with os.fdopen(reading, "rb", buffering=0) as pipe:
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), pipe
        )
        try:
            async with asyncio.timeout(limits.SILICON_SECONDS):
                return bool(await reader.read(_READY_BYTES))
        except TimeoutError:
            return False
        finally:
            transport.close()
