"""The keep manager: one process for each host.

    python -m enarx.host.manager --run-dir DIR --state-dir DIR [--listen ADDR:PORT] ...

It serves `wire.manager` on DIR/manager.sock, and over TLS where --listen is given. With
--ready-fd it writes one message there when it serves, HostStatus, or Problem when it
cannot, and closes it. With --lifeline-fd the host is a private one: at the end of that
file everything is torn down and the run directory is removed.

SIGTERM and SIGINT end the host with all its Keeps. When it is killed instead, loaders,
Keeps and silicon go on (unless it is private), and the next manager on the same run
directory finds them again.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import ipaddress
import logging
import os
import resource
import shutil
import signal
import socket
import ssl
import sys
from collections.abc import Callable, Sequence

from enarx.errors import EnarxError, HostError
from enarx.host import launcher, require_linux, rundir, siliconprocess
from enarx.host.api import Api
from enarx.host.keeps import Keeps
from enarx.host.notify import notify_systemd
from enarx.host.options import Options, parse_options
from enarx.host.process import Process
from enarx.host.tenants import Tenants, server_context
from enarx.wire import http
from enarx.wire.codec import pack
from enarx.wire.endpoint import Endpoint, parse_listen
from enarx.wire.limits import HTTP_BACKLOG
from enarx.wire.manager import HostStatus
from enarx.wire.problem import from_error

log = logging.getLogger("enarx.host")


class Host:
    """A running host: everything that has to be ended when it ends."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._tenants = Tenants(options.tenants, anybody=options.any_tenant)
        self._run = rundir.prepare_run_dir(options.run_dir)
        self._state = rundir.prepare_state_dir(options.state_dir)
        self._lock = rundir.Lock.take(self._run)
        self._servers: list[http.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._launcher: launcher.Launcher | None = None
        self._keeps: Keeps | None = None
        self._silicon = siliconprocess.SiliconProcess(
            self._run.silicon,
            self._state / "silicon",
            payload=options.payload,
            command=options.silicon_command,
            met=self._silicon_met,
            lost=self._silicon_lost,
        )

    async def start(self) -> HostStatus:
        """Serve. Raises HostError with everything ended again by `stop`."""
        listeners, tls, address = self._listen()
        # The two slow starts side by side: it is what a private host's user waits for.
        (keeps, launched_by), _ = await asyncio.gather(self._find(), self._silicon.ensure())
        api = Api(
            keeps, silicon=self._silicon, tenants=self._tenants, launcher=launched_by,
            address=address, tls=tls,
        )  # fmt: skip
        for listener in listeners:
            context = None if listener.family == socket.AF_UNIX else tls
            self._servers.append(await http.serve(api.handle, listener, tls=context))
        return api.status()

    async def sweep(self) -> None:
        """Find what a killed manager left; `stop` then ends it."""
        await self._silicon.find()
        await self._find()

    async def _find(self) -> tuple[Keeps, str]:
        """The Keeps that run already, and the name of what launches more."""
        private = self._options.lifeline is not None
        self._launcher = await launcher.choose(
            self._options.launcher, guard=self._run.root if private else None
        )
        if self._silicon.process is not None:
            # It was met before there was somebody to guard it.
            await self._silicon_met(self._silicon.process)
        listen = parse_listen(self._options.listen)[0] if self._options.listen else ""
        self._keeps = Keeps(
            self._run, launcher=self._launcher, silicon=self._silicon, listen=listen,
            image=self._options.image, state=self._state,
        )  # fmt: skip
        await self._keeps.adopt()
        return self._keeps, self._launcher.name

    async def stop(self) -> None:
        """End all Keeps, the silicon and the servers, and leave nothing behind."""
        for server in self._servers:
            server.close()
            await server.wait_closed()
        for task in self._tasks:
            task.cancel()
        if self._keeps is not None:
            await self._keeps.end_all()
        await self._silicon.close()
        if self._launcher is not None:
            await self._launcher.close()
        self._remove()

    def _remove(self) -> None:
        for path in (self._run.socket, self._run.silicon, self._run.lock):
            path.unlink(missing_ok=True)
        if self._options.lifeline is not None:
            shutil.rmtree(self._run.root, ignore_errors=True)
        with contextlib.suppress(OSError):
            self._run.keeps.rmdir()
            self._run.root.rmdir()
        self._lock.release()

    def _listen(self) -> tuple[list[socket.socket], ssl.SSLContext | None, str]:
        """The sockets to serve, the TLS context if any, and the address to tell."""
        # We hold the lock: whoever made this socket is dead.
        self._run.socket.unlink(missing_ok=True)
        local = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        local.bind(str(self._run.socket))
        shared = self._options.any_tenant or any("uid:" in t for t in self._options.tenants)
        self._run.socket.chmod(0o666 if shared else 0o600)
        address = f"unix:{self._run.socket}"
        if not self._options.listen:
            return [local], None, address
        host, port = parse_listen(self._options.listen)
        remote = _tcp_listener(host, port)
        context, pin = server_context(self._state / "server.pem", host)
        # A client cannot connect to "everywhere"; it pins the certificate, not the name.
        name = socket.gethostname() if ipaddress.ip_address(host).is_unspecified else host
        address = str(Endpoint(host=name, port=remote.getsockname()[1], pin=pin))
        return [local, remote], context, address

    async def _silicon_met(self, process: Process) -> None:
        if isinstance(self._launcher, launcher.SupervisedLauncher):
            await self._launcher.guard(process)

    def _silicon_lost(self) -> None:
        log.warning("the silicon died: the Keeps it vouched for end; it is started again")
        task = asyncio.create_task(self._restart_silicon())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _restart_silicon(self) -> None:
        try:
            await self._silicon.ensure()
        except EnarxError as error:
            log.warning("the silicon cannot be started again: %s", error.message)


def _tcp_listener(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(HTTP_BACKLOG)
    except OSError as error:
        listener.close()
        raise HostError(
            f"cannot listen on {host}:{port}: {error.strerror}",
            hint="Choose another address or port with --listen; port 0 takes a free one.",
            code="host.listen",
        ) from None
    return listener


async def serve(options: Options, ready: Callable[[HostStatus], None]) -> None:
    """Run a host until a signal or the end of its lifeline. `ready` is called once it serves."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    host = Host(options)
    if options.lifeline is not None:
        _watch_lifeline(options.lifeline, stop)
    try:
        starting = asyncio.create_task(host.start())
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            ready(starting.result())
            notify_systemd()
            await stopping
        else:
            starting.cancel()
            await asyncio.wait({starting})
    finally:
        log.info("ending")
        await host.stop()


async def sweep(options: Options) -> None:
    """End what a killed manager left behind on a run directory."""
    host = Host(options)
    try:
        await host.sweep()
    finally:
        await host.stop()


def _watch_lifeline(descriptor: int, stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    os.set_blocking(descriptor, False)

    def readable() -> None:
        try:
            gone = not os.read(descriptor, 4096)
        except BlockingIOError:
            return
        except OSError:
            gone = True
        if gone:
            loop.remove_reader(descriptor)
            stop.set()

    loop.add_reader(descriptor, readable)


def run(options: Options, ready: Callable[[HostStatus], None]) -> None:
    """Run a host in this process, until it ends."""
    require_linux()
    logging.basicConfig(
        format="%(asctime)s %(name)s: %(message)s", datefmt="%H:%M:%S", level=logging.INFO
    )
    logging.raiseExceptions = False
    # A pidfd for each Keep and a connection or two: the usual soft limit of 1024 is too small.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    asyncio.run(serve(options, ready))


def main(
    arguments: Sequence[str] | None = None,
    *,
    silicon_command: tuple[str, ...] = siliconprocess.COMMAND,
) -> int:
    """The manager as a program. `silicon_command` starts another silicon, for tests."""
    options, descriptor = parse_options(sys.argv[1:] if arguments is None else arguments)

    def tell(message: bytes) -> None:
        if descriptor is not None:
            with contextlib.suppress(OSError), os.fdopen(descriptor, "wb") as pipe:
                pipe.write(message)

    try:
        run(
            dataclasses.replace(options, silicon_command=silicon_command),
            lambda status: tell(pack(status)),
        )
    except EnarxError as error:
        tell(pack(from_error(error)))
        print(f"enarx host: {error}", file=sys.stderr)
        return 125
    return 0


if __name__ == "__main__":
    sys.exit(main())
