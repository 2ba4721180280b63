"""The same host with the real silicon and real Keeps: every part killed at every step."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import wasmtime

from enarx.client.identity import Identity, load_identity
from enarx.client.session import Session
from enarx.host.order import read_order
from enarx.wire.attestation import AttestResponse
from enarx.wire.endpoint import Endpoint
from enarx.wire.fields import Limits
from enarx.wire.limits import MIB
from enarx.wire.manager import State
from enarx.wire.session import Exit, Workload

from .conftest import Start
from .rig import NO_GROUPS, NOTICED, PATIENCE, REAL, Keep, RunningHost, children, cmdline, within

FOR_EVER = '(module (memory (export "memory") 1) (func (export "_start") (loop (br 0))))'
NOTHING = '(module (memory (export "memory") 1) (func (export "_start")))'
STEPS = ("created", "ready", "running")


@pytest.fixture(scope="session")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    return load_identity(tmp_path_factory.mktemp("real") / "owner.pem")


@pytest.fixture
def host(start: Start) -> RunningHost:
    return start(program=REAL)


@pytest.fixture(scope="module")
def shared() -> Iterator[RunningHost]:
    host = RunningHost(program=REAL)
    yield host
    host.close()


def session(response: AttestResponse, identity: Identity) -> Session:
    return Session(
        address=response.address,
        endpoint=Endpoint.parse(response.address),
        identity=identity,
        certificate=response.certificate,
        limits=Limits(),
    )


def workload(text: str) -> Workload:
    return Workload(name="test", module=bytes(wasmtime.wat2wasm(text)), detach=True)


def at(step: str, host: RunningHost, identity: Identity, backend: str = "sim-sgx") -> Keep:
    """A Keep that has come as far as this step."""
    keep = host.create(backend, owner=identity.certificate)
    if step == "created":
        return keep
    response = keep.attest()
    if step == "running":
        asyncio.run(session(response, identity).deploy(workload(FOR_EVER)))
        within(PATIENCE, lambda: keep.status().state is State.RUNNING)
    return keep


@pytest.mark.parametrize("backend", ["sim-sgx", "sim-tdx", "sim-snp"])
def test_a_real_keep_becomes_ready_under_its_limits(
    shared: RunningHost, identity: Identity, backend: str
) -> None:
    keep = at("ready", shared, identity, backend)
    status = keep.status()
    assert status.state is State.READY
    # What could not be had is named, and nothing else.
    assert bool(status.detail) == bool(NO_GROUPS)
    assert bool(keep.groups()) == (not NO_GROUPS)
    keep.end()
    within(NOTICED, lambda: not keep.directory.exists() and not keep.groups())


def test_a_workload_runs_and_the_keep_shuts_down(shared: RunningHost, identity: Identity) -> None:
    keep = shared.create(owner=identity.certificate)
    response = keep.attest()

    async def run() -> list[object]:
        attached = Workload(name="test", module=bytes(wasmtime.wat2wasm(NOTHING)))
        async with session(response, identity).run(attached) as events:
            return [event async for event in events]

    assert Exit(code=0) in asyncio.run(run())
    within(NOTICED * 3, lambda: keep.status().state is State.SHUTDOWN)
    within(NOTICED, lambda: not keep.directory.exists())


def test_a_keep_runs_as_its_own_user(shared: RunningHost, identity: Identity) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root gives Keeps user ids of their own")
    keep = at("ready", shared, identity)
    uid = read_order(keep.directory).uid
    assert Path(f"/proc/{keep.process().pid}").stat().st_uid in (uid, 0)
    status = Path(f"/proc/{keep.process().pid}/status").read_text()
    assert f"Uid:\t{uid}\t{uid}\t{uid}\t{uid}" in status
    keep.end()


@pytest.mark.parametrize("step", STEPS[1:])
def test_a_killed_keep_is_noticed(shared: RunningHost, identity: Identity, step: str) -> None:
    keep = at(step, shared, identity)
    keep.process().kill()
    within(NOTICED, lambda: keep.status().state is State.ERROR)
    within(NOTICED, lambda: not keep.directory.exists() and not keep.groups())


@pytest.mark.parametrize("step", STEPS)
def test_a_killed_loader_is_noticed(shared: RunningHost, identity: Identity, step: str) -> None:
    keep = at(step, shared, identity)
    process = keep.process() if step != "created" else None
    keep.loader().kill()
    within(NOTICED, lambda: keep.status().state is State.ERROR)
    within(NOTICED, lambda: process is None or not process.alive())
    within(NOTICED, lambda: not keep.directory.exists() and not keep.groups())


@pytest.mark.parametrize("step", STEPS)
def test_killed_silicon_is_noticed(host: RunningHost, identity: Identity, step: str) -> None:
    keep = at(step, host, identity)
    process = keep.process() if step != "created" else None
    host.silicon().kill()
    if process is not None:
        within(NOTICED, lambda: keep.status().state is State.ERROR)
        within(NOTICED, lambda: not process.alive())
    later = at("ready", host, identity)
    assert later.status().state is State.READY


@pytest.mark.parametrize("step", STEPS[1:])
def test_a_killed_zygote_is_noticed(host: RunningHost, identity: Identity, step: str) -> None:
    keep = at(step, host, identity)
    process = keep.process()
    for pid in children(host.silicon().pid):
        if b"zygote" in cmdline(pid):
            os.kill(pid, signal.SIGKILL)
    within(NOTICED, lambda: keep.status().state is State.ERROR)
    assert not process.alive()
    assert at("ready", host, identity).status().state is State.READY


@pytest.mark.parametrize("step", STEPS)
def test_a_killed_manager_finds_its_keeps_again(
    host: RunningHost, identity: Identity, step: str
) -> None:
    keep = at(step, host, identity)
    before = keep.status()
    host.manager.kill()
    host.manager.wait()
    host.start()
    assert host.status.keeps == 1
    assert keep.status() == before
    if step == "created":
        assert keep.attest().certificate
    assert keep.end().state is State.SHUTDOWN


def test_everything_ends_with_the_host(host: RunningHost, identity: Identity) -> None:
    keeps = [at(step, host, identity) for step in STEPS]
    before = host.processes()
    assert len(before) >= 8
    host.signal(signal.SIGTERM)
    assert host.manager.wait(PATIENCE) == 0
    within(NOTICED, lambda: not [pid for pid in before if Path(f"/proc/{pid}").exists()])
    assert not host.run.exists()
    assert not any(keep.groups() for keep in keeps)


def test_a_private_host_leaves_nothing_even_when_its_manager_is_killed(
    start: Start, identity: Identity
) -> None:
    host = start(program=REAL, private=True)
    keeps = [at(step, host, identity) for step in STEPS]
    before = host.processes()
    host.manager.kill()
    host.manager.wait()
    within(NOTICED * 3, lambda: not [pid for pid in before if Path(f"/proc/{pid}").exists()])
    assert not host.run.exists()
    assert not any(keep.groups() for keep in keeps)


@pytest.mark.slow
def test_a_hundred_real_keeps_at_once(host: RunningHost, identity: Identity) -> None:
    async def one() -> uuid.UUID:
        keep = await host.acreate(owner=identity.certificate, limits=Limits(memory=16 * MIB))
        await keep.aattest()
        return keep.kuuid

    async def all_of_them() -> list[uuid.UUID]:
        return await asyncio.gather(*(one() for _ in range(100)))

    kuuids = asyncio.run(all_of_them())
    assert len(set(kuuids)) == 100
    before = host.processes()
    assert len(before) > 200
    host.close()
    within(NOTICED, lambda: not [pid for pid in before if Path(f"/proc/{pid}").exists()])


# -- without root

_AS_NOBODY = """
hidden=$1 needed=$2 user=$3; shift 3
if [ -n "$hidden" ]; then
    # The interpreter lies where only root may pass: it is shown to others in this namespace.
    mount --bind "$needed" /mnt
    mount -t tmpfs -o mode=755 tmpfs "$hidden"
    mkdir -p "$needed"
    mount --bind /mnt "$needed"
