"""Who may use a host: local users by user id, tenants elsewhere by their certificate."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import ssl
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from enarx.client.agent import AsyncClient
from enarx.client.identity import Identity, load_identity
from enarx.errors import EnarxError, RefusedError, UsageError
from enarx.host import limits
from enarx.host.tenants import Tenants, server_context
from enarx.wire.attestation import AttestRequest, AttestResponse
from enarx.wire.endpoint import Endpoint
from enarx.wire.http import Peer
from enarx.wire.http_client import Connection
from enarx.wire.limits import ATTESTATION, MESSAGE
from enarx.wire.manager import HostStatus, KeepStatus, State, Tenant

from .conftest import Start
from .rig import RunningHost


@pytest.fixture
def alice(tmp_path: Path) -> Identity:
    return load_identity(tmp_path / "alice.pem")


@pytest.fixture
def mallory(tmp_path: Path) -> Identity:
    return load_identity(tmp_path / "mallory.pem")


def on_tcp(start: Start, *arguments: str) -> RunningHost:
    return start("--listen", "127.0.0.1:0", *arguments)


async def host_status(host: RunningHost, identity: Identity) -> HostStatus:
    async with AsyncClient(host.status.address, identity=identity) as client:
        return await client.host()


def refused(host: RunningHost, identity: Identity) -> EnarxError:
    with pytest.raises(EnarxError) as caught:
        asyncio.run(host_status(host, identity))
    return caught.value


def test_the_address_is_what_a_client_takes_with_its_pin(start: Start, alice: Identity) -> None:
    host = on_tcp(start, "--tenant", alice.digest.hex())
    address = Endpoint.parse(host.status.address)
    assert address.pin is not None
    assert asyncio.run(host_status(host, alice)).address == host.status.address


def test_a_host_that_listens_everywhere_tells_a_name_to_connect_to(start: Start) -> None:
    host = start("--listen", "0.0.0.0:0", "--any-tenant")
    assert Endpoint.parse(host.status.address).host == socket.gethostname().lower()


def test_an_unknown_tenant_is_refused_with_what_the_operator_types(
    start: Start, alice: Identity, mallory: Identity
) -> None:
    host = on_tcp(start, "--tenant", alice.digest.hex())
    error = refused(host, mallory)
    assert error.code == "host.unknown-tenant"
    assert mallory.digest.hex() in error.message
    assert f"enarx host up --tenant {mallory.digest.hex()}" in error.hint


def test_any_tenant_means_anybody_with_a_certificate(start: Start, mallory: Identity) -> None:
    host = on_tcp(start, "--any-tenant")
    assert asyncio.run(host_status(host, mallory)).keeps == 0


def test_without_a_certificate_nothing_is_answered(start: Start) -> None:
    host = on_tcp(start, "--any-tenant")
    endpoint = Endpoint.parse(host.status.address)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

    async def ask(method: str, path: str) -> None:
        connection = await Connection.open(endpoint, tls=context, timeout=10)
        try:
            await connection.request(method, path, limit=MESSAGE, timeout=10)
        finally:
            await connection.close()

    for path in ("/v1/host", "/v1/keeps", "/v1/contracts"):
        with pytest.raises(RefusedError) as caught:
            asyncio.run(ask("GET", path))
        assert caught.value.code == "host.no-certificate"


def test_plain_http_on_the_tls_port_is_dropped(start: Start, alice: Identity) -> None:
    host = on_tcp(start, "--tenant", alice.digest.hex())
    endpoint = Endpoint.parse(host.status.address)

    async def ask() -> None:
        connection = await Connection.open(endpoint, timeout=10)
        try:
            await connection.request("GET", "/v1/host", limit=MESSAGE, timeout=10)
        finally:
            await connection.close()

    with pytest.raises(EnarxError):
        asyncio.run(ask())
    assert asyncio.run(host_status(host, alice)).keeps == 0


def test_old_tls_is_refused(start: Start) -> None:
    host = on_tcp(start, "--any-tenant")
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2

    async def ask() -> None:
        await Connection.open(Endpoint.parse(host.status.address), tls=context, timeout=10)

    with pytest.raises(EnarxError):
        asyncio.run(ask())


def test_a_keep_of_another_tenant_looks_like_none(
    start: Start, alice: Identity, mallory: Identity
) -> None:
    host = on_tcp(start, "--any-tenant")

    async def scenario() -> tuple[EnarxError, EnarxError, int, KeepStatus]:
        async with (
            AsyncClient(host.status.address, identity=alice) as ours,
            AsyncClient(host.status.address, identity=mallory) as theirs,
        ):
            keep = await ours.create(backend="sim-sgx")
            errors = []
            for attempt in (theirs.keep, theirs.end):
                with pytest.raises(RefusedError) as caught:
                    await attempt(keep.kuuid)
                errors.append(caught.value)
            return errors[0], errors[1], len(await theirs.keeps()), await ours.keep(keep.kuuid)

    looked, ended, count, status = asyncio.run(scenario())
    assert (looked.code, ended.code) == ("keep.unknown", "keep.unknown")
    assert count == 0
    assert status.state is State.INDETERMINATE


def test_a_tenant_s_keep_listens_on_the_manager_s_address(start: Start, alice: Identity) -> None:
    host = on_tcp(start, "--tenant", alice.digest.hex())

    async def attested() -> tuple[KeepStatus, AttestResponse]:
        async with AsyncClient(host.status.address, identity=alice) as client:
            keep = await client.create(backend="sim-sgx")
            response = await client._manager.call(
                "POST", f"/v1/keeps/{keep.kuuid}/attest", AttestRequest(nonce=keep._nonce),
                AttestResponse, limit=ATTESTATION,
            )  # fmt: skip
            return await client.keep(keep.kuuid), response

    status, response = asyncio.run(attested())
    assert status.state is State.READY
    assert status.address == response.address
    kind, _, port = response.address.partition(":")
    assert kind == "tcp"
    with socket.create_connection(("127.0.0.1", int(port)), timeout=5) as connection:
        connection.sendall(b"s")
    assert not (host.run / "keeps" / str(uuid.UUID(bytes=status.kuuid)) / "keep.sock").exists()


def test_the_key_and_its_pin_stay_the_same(start: Start, alice: Identity) -> None:
    host = on_tcp(start, "--tenant", alice.digest.hex())
    before = Endpoint.parse(host.status.address).pin
    host.manager.terminate()
    host.manager.wait()
    host.start()
    assert Endpoint.parse(host.status.address).pin == before
    assert (host.state / "server.pem").stat().st_mode & 0o777 == 0o600


def test_another_local_user_is_refused_by_name(start: Start) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    host = start("--tenant", "uid:65533")
    host.directory.chmod(0o755)
    assert _as_user(65533, host) == "0"
    assert "host.unknown-tenant this host does not know the tenant uid:65532" in _as_user(
        65532, host
    )


def test_other_local_users_cannot_even_connect_unless_somebody_is_allowed(start: Start) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    host = start()
    host.directory.chmod(0o755)
    assert "host.unreachable" in _as_user(65532, host)


def _as_user(uid: int, host: RunningHost) -> str:
    """What a client of another user is told: the number of Keeps, or code and message."""
    program = f"""
