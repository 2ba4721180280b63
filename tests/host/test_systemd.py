"""Loaders as transient units of a real systemd: started, confined, ended with their unit."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from enarx.host import limits
from enarx.wire.fields import Limits
from enarx.wire.limits import MIB
from enarx.wire.manager import State

from .rig import FAKE, NOTICED, REAL, RunningHost, within
from .systemd_machine import Machine, lacking, machine

pytestmark = [
    pytest.mark.systemd,
    pytest.mark.skipif(bool(lacking()), reason=lacking() or "everything is there"),
]


@pytest.fixture(scope="module")
def systemd() -> Iterator[Machine]:
    with machine() as one:
        yield one


@pytest.fixture
def host(systemd: Machine) -> Iterator[RunningHost]:
    host = RunningHost(program=systemd.enter(*FAKE), directory=systemd.shared / "host")
    yield host
    host.close()


def unit_of(keep: object) -> str:
    return f"enarx-keep-{keep.kuuid}.service"  # type: ignore[attr-defined]


def test_systemd_is_chosen_where_it_is_the_init(host: RunningHost) -> None:
    assert host.status.launcher == "systemd"


def test_supervised_can_be_chosen_instead(systemd: Machine) -> None:
    host = RunningHost(
        "--launcher", "supervised", program=systemd.enter(*FAKE), directory=systemd.shared / "sup"
    )
    try:
        assert host.status.launcher == "supervised"
        assert host.ready().status().state is State.READY
        assert systemd.units() == []
    finally:
        host.close()


def test_each_loader_is_a_unit_that_is_gone_with_it(host: RunningHost, systemd: Machine) -> None:
    keep = host.ready()
    assert systemd.units() == [unit_of(keep)]
    keep.end()
    within(NOTICED * 3, lambda: systemd.units() == [])


def test_the_keep_is_in_its_unit_s_groups_with_its_limits(host: RunningHost) -> None:
    keep = host.ready(limits=Limits(memory=64 * MIB))
    assert not keep.status().detail
    groups = {group.relative_to("/sys/fs/cgroup").parts[0]: group for group in keep.groups()}
    assert set(groups) == {"memory", "pids", "systemd"}
    assert {group.parent.name for group in groups.values()} == {unit_of(keep)}
    pid = str(keep.process().pid)
    assert all(pid in (group / "cgroup.procs").read_text().split() for group in groups.values())
    limit = int((groups["memory"] / "memory.limit_in_bytes").read_text())
    assert limit == 64 * MIB + limits.KEEP_OVERHEAD


def test_stopping_the_unit_ends_the_keep(host: RunningHost, systemd: Machine) -> None:
    keep = host.ready()
    process, loader = keep.process(), keep.loader()
    systemd.run("systemctl", "stop", unit_of(keep))
    within(NOTICED, lambda: not process.alive() and not loader.alive())
    within(NOTICED, lambda: keep.status().state is State.SHUTDOWN)


def test_killing_the_unit_is_noticed(host: RunningHost, systemd: Machine) -> None:
    keep = host.ready()
    process = keep.process()
    systemd.run("systemctl", "kill", "--signal=KILL", unit_of(keep))
    within(NOTICED, lambda: keep.status().state is State.ERROR)
    assert not process.alive()
    within(NOTICED * 3, lambda: systemd.units() == [])


def test_a_killed_loader_takes_a_stopped_keep_with_it(host: RunningHost, systemd: Machine) -> None:
    keep = host.ready()
    process = keep.process()
    os.kill(process.pid, signal.SIGSTOP)
    keep.loader().kill()
    within(NOTICED, lambda: not process.alive())
    within(NOTICED * 3, lambda: systemd.units() == [])


def test_a_hung_loader_can_be_ended(host: RunningHost, systemd: Machine) -> None:
    keep = host.ready()
    process, loader = keep.process(), keep.loader()
    os.kill(loader.pid, signal.SIGSTOP)
    keep.end()
    within(NOTICED, lambda: not process.alive() and not loader.alive())
    within(NOTICED * 3, lambda: systemd.units() == [])


def test_the_loader_can_write_nothing_but_the_run_directory(host: RunningHost) -> None:
    keep = host.create()
    loader = keep.loader().pid
    options = {}
    for line in Path(f"/proc/{loader}/mountinfo").read_text().splitlines():
        fields = line.split()
        options[fields[4]] = fields[5]
    assert options["/"].startswith("ro")
    assert options[str(host.run)].startswith("rw")
    status = dict(
        line.split(":\t", 1)
        for line in Path(f"/proc/{loader}/status").read_text().splitlines()
        if ":\t" in line
    )
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    assert int(status["CapBnd"], 16) == 1 << 0 | 1 << 1 | 1 << 5


def test_a_killed_manager_s_units_go_on_and_are_found_again(
    host: RunningHost, systemd: Machine
) -> None:
    keep = host.ready()
    host.signal(signal.SIGKILL)
    host.manager.wait()
    assert systemd.units() == [unit_of(keep)]
    host.start()
    assert host.status.keeps == 1
    assert keep.status().state is State.READY
    assert keep.end().state is State.SHUTDOWN
    within(NOTICED * 3, lambda: systemd.units() == [])


def test_ending_the_host_ends_its_units(host: RunningHost, systemd: Machine) -> None:
    for _ in range(3):
        host.ready()
    assert len(systemd.units()) == 3
    host.close()
    within(NOTICED * 3, lambda: systemd.units() == [])


def test_a_real_keep_runs_under_systemd(systemd: Machine, owner: bytes) -> None:
    host = RunningHost(program=systemd.enter(*REAL), directory=systemd.shared / "real")
    try:
        keep = host.ready(owner=owner)
        assert keep.status().state is State.READY
        assert not keep.status().detail
        assert systemd.units() == [unit_of(keep)]
    finally:
        host.close()
