"""A silicon that is faithful in its protocol and fake in everything else, for the host's tests.

    python fake_silicon.py --socket PATH --state DIR [--payload DIR] --ready-fd N

It speaks `enarx.wire.silicon` as the real one does. Its Keeps are forked processes that
speak `enarx.wire.loader`, have a certificate that is only some bytes, and do what the first
byte of their socket's first connection says: so that a test can have a Keep in any state at
any moment. How a Keep starts is chosen by the back end's name, which is where a test can
say something that the host passes on unread.

    sim-sgx       a Keep that becomes ready
    sim-dies      a Keep that dies before it is ready
    sim-hangs     a Keep that is never ready
    sim-fails     a Keep that says why it cannot start
    sim-stillborn a Keep that says why it cannot start, and is gone before it is told anything
    sim-babbles   a Keep that sends something that is no message
    sim-fills     a Keep that takes memory without end once it is ready

    r: "I run my workload"   s: "I have shut down", and exits   c: exits without a word
    h: from now on deaf to Halt
"""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import signal
import socket
import sys
from pathlib import Path

from enarx.errors import RefusedError
from enarx.wire import silicon
from enarx.wire.attestation import Manifest, Manifests
from enarx.wire.codec import pack, unpack
from enarx.wire.fields import Endorsement
from enarx.wire.loader import Boot, BootFailed, Progress, Ready, ToKeep
from enarx.wire.manager import State
from enarx.wire.problem import from_error

BACKENDS = (
    "sim-sgx", "sim-dies", "sim-hangs", "sim-fails", "sim-stillborn", "sim-babbles", "sim-fills",
)  # fmt: skip
ENDORSEMENTS = (Endorsement(role="fake", data=b"endorsement" * 100),)
MANIFESTS = Manifests(
    payload=Manifest(component="payload", files=()), runtime=Manifest(component="runtime", files=())
)


def keep(backend: str, control: socket.socket, listener: socket.socket) -> None:
    """Be a Keep, until the control socket ends or somebody says so."""
    signal.set_wakeup_fd(-1)
    os.setsid()
    if backend == "sim-stillborn":
        error = RefusedError("this Keep was never well", code="keep.stillborn")
        control.send(pack(BootFailed(problem=from_error(error))))
        os._exit(1)
    boot = unpack(control.recv(silicon.PACKET), ToKeep)
    assert isinstance(boot, Boot)
    match backend:
        case "sim-dies":
            os._exit(7)
        case "sim-hangs":
            while control.recv(1):
                pass
            os._exit(0)
        case "sim-fails":
            error = RefusedError("this Keep does not want to", code="keep.unwilling")
            control.send(pack(BootFailed(problem=from_error(error))))
        case "sim-babbles":
            control.send(b"\xff\xff\xff")
            control.recv(1)
    control.send(pack(Ready(certificate=b"certificate of " + boot.init_data[:16])))
    hoard = []
    while backend == "sim-fills":
        hoard.append(os.urandom(1 << 20) * 16)
    deaf = False
    while True:
        ready, _, _ = select.select([control, listener], [], [])
        if control in ready:
            packet = control.recv(silicon.PACKET)
            if not packet:
                os._exit(0)
            if not deaf:
                control.send(pack(Progress(state=State.SHUTDOWN, detail="halted")))
                os._exit(0)
        if listener in ready:
            with listener.accept()[0] as connection:
                word = connection.recv(1)
                if word == b"r":
                    control.send(pack(Progress(state=State.RUNNING)))
                elif word == b"s":
                    control.send(pack(Progress(state=State.SHUTDOWN, detail="all done")))
                    os._exit(0)
                elif word == b"c":
                    os._exit(9)
                deaf = deaf or word == b"h"


def answer(connection: socket.socket, root: int) -> bool:
    """Answer one request; False at the end of the connection."""
    packet, descriptors, _, _ = socket.recv_fds(connection, silicon.PACKET, 4)
    if not packet:
        return False
    match unpack(packet, silicon.Request):
        case silicon.SiliconInfo():
            connection.send(
                pack(
                    silicon.SiliconStatus(
                        backends=BACKENDS, payload=bytes(32), runtime=bytes(32), root=bytes(32)
                    )
                )
            )
        case silicon.GetEndorsements():
            connection.send(pack(silicon.EndorsementsReply(endorsements=ENDORSEMENTS)))
        case silicon.GetManifests():
            content = pack(MANIFESTS)
            memfd = os.memfd_create("manifests", os.MFD_ALLOW_SEALING)
            os.write(memfd, content)
            import fcntl

            fcntl.fcntl(memfd, fcntl.F_ADD_SEALS, 0xF)
            reply = pack(silicon.ManifestsReply(size=len(content)))
            socket.send_fds(connection, [reply], [memfd])
            os.close(memfd)
        case silicon.Launch(backend=backend):
            pid = os.fork()
            if pid == 0:
                connection.close()
                # A Keep sees the silicon's death; this one by the signal of its parent's.
                import ctypes

                ctypes.CDLL(None).prctl(1, signal.SIGKILL)
                if os.getppid() != root:
                    os._exit(1)
                control, listener = (socket.socket(fileno=fd) for fd in descriptors)
                with contextlib.suppress(OSError):
                    keep(backend, control, listener)
                os._exit(1)
            pidfd = os.pidfd_open(pid)
            if backend == "sim-stillborn":
                select.select([pidfd], [], [])
            socket.send_fds(connection, [pack(silicon.Launched(pid=pid))], [pidfd])
            os.close(pidfd)
    for descriptor in descriptors:
        os.close(descriptor)
    return True


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--socket", required=True)
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--payload")
    parser.add_argument("--ready-fd", type=int, required=True)
    options = parser.parse_args()
    if options.payload:
        sys.exit("fake silicon: a payload it does not like")
    options.state.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(options.socket)
    listener.listen(128)
    os.write(options.ready_fd, b"1")
    os.close(options.ready_fd)
    connections: list[socket.socket] = []
    while True:
        ready, _, _ = select.select([listener, *connections], [], [])
        for one in ready:
            if one is listener:
                connections.append(listener.accept()[0])
            elif not answer(one, os.getpid()):
                connections.remove(one)
                one.close()


if __name__ == "__main__":
    main()
