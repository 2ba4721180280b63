"""kill -9 of each part is noticed by the others within a second; nothing stays behind."""

from __future__ import annotations

import os
import signal
import time

import pytest

from enarx.errors import KeepLostError
from enarx.wire.manager import HostStatus, KeepList, State

from .conftest import Start
from .rig import NOTICED, PATIENCE, RunningHost, children, needs_groups, within
from .test_keeps import refusal


def test_a_killed_keep_is_noticed(host: RunningHost) -> None:
    keep = host.ready()
    keep.process().kill()
    within(NOTICED, lambda: keep.status().state is State.ERROR)
    assert keep.status().detail == "the Keep died"
    within(NOTICED, lambda: not keep.directory.exists())


def test_a_keep_that_exits_without_a_word_is_an_error(host: RunningHost) -> None:
    keep = host.ready()
    keep.say(b"c")
    within(NOTICED, lambda: keep.status().state is State.ERROR)


def test_a_killed_loader_is_noticed_and_its_keep_ends(host: RunningHost) -> None:
    keep = host.ready()
    process = keep.process()
    keep.loader().kill()
    within(NOTICED, lambda: keep.status().state is State.ERROR)
    assert "loader" in keep.status().detail
    within(NOTICED, lambda: not process.alive() and not keep.directory.exists())


@needs_groups
def test_a_killed_loader_takes_even_a_deaf_keep_with_it(host: RunningHost) -> None:
    keep = host.ready()
    process = keep.process()
    os.kill(process.pid, signal.SIGSTOP)
    keep.loader().kill()
    within(NOTICED, lambda: not process.alive())


def test_a_loader_killed_before_attestation_is_noticed(host: RunningHost) -> None:
    keep = host.create()
    keep.loader().kill()
    within(NOTICED, lambda: keep.status().state is State.ERROR)
    assert isinstance(refusal(keep.attest), KeepLostError)


def test_a_stopped_loader_can_be_ended(host: RunningHost) -> None:
    keep = host.ready()
    process, loader = keep.process(), keep.loader()
    os.kill(loader.pid, signal.SIGSTOP)
    keep.end()
    assert not loader.alive()
    within(NOTICED, lambda: not process.alive())


def test_killed_silicon_ends_its_keeps_and_is_started_again(host: RunningHost) -> None:
    keep, unattested = host.ready(), host.create()
    old = host.silicon()
    old.kill()
    within(NOTICED, lambda: keep.status().state is State.ERROR)
    assert "silicon" in keep.status().detail
    later = host.create()
    assert later.attest().certificate
    assert unattested.attest().certificate
    assert host.silicon().pid != old.pid
    assert host.call("GET", "/v1/host", None, HostStatus).silicon == "running"


def test_a_killed_fork_server_is_started_again_and_its_loaders_go_on(host: RunningHost) -> None:
    keep = host.ready()
    os.kill(host.fork_server(), signal.SIGKILL)
    assert host.create().attest().certificate
    assert keep.status().state is State.READY
    assert keep.end().state is State.SHUTDOWN


def test_a_killed_manager_leaves_keeps_running_and_the_next_one_finds_them(
    host: RunningHost,
) -> None:
    ready, created = host.ready(), host.create()
    running = host.ready()
    running.say(b"r")
    within(NOTICED, lambda: running.status().state is State.RUNNING)
    silicon = host.silicon().pid
    loader, process = ready.loader(), ready.process()
    host.manager.kill()
    host.manager.wait()
    host.start()
    assert host.status.keeps == 3
    assert loader.alive()
    assert process.alive()
    assert host.silicon().pid == silicon
    states = {k.kuuid: k.state for k in host.call("GET", "/v1/keeps", None, KeepList).keeps}
    assert states == {
        ready.kuuid.bytes: State.READY,
        created.kuuid.bytes: State.INDETERMINATE,
        running.kuuid.bytes: State.RUNNING,
    }
    assert created.attest().certificate
    assert ready.attest().certificate
    process.kill()
    within(NOTICED, lambda: ready.status().state is State.ERROR)
    assert running.end().state is State.SHUTDOWN


def test_what_died_while_no_manager_ran_is_reported_by_the_next(host: RunningHost) -> None:
    by_loader, by_itself = host.ready(), host.ready()
    loader, process = by_loader.loader(), by_itself.process()
    host.manager.kill()
    host.manager.wait()
    loader.kill()
    process.kill()
    within(NOTICED, lambda: not loader.alive() and not process.alive())
    within(NOTICED, lambda: not (by_itself.directory / "loader.sock").exists())
    host.start()
    assert by_loader.status().state is State.ERROR
    assert "no keep manager" in by_loader.status().detail
    assert by_itself.status().detail == "the Keep died"
    assert not list((host.run / "keeps").iterdir())


def test_rubbish_in_the_run_directory_is_cleaned(host: RunningHost) -> None:
    host.manager.kill()
    host.manager.wait()
    (host.run / "keeps" / "rubbish").mkdir()
    (host.run / "keeps" / "rubbish" / "order.cbor").write_bytes(b"\xff")
    host.start()
    assert host.status.keeps == 0
    assert not list((host.run / "keeps").iterdir())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_leaves_nothing_behind(host: RunningHost, number: signal.Signals) -> None:
    keeps = [host.ready() for _ in range(3)] + [host.create()]
    assert len(host.processes()) >= 10
    host.manager.send_signal(number)
    assert host.manager.wait(PATIENCE) == 0
    within(NOTICED, lambda: not host.processes())
    assert not host.run.exists()
    assert not any(keep.groups() for keep in keeps)


@pytest.mark.parametrize("delay", [0.0, 0.1, 0.2, 0.3, 0.4])
def test_a_signal_while_it_starts_leaves_nothing_behind(start: Start, delay: float) -> None:
    host = start(wait=False)
    time.sleep(delay)
    host.manager.send_signal(signal.SIGTERM)
    host.manager.wait(PATIENCE)
    within(NOTICED, lambda: not host.processes())


def test_a_private_host_ends_with_its_lifeline(start: Start) -> None:
    host = start(private=True)
    keep = host.ready()
    host.cut_lifeline()
    assert host.manager.wait(PATIENCE) == 0
    within(NOTICED, lambda: not host.processes())
    assert not host.run.exists()
    assert not keep.groups()


def test_a_private_host_whose_manager_is_killed_leaves_nothing_behind(start: Start) -> None:
    host = start(private=True)
    host.ready()
    host.create()
    assert children(host.manager.pid)
    host.manager.kill()
    host.manager.wait()
    within(NOTICED * 3, lambda: not host.processes())
    assert not host.run.exists()


def test_a_private_host_guards_the_silicon_that_replaced_a_dead_one(start: Start) -> None:
    host = start(private=True)
    old = host.silicon()
    old.kill()
    within(NOTICED, lambda: not old.alive())
    host.ready()
    host.manager.kill()
    host.manager.wait()
    within(NOTICED * 3, lambda: not host.processes())
