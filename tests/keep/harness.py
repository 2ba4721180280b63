"""Plays the silicon, the keep loader and the owner, so that a real zygote makes real Keeps.

The zygote is started as the silicon starts it; the evidence is bytes, which nobody here
appraises. Everything has a bound in time.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import hashlib
import os
import secrets
import select
import socket
import ssl
import sys
import sysconfig
import threading
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from enarx.wire import framing, limits
from enarx.wire.attestation import init_data
from enarx.wire.codec import pack, unpack
from enarx.wire.endpoint import Endpoint
from enarx.wire.fields import Limits
from enarx.wire.http_client import Connection
from enarx.wire.loader import Boot, BootFailed, FromKeep, Progress, Ready
from enarx.wire.session import Event, Started, Stderr, Stdin, StdinEnd, Stdout, Workload
from enarx.wire.silicon import GetReport, LaunchRecord, ReportReply
from enarx.wire.zygote import PACKET, Ended, Fork, Forked, FromZygote, ZygoteReady

SECONDS = 20.0
"""Bound of every single wait; nothing here takes more than a second on an idle machine."""
PAYLOAD, RUNTIME = b"p" * 32, b"r" * 32
EVIDENCE = b"evidence of the test"
_FROM_ZYGOTE: Any = FromZygote
_FROM_KEEP: Any = FromKeep
_EVENT: Any = Event


@dataclass(frozen=True)
class Owner:
    """A tenant's key and self-signed certificate."""

    pem: Path
    certificate: bytes

    @classmethod
    def make(cls, directory: Path, name: str = "owner") -> Owner:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .sign(key, hashes.SHA256())
        )
        path = directory / f"{name}-{secrets.token_hex(4)}.pem"
        path.write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            + certificate.public_bytes(Encoding.PEM)
        )
        return cls(path, certificate.public_bytes(Encoding.DER))

    def context(self) -> ssl.SSLContext:
        context = anonymous_context()
        context.load_cert_chain(self.pem)
        return context


def anonymous_context() -> ssl.SSLContext:
    """TLS 1.3 towards whatever certificate the Keep has; its comparison is the client's part."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def python_command(code: str) -> list[str]:
    """A command that runs `code` as the silicon would: nothing but the measured paths."""
    source = Path(__file__).parents[2] / "src"
    paths = [
        *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib")),
        str(Path(sysconfig.get_path("stdlib")) / "lib-dynload"),
        sysconfig.get_path("purelib"),
        str(source),
    ]
    start = f"import sys; sys.path[:] = {list(dict.fromkeys(paths))!r}; {code}"
    return [sys.executable, "-I", "-S", "-B", "-X", "pycache_prefix=/nonexistent", "-c", start]


class Zygote:
    """A real zygote process and this side of its socket."""

    def __init__(
        self,
        *,
        code: str = "from enarx.keep.zygote import main; main()",
        prefix: list[str] = [],  # noqa: B006
    ) -> None:
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(SECONDS)
        command = [*prefix, *python_command(code)]
        # Descriptor 3 must be theirs, whatever number it has here.
        high = os.dup(theirs.fileno())
        self.pid = os.posix_spawnp(
            command[0],
            command,
            dict(os.environ),
            file_actions=[
                (os.POSIX_SPAWN_DUP2, high, 3),
            ],
        )
        os.close(high)
        theirs.close()
        self.ended: dict[bytes, int] = {}
        try:
            assert isinstance(self.receive()[0], ZygoteReady)
        except BaseException:
            self.close()
            raise

    def receive(self) -> tuple[Any, list[int]]:
        packet, descriptors, _, _ = socket.recv_fds(self.socket, PACKET, 4)
        assert packet, "the zygote is gone"
        return unpack(packet, _FROM_ZYGOTE, limit=PACKET), descriptors

    def fork(self, request: Fork, descriptors: list[int]) -> tuple[Any, list[int]]:
        socket.send_fds(self.socket, [pack(request)], descriptors)
        while True:
            answer, received = self.receive()
            if not isinstance(answer, Ended):
                return answer, received
            self.ended[answer.kuuid] = answer.status

    def wait_ended(self, kuuid: bytes) -> int:
        """The exit status the zygote tells of."""
        while kuuid not in self.ended:
            answer, _ = self.receive()
            assert isinstance(answer, Ended)
            self.ended[answer.kuuid] = answer.status
        return self.ended[kuuid]

    def close(self) -> int:
        """Be a silicon that is gone; the zygote's exit status."""
        self.socket.close()
        _, status = os.waitpid(self.pid, 0)
        return os.waitstatus_to_exitcode(status)


