"""What `enarx host` does: start a manager in the background, ask it, end it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

from enarx.errors import HostError, ProtocolError
from enarx.host import limits, require_linux, rundir
from enarx.host.manager import sweep
from enarx.host.options import Options
from enarx.host.process import Process
from enarx.wire import problem
from enarx.wire.codec import unpack
from enarx.wire.endpoint import Endpoint
from enarx.wire.http_client import Connection
from enarx.wire.limits import MESSAGE
from enarx.wire.manager import HostStatus

_LOG = "host.log"


def start(
    options: Options, *, program: tuple[str, ...] = ("-m", "enarx.host.manager")
) -> HostStatus:
    """Start a manager that outlives this process; its status once it serves.

    It says what it does in STATE/host.log. Errors are the manager's own, or HostError.
    """
    require_linux()
    # Here rather than there: the log must have its place.
    state = rundir.prepare_state_dir(options.state_dir)
    reading, writing = os.pipe()
    command = [sys.executable, "-I", "-m", "enarx.host.manager", *_arguments(options, writing)]
    with os.fdopen(reading, "rb") as ready:
        try:
            with (state / _LOG).open("wb") as log:
                process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                    command,
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                    pass_fds=[writing], start_new_session=True, cwd="/",
                )  # fmt: skip
        except OSError as error:
            raise HostError(f"cannot start the host: {error}", code="host.start") from None
        finally:
            os.close(writing)
        told = ready.read(MESSAGE)
    if not told:
        raise HostError(
            f"the host ended while it started (exit {process.wait()})",
            hint=f"{state / _LOG} tells why.",
            code="host.start",
        )
    try:
        return unpack(told, HostStatus)
    except ProtocolError:
        raise problem.to_error(unpack(told, problem.Problem)) from None


def _arguments(options: Options, ready: int) -> list[str]:
    """The manager's command line (`options.parse_options`)."""
    arguments = [
        "--run-dir", str(options.run_dir.absolute()),
        "--state-dir", str(options.state_dir.absolute()),
        "--launcher", options.launcher, "--ready-fd", str(ready),
    ]  # fmt: skip
    if options.listen:
        arguments += ["--listen", options.listen]
    if options.payload is not None:
        arguments += ["--payload", str(options.payload.absolute())]
    if options.image is not None:
        arguments += ["--image", str(options.image.absolute())]
    if options.any_tenant:
        arguments.append("--any-tenant")
    for tenant in options.tenants:
        arguments += ["--tenant", tenant]
    return arguments


def status(run_dir: Path) -> HostStatus:
    """What the host of this run directory says of itself. HostError where none runs."""
    require_linux()
    run = rundir.RunDir(root=run_dir.absolute())
    if rundir.holder(run) is None:
        raise HostError(
            f"no host runs on {run.root}",
            hint="`enarx host up` starts one. `enarx run` needs none: it has its own.",
            code="host.down",
        )

    async def ask() -> HostStatus:
        connection = await Connection.open(
            Endpoint(path=str(run.socket)), timeout=limits.CONTROL_SECONDS
        )
        try:
            return await connection.call(
                "GET", "/v1/host", None, HostStatus, timeout=limits.CONTROL_SECONDS
            )
        finally:
            await connection.close()

    return asyncio.run(ask())


def down(run_dir: Path) -> bool:
    """End the host with all its Keeps, and what an earlier one left; False where none ran.

    Raises HostError where it belongs to another user.
    """
    require_linux()
    run = rundir.RunDir(root=run_dir.absolute())
    pid = rundir.holder(run)
    if pid is not None:
        asyncio.run(_end(pid))
    if not run.root.exists():
        return pid is not None
    # A manager that was killed, now or before, left loaders, Keeps and silicon running.
    leftovers = run.silicon.exists() or (run.keeps.is_dir() and any(run.keeps.iterdir()))
    asyncio.run(sweep(Options(run_dir=run.root, state_dir=run.root, launcher="supervised")))
    return pid is not None or leftovers


async def _end(pid: int) -> None:
    try:
        process = Process.open(pid)
    except ProcessLookupError:
        return
    with contextlib.closing(process):
        try:
            os.kill(pid, 0)
        except PermissionError:
            raise HostError(
                f"the host (process {pid}) belongs to another user",
                hint="Run `enarx host down` as that user.",
                code="host.permission",
            ) from None
        except ProcessLookupError:
            return
        process.kill(signal.SIGTERM)
        if not await process.wait(limits.STOP_SECONDS):
            process.kill()
            await process.wait(limits.HALT_SECONDS)
