"""The owner's session: one workload, once, from the owner alone; and everybody's end."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import signal
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from harness import EVIDENCE, PAYLOAD, RUNTIME, SECONDS, Keep, Owner, Zygote, anonymous_context
from harness import collect as collect_events

from enarx.errors import EnarxError, ProtocolError, RefusedError, UnreachableError
from enarx.evidence import cmw, ratls
from enarx.evidence.claims import Claims
from enarx.wire import framing, limits
from enarx.wire.codec import pack, unpack
from enarx.wire.http_client import Connection
from enarx.wire.loader import Boot, BootFailed, Halt, Ready
from enarx.wire.manager import State
from enarx.wire.session import (
    Config,
    Exit,
    Failed,
    KeepReport,
    Killed,
    Started,
    Stdin,
    StdinEnd,
    Workload,
)

Launch = Callable[..., Keep]
Example = Callable[[str], bytes]


def frames(*messages: Any) -> bytes:
    return b"".join(framing.frame(pack(message)) for message in messages)


async def pieces(*messages: Any, then_wait: bool = False) -> AsyncIterator[bytes]:
    for message in messages:
        yield frames(message)
    if then_wait:
        await asyncio.sleep(SECONDS)


@contextlib.asynccontextmanager
async def attached(keep: Keep, workload: Workload, *stdin: bytes) -> AsyncIterator[Any]:
    """A connection whose workload runs and whose input stays open."""
    connection = await keep.connect()
    body = pieces(workload, *(Stdin(data=data) for data in stdin), then_wait=True)
    try:
        async with connection.stream("POST", "/v1/workload", body, timeout=SECONDS) as answer:
            yield answer
    finally:
        await connection.close()


async def ask(keep: Keep, method: str, path: str, context: ssl.SSLContext | None = None) -> Any:
    connection = await keep.connect(context)
    try:
        return await connection.call(method, path, None, KeepReport, timeout=SECONDS)
    finally:
        await connection.close()


async def deploy(keep: Keep, workload: Workload) -> KeepReport:
    connection = await keep.connect()
    try:
        body = frames(workload, StdinEnd())
        answer = await connection.request(
            "POST", "/v1/workload", body, limit=limits.MESSAGE, timeout=SECONDS
        )
    finally:
        await connection.close()
    return unpack(answer, KeepReport)


async def logs(keep: Keep, *, follow: bool = False) -> list[Any]:
    connection = await keep.connect()
    try:
        path = "/v1/logs?follow=1" if follow else "/v1/logs"
        async with connection.stream("GET", path, pieces(), timeout=SECONDS) as answer:
            return (await collect_events(answer)).events
    finally:
        await connection.close()


def code_of(action: Callable[[], object]) -> str:
    with pytest.raises(EnarxError) as caught:
        action()
    return caught.value.code


# Identity.


def test_certificate_carries_evidence_over_claims_that_hold_its_key(launch: Launch) -> None:
    keep = launch()
    certificate = x509.load_der_x509_certificate(keep.certificate)

    def extension(oid: str) -> bytes:
        found = certificate.extensions.get_extension_for_oid(x509.ObjectIdentifier(oid))
        assert isinstance(found.value, x509.UnrecognizedExtension)
        return found.value.value

    message = cmw.KeepMessage.parse(extension(cmw.CMW_OID))
    claims = Claims.parse(message.claims)
    public = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert message.evidence == EVIDENCE
    assert claims.key_digest == hashlib.sha256(public).digest()
    assert claims.init_data == hashlib.sha256(keep.init).digest()
    assert (claims.payload, claims.runtime) == (PAYLOAD, RUNTIME)
    assert "seccomp" in claims.sandbox
    quote = ratls.RatlsEvidence.parse(extension(ratls.RATLS_OID))
    assert (quote.quote, quote.claims) == (EVIDENCE, message.claims)


def test_certificate_is_for_a_server_and_for_minutes(launch: Launch) -> None:
    certificate = x509.load_der_x509_certificate(launch().certificate)
    lifetime = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    assert lifetime.total_seconds() == limits.CERTIFICATE_SECONDS + limits.CLOCK_SKEW_SECONDS
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert not constraints.value.ca


def test_no_two_keeps_have_a_key_in_common(launch: Launch) -> None:
    keys = {
        x509.load_der_x509_certificate(launch().certificate).public_key().public_numbers().x  # type: ignore[union-attr]
        for _ in range(4)
    }
    assert len(keys) == 4


# Boot.


def test_another_owners_certificate_than_the_init_data_name_is_refused(
    launch: Launch, stranger: Owner
) -> None:
    keep = launch(boot=False)
    answer = keep.boot(owner=stranger.certificate)
    assert isinstance(answer, BootFailed)
    assert answer.problem.code == "keep.owner-mismatch"
    assert keep.wait() != 0


def test_init_data_of_another_keep_are_refused(launch: Launch) -> None:
    other = launch(boot=False)
    keep = launch(boot=False)
    answer = keep.boot(init_data=other.init)
    assert isinstance(answer, BootFailed)
    assert answer.problem.code == "keep.init-data"


@pytest.mark.parametrize("packet", [b"", b"\xff", b"\xa1dkindeother"])
def test_nonsense_instead_of_a_boot_ends_the_keep(launch: Launch, packet: bytes) -> None:
    keep = launch(boot=False)
    if packet:
        keep.control.send(packet)
        answer = keep.hear()
        assert isinstance(answer, BootFailed)
        assert answer.problem.code.startswith("protocol.")
    else:
        keep.control.close()
    assert keep.wait() != 0


def test_a_second_boot_is_refused_and_changes_nothing(launch: Launch, example: Example) -> None:
    keep = launch()
    keep.control.send(pack(Boot(init_data=keep.init, owner=keep.owner.certificate)))
    answer = keep.hear()
    assert isinstance(answer, BootFailed)
    assert answer.problem.code == "keep.nonce-spent"
    assert keep.run(Workload(name="x", module=example("hello"))).end == Exit(code=0)


# One workload, once.


def test_a_second_workload_is_refused_while_the_first_runs(
    launch: Launch, example: Example
) -> None:
    keep = launch()
    workload = Workload(name="x", module=example("cat"))

    async def go() -> str:
        async with attached(keep, workload) as answer:
            assert await anext(answer)
            try:
                await deploy(keep, workload)
            except RefusedError as error:
                return error.code
        return "taken"

    assert asyncio.run(go()) == "keep.workload-taken"


def test_a_used_keep_is_gone(launch: Launch, example: Example) -> None:
    keep = launch()
    keep.run(Workload(name="x", module=example("hello")))
    assert keep.wait() == 0
    assert keep.hear_rest()[-1].state is State.SHUTDOWN
    with pytest.raises(UnreachableError):
        asyncio.run(keep.connect())


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "protocol.cbor"),
        (b"GET / HTTP/1.0\r\n\r\n", "protocol.frame"),
        (framing.frame(b"\xa0"), "protocol.schema"),
        (frames(StdinEnd()), "protocol.schema"),
        (b"\xd8\x18\x5a\xff\xff\xff\xff", "limit.size"),
        (b"\xd8\x18\x5a\x00\x01\x00\x00abc", "protocol.truncated"),
    ],
)
def test_a_broken_workload_is_refused_with_the_reason_and_spends_the_keep(
    launch: Launch, body: bytes, code: str
) -> None:
    keep = launch()

    async def go() -> None:
        connection = await keep.connect()
        try:
            await connection.request("POST", "/v1/workload", body, limit=4096, timeout=SECONDS)
        finally:
            await connection.close()

    assert code_of(lambda: asyncio.run(go())) == code
    assert keep.wait() != 0


def test_an_unknown_path_is_named(launch: Launch) -> None:
    keep = launch()
    assert code_of(lambda: asyncio.run(ask(keep, "GET", "/v2/status"))) == "usage.path"


# Nobody but the owner.


def test_another_owner_is_refused_in_the_handshake(launch: Launch, stranger: Owner) -> None:
    keep = launch()
    with pytest.raises(ProtocolError) as caught:
        asyncio.run(ask(keep, "GET", "/v1/status", stranger.context()))
    assert "unknown ca" in caught.value.message.lower().replace("_", " ")


def test_a_client_without_a_certificate_is_refused_in_the_handshake(launch: Launch) -> None:
    keep = launch()
    with pytest.raises(ProtocolError) as caught:
        asyncio.run(ask(keep, "GET", "/v1/status", anonymous_context()))
    assert "certificate required" in caught.value.message.lower().replace("_", " ")


def test_a_certificate_that_the_owner_signed_is_not_the_owners(
    launch: Launch, owner: Owner, tmp_path: Path
) -> None:
    signer = load_pem_private_key(owner.pem.read_bytes(), None)
    parent = x509.load_der_x509_certificate(owner.certificate)
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "heir")]))
        .issuer_name(parent.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(parent.not_valid_before_utc)
        .not_valid_after(parent.not_valid_after_utc)
        .sign(signer, hashes.SHA256())  # type: ignore[arg-type]
    )
    heir = tmp_path / "heir.pem"
    heir.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        + certificate.public_bytes(Encoding.PEM)
        + parent.public_bytes(Encoding.PEM)
    )
    context = anonymous_context()
    context.load_cert_chain(heir)
    keep = launch()
    # By its own problem, or already by the handshake: never in.
    assert code_of(lambda: asyncio.run(ask(keep, "GET", "/v1/status", context))) in (
        "keep.not-owner",
        "protocol.tls",
    )


def test_tls_1_2_is_not_spoken(launch: Launch, owner: Owner) -> None:
    keep = launch()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.load_cert_chain(owner.pem)
    with pytest.raises(ProtocolError):
        asyncio.run(keep.connect(context))


def test_the_owner_still_gets_in_after_every_refusal(
    launch: Launch, stranger: Owner, example: Example
) -> None:
    keep = launch()
    for context in (stranger.context(), anonymous_context()):
        with pytest.raises(EnarxError):
            asyncio.run(ask(keep, "GET", "/v1/status", context))
    assert keep.run(Workload(name="x", module=example("hello"))).end == Exit(code=0)


# Hostile connections.


def plain(keep: Keep) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(SECONDS)
    sock.connect(keep.address.path)
    return sock


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\r\n\r\n", os.urandom(4096), b"\x16\x03\x01\xff\xff" + bytes(100)]
)
def test_garbage_instead_of_tls_hurts_nobody(launch: Launch, example: Example, data: bytes) -> None:
    keep = launch()
    for _ in range(20):
        with plain(keep) as sock, contextlib.suppress(OSError):
            sock.sendall(data)
            sock.recv(4096)
    assert keep.run(Workload(name="x", module=example("hello"))).end == Exit(code=0)


def test_a_flood_of_silent_connections_does_not_keep_the_owner_out(
    launch: Launch, example: Example
) -> None:
    keep = launch()
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(plain(keep))
        assert keep.run(Workload(name="x", module=example("hello"))).end == Exit(code=0)


def test_a_client_that_stops_in_its_handshake_hurts_nobody(
    launch: Launch, example: Example
) -> None:
    keep = launch()
    with plain(keep) as sock:
        sock.sendall(b"\x16\x03\x01\x02\x00\x01")  # the first bytes of a ClientHello
        assert keep.run(Workload(name="x", module=example("hello"))).end == Exit(code=0)


# Detached workloads.


def test_a_deployed_workload_outlives_its_connection_and_keeps_its_logs(
    launch: Launch, example: Example
) -> None:
    keep = launch()
    workload = Workload(
        name="x", module=example("slow"), config=Config(args=("50", "3")), detach=True
    )
    report = asyncio.run(deploy(keep, workload))
    assert report.state is State.RUNNING
    assert report.module == hashlib.sha256(workload.module).digest()
    events = asyncio.run(logs(keep, follow=True))
    assert isinstance(events[0], Started)
    assert b"".join(event.data for event in events[1:-1]) == b"line 1\nline 2\nline 3\n"
    assert events[-1] == Exit(code=0)
    again = asyncio.run(logs(keep))
    assert b"".join(event.data for event in again[1:-1]) == b"line 1\nline 2\nline 3\n"
    assert asyncio.run(ask(keep, "GET", "/v1/status")).ended == (Exit(code=0),)
    asyncio.run(ask(keep, "POST", "/v1/stop"))
    assert keep.wait() == 0


def test_a_deployed_module_that_cannot_run_says_so_at_once(launch: Launch) -> None:
    keep = launch()
    report = asyncio.run(deploy(keep, Workload(name="x", module=b"nothing", detach=True)))
    assert isinstance(report.ended[0], Failed)
    assert report.ended[0].problem.code == "module.not-wasm"


def test_stop_kills_a_deployed_workload(launch: Launch, example: Example) -> None:
    keep = launch()
    asyncio.run(deploy(keep, Workload(name="x", module=example("spin"), detach=True)))
    report = asyncio.run(ask(keep, "POST", "/v1/stop"))
    assert report.state is State.SHUTDOWN
    assert isinstance(report.ended[0], Killed)
    assert report.ended[0].reason == "stopped"
    assert keep.wait() == 0


def test_stop_ends_a_keep_that_was_never_used(launch: Launch) -> None:
    keep = launch()
    assert asyncio.run(ask(keep, "POST", "/v1/stop")).state is State.SHUTDOWN
    assert keep.wait() == 0


def test_an_attached_workload_has_no_logs(launch: Launch, example: Example) -> None:
    keep = launch()

    async def go() -> str:
        async with attached(keep, Workload(name="x", module=example("cat"))) as answer:
            await anext(answer)
            try:
                await logs(keep)
            except RefusedError as error:
                return error.code
        return "logs"

    assert asyncio.run(go()) == "keep.no-logs"


def test_a_flood_of_logs_keeps_the_last_and_says_how_much_was_lost(
    launch: Launch, example: Example
) -> None:
    keep = launch()
    config = Config(args=("100000",))
    asyncio.run(
        deploy(keep, Workload(name="x", module=example("stderr"), config=config, detach=True))
    )
    asyncio.run(logs(keep, follow=True))
    events = asyncio.run(logs(keep))
    assert type(events[1]).__name__ == "Lost"
    kept = sum(len(event.data) for event in events[2:-1])
    assert kept <= 1 << 20
    total = 2 * sum(len(f"out {n}\n") for n in range(1, 100_001))
    assert events[1].size + kept == total


# Everybody's end.


def test_the_keep_ends_when_its_attached_owner_goes_away(launch: Launch, example: Example) -> None:
    keep = launch()

    async def go() -> None:
        connection = await keep.connect()
        body = pieces(Workload(name="x", module=example("spin")), StdinEnd())
        async with connection.stream("POST", "/v1/workload", body, timeout=SECONDS) as answer:
            await anext(answer)

    asyncio.run(go())
    began = time.monotonic()
    assert keep.wait() == 0
    assert time.monotonic() - began < 5
    assert keep.hear_rest()[-1].detail == "its owner went away"


def test_the_keep_ends_when_its_owner_goes_away_in_the_middle_of_input(
    launch: Launch, example: Example
) -> None:
    keep = launch()

    async def go() -> None:
        connection = await keep.connect()
        body = pieces(Workload(name="x", module=example("cat")), then_wait=True)
        async with connection.stream("POST", "/v1/workload", body, timeout=SECONDS) as answer:
            await anext(answer)

    asyncio.run(go())
    assert keep.wait() == 0


def test_the_keep_ends_when_its_owner_goes_away_before_the_module_is_sent(
    launch: Launch, example: Example
) -> None:
    keep = launch()
    head = b"POST /v1/workload HTTP/1.1\r\nhost: keep\r\ntransfer-encoding: chunked\r\n\r\n"

    async def go() -> None:
        connection: Connection = await keep.connect()
        connection._writer.write(head + b"10\r\n" + frames(Stdin(data=b"x" * 40))[:16])
        await connection._writer.drain()
        await connection.close()

    asyncio.run(go())
    assert keep.wait() != 0


@pytest.mark.parametrize("used", [False, True])
def test_the_keep_ends_when_the_loader_is_gone(
    launch: Launch, example: Example, used: bool
) -> None:
    keep = launch()
    if used:
        asyncio.run(deploy(keep, Workload(name="x", module=example("spin"), detach=True)))
    keep.control.close()
    assert keep.wait() != 0


@pytest.mark.parametrize("used", [False, True])
def test_the_keep_ends_when_the_silicon_is_gone(
    launch: Launch, example: Example, used: bool
) -> None:
    keep = launch()
    if used:
        asyncio.run(deploy(keep, Workload(name="x", module=example("spin"), detach=True)))
    keep.report.close()
    assert keep.wait() != 0
    last = keep.hear_rest()[-1]
    assert (last.state, last.detail) == (
        State.ERROR,
        "the silicon that vouched for this Keep is gone",
    )


def test_the_attached_owner_is_told_that_the_silicon_is_gone(
    launch: Launch, example: Example
) -> None:
    keep = launch()

    async def go() -> Any:
        async with attached(keep, Workload(name="x", module=example("cat"))) as answer:
            reader = framing.FrameReader(limit=limits.FRAME)
            reader.feed(await anext(answer))
            assert reader.next()
            keep.report.close()
            return (await collect_events(answer)).end

    end = asyncio.run(go())
    assert isinstance(end, Killed)
    assert "silicon" in end.detail


@pytest.mark.parametrize("gone", ["control", "report"])
def test_an_owner_that_has_stopped_reading_does_not_keep_a_lost_keep_alive(
    launch: Launch, example: Example, gone: str
) -> None:
    keep = launch()
    data = [b"x" * limits.HTTP_CHUNK] * 16

    async def go() -> int:
        async with attached(keep, Workload(name="x", module=example("cat")), *data) as answer:
            await anext(answer)
            await asyncio.sleep(0.2)
            getattr(keep, gone).close()
            return await asyncio.to_thread(keep.wait)

    assert asyncio.run(go()) != 0


def test_halt_ends_the_keep_in_good_order(launch: Launch, example: Example) -> None:
    keep = launch()
    asyncio.run(deploy(keep, Workload(name="x", module=example("spin"), detach=True)))
    keep.control.send(pack(Halt()))
    assert keep.wait() == 0
    assert keep.hear_rest()[-1].state is State.SHUTDOWN


def test_a_workload_that_is_killed_from_outside_is_told(launch: Launch, example: Example) -> None:
    keep = launch()

    async def go() -> Any:
        async with attached(keep, Workload(name="x", module=example("cat"))) as answer:
            reader = framing.FrameReader(limit=limits.FRAME)
            reader.feed(await anext(answer))
            assert reader.next()
            (child,) = children(keep.pid)
            os.kill(child, signal.SIGKILL)
            return (await collect_events(answer)).end

    end = asyncio.run(go())
    assert isinstance(end, Killed)
    assert end.reason == "limit.memory"
    assert "outside" in end.detail


def children(pid: int) -> list[int]:
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.fixture
def hasty_zygote() -> Iterator[Zygote]:
    """Its Keeps' certificates live for one second."""
    code = "from enarx.wire import limits; limits.CERTIFICATE_SECONDS = 1"
    zygote = Zygote(code=f"{code}; from enarx.keep.zygote import main; main()")
    yield zygote
    zygote.close()


def test_a_keep_that_nobody_uses_ends_when_its_certificate_expires(
    hasty_zygote: Zygote, owner: Owner, tmp_path: Path
) -> None:
    keep = Keep.launch(hasty_zygote, owner, tmp_path)
    assert isinstance(keep.boot(), Ready)
    assert keep.wait() == 0
    assert keep.hear_rest()[-1].detail == "nobody used it before its certificate expired"
    keep.close()


def test_expiry_does_not_end_a_keep_that_is_used(
    hasty_zygote: Zygote, owner: Owner, tmp_path: Path, example: Example
) -> None:
    keep = Keep.launch(hasty_zygote, owner, tmp_path)
    keep.boot()
    workload = Workload(name="x", module=example("slow"), config=Config(args=("600", "3")))
    assert keep.run(workload).end == Exit(code=0)
    keep.close()
