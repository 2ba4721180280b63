"""A host of one's own for one command: started as a child, ended with it, nothing left behind.

The keep manager runs in a fresh 0700 temporary directory and holds one end of a lifeline:
when this process ends, however it ends, the other end closes and the host takes its Keeps,
its silicon, its sockets and its directory away.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from enarx.client.bounds import DEFAULT, Timeouts
from enarx.client.image import default_image
from enarx.client.localhost import SOCKET_NAME
from enarx.errors import HostError, ProtocolError, UsageError
from enarx.wire import limits
from enarx.wire.codec import unpack
from enarx.wire.endpoint import Endpoint
from enarx.wire.manager import HostStatus
from enarx.wire.problem import Problem, to_error

_PASSED_ON: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "XDG_RUNTIME_DIR")
"""Environment of the host: not the user's, which may hold secrets."""
_POLL_SECONDS: Final = 0.01
_LOG: Final = "manager.log"
_LONGEST_RUN_DIR: Final = 52
"""Bytes that leave room for a Keep's socket in a Unix address (107 bytes)."""
_LOG_TAIL: Final = 2000
"""Characters of the host's log that an error shows."""


@contextlib.asynccontextmanager
async def private_host(
    *,
    timeouts: Timeouts = DEFAULT,
    payload: Path | None = None,
    listen: str = "",
    image: Path | None = None,
) -> AsyncIterator[Endpoint]:
    """Start a host and end it with this context.

    Args:
        timeouts: how long it may take to be ready, and to end.
        payload: directory of another payload to launch, for tests of what is refused.
        image: directory of the image of Keeps that are machines; the user's own when None.
        listen: `ADDR:PORT` to listen on with TLS as well; the endpoint is that one then.

    Raises:
        UsageError: this is not Linux on x86-64.
        HostError: it did not start; the error has the end of its log.
    """
    _require_linux()
    directory = _make_directory()
    ours, theirs = socket.socketpair()
    readable, writable = os.pipe()
    process: subprocess.Popen[bytes] | None = None
    more = ["--payload", str(payload)] if payload is not None else []
    image = image or default_image()
    more += ["--image", str(image)] if image is not None else []
    more += ["--listen", listen, "--any-tenant"] if listen else []
    try:
        try:
            with theirs, (directory / _LOG).open("xb") as log:
                process = _start(directory, theirs.fileno(), writable, log.fileno(), more)
        finally:
            os.close(writable)
        status = await _ready(readable, directory, timeouts.host)
        yield (
            Endpoint.parse(status.address)
            if listen
            else Endpoint(path=str(directory / SOCKET_NAME))
        )
    finally:
        ours.close()
        if process is not None:
            await asyncio.shield(_end(process, timeouts.host))
        shutil.rmtree(directory, ignore_errors=True)


def _require_linux() -> None:
    machine = os.uname().machine if hasattr(os, "uname") else ""
    if not sys.platform.startswith("linux") or machine != "x86_64":
        raise UsageError(
            "a host, which makes Keeps, needs Linux on x86-64",
            hint="name a host with --host; client and verifier run here",
            code="usage.platform",
        )


def _make_directory() -> Path:
    for parent in (None, "/tmp"):  # noqa: S108 - mkdtemp makes a private directory there
        try:
            directory = Path(tempfile.mkdtemp(prefix="enarx-", dir=parent))
        except OSError as error:
            raise HostError(
                f"cannot make a temporary directory: {error.strerror}",
                hint="set TMPDIR to a directory you may write to, on a disk with space",
                code="host.directory",
            ) from None
        if len(os.fsencode(directory)) <= _LONGEST_RUN_DIR:
            return directory
        directory.rmdir()
    raise HostError("no temporary directory with a path short enough for sockets")


def _start(
    directory: Path, lifeline: int, ready: int, log: int, more: list[str]
) -> subprocess.Popen[bytes]:
    command = [
        sys.executable, "-P", "-m", "enarx.host.manager",
        "--run-dir", str(directory), "--state-dir", str(directory / "state"),
        "--lifeline-fd", str(lifeline), "--ready-fd", str(ready), "--launcher", "supervised",
    ]  # fmt: skip
    try:
        # A session of its own: Ctrl-C is for this process, which then ends the host in order.
        return subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [*command, *more],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(lifeline, ready),
            env={name: os.environ[name] for name in _PASSED_ON if name in os.environ},
            start_new_session=True,
        )
    except OSError as error:
        raise HostError(f"cannot start a host: {error.strerror}", code="host.start") from None


async def _ready(readable: int, directory: Path, timeout: float) -> HostStatus:
    """Wait until the manager says that it serves, or why it does not."""
    reader = asyncio.StreamReader(limit=limits.MESSAGE)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(readable, "rb")
    )
    try:
        async with asyncio.timeout(timeout):
            message = await reader.read(limits.MESSAGE)
            while piece := await reader.read(limits.MESSAGE - len(message)):
                message += piece
    except TimeoutError:
        raise _not_started(directory, f"it was not ready within {timeout:g} s") from None
    finally:
        transport.close()
    if not message:
        raise _not_started(directory, "it ended before it was ready")
    try:
        return unpack(message, HostStatus)
    except ProtocolError:
        error = to_error(unpack(message, Problem))
        raise HostError(
            error.message + _log_tail(directory), hint=error.hint, code=error.code
        ) from None


def _not_started(directory: Path, what: str) -> HostError:
    return HostError(
        f"a private host could not be started: {what}{_log_tail(directory)}",
        hint="`enarx platform info` says what this machine lacks",
        code="host.start",
    )


def _log_tail(directory: Path) -> str:
    """The end of what the host wrote, on lines of its own; empty where it wrote nothing."""
    with contextlib.suppress(OSError):
        text = (directory / _LOG).read_text(errors="replace").strip()
        return f"\n{text[-_LOG_TAIL:]}" if text else ""
    return ""


async def _end(process: subprocess.Popen[bytes], timeout: float) -> None:
    """Wait for the host to end by the lifeline; kill it where it does not."""
    try:
        async with asyncio.timeout(timeout):
            while process.poll() is None:
                await asyncio.sleep(_POLL_SECONDS)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
