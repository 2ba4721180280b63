"""The zygote: everything a Keep needs is imported once, and each Keep is a fork of it.

The silicon starts it out of the measured tree, with one end of a socket pair as descriptor
3, and talks to it as `wire.zygote` says. It has one thread and makes no engine, since both
do not survive a fork. When the silicon is gone, so is the zygote; the Keeps notice it by
themselves, each at its report channel.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import socket

from enarx.errors import EnarxError, HostError
from enarx.keep import apploader, sandbox
from enarx.keep.sandbox import Levels, libc
from enarx.wire import problem
from enarx.wire.codec import Message, pack, unpack
from enarx.wire.zygote import DESCRIPTOR, PACKET, Ended, Fork, Forked, ForkFailed, ZygoteReady

_SET_CHILD_SUBREAPER = 36
KEEP_DESCRIPTORS = 3
"""Report channel, control socket, listener."""


def main() -> None:
    """Serve forks until the silicon is gone. Raises HostError on another platform."""
    libc.require_platform()
    libc.prctl(_SET_CHILD_SUBREAPER, 1)
    apploader.import_all()
    apploader.warm_up(sandbox.prepare())
    # What is here now is shared by all Keeps; the collector must not touch it, which would
    # copy it page by page into each.
    gc.collect()
    gc.freeze()
    with socket.socket(fileno=DESCRIPTOR) as silicon:
        _Zygote(silicon).serve()


class _Zygote:
    def __init__(self, silicon: socket.socket) -> None:
        self._silicon = silicon
        self._keeps: dict[int, tuple[bytes, int]] = {}
        """By process id: kuuid and pidfd."""
        self._poll = select.poll()

    def serve(self) -> None:
        self._poll.register(self._silicon, select.POLLIN)
        self._say(ZygoteReady())
        while True:
            ready = {descriptor for descriptor, _ in self._poll.poll()}
            if ready - {self._silicon.fileno()}:
                self._reap()
            if self._silicon.fileno() in ready and not self._answer():
                return

    def _answer(self) -> bool:
        """One packet of the silicon's; False when it is gone."""
        try:
            packet, descriptors, _, _ = socket.recv_fds(self._silicon, PACKET, KEEP_DESCRIPTORS)
        except ConnectionResetError:
            return False
        if not packet:
            return False
        request = unpack(packet, Fork, limit=PACKET)
        told: Forked | ForkFailed
        try:
            told = self._fork(request, descriptors)
        except EnarxError as error:
            told = ForkFailed(kuuid=request.kuuid, problem=problem.from_error(error))
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        if isinstance(told, Forked):
            pidfd = os.pidfd_open(told.pid)
            self._keeps[told.pid] = (request.kuuid, pidfd)
            self._poll.register(pidfd, select.POLLIN)
            self._say(told, pidfd)
        else:
            self._say(told)
        return True

    def _fork(self, request: Fork, descriptors: list[int]) -> Forked:
        """Make the Keep; in the Keep this never returns."""
        if len(descriptors) != KEEP_DESCRIPTORS:
            raise HostError(
                f"a fork needs {KEEP_DESCRIPTORS} descriptors, {len(descriptors)} came",
                code="keep.fork",
            )
        levels = Levels()
        try:
            keep = sandbox.fork(levels)
        except OSError as error:
            raise HostError(f"cannot fork: {error.strerror}", code="keep.fork") from error
        if keep:
            return Forked(kuuid=request.kuuid, pid=keep)
        status = os.EX_SOFTWARE
        try:
            os.setsid()
            status = apploader.main(request, descriptors, levels)
        finally:
            os._exit(status)

    def _reap(self) -> None:
        """Reap every child that has ended, and say so of those that were Keeps.

        The others are workloads that, without a process namespace, outlived their Keep.
        """
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG)) != (0, 0):
                pid, status = ended
                if pid in self._keeps:
                    kuuid, pidfd = self._keeps.pop(pid)
                    self._poll.unregister(pidfd)
                    os.close(pidfd)
                    self._say(Ended(kuuid=kuuid, status=os.waitstatus_to_exitcode(status)))

    def _say(self, message: Message, *descriptors: int) -> None:
        # A silicon that went away is noticed by the next read.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            socket.send_fds(self._silicon, [pack(message)], descriptors)
