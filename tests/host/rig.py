"""A real host for tests: the keep manager as a process, with the fake or the real silicon."""

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
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from enarx.errors import EnarxError
from enarx.host.cgroup import place_nobody
from enarx.host.order import LOADER_SOCKET
from enarx.host.process import Process, peer
from enarx.wire import problem
from enarx.wire.attestation import AttestRequest, AttestResponse
from enarx.wire.codec import Message, unpack
from enarx.wire.endpoint import Endpoint
from enarx.wire.fields import Limits
from enarx.wire.http_client import Connection
from enarx.wire.limits import ATTESTATION
from enarx.wire.manager import CreateKeep, HostStatus, KeepStatus

T = TypeVar("T")

NO_GROUPS = "; ".join(place_nobody()[1])
"""Why there are no control groups here; empty where there are."""
needs_groups = pytest.mark.skipif(bool(NO_GROUPS), reason=f"no control groups: {NO_GROUPS}")

NOTICED = 1.0
"""Seconds in which the death of anything must be noticed."""
PATIENCE = 30.0
"""Seconds for anything that has no bound of its own: the machine may be busy."""
_MARK = "ENARX_TEST_HOST"

REAL = (sys.executable, "-m", "enarx.host.manager")
FAKE = (sys.executable, str(Path(__file__).with_name("fake_host.py")))


class RunningHost:
    """A host that runs; `close` ends it, whatever a test did to it."""

    def __init__(
        self,
        *arguments: str,
        program: tuple[str, ...] = FAKE,
        private: bool = False,
        directory: Path | None = None,
        wait: bool = True,
    ) -> None:
        # Short: the paths of sockets have a bound.
        self.directory = directory or Path(tempfile.mkdtemp(prefix="ehost", dir="/tmp"))
        self.directory.mkdir(exist_ok=True)
        self.run, self.state = self.directory / "run", self.directory / "state"
        self._mark = uuid.uuid4().hex
        self._program, self._arguments, self._private = program, arguments, private
        self._lifeline: int | None = None
        self.told = b""
        self.start(wait=wait)

    def start(self, *, wait: bool = True) -> None:
        """Start the manager (again, on the same directories)."""
        reading, writing = os.pipe()
        passed = [writing]
        command = [
            *self._program, "--run-dir", str(self.run), "--state-dir", str(self.state),
            "--ready-fd", str(writing), *self._arguments,
        ]  # fmt: skip
        if self._private:
            far, self._lifeline = os.pipe()
            os.set_inheritable(self._lifeline, False)
            passed.append(far)
            command += ["--lifeline-fd", str(far)]
        with (self.directory / "log").open("ab") as log:
            self.manager = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=passed,
                env=os.environ | {_MARK: self._mark}, start_new_session=True,
            )  # fmt: skip
        for descriptor in passed:
            os.close(descriptor)
        with os.fdopen(reading, "rb") as pipe:
            if wait:
                # One write; the end of file may not come, as with nsenter in between.
                self.told = os.read(pipe.fileno(), 1 << 16)

    @property
    def status(self) -> HostStatus:
        """What the manager said when it was ready; raises what it refused with."""
        try:
            return unpack(self.told, HostStatus)
        except EnarxError:
            raise problem.to_error(unpack(self.told, problem.Problem)) from None

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text()

    def cut_lifeline(self) -> None:
        assert self._lifeline is not None
        os.close(self._lifeline)
        self._lifeline = None

    # -- asking

    def call(
        self, method: str, path: str, message: Message | None, kind: type[T], limit: int = 1 << 18
    ) -> T:
        return asyncio.run(self.acall(method, path, message, kind, limit))

    async def acall(
        self, method: str, path: str, message: Message | None, kind: type[T], limit: int = 1 << 18
    ) -> T:
        connection = await Connection.open(
            Endpoint(path=str(self.run / "manager.sock")), timeout=PATIENCE
        )
        try:
            return await connection.call(
                method, path, message, kind, limit=limit, timeout=PATIENCE * 3
            )
        finally:
            await connection.close()

    def create(self, backend: str = "sim-sgx", **changes: object) -> Keep:
        return asyncio.run(self.acreate(backend, **changes))

    async def acreate(self, backend: str = "sim-sgx", **changes: object) -> Keep:
        nonce = os.urandom(32)
        values = {"limits": Limits(), "owner": b"owner's certificate"} | changes
        request = CreateKeep(backend=backend, nonce=nonce, **values)  # type: ignore[arg-type]
        return Keep(self, nonce, await self.acall("POST", "/v1/keeps", request, KeepStatus))

    def ready(self, backend: str = "sim-sgx", **changes: object) -> Keep:
        keep = self.create(backend, **changes)
        keep.attest()
        return keep

    # -- processes

    def silicon(self) -> Process:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with sock:
            sock.connect(str(self.run / "silicon.sock"))
            return Process.listening_on(sock)

    def signal(self, number: signal.Signals) -> None:
        """Send the manager a signal: it, and not what it was started through."""
        try:
            os.kill(listener_of(self.run / "manager.sock"), number)
        except OSError:
            self.manager.send_signal(number)

    def fork_server(self) -> int:
        """The manager's child that forks loaders."""
        for pid in children(self.manager.pid):
            if b"enarx.host.forkserver" in cmdline(pid):
                return pid
        raise AssertionError("no fork server")

    def processes(self) -> set[int]:
        """All that stem from this host: marked in their environment, or children of such."""
        found = {int(e) for e in os.listdir("/proc") if e.isdigit() and self._marked(int(e))}
        while more := {c for pid in found for c in children(pid)} - found:
            found |= more
        return found

    def _marked(self, pid: int) -> bool:
        with contextlib.suppress(OSError):
            return self._mark.encode() in Path(f"/proc/{pid}/environ").read_bytes()
        return False

    def close(self) -> None:
        if self._lifeline is not None:
            self.cut_lifeline()
        self.signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.manager.wait(PATIENCE)
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.directory, ignore_errors=True)


