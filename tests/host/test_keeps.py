"""Keeps over the manager's API: made, attested, asked again, ended, refused."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import struct
from collections.abc import Callable

import pytest

from enarx.errors import EnarxError, HostError, KeepLostError, ProtocolError, UsageError
from enarx.host.order import read_order
from enarx.wire.attestation import Manifests
from enarx.wire.endpoint import Endpoint
from enarx.wire.fields import Limits
from enarx.wire.http_client import Connection
from enarx.wire.limits import MANIFEST, MESSAGE
from enarx.wire.manager import ContractList, HostStatus, KeepList, KeepStatus, State

from .fake_silicon import ENDORSEMENTS, MANIFESTS
from .rig import RunningHost, within


def refusal(call: Callable[[], object]) -> EnarxError:
    with pytest.raises(EnarxError) as caught:
        call()
    return caught.value


def test_a_created_keep_has_a_loader_and_no_keep_yet(host: RunningHost) -> None:
    keep = host.create()
    assert keep.status().state is State.INDETERMINATE
    assert keep.created.owner == hashlib.sha256(b"owner's certificate").digest()
    assert keep.loader().alive()
    assert not (keep.directory / "keep.sock").exists()


def test_attestation_makes_the_keep_and_gives_what_it_and_the_silicon_said(
    host: RunningHost,
) -> None:
    keep = host.create()
    answer = keep.attest()
    assert answer.certificate.startswith(b"certificate of ")
    assert answer.endorsements == ENDORSEMENTS
    assert answer.address == f"unix:{keep.directory}/keep.sock"
    assert keep.status().state is State.READY
    assert keep.status().address == answer.address


def test_attestation_asked_again_gives_the_same_answer(host: RunningHost) -> None:
    keep = host.create()
    assert keep.attest() == keep.attest()


def test_attestation_asked_twice_at_once_makes_one_keep(host: RunningHost) -> None:
    keep = host.create()

    async def both() -> list[object]:
        return list(await asyncio.gather(keep.aattest(), keep.aattest()))

    first, second = asyncio.run(both())
    assert first == second


def test_another_nonce_than_the_created_one_is_refused(host: RunningHost) -> None:
    keep = host.create()
    assert refusal(lambda: keep.attest(os.urandom(32))).code == "keep.wrong-nonce"
    assert keep.status().state is State.INDETERMINATE


def test_the_keep_says_it_runs_and_it_shows(host: RunningHost) -> None:
    keep = host.ready()
    keep.say(b"r")
    within(1, lambda: keep.status().state is State.RUNNING)


def test_a_keep_that_shuts_down_is_shown_so_with_its_word(host: RunningHost) -> None:
    keep = host.ready()
    keep.say(b"s")
    within(1, lambda: keep.status().state is State.SHUTDOWN)
    assert keep.status().detail == "all done"
    within(1, lambda: not keep.directory.exists())


def test_deleting_ends_the_keep_in_good_order(host: RunningHost) -> None:
    keep = host.ready()
    process, loader = keep.process(), keep.loader()
    assert keep.end().state is State.SHUTDOWN
    assert not process.alive()
    within(1, lambda: not loader.alive() and not keep.directory.exists())


def test_deleting_kills_a_keep_that_does_not_listen(host: RunningHost) -> None:
    keep = host.ready()
    keep.say(b"h")
    process = keep.process()
    assert keep.end().state is State.SHUTDOWN
    assert not process.alive()


def test_deleting_twice_says_the_same(host: RunningHost) -> None:
    keep = host.ready()
    assert keep.end() == keep.end()


def test_an_ended_keep_cannot_be_attested(host: RunningHost) -> None:
    keep = host.create()
    keep.end()
    error = refusal(keep.attest)
    assert isinstance(error, KeepLostError)
    assert error.code == "keep.ended"


def test_a_keep_that_cannot_start_says_why(host: RunningHost) -> None:
    keep = host.create("sim-fails")
    error = refusal(keep.attest)
    assert (error.code, error.message) == ("keep.unwilling", "this Keep does not want to")
    within(1, lambda: keep.status().state is State.ERROR)
    assert "this Keep does not want to" in keep.status().detail


def test_a_keep_that_is_gone_before_it_is_told_anything_is_still_heard(host: RunningHost) -> None:
    keep = host.create("sim-stillborn")
    assert refusal(keep.attest).code == "keep.stillborn"
    within(1, lambda: keep.status().state is State.ERROR)
    assert "never well" in keep.status().detail


def test_a_keep_that_dies_while_it_starts_is_reported(host: RunningHost) -> None:
    keep = host.create("sim-dies")
    assert isinstance(refusal(keep.attest), KeepLostError)
    within(1, lambda: keep.status().state is State.ERROR)


def test_a_keep_that_babbles_is_ended(host: RunningHost) -> None:
    keep = host.create("sim-babbles")
    assert isinstance(refusal(keep.attest), ProtocolError)
    within(1, lambda: keep.status().state is State.ERROR)


def test_a_keep_that_hangs_while_it_starts_can_be_ended(host: RunningHost) -> None:
    keep = host.create("sim-hangs")

    async def end_while_it_hangs() -> EnarxError:
        attesting = asyncio.create_task(keep.aattest())
        while not (keep.directory / "cgroup").exists():
            await asyncio.sleep(0.01)
        await host.acall("DELETE", keep.path, None, KeepStatus)
        with pytest.raises(EnarxError) as caught:
            await attesting
        return caught.value

    assert isinstance(asyncio.run(end_while_it_hangs()), KeepLostError)


def test_manifests_come_through_unread(host: RunningHost) -> None:
    keep = host.ready()
    assert host.call("GET", f"{keep.path}/manifests", None, Manifests, MANIFEST) == MANIFESTS


def test_unknown_back_end_lists_those_there_are(host: RunningHost) -> None:
    error = refusal(lambda: host.create("sim-nothing"))
    assert isinstance(error, UsageError)
    assert error.code == "backend.unknown"
    assert "sim-sgx" in error.hint


def test_a_back_end_without_its_hardware_names_what_is_missing(host: RunningHost) -> None:
    contracts = host.call("GET", "/v1/contracts", None, ContractList).contracts
    real = next(c for c in contracts if c.backend == "snp")
    assert real.missing
    assert not real.simulated
    error = refusal(lambda: host.create("snp"))
    assert isinstance(error, HostError)
    assert error.code == "backend.missing"


def test_more_memory_than_the_host_has_is_refused(host: RunningHost) -> None:
    error = refusal(lambda: host.create(limits=Limits(memory=1 << 44)))
    assert isinstance(error, HostError)
    assert error.code == "host.memory"


def test_keeps_are_listed_oldest_first(host: RunningHost) -> None:
    first, second = host.create(), host.ready()
    listed = host.call("GET", "/v1/keeps", None, KeepList).keeps
    assert [keep.kuuid for keep in listed] == [first.kuuid.bytes, second.kuuid.bytes]
    assert [keep.state for keep in listed] == [State.INDETERMINATE, State.READY]


def test_the_host_counts_its_keeps(host: RunningHost) -> None:
    host.create()
    status = host.call("GET", "/v1/host", None, HostStatus)
    assert (status.keeps, status.silicon, status.launcher) == (1, "running", "supervised")
    assert status.address == f"unix:{host.run}/manager.sock"


def test_each_keep_has_its_own_user_id(host: RunningHost) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root gives Keeps user ids of their own")
    uids = {read_order(host.create().directory).uid for _ in range(5)}
    assert len(uids) == 5
    assert 0 not in uids


def test_a_hundred_keeps_at_once(host: RunningHost) -> None:
    async def one() -> tuple[bytes, State]:
        keep = await host.acreate()
        await keep.aattest()
        status = await host.acall("GET", keep.path, None, KeepStatus)
        return status.kuuid, status.state

    async def all_of_them() -> list[tuple[bytes, State]]:
        return await asyncio.gather(*(one() for _ in range(100)))

    made = asyncio.run(all_of_them())
    assert len({kuuid for kuuid, _ in made}) == 100
    assert {state for _, state in made} == {State.READY}


# -- hostile clients


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00" * 100,
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET /v1/host HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
        b"POST /v1/keeps HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"GET /" + b"a" * 100_000,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
    ids=["zeros", "http-1.0", "two-hosts", "bad-chunk", "long-target", "tls-hello"],
)
def test_garbage_is_answered_or_dropped_and_the_host_goes_on(
    host: RunningHost, garbage: bytes
) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(15)
        sock.connect(str(host.run / "manager.sock"))
        sock.sendall(garbage)
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(65536):
            pass
    assert host.create().created.state is State.INDETERMINATE


def test_a_client_that_resets_the_connection_harms_nobody(host: RunningHost) -> None:
    for _ in range(20):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(host.run / "manager.sock"))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.sendall(b"POST /v1/keeps HTTP/1.1\r\nhost: a\r\ncontent-length: 99\r\n\r\nx")
    assert host.create().created.state is State.INDETERMINATE


def _raw(host: RunningHost, method: str, path: str, body: bytes) -> bytes:
    async def ask() -> bytes:
        connection = await Connection.open(
            Endpoint(path=str(host.run / "manager.sock")), timeout=10
        )
        try:
            return await connection.request(method, path, body, limit=1 << 20, timeout=10)
        finally:
            await connection.close()

    return asyncio.run(ask())


def test_a_body_above_the_limit_is_refused(host: RunningHost) -> None:
    body = bytes(MESSAGE + 1)
    assert refusal(lambda: _raw(host, "POST", "/v1/keeps", body)).code == "limit.size"


def test_a_body_far_above_the_limit_is_not_taken(host: RunningHost) -> None:
    body = bytes(64 << 20)
    assert refusal(lambda: _raw(host, "POST", "/v1/keeps", body)).code in (
        "limit.size",
        "host.gone",
    )
    assert host.create().created.state is State.INDETERMINATE


def test_a_body_that_is_no_message_is_refused(host: RunningHost) -> None:
    assert refusal(lambda: _raw(host, "POST", "/v1/keeps", b"\xff")).code == "protocol.cbor"
    assert refusal(lambda: _raw(host, "POST", "/v1/keeps", b"\xa0")).code == "protocol.schema"


def test_an_attest_body_is_read_by_the_loader_only(host: RunningHost) -> None:
    keep = host.create()
    error = refusal(lambda: _raw(host, "POST", f"{keep.path}/attest", b"\xff"))
    assert error.code == "protocol.cbor"
    assert "AttestRequest" in error.message
    assert keep.status().state is State.INDETERMINATE


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/v1/nothing", "protocol.path"),
        ("/v1/keeps/../host", "protocol.path"),
        ("/v1/keeps/00000000-0000-4000-8000-000000000000", "keep.unknown"),
        ("/v1/keeps/------------------------------------", "keep.unknown"),
        ("/v1/keeps/00000000-0000-4000-8000-000000000000/manifests", "keep.unknown"),
    ],
)
def test_paths_that_are_nothing(host: RunningHost, path: str, code: str) -> None:
    assert refusal(lambda: _raw(host, "GET", path, b"")).code == code


def test_only_the_host_s_own_user_reaches_the_loader(host: RunningHost) -> None:
    keep = host.create()
    assert (keep.directory / "loader.sock").stat().st_mode & 0o777 == 0o600
