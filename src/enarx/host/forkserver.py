"""Forks keep loaders in milliseconds, because it has imported what they need.

    python -m enarx.host.forkserver --channel FD [--guard RUN_DIR]

One process with one thread and no event loop, so that a fork of it is clean. It ends when
the manager does; its loaders go on, as the Keeps they look after do. With --guard the host
is a private one: then nothing may go on, and the fork server ends loaders and silicon and
removes the run directory when the manager died without having done so.
"""

from __future__ import annotations

import argparse
import concurrent.futures.thread  # noqa: F401 - what loaders import at first use
import contextlib
import gc
import logging
import os
import select
import shutil
import signal
import socket
import sys
import time
from pathlib import Path

from enarx.errors import EnarxError
from enarx.host import limits, loader, loaders
from enarx.wire.codec import pack, unpack


class ForkServer:
    """The fork server's state: its children, and whom it guards."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._wakeup, self._alarm = socket.socketpair()
        self._wakeup.setblocking(False)
        self._alarm.setblocking(False)
        self._children: set[int] = set()
        self._guarded: list[int] = []

    def serve(self) -> None:
        """Fork on request until the manager is gone."""
        signal.set_wakeup_fd(self._alarm.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        # What is imported stays shared with the children: the collector must not touch it.
        gc.collect()
        gc.freeze()
        self._channel.send(pack(loaders.ServerReady()))
        poll = select.poll()
        poll.register(self._channel, select.POLLIN)
        poll.register(self._wakeup, select.POLLIN)
        while True:
            ready = {descriptor for descriptor, _ in poll.poll()}
            if self._wakeup.fileno() in ready:
                self._reap()
            if self._channel.fileno() in ready and not self._answer():
                return

    def _answer(self) -> bool:
        packet, descriptors, _, _ = socket.recv_fds(self._channel, loaders.PACKET, 1)
        if not packet:
            return False
        match unpack(packet, loaders.ToServer):  # type: ignore[arg-type]
            case loaders.StartLoader(kuuid=kuuid, directory=directory):
                self._start(kuuid, Path(directory))
            case loaders.Guard():
                self._guarded += descriptors
        return True

    def _start(self, kuuid: bytes, directory: Path) -> None:
        pid = os.fork()
        if pid == 0:
            _become_loader(self._channel, kuuid, directory)
        self._children.add(pid)
        # Not reaped before this: the pid still means this child.
        pidfd = os.pidfd_open(pid)
        with contextlib.suppress(OSError):
            socket.send_fds(
                self._channel, [pack(loaders.LoaderStarted(kuuid=kuuid, pid=pid))], [pidfd]
            )
        os.close(pidfd)

    def _reap(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._wakeup.recv(256):
                pass
        with contextlib.suppress(ChildProcessError):
            while (pid := os.waitpid(-1, os.WNOHANG)[0]) != 0:
                self._children.discard(pid)

    def end_all(self, run_dir: Path) -> None:
        """The manager of a private host died: nothing of it stays."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            for pid in self._children:
                os.kill(pid, number)
            deadline = time.monotonic() + limits.HALT_SECONDS
            while self._children and time.monotonic() < deadline:
                self._reap()
                time.sleep(0.01)
        for pidfd in self._guarded:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        shutil.rmtree(run_dir, ignore_errors=True)


def _become_loader(channel: socket.socket, kuuid: bytes, directory: Path) -> None:
    """In the child: never returns."""
    code = 125
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()

        def ready() -> None:
            with channel, contextlib.suppress(OSError):
                channel.send(pack(loaders.LoaderReady(kuuid=kuuid)))

        code = loader.run(directory, unit=False, ready=ready)
    finally:
        logging.shutdown()
        os._exit(code)


def main() -> int:
    """The fork server as a program."""
    parser = argparse.ArgumentParser(prog="python -m enarx.host.forkserver")
    parser.add_argument("--channel", type=int, required=True)
    parser.add_argument("--guard", type=Path)
    options = parser.parse_args()
    logging.basicConfig(format="%(name)s: %(message)s", level=logging.INFO)
    # A loader that outlives the terminal of its manager has nobody to write to.
    logging.raiseExceptions = False
    server = ForkServer(socket.socket(fileno=options.channel))
    try:
        server.serve()
    except (EnarxError, OSError) as error:
        print(f"enarx fork server: {error}", file=sys.stderr)
        return 125
    finally:
        if options.guard is not None:
            server.end_all(options.guard)
    return 0


if __name__ == "__main__":
    sys.exit(main())
