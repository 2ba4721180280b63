"""A zygote whose Keeps do what a test tells them: it takes the real one's place in a payload.

Packets that a test sends on the control socket are passed on to the report channel as they
are, and answers come back the same way. A packet that begins with a zero byte is Python to
evaluate in the Keep, and the repr of its value is the answer.
"""

from __future__ import annotations

import os
import select
import socket

from enarx.wire import zygote
from enarx.wire.codec import pack, unpack


def main() -> None:
    silicon = socket.socket(fileno=zygote.DESCRIPTOR)
    silicon.send(pack(zygote.ZygoteReady()))
    keeps: dict[int, tuple[int, bytes]] = {}
    while True:
        for descriptor in select.select([silicon, *keeps], [], [])[0]:
            if descriptor is silicon:
                packet, descriptors, _, _ = socket.recv_fds(silicon, zygote.PACKET, 3)
                if not packet:
                    return
                pid, fork = _fork(unpack(packet, zygote.Fork), descriptors)
                pidfd = os.pidfd_open(pid)
                keeps[pidfd] = (pid, fork.kuuid)
                forked = pack(zygote.Forked(kuuid=fork.kuuid, pid=pid))
                socket.send_fds(silicon, [forked], [pidfd])
            else:
                pid, kuuid = keeps.pop(descriptor)
                status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                os.close(descriptor)
                silicon.send(pack(zygote.Ended(kuuid=kuuid, status=status)))


def _fork(fork: zygote.Fork, descriptors: list[int]) -> tuple[int, zygote.Fork]:
    pid = os.fork()
    if pid == 0:
        try:
            _serve(*(socket.socket(fileno=descriptor) for descriptor in descriptors))
        finally:
            os._exit(0)
    for descriptor in descriptors:
        os.close(descriptor)
    return pid, fork


def _serve(report: socket.socket, control: socket.socket, listener: socket.socket) -> None:
    os.close(zygote.DESCRIPTOR)
    for _, other in ((report, control), (control, report)):
        other.setblocking(True)
    while True:
        for source in select.select([report, control], [], [])[0]:
            packet = source.recv(1 << 17)
            if not packet:
                return
            if source is report:
                control.send(packet)
            elif packet[0]:
                report.send(packet)
            else:
                control.send(repr(eval(packet[1:])).encode())