fi
exec setpriv --reuid "$user" --regid "$user" --clear-groups "$@"
"""
_NOBODY = 65533


def as_nobody() -> tuple[str, ...]:
    """The command line of a host that an ordinary user runs."""
    needed = Path(sys.base_prefix)
    hidden = next((p for p in reversed(needed.parents) if not p.stat().st_mode & 0o001), None)
    for path in (Path(sys.prefix), Path(__file__)):
        if any(not parent.stat().st_mode & 0o001 for parent in path.parents):
            pytest.skip(f"{path} cannot be reached by other users")
    return (
        "unshare", "--mount", "--propagation", "private", "bash", "-euc", _AS_NOBODY, "nobody",
        str(hidden or ""), str(needed), str(_NOBODY), *REAL,
    )  # fmt: skip


def test_a_host_without_root_has_keeps_in_namespaces_of_their_own(
    start: Start, identity: Identity
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    directory = Path(tempfile.mkdtemp(prefix="ehost", dir="/tmp"))
    os.chown(directory, _NOBODY, _NOBODY)
    host = start(program=as_nobody(), directory=directory)
    assert host.status.launcher == "supervised"
    keep = host.create(owner=identity.certificate)
    response = keep.attest()
    asyncio.run(session(response, identity).deploy(workload(FOR_EVER)))
    within(PATIENCE, lambda: keep.status().state is State.RUNNING)
    assert read_order(keep.directory).uid == 0
    loader = keep.loader()
    assert Path(f"/proc/{loader.pid}").stat().st_uid == _NOBODY
    before = host.processes()
    host.signal(signal.SIGTERM)
    host.manager.wait(PATIENCE)
    within(NOTICED, lambda: not [pid for pid in before if Path(f"/proc/{pid}").exists()])
    assert not host.run.exists()