class Keep:
    """One Keep, as its owner sees it through the manager."""

    def __init__(self, host: RunningHost, nonce: bytes, created: KeepStatus) -> None:
        self.host, self.nonce, self.created = host, nonce, created
        self.kuuid = uuid.UUID(bytes=created.kuuid)
        self.path = f"/v1/keeps/{self.kuuid}"
        self.directory = host.run / "keeps" / str(self.kuuid)

    def attest(self, nonce: bytes | None = None) -> AttestResponse:
        return asyncio.run(self.aattest(nonce))

    async def aattest(self, nonce: bytes | None = None) -> AttestResponse:
        request = AttestRequest(nonce=nonce or self.nonce)
        return await self.host.acall(
            "POST", f"{self.path}/attest", request, AttestResponse, ATTESTATION
        )

    def status(self) -> KeepStatus:
        return self.host.call("GET", self.path, None, KeepStatus)

    def end(self) -> KeepStatus:
        return self.host.call("DELETE", self.path, None, KeepStatus)

    def say(self, word: bytes) -> None:
        """Tell the fake Keep what to do (see `fake_silicon`)."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(self.status().address.removeprefix("unix:"))
            sock.sendall(word)

    def loader(self) -> Process:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(self.directory / LOADER_SOCKET))
            return Process.listening_on(sock)

    def groups(self) -> list[Path]:
        """The Keep's control groups, as this machine's own hierarchies show them."""
        return list(Path("/sys/fs/cgroup").glob(f"**/enarx-keep-{self.kuuid}"))

    def process(self) -> Process:
        """The Keep's first process: its loader holds a pidfd of it, and of the silicon."""
        silicon, found = self.host.silicon().pid, set()
        for info in Path(f"/proc/{self.loader().pid}/fdinfo").iterdir():
            with contextlib.suppress(OSError):
                found |= {int(line.split()[1]) for line in info.read_text().splitlines()
                          if line.startswith("Pid:")}  # fmt: skip
        (pid,) = found - {silicon}
        return Process.open(pid)


def children(pid: int) -> set[int]:
    found: set[int] = set()
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            found |= set(map(int, Path(f"/proc/{pid}/task/{task}/children").read_text().split()))
    return found


def cmdline(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def within(seconds: float, condition: Callable[[], T]) -> T:
    """Wait until the condition holds; AssertionError where it does not in time."""
    deadline = time.monotonic() + seconds
    while True:
        if value := condition():
            return value
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.01)


def listener_of(path: Path) -> int:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(path))
        return peer(sock)[0]
