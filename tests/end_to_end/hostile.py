"""An adversarial keep manager: the real one, with somebody in between who changes things.

`HostileManager` serves the manager's API and passes everything on to a real host, except
what its `Attack` changes. All Keeps behind it are real, and so are loaders and silicon.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from enarx.client.identity import Identity
from enarx.client.tls import open_host
from enarx.wire import http, limits
from enarx.wire.attestation import AttestRequest, AttestResponse
from enarx.wire.codec import pack, unpack
from enarx.wire.endpoint import Endpoint
from enarx.wire.http import Request, Response
from enarx.wire.http_client import Connection
from enarx.wire.manager import CreateKeep, KeepStatus

SECONDS = 60.0


class Attack:
    """What an adversary does; by itself nothing. Subclasses change what they attack."""

    def __init__(self) -> None:
        self.manager: HostileManager

    async def create(self, asked: CreateKeep) -> KeepStatus:
        """Answer step 1."""
        return await self.manager.create(asked)

    async def attest(self, kuuid: str, asked: AttestRequest) -> AttestResponse:
        """Answer steps 3 and 4."""
        return await self.manager.attest(kuuid, asked)

    async def respond(self, request: Request, response: Response) -> Response:
        """The last word on any response."""
        return response


class HostileManager:
    """Serves on its own socket, in front of the real host at `real`."""

    def __init__(self, real: str, attack: Attack, identity: Identity) -> None:
        self.real = Endpoint.parse(real)
        self.attack = attack
        self.identity = identity
        attack.manager = self

    @contextlib.asynccontextmanager
    async def serve(self) -> AsyncIterator[str]:
        """Serve; gives the address."""
        with tempfile.TemporaryDirectory(prefix="hostile-") as directory:
            listener = unix_listener(Path(directory) / "manager.sock")
            server = await http.serve(self._handle, listener)
            try:
                yield f"unix:{directory}/manager.sock"
            finally:
                server.close()
                await server.wait_closed()

    async def create(self, asked: CreateKeep) -> KeepStatus:
        """Step 1 at the real host."""
        return unpack(await self.pass_on("POST", "/v1/keeps", pack(asked)), KeepStatus)

    async def attest(self, kuuid: str, asked: AttestRequest) -> AttestResponse:
        """Steps 3 and 4 at the real host."""
        answer = await self.pass_on("POST", f"/v1/keeps/{kuuid}/attest", pack(asked))
        return unpack(answer, AttestResponse, limit=limits.ATTESTATION)

    async def pass_on(self, method: str, path: str, body: bytes) -> bytes:
        """One request to the real host."""
        connection = await open_host(self.real, self.identity, timeout=SECONDS)
        try:
            return await connection.request(
                method, path, body, limit=limits.MANIFEST, timeout=SECONDS
            )
        finally:
            await connection.close()

    async def _handle(self, request: Request) -> Response:
        body = await request.read(limits.MESSAGE)
        match request.method, request.path.split("/")[2:]:
            case "POST", ["keeps"]:
                answer = http.reply(await self.attack.create(unpack(body, CreateKeep)))
            case "POST", ["keeps", kuuid, "attest"]:
                answer = http.reply(await self.attack.attest(kuuid, unpack(body, AttestRequest)))
            case _:
                answer = Response(body=await self.pass_on(request.method, request.path, body))
        return await self.attack.respond(request, answer)


class ChangedCreate(Attack):
    """Asks the real host for something else, and hides it in the answer."""

    def __init__(self, change: Callable[[CreateKeep], CreateKeep]) -> None:
        super().__init__()
        self._change = change
        self._nonce = b""

    async def create(self, asked: CreateKeep) -> KeepStatus:
        changed = self._change(asked)
        self._nonce = changed.nonce
        status = await self.manager.create(changed)
        return msgspec.structs.replace(
            status, backend=asked.backend, owner=sha256(asked.owner), state=status.state
        )

    async def attest(self, kuuid: str, asked: AttestRequest) -> AttestResponse:
        return await self.manager.attest(kuuid, AttestRequest(nonce=self._nonce))


class ChangedAttestation(Attack):
    """Changes the attestation response."""

    def __init__(self, change: Callable[[AttestResponse], AttestResponse]) -> None:
        super().__init__()
        self._change = change

    async def attest(self, kuuid: str, asked: AttestRequest) -> AttestResponse:
        return self._change(await self.manager.attest(kuuid, asked))


class Replay(Attack):
    """Answers with the evidence of an older Keep of the same owner."""

    def __init__(self) -> None:
        super().__init__()
        self._old: AttestResponse | None = None

    async def attest(self, kuuid: str, asked: AttestRequest) -> AttestResponse:
        if self._old is None:
            self._old = await self.manager.attest(kuuid, asked)
        return self._old


class Relay(Attack):
    """Makes a second Keep with the same nonce for the same owner, and shows its evidence."""

    def __init__(self) -> None:
        super().__init__()
        self._asked: CreateKeep | None = None

    async def create(self, asked: CreateKeep) -> KeepStatus:
        self._asked = asked
        return await self.manager.create(asked)

    async def attest(self, kuuid: str, asked: AttestRequest) -> AttestResponse:
        assert self._asked is not None
        other = await self.manager.create(self._asked)
        return await self.manager.attest(str(kuuid_text(other.kuuid)), asked)


class Silent(Attack):
    """Withholds the answer to one path."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    async def respond(self, request: Request, response: Response) -> Response:
        if request.path.endswith(self._path):
            await asyncio.sleep(SECONDS)
        return response


