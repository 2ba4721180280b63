"""The real silicon as a process of a test, and conversations with it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from enarx.image.manifest import Source
from enarx.image.payload import find_payload
from enarx.wire import cbor, silicon
from enarx.wire.codec import Message, pack, unpack
from enarx.wire.problem import Problem, to_error

T = TypeVar("T")
SECONDS = 60.0
"""Bound of every wait: generous, for busy machines."""
HOST_DATA = b"h" * 32
_COMMAND = (sys.executable, "-I", "-m", "enarx.silicon")
_PUPPET = Path(__file__).with_name("puppet_zygote.py")
_NEEDED = ("enarx/", "msgspec/", "cbor2/", "_cbor2")


@dataclass
class Silicon:
    """A silicon that runs."""

    process: subprocess.Popen[bytes]
    socket: Path
    log: Path

    def connect(self) -> Connection:
        return Connection.open(self.socket)

    def ask(self, request: Message, kind: type[T]) -> T:
        with self.connect() as connection:
            return connection.ask(request, kind)

    def status(self) -> silicon.SiliconStatus:
        return self.ask(silicon.SiliconInfo(), silicon.SiliconStatus)

    def launch(self, **more: Any) -> Keep:
        with self.connect() as connection:
            return connection.launch(**more)

    def zygotes(self) -> list[int]:
        """Process ids of its children."""
        return children(self.process.pid)

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(SECONDS)

    def said(self) -> str:
        return self.log.read_text()


@dataclass
class Connection:
    """One connection to the silicon."""

    sock: socket.socket

    @classmethod
    def open(cls, path: Path) -> Connection:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sock.connect(str(path))
        sock.settimeout(SECONDS)
        return cls(sock)

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def exchange(self, packet: bytes, descriptors: Sequence[int] = ()) -> tuple[bytes, list[int]]:
        socket.send_fds(self.sock, [packet], list(descriptors))
        reply, received, _, _ = socket.recv_fds(self.sock, silicon.PACKET, 4)
        return reply, received

    def ask(self, request: Message, kind: type[T], descriptors: Sequence[int] = ()) -> T:
        """The reply; a problem is raised."""
        reply, received = self.exchange(pack(request), descriptors)
        for descriptor in received:
            os.close(descriptor)
        return read_reply(reply, kind)

    def launch(
        self,
        *,
        backend: str = "sim-sgx",
        kuuid: bytes | None = None,
        host_data: bytes = HOST_DATA,
    ) -> Keep:
        """Launch a puppet Keep."""
        kuuid = kuuid or secrets.token_bytes(16)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(SECONDS)
        request = silicon.Launch(backend=backend, kuuid=kuuid, host_data=host_data)
        with theirs, socket.create_server(("127.0.0.1", 0)) as listener:
            reply, received = self.exchange(pack(request), [theirs.fileno(), listener.fileno()])
        try:
            launched = read_reply(reply, silicon.Launched)
        except Exception:
            ours.close()
            raise
        (pidfd,) = received
        return Keep(control=ours, pidfd=pidfd, pid=launched.pid, kuuid=kuuid)


@dataclass
class Keep:
    """A puppet Keep: it passes packets between a test and its report channel."""

    control: socket.socket
    pidfd: int
    pid: int
    kuuid: bytes
    _record: list[silicon.LaunchRecord] = field(default_factory=list)

    @property
    def record(self) -> silicon.LaunchRecord:
        """The first packet that came to it."""
        if not self._record:
            self._record.append(unpack(self.control.recv(silicon.PACKET), silicon.LaunchRecord))
        return self._record[0]

    def say(self, packet: bytes) -> bytes:
        """Send a packet on its report channel; the answer."""
        assert self.record
        self.control.send(packet)
        return self.control.recv(silicon.PACKET)

    def report(self, report_data: bytes = bytes(64)) -> silicon.ReportReply:
        request = pack(silicon.GetReport(report_data=report_data))
        return read_reply(self.say(request), silicon.ReportReply)

    def eval(self, expression: str) -> Any:
        """Evaluate Python inside the Keep."""
        import ast

        return ast.literal_eval(self.say(b"\0" + expression.encode()).decode())

    def ended(self) -> bool:
        """Wait until it ended."""
        return bool(select.select([self.pidfd], [], [], SECONDS)[0])

    def close(self) -> None:
        self.control.close()
        assert self.ended()
        os.close(self.pidfd)


def read_reply(packet: bytes, kind: type[T]) -> T:
    content = cbor.decode(packet, limit=silicon.PACKET)
    if "title" in content:
        raise to_error(unpack(packet, Problem))
    return unpack(packet, kind, limit=silicon.PACKET)


def puppet_payload(directory: Path) -> Path:
    """A payload that holds the puppet zygote and what that needs, and nothing else."""
    sources = [source for source in find_payload() if source.path.startswith(_NEEDED)]
    copy_payload(sources, directory)
    zygote = directory / "enarx" / "keep" / "zygote.py"
    zygote.unlink(missing_ok=True)
    shutil.copyfile(_PUPPET, zygote)
    return directory


def copy_payload(sources: Sequence[Source], directory: Path) -> None:
    for source in sources:
        target = directory / source.path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source.origin, target)


@contextlib.contextmanager
def running(
    directory: Path,
    *arguments: str,
    confine: Callable[[], None] | None = None,
) -> Iterator[Silicon]:
    """A silicon that is ready; it is ended with this context, however it ends."""
    path, log = directory / "silicon.sock", directory / "silicon.log"
    directory.mkdir(exist_ok=True)
    parent = os.getpid()
    reading, writing = os.pipe()
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*_COMMAND, "--socket", str(path), "--ready-fd", str(writing), *arguments],
            stdin=subprocess.DEVNULL,
            stderr=output,
            pass_fds=[writing],
            preexec_fn=lambda: _in_child(parent, confine),
        )
    os.close(writing)
    try:
        with open(reading, "rb") as ready:
            assert select.select([ready], [], [], SECONDS)[0], "the silicon says nothing"
            line = ready.readline()
        assert line == b"ready\n", log.read_text()
        yield Silicon(process=process, socket=path, log=log)
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(SECONDS)


def _in_child(parent: int, confine: Callable[[], None] | None) -> None:
    """A test run that is killed leaves no silicon behind."""
    if confine is not None:
        confine()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def refuses_to_start(directory: Path, *arguments: str) -> tuple[int, str]:
    """Exit code and standard error of a silicon that cannot start."""
    path = directory / "silicon.sock"
    done = subprocess.run(
        [*_COMMAND, "--socket", str(path), *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=SECONDS,
        check=False,
    )
    return done.returncode, done.stderr.decode()


def children(pid: int) -> list[int]:
    """Process ids of a process's children."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError, IndexError):
            parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
            if entry.name.isdecimal() and int(parent) == pid:
                found.append(int(entry.name))
    return found


_CLONE_NEWUSER = 0x10000000
_PR_SET_PDEATHSIG = 1
_PR_CAPBSET_DROP, _CAP_SYS_ADMIN = 24, 21


def without_mounts() -> None:
    """Root that may not mount: user namespaces are left."""
    assert ctypes.CDLL(None).prctl(_PR_CAPBSET_DROP, _CAP_SYS_ADMIN, 0, 0, 0) == 0


def without_namespaces() -> None:
    """Neither mounts nor user namespaces can be had."""
    uid, gid = os.geteuid(), os.getegid()
    assert ctypes.CDLL(None).unshare(_CLONE_NEWUSER) == 0
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
    Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
    Path("/proc/sys/user/max_user_namespaces").write_text("0")
    without_mounts()
