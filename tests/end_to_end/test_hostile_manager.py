"""What a hostile manager can do to a client: nothing that is not noticed, each by its name."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import shutil
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any

import msgspec
import pytest

import enarx
from enarx.client.agent import AsyncClient
from enarx.client.attestation import Attestation
from enarx.client.bounds import Timeouts
from enarx.client.config import Config
from enarx.client.identity import Identity
from enarx.client.module import Module
from enarx.client.session import Session
from enarx.client.simple import checked_workload
from enarx.client.tls import open_keep
from enarx.errors import (
    EnarxError,
    KeepLostError,
    LimitError,
    ProtocolError,
    RefusedError,
    UnreachableError,
    VerificationError,
)
from enarx.testing import host as private_host
from enarx.verifier.policy import Policy
from enarx.wire.attestation import AttestResponse
from enarx.wire.codec import pack
from enarx.wire.endpoint import Endpoint
from enarx.wire.fields import Limits
from enarx.wire.framing import frame
from enarx.wire.manager import CreateKeep
from enarx.wire.session import Workload

from .conftest import EXAMPLES
from .hostile import (
    Attack,
    ChangedAttestation,
    ChangedCreate,
    Endless,
    FakeKeep,
    HostileManager,
    RawManager,
    Relay,
    Replay,
    Silent,
    Wiretap,
    flip,
    forged_certificate,
)

DEVELOPMENT = Policy.builtin("development")
SHORT = Timeouts(connect=5.0, manager=1.0, attest=3.0, session=2.0, start=2.0, grace=0.5, end=1.0)
TEST_SECONDS = 90.0
CUT = 15_000
"""Bytes from the Keep: behind its handshake (about 7,000), in the middle of the output."""


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(coroutine, TEST_SECONDS))


@contextlib.asynccontextmanager
async def attacked(
    host: str, attack: Attack, identity: Identity, *, timeouts: Timeouts | None = None
) -> AsyncIterator[AsyncClient]:
    """A client whose manager is hostile."""
    async with (
        HostileManager(host, attack, identity).serve() as address,
        AsyncClient(address, identity=identity, timeouts=timeouts or Timeouts()) as client,
    ):
        yield client


async def refused(client: AsyncClient, *, backend: str = "sim-sgx") -> VerificationError:
    """All steps up to the session, which must not be had."""
    keep = await client.create(backend=backend)
    async with keep:
        attestation = await keep.attest(policy=DEVELOPMENT)
        with pytest.raises(VerificationError) as caught:
            attestation.session()
        return caught.value


async def attested(client: AsyncClient) -> Attestation:
    return await (await client.create(backend="sim-sgx")).attest(policy=DEVELOPMENT)


async def run_all(session: Session, workload: Workload) -> None:
    async with session.run(workload) as running:
        async for _ in running:
            pass


async def send_as(identity: Identity, session: Session) -> None:
    """Try to give the Keep a workload as this identity."""
    connection = await open_keep(
        session.endpoint, identity, certificate=session.certificate, timeout=5
    )
    await connection.request("POST", "/v1/workload", frame(pack(hello())), limit=1 << 16, timeout=5)


def hello() -> Workload:
    module = Module.from_file(EXAMPLES / "hello" / "hello.wasm")
    return checked_workload(module, Config(), secrets={})


def test_without_an_attack_the_same_manager_is_affirmed(host: str, identity: Identity) -> None:
    async def scenario() -> None:
        async with attacked(host, Attack(), identity) as client:
            keep = await client.create(backend="sim-sgx")
            attestation = await keep.attest(policy=DEVELOPMENT)
            async with attestation.session().run(hello()) as running:
                assert [event async for event in running][-1] is running.ended

    run(scenario())


def test_swapped_certificate_with_genuine_evidence_in_it_is_refused(
    host: str, identity: Identity
) -> None:
    def swap(response: AttestResponse) -> AttestResponse:
        forged, _ = forged_certificate(response.certificate)
        return msgspec.structs.replace(response, certificate=forged)

    async def scenario() -> None:
        async with attacked(host, ChangedAttestation(swap), identity) as client:
            error = await refused(client)
        assert error.code == "verification.binding"
        assert "key of this certificate" in error.message

    run(scenario())


def test_somebody_else_at_the_keeps_address_is_sent_nothing(host: str, identity: Identity) -> None:
    async def scenario() -> None:
        async with AsyncClient(host, identity=identity) as client:
            genuine = await (await client.create(backend="sim-sgx")).attest(policy=DEVELOPMENT)
        fake = FakeKeep(*forged_certificate(genuine.certificate))
        async with fake.serve() as address:

            def redirect(response: AttestResponse) -> AttestResponse:
                return msgspec.structs.replace(response, address=address)

            async with attacked(host, ChangedAttestation(redirect), identity) as client:
                keep = await client.create(backend="sim-sgx")
                session = (await keep.attest(policy=DEVELOPMENT)).session()
                with pytest.raises(VerificationError) as caught:
                    await session.deploy(hello())
        assert caught.value.code == "keep.certificate"
        assert fake.received == 0

    run(scenario())


def test_replayed_older_evidence_is_refused(host: str, identity: Identity) -> None:
    async def scenario() -> None:
        async with attacked(host, Replay(), identity) as client:
            first = await client.create(backend="sim-sgx")
            (await first.attest(policy=DEVELOPMENT)).verdict.require()
            error = await refused(client)
        assert error.code == "verification.binding"
        assert "made for this request" in error.message

    run(scenario())


def test_relayed_evidence_of_another_keep_is_refused(host: str, identity: Identity) -> None:
    async def scenario() -> None:
        async with attacked(host, Relay(), identity) as client:
            error = await refused(client)
        assert error.code == "verification.init_data"

    run(scenario())


def test_altered_payload_is_refused_and_the_file_named(identity: Identity, tmp_path: Path) -> None:
    payload = copy_payload(tmp_path / "payload")
    altered = payload / "enarx" / "keep" / "__init__.py"
    altered.write_text(altered.read_text() + "\nBACKDOOR = True\n")

    async def scenario(address: str) -> None:
        async with AsyncClient(address, identity=identity) as client:
            error = await refused(client)
        assert error.code == "verification.measurement"
        assert "payload" in error.message
        assert "enarx/keep/__init__.py differs" in error.message

    with private_host(payload=payload) as address:
        run(scenario(address))


def copy_payload(directory: Path) -> Path:
    from enarx.image.payload import find_payload

    for source in find_payload():
        target = directory / source.path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source.origin, target)
    return directory


def _more_memory(asked: CreateKeep) -> CreateKeep:
    return msgspec.structs.replace(asked, limits=Limits(memory=1 << 33))


def _other_nonce(asked: CreateKeep) -> CreateKeep:
    return msgspec.structs.replace(asked, nonce=os.urandom(32))


def _downgrade(asked: CreateKeep) -> CreateKeep:
    return msgspec.structs.replace(asked, backend="sim-sgx")


def test_altered_init_data_is_refused(host: str, identity: Identity) -> None:
    async def scenario() -> None:
        async with attacked(host, ChangedCreate(_more_memory), identity) as client:
            error = await refused(client)
        assert error.code == "verification.init_data"

    run(scenario())


def test_changed_nonce_is_refused(host: str, identity: Identity) -> None:
    async def scenario() -> None:
        async with attacked(host, ChangedCreate(_other_nonce), identity) as client:
            error = await refused(client)
        assert error.code == "verification.binding"
        assert "made for this request" in error.message

    run(scenario())


def test_changed_owner_is_refused(host: str, identity: Identity, stranger: Identity) -> None:
    def steal(asked: CreateKeep) -> CreateKeep:
        return msgspec.structs.replace(asked, owner=stranger.certificate)

    async def scenario() -> None:
        async with attacked(host, ChangedCreate(steal), identity) as client:
            error = await refused(client)
        assert error.code == "verification.init_data"

    run(scenario())


def test_changed_owner_that_is_not_hidden_is_refused_at_once(
    host: str, identity: Identity, stranger: Identity
) -> None:
    class Steal(Attack):
        async def create(self, asked: CreateKeep) -> Any:
            changed = msgspec.structs.replace(asked, owner=stranger.certificate)
            return await self.manager.create(changed)

    async def scenario() -> None:
        async with attacked(host, Steal(), identity) as client:
            with pytest.raises(ProtocolError) as caught:
                await client.create(backend="sim-sgx")
        assert caught.value.code == "host.other-keep"

    run(scenario())


def test_downgraded_back_end_is_refused(host: str, identity: Identity) -> None:
    async def scenario() -> None:
        async with attacked(host, ChangedCreate(_downgrade), identity) as client:
            error = await refused(client, backend="sim-tdx")
        assert error.code == "verification.binding"
        assert "technology" in error.message

    run(scenario())


@pytest.mark.parametrize("tenth", range(10))
def test_flipped_bit_in_the_certificate_is_refused(
    host: str, identity: Identity, tenth: int
) -> None:
    def change(response: AttestResponse) -> AttestResponse:
        bits = len(response.certificate) * 8
        changed = flip(response.certificate, bits * tenth // 10 + 5)
        return msgspec.structs.replace(response, certificate=changed)

    async def scenario() -> None:
        async with attacked(host, ChangedAttestation(change), identity) as client:
            keep = await client.create(backend="sim-sgx")
            with pytest.raises(EnarxError) as caught:
                (await keep.attest(policy=DEVELOPMENT)).session()
        assert caught.value.code.split(".")[0] in (
            "verification", "certificate", "parse", "keep", "claims", "cmw", "cbor", "evidence",
            "x509", "ratls",
        )  # fmt: skip

    run(scenario())


@pytest.mark.parametrize("path", ["/contracts", "/keeps", "/attest"])
def test_withheld_answer_is_given_up_on(host: str, identity: Identity, path: str) -> None:
    async def scenario() -> None:
        async with attacked(host, Silent(path), identity, timeouts=SHORT) as client:
            with pytest.raises(UnreachableError) as caught:
                await attested(client)
        assert caught.value.code == "host.timeout"

    run(scenario())


HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/cbor\r\ncontent-length: 100\r\n\r\n"


def test_truncated_answer_is_not_taken_for_a_whole_one(identity: Identity) -> None:
    async def scenario() -> None:
        raw = RawManager(HEAD + b"\xa1\x69contracts\x80", then_close=True)
        async with raw.serve() as address, AsyncClient(address, identity=identity) as client:
            with pytest.raises(UnreachableError) as caught:
                await client.contracts()
        assert caught.value.code == "host.gone"

    run(scenario())


def test_repeated_answer_is_not_taken_for_the_next_one(identity: Identity) -> None:
    body = b"\xa1\x69contracts\x80"
    answer = HEAD.replace(b"100", str(len(body)).encode()) + body

    async def scenario() -> None:
        raw = RawManager(answer * 2, then_close=False)
        async with raw.serve() as address, AsyncClient(address, identity=identity) as client:
            assert await client.contracts() == ()
            with pytest.raises(ProtocolError):
                await client.host()

    run(scenario())


@pytest.mark.parametrize("path", ["/contracts", "/attest"])
def test_answer_of_a_gigabyte_is_cut_off(host: str, identity: Identity, path: str) -> None:
    attack = Endless(path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    async def scenario() -> None:
        async with attacked(host, attack, identity) as client:
            with pytest.raises(LimitError) as caught:
                await attested(client)
        assert caught.value.code == "limit.size"

    run(scenario())
    assert attack.sent < 64 << 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10


def test_claimed_length_of_a_gigabyte_is_cut_off(identity: Identity) -> None:
    async def scenario() -> None:
        raw = RawManager(HEAD.replace(b"100", b"1073741824") + bytes(1 << 20), then_close=False)
        async with raw.serve() as address, AsyncClient(address, identity=identity) as client:
            with pytest.raises(LimitError) as caught:
                await client.contracts()
        assert caught.value.code == "limit.size"

    run(scenario())


def test_simulated_evidence_is_refused_by_a_policy_that_does_not_name_it(
    host: str, identity: Identity
) -> None:
    async def scenario() -> None:
        async with AsyncClient(host, identity=identity) as client:
            attestation = await (await client.create(backend="sim-sgx")).attest()
            with pytest.raises(VerificationError) as caught:
                attestation.session()
        assert caught.value.code == "verification.simulated"

    run(scenario())


def test_second_workload_is_refused_by_the_keep(host: str, identity: Identity) -> None:
    async def scenario() -> None:
        async with AsyncClient(host, identity=identity) as client:
            keep = await client.create(backend="sim-sgx")
            session = (await keep.attest(policy=DEVELOPMENT)).session()
            slow = Module.from_file(EXAMPLES / "slow" / "slow.wasm")
            config = Config(args=("10000", "5"))
            await session.deploy(checked_workload(slow, config, secrets={}, detach=True))
            with pytest.raises(RefusedError) as caught:
                await session.deploy(hello())
            await session.stop()
        assert caught.value.code == "keep.workload-taken"

    run(scenario())


def test_keep_talks_to_nobody_but_its_owner(
    host: str, identity: Identity, stranger: Identity
) -> None:
    async def scenario() -> None:
        async with AsyncClient(host, identity=identity) as client:
            keep = await client.create(backend="sim-sgx")
            session = (await keep.attest(policy=DEVELOPMENT)).session()
            with pytest.raises((ProtocolError, RefusedError, UnreachableError)):
                await send_as(stranger, session)
            # The Keep is not spent by that: its owner still can use it.
            async with session.run(hello()) as running:
                assert [event async for event in running]

    run(scenario())


def test_manager_sees_nothing_of_the_session(host: str, identity: Identity) -> None:
    """The secret, the module and the output pass through the tap only encrypted."""
    secret = b"correct horse battery staple"

    async def scenario() -> None:
        async with AsyncClient(host, identity=identity) as client:
            keep = await client.create(backend="sim-sgx")
            attestation = await keep.attest(policy=DEVELOPMENT)
            session = attestation.session()
            module = Module.from_file(EXAMPLES / "secrets" / "secrets.wasm")
            workload = checked_workload(module, Config(), secrets={"FOO": secret})
            tap = Wiretap(session.address)
            async with tap.serve() as address:
                session.endpoint = Endpoint.parse(address)
                output = b""
                async with session.run(workload) as running:
                    async for event in running:
                        output += getattr(event, "data", b"")
        assert secret in output
        assert len(tap.seen) > len(module.code)
        assert secret not in tap.seen
        assert module.code[:64] not in tap.seen

    run(scenario())


def test_session_that_is_cut_off_is_reported_as_lost(host: str, identity: Identity) -> None:
    async def scenario() -> None:
        async with AsyncClient(host, identity=identity) as client:
            keep = await client.create(backend="sim-sgx")
            session = (await keep.attest(policy=DEVELOPMENT)).session()
            tap = Wiretap(session.address, cut_after=CUT)
            async with tap.serve() as address:
                session.endpoint = Endpoint.parse(address)
                module = Module.from_file(EXAMPLES / "slow" / "slow.wasm")
                workload = checked_workload(module, Config(args=("1", "100000")), secrets={})
                with pytest.raises(KeepLostError):
                    await run_all(session, workload)

    run(scenario())


def test_session_that_is_held_back_ends_at_the_wall_limit(host: str, identity: Identity) -> None:
    async def scenario() -> None:
        async with AsyncClient(host, identity=identity, timeouts=SHORT) as client:
            keep = await client.create(backend="sim-sgx", limits=Limits(wall=1000, compile=5000))
            session = (await keep.attest(policy=DEVELOPMENT)).session()
            tap = Wiretap(session.address, cut_after=CUT, hold=True)
            async with tap.serve() as address:
                session.endpoint = Endpoint.parse(address)
                module = Module.from_file(EXAMPLES / "slow" / "slow.wasm")
                workload = checked_workload(module, Config(args=("1", "100000")), secrets={})
                with pytest.raises(LimitError) as caught:
                    await run_all(session, workload)
        assert caught.value.code == "limit.silent"

    run(scenario())


def test_address_of_another_kind_is_refused(host: str, identity: Identity) -> None:
    def redirect(response: AttestResponse) -> AttestResponse:
        return msgspec.structs.replace(response, address="https://elsewhere.example:1")

    async def scenario() -> None:
        async with attacked(host, ChangedAttestation(redirect), identity) as client:
            attestation = await (await client.create()).attest(policy=DEVELOPMENT)
            with pytest.raises(ProtocolError) as caught:
                attestation.session()
        assert caught.value.code == "host.address"

    run(scenario())


def test_wrong_pin_of_the_host_is_refused(tls_host: str, identity: Identity) -> None:
    address = tls_host.partition("#")[0] + "#sha256=" + "00" * 32

    async def scenario() -> None:
        async with AsyncClient(address, identity=identity) as client:
            with pytest.raises(ProtocolError) as caught:
                await client.contracts()
        assert caught.value.code == "host.pin"

    run(scenario())


def test_host_without_a_pin_needs_an_authority(tls_host: str, identity: Identity) -> None:
    async def scenario() -> None:
        async with AsyncClient(tls_host.partition("#")[0], identity=identity) as client:
            with pytest.raises(ProtocolError) as caught:
                await client.contracts()
        assert caught.value.code == "protocol.tls"

    run(scenario())


def test_all_ten_steps_over_tls_and_tcp(tls_host: str, identity: Identity) -> None:
    result = enarx.run(
        EXAMPLES / "hello" / "hello.wasm", host=tls_host, policy="development", identity=identity
    )
    assert result.check().stdout.startswith(b"Hello from a Keep!")