import asyncio, os, sys
from enarx.errors import EnarxError
from enarx.wire.attestation import AttestRequest, AttestResponse
from enarx.wire.endpoint import Endpoint
from enarx.wire.http_client import Connection
from enarx.wire.manager import HostStatus
os.setgroups([]); os.setgid({uid}); os.setuid({uid})
async def ask():
    connection = await Connection.open(Endpoint(path={str(host.run / "manager.sock")!r}), timeout=9)
    print((await connection.call("GET", "/v1/host", None, HostStatus, timeout=9)).keeps)
try:
    asyncio.run(ask())
except EnarxError as error:
    print(error.code, error.message)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    return (done.stdout + done.stderr).strip()


# -- the parts


def test_fingerprints_are_read_as_people_write_them(alice: Identity) -> None:
    text = alice.digest.hex()
    colons = ":".join(text[i : i + 2] for i in range(0, 64, 2)).upper()
    for written in (text, colons, f"sha256={text}", f" {text} "):
        tenants = Tenants([written], anybody=False)
        assert tenants.principal(Peer(certificate=alice.certificate)) == f"cert:{text}"


@pytest.mark.parametrize("text", ["", "alice", "ab" * 31, "uid:", "uid:-1", "zz" * 32])
def test_what_names_no_tenant_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        Tenants([text], anybody=False)
    assert caught.value.code == "usage.tenant"


def test_root_and_the_host_s_own_user_are_allowed() -> None:
    tenants = Tenants([], anybody=False)
    assert tenants.principal(Peer(uid=os.geteuid())) == f"uid:{os.geteuid()}"
    assert tenants.principal(Peer(uid=0)) == "uid:0"
    with pytest.raises(RefusedError):
        tenants.principal(Peer(uid=4_000_000))


def test_rubbish_is_no_certificate(tmp_path: Path) -> None:
    context, _ = server_context(tmp_path / "server.pem", "127.0.0.1")
    with pytest.raises(UsageError) as caught:
        Tenants([], anybody=True).introduce(b"rubbish", context)
    assert caught.value.code == "host.certificate"


def test_the_number_of_remembered_tenants_is_bounded(
    tmp_path: Path, alice: Identity, mallory: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, _ = server_context(tmp_path / "server.pem", "127.0.0.1")
    monkeypatch.setattr(limits, "TENANTS", 1)
    tenants = Tenants([], anybody=True)
    tenants.introduce(alice.certificate, context)
    tenants.introduce(alice.certificate, context)
    with pytest.raises(RefusedError) as caught:
        tenants.introduce(mallory.certificate, context)
    assert caught.value.code == "host.tenants"


def test_a_damaged_server_key_is_named(tmp_path: Path) -> None:
    path = tmp_path / "server.pem"
    path.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n")
    with pytest.raises(EnarxError) as caught:
        server_context(path, "127.0.0.1")
    assert caught.value.code == "host.tls-key"
    assert str(path) in caught.value.message


def test_introduction_needs_a_message_with_a_certificate(start: Start) -> None:
    host = on_tcp(start, "--any-tenant")
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

    async def introduce(message: Tenant) -> HostStatus:
        endpoint = Endpoint.parse(host.status.address)
        connection = await Connection.open(endpoint, tls=context, timeout=10)
        try:
            return await connection.call("POST", "/v1/tenant", message, HostStatus, timeout=10)
        finally:
            await connection.close()

    with pytest.raises(UsageError) as caught:
        asyncio.run(introduce(Tenant(certificate=hashlib.sha256(b"").digest())))
    assert caught.value.code == "host.certificate"
