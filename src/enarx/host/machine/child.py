"""Processes that must not outlive the loader, however it ends."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Final

from enarx.errors import HostError

_SET_PDEATHSIG: Final = 1
_PASSED_ON: Final = ("PATH", "HOME", "TMPDIR")
_libc = ctypes.CDLL(None, use_errno=True)


async def start(
    command: Sequence[str],
    *,
    stdin: int = asyncio.subprocess.DEVNULL,
    stdout: int | IO[bytes] = asyncio.subprocess.DEVNULL,
    stderr: int | IO[bytes] = asyncio.subprocess.DEVNULL,
    directory: Path | None = None,
) -> asyncio.subprocess.Process:
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
        return await asyncio.create_subprocess_exec(
            *command,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            cwd=directory,
            env={name: os.environ[name] for name in _PASSED_ON if name in os.environ},
            start_new_session=True,
            preexec_fn=before,
        )
    except OSError as error:
        raise HostError(
            f"cannot start {command[0]}: {error.strerror}",
            hint="`enarx platform info` tells what VM Keeps need.",
            code="host.machine-program",
        ) from None
