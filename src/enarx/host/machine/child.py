"""Processes that must not outlive the loader, however it ends."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
from collections.abc import Sequence
from typing import IO, Final

from enarx.errors import HostError
from enarx.host.process import Process

_SET_PDEATHSIG: Final = 1
_PASSED_ON: Final = ("PATH", "HOME", "TMPDIR")
_libc = ctypes.CDLL(None, use_errno=True)


class Child:
    """A process that was started; it is killed by its pidfd, which means no other one ever."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.handle = Process.open(process.pid)

    @property
    def status(self) -> int | None:
        """Its exit code, or minus the signal that ended it; None while it runs."""
        return self._process.returncode

    def kill(self) -> None:
        """End it at once; nothing happens where it has ended."""
        self.handle.kill()

    async def wait(self) -> None:
        """Until it has ended."""
        await self._process.wait()

    async def communicate(self, given: bytes = b"") -> tuple[bytes, bytes]:
        """Give it input; its output and errors, once it has ended."""
        out, error = await self._process.communicate(given or None)
        return out or b"", error or b""


async def start(
    command: Sequence[str],
    *,
    stdin: int = asyncio.subprocess.DEVNULL,
    stdout: int | IO[bytes] = asyncio.subprocess.DEVNULL,
    stderr: int | IO[bytes] = asyncio.subprocess.DEVNULL,
) -> Child:
    """Start a program in a session of its own; the kernel kills it when this thread ends.

    Raises:
        HostError: it cannot be started (`host.machine-program`).
    """
    parent = os.getpid()

    def before() -> None:
        _libc.prctl(_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(127)  # the loader died in between

    try:
        return Child(
            await asyncio.create_subprocess_exec(
                *command,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                env={name: os.environ[name] for name in _PASSED_ON if name in os.environ},
                start_new_session=True,
                preexec_fn=before,
            )
        )
    except OSError as error:
        raise HostError(
            f"cannot start {command[0]}: {error.strerror}",
            hint="`enarx platform info` tells what VM Keeps need.",
            code="host.machine-program",
        ) from None