@dataclass
class Keep:
    """One Keep, with this side of its three descriptors."""

    zygote: Zygote
    owner: Owner
    init: bytes
    kuuid: bytes
    pid: int
    pidfd: int
    report: socket.socket
    control: socket.socket
    address: Endpoint
    certificate: bytes = b""
    states: list[Progress] = field(default_factory=list)

    @classmethod
    def launch(
        cls,
        zygote: Zygote,
        owner: Owner,
        directory: Path,
        *,
        bounds: Limits = Limits(),  # noqa: B008
        uid: int = 0,
        backend: str = "sim-sgx",
        tcp: bool = False,
    ) -> Keep:
        """Steps 5 and before: a forked Keep that waits for its boot."""
        kuuid = uuid.uuid4().bytes
        report, their_report = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        control, their_control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        if tcp:
            listener = socket.create_server(("127.0.0.1", 0), backlog=limits.HTTP_BACKLOG)
            address = Endpoint(host="127.0.0.1", port=listener.getsockname()[1])
        else:
            path = directory / f"{kuuid.hex()[:12]}.sock"
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(str(path))
            listener.listen(limits.HTTP_BACKLOG)
            address = Endpoint(path=str(path))
        for sock in (report, control):
            sock.settimeout(SECONDS)
        report.send(pack(LaunchRecord(backend=backend, payload=PAYLOAD, runtime=RUNTIME)))
        request = Fork(kuuid=kuuid, uid=uid, backend=backend, payload=PAYLOAD, runtime=RUNTIME)
        answer, descriptors = zygote.fork(
            request, [their_report.fileno(), their_control.fileno(), listener.fileno()]
        )
        for sock in (their_report, their_control, listener):
            sock.close()
        assert isinstance(answer, Forked), answer
        encoded = init_data(
            kuuid=kuuid,
            backend=backend,
            nonce=secrets.token_bytes(32),
            owner=hashlib.sha256(owner.certificate).digest(),
            limits=bounds,
        )
        return cls(
            zygote, owner, encoded, kuuid, answer.pid, descriptors[0], report, control, address
        )

    def boot(self, **changes: bytes) -> Ready | BootFailed:
        """Send Boot, play the silicon for one report; what the Keep answers."""
        boot = Boot(**{"init_data": self.init, "owner": self.owner.certificate, **changes})
        self.control.send(pack(boot))
        waiting = select.poll()
        waiting.register(self.report, select.POLLIN)
        waiting.register(self.control, select.POLLIN)
        while True:
            ready = dict(waiting.poll(SECONDS * 1000))
            assert ready, "the Keep says nothing"
            if self.report.fileno() in ready:
                packet = self.report.recv(PACKET)
                if not packet:
                    waiting.unregister(self.report)
                    continue
                unpack(packet, GetReport)
                reply = ReportReply(media_type="application/vnd.enarx.sgx-quote", evidence=EVIDENCE)
                self.report.send(pack(reply))
            else:
                return self.hear()

    def hear(self) -> Any:
        """The next thing the Keep says that is no news of its state."""
        while True:
            packet = self.control.recv(PACKET)
            assert packet, "the Keep is gone"
            message = unpack(packet, _FROM_KEEP)
            if isinstance(message, Progress):
                self.states.append(message)
                continue
            if isinstance(message, Ready):
                self.certificate = message.certificate
            return message

    def hear_rest(self) -> list[Progress]:
        """News of the state, until the Keep has gone."""
        while packet := self.control.recv(PACKET):
            message = unpack(packet, _FROM_KEEP)
            if isinstance(message, Progress):
                self.states.append(message)
        return self.states

    def wait(self) -> int:
        """Wait for the process to end; its exit status."""
        waiting = select.poll()
        waiting.register(self.pidfd, select.POLLIN)
        assert waiting.poll(SECONDS * 1000), "the Keep did not end"
        return self.zygote.wait_ended(self.kuuid)

    def close(self) -> None:
        self.report.close()
        self.control.close()
        with contextlib.suppress(OSError):
            os.close(self.pidfd)

    # The owner's side.

    async def connect(self, context: ssl.SSLContext | None = None) -> Connection:
        connection = await Connection.open(
            self.address, tls=context or self.owner.context(), timeout=SECONDS
        )
        assert connection.peer_certificate == self.certificate
        return connection

    def run(self, workload: Workload, stdin: bytes = b"") -> Outcome:
        """Steps 8 to 10 in one go."""

        async def body() -> AsyncIterator[bytes]:
            yield framing.frame(pack(workload))
            for start in range(0, len(stdin), limits.HTTP_CHUNK):
                yield framing.frame(pack(Stdin(data=stdin[start : start + limits.HTTP_CHUNK])))
            yield framing.frame(pack(StdinEnd()))

        async def go() -> Outcome:
            connection = await self.connect()
            try:
                async with (
                    asyncio.timeout(3 * SECONDS),
                    connection.stream("POST", "/v1/workload", body(), timeout=SECONDS) as pieces,
                ):
                    return await collect(pieces)
            finally:
                await connection.close()

        return asyncio.run(go())


@dataclass
class Outcome:
    """What came back from a workload."""

    events: list[Any]

    @property
    def stdout(self) -> bytes:
        return b"".join(event.data for event in self.events if isinstance(event, Stdout))

    @property
    def stderr(self) -> bytes:
        return b"".join(event.data for event in self.events if isinstance(event, Stderr))

    @property
    def started(self) -> bool:
        return bool(self.events) and isinstance(self.events[0], Started)

    @property
    def end(self) -> Any:
        return self.events[-1]


async def collect(pieces: AsyncIterator[bytes]) -> Outcome:
    reader = framing.FrameReader(limit=limits.FRAME)
    return Outcome([unpack(m, _EVENT) async for m in framing.frames(pieces, reader)])


def in_thread(function: Any, *arguments: Any) -> threading.Thread:
    thread = threading.Thread(target=function, args=arguments, daemon=True)
    thread.start()
    return thread