class Endless(Attack):
    """Answers one path with a gigabyte."""

    SIZE = 1 << 30

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path
        self.sent = 0

    async def respond(self, request: Request, response: Response) -> Response:
        if request.path.endswith(self._path):
            return Response(body=self._pieces())
        return response

    async def _pieces(self) -> AsyncIterator[bytes]:
        piece = bytes(limits.HTTP_CHUNK)
        while self.sent < self.SIZE:
            yield piece
            self.sent += len(piece)


class RawManager:
    """Answers every connection with the same bytes, whatever is asked."""

    def __init__(self, answer: bytes, *, then_close: bool) -> None:
        self._answer, self._then_close = answer, then_close

    @contextlib.asynccontextmanager
    async def serve(self) -> AsyncIterator[str]:
        """Serve; gives the address."""
        with tempfile.TemporaryDirectory(prefix="hostile-") as directory:
            path = f"{directory}/manager.sock"
            server = await asyncio.start_unix_server(self._answer_one, path)
            try:
                yield f"unix:{path}"
            finally:
                server.close()

    async def _answer_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while await reader.read(65536):
                writer.write(self._answer)
                await writer.drain()
                if self._then_close:
                    break
            writer.close()


class Wiretap:
    """A Unix socket in front of a Keep's: passes bytes on, sees or cuts them."""

    def __init__(self, target: str, *, cut_after: int | None = None, hold: bool = False) -> None:
        self._target = target.removeprefix("unix:")
        self._cut_after, self._hold = cut_after, hold
        self.seen = bytearray()

    @contextlib.asynccontextmanager
    async def serve(self) -> AsyncIterator[str]:
        """Serve; gives the address."""
        with tempfile.TemporaryDirectory(prefix="hostile-") as directory:
            path = f"{directory}/keep.sock"
            server = await asyncio.start_unix_server(self._connect, path)
            try:
                yield f"unix:{path}"
            finally:
                server.close()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        keep_reader, keep_writer = await asyncio.open_unix_connection(self._target)
        up = asyncio.create_task(self._pump(reader, keep_writer))
        await self._pump(keep_reader, writer, cut_after=self._cut_after)
        if self._hold:
            await asyncio.sleep(SECONDS)
        up.cancel()
        for each in (writer, keep_writer):
            with contextlib.suppress(OSError):
                each.close()

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        cut_after: int | None = None,
    ) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if cut_after is not None:
                    data = data[: cut_after - passed]
                self.seen += data
                passed += len(data)
                writer.write(data)
                await writer.drain()
                if cut_after is not None and passed >= cut_after:
                    return


class FakeKeep:
    """Somebody else who listens for a Keep's client, with a certificate of their own."""

    def __init__(self, certificate: bytes, key: ec.EllipticCurvePrivateKey) -> None:
        self._pem = x509.load_der_x509_certificate(certificate).public_bytes(
            serialization.Encoding.PEM
        ) + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        self.received = 0

    @contextlib.asynccontextmanager
    async def serve(self) -> AsyncIterator[str]:
        """Serve; gives the address."""
        with tempfile.TemporaryDirectory(prefix="hostile-") as directory:
            pem = Path(directory) / "key.pem"
            pem.write_bytes(self._pem)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(pem)
            path = f"{directory}/keep.sock"
            server = await asyncio.start_unix_server(self._connect, path, ssl=context)
            try:
                yield f"unix:{path}"
            finally:
                server.close()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            self.received += len(await reader.read(65536))
            writer.close()


def forged_certificate(genuine: bytes) -> tuple[bytes, ec.EllipticCurvePrivateKey]:
    """A certificate for a key of the adversary's, with all the evidence of a genuine one."""
    original = x509.load_der_x509_certificate(genuine)
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        x509.CertificateBuilder()
        .subject_name(original.subject)
        .issuer_name(original.issuer)
        .public_key(key.public_key())
        .serial_number(original.serial_number)
        .not_valid_before(original.not_valid_before_utc)
        .not_valid_after(original.not_valid_after_utc)
    )
    for extension in original.extensions:
        builder = builder.add_extension(extension.value, critical=extension.critical)
    certificate = builder.sign(key, hashes.SHA256())
    return certificate.public_bytes(serialization.Encoding.DER), key


def flip(data: bytes, bit: int) -> bytes:
    """The same bytes with one bit changed."""
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def unix_listener(path: Path) -> socket.socket:
    """A listening Unix socket."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(os.fspath(path))
    listener.listen(16)
    return listener


def sha256(data: bytes) -> bytes:
    """SHA-256."""
    import hashlib

    return hashlib.sha256(data).digest()


def kuuid_text(kuuid: bytes) -> str:
    """A kuuid as it stands in paths."""
    import uuid

    return str(uuid.UUID(bytes=kuuid))


__all__ = [
    "Attack",
    "ChangedAttestation",
    "ChangedCreate",
    "Connection",
    "Endless",
    "FakeKeep",
    "HostileManager",
    "RawManager",
    "Relay",
    "Replay",
    "Silent",
    "Wiretap",
    "flip",
    "forged_certificate",
    "kuuid_text",
]
