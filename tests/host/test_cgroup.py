"""Control groups: limits that are really in force, and what is said where they are not."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from enarx.host import limits
from enarx.host.cgroup import Hierarchy, KeepGroup, hierarchies, place
from enarx.wire.fields import Limits
from enarx.wire.limits import MIB
from enarx.wire.manager import State

from .rig import RunningHost, needs_groups, within


@pytest.fixture
def name() -> Iterator[str]:
    name = f"enarx-test-{uuid.uuid4()}"
    yield name
    KeepGroup(paths=tuple(Path("/sys/fs/cgroup").glob(f"**/{name}"))).remove()


def victim(program: str) -> subprocess.Popen[str]:
    """A process that runs `program` once it may."""
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", f"import sys, os; sys.stdin.readline(); {program}"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@needs_groups
def test_the_memory_limit_holds_and_its_kills_are_counted(name: str) -> None:
    process = victim("x = bytearray(200 << 20); print('alive')")
    group = place(process.pid, name=name, memory=64 * MIB, pids=8, unit=False)
    assert group.oom_kills() == 0
    out, _ = process.communicate("go\n", timeout=30)
    assert process.returncode == -9
    assert out == ""
    assert group.oom_kills() == 1


@needs_groups
def test_the_process_limit_holds(name: str) -> None:
    process = victim("pids = [os.fork() for _ in range(50)]; print('forked')")
    place(process.pid, name=name, memory=256 * MIB, pids=8, unit=False)
    _, errors = process.communicate("go\n", timeout=30)
    assert "BlockingIOError" in errors or "Resource temporarily unavailable" in errors


@needs_groups
def test_a_child_from_before_the_move_is_under_the_limits_too(name: str) -> None:
    process = subprocess.Popen(
        [
            sys.executable, "-I", "-S", "-c",
            "import os, sys\n"
            "if not os.fork():\n"
            "    sys.stdin.readline(); x = bytearray(200 << 20); os._exit(0)\n"
            "print('forked', flush=True); print(os.wait()[1], flush=True)",
        ],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.readline()
    place(process.pid, name=name, memory=64 * MIB, pids=8, unit=False)
    out, _ = process.communicate("go\n", timeout=30)
    assert out.split() == ["9"]


@needs_groups
def test_removing_a_group_kills_what_is_in_it(name: str) -> None:
    process = victim(
        "os.fork(); os.fork(); print('ready', flush=True); import time; time.sleep(99)"
    )
    group = place(process.pid, name=name, memory=256 * MIB, pids=32, unit=False)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("go\n")
    process.stdin.flush()
    process.stdout.readline()
    group.remove()
    assert process.wait(5) == -9
    assert not any(path.exists() for path in group.paths)


@needs_groups
def test_a_keep_s_limit_is_its_contract_s_and_the_overhead(host: RunningHost) -> None:
    keep = host.ready(limits=Limits(memory=100 * MIB))
    found = [
        int((group / file).read_text())
        for group in keep.groups()
        for file in ("memory.limit_in_bytes", "memory.max")
        if (group / file).exists()
    ]
    assert found == [100 * MIB + limits.KEEP_OVERHEAD]


@needs_groups
def test_a_keep_that_takes_too_much_memory_is_killed_and_the_reason_told(
    host: RunningHost,
) -> None:
    keep = host.ready("sim-fills", limits=Limits(memory=1 * MIB))
    within(30, lambda: keep.status().state is State.ERROR)
    assert "memory limit" in keep.status().detail


# -- trees as other machines have them: files, not the kernel


def tree(tmp_path: Path, *, handed_down: str = "", controllers: str = "memory pids") -> Hierarchy:
    own = tmp_path / "own"
    own.mkdir()
    for group in (tmp_path, own):
        (group / "cgroup.controllers").write_text(controllers)
        (group / "cgroup.subtree_control").write_text(handed_down)
    return Hierarchy(version=2, controllers=frozenset(), root=tmp_path, own=own)


def test_version_2_hands_controllers_down_and_sets_both_limits(tmp_path: Path) -> None:
    two = tree(tmp_path)
    group = place(77, name="keep", memory=5, pids=6, unit=False, trees=[two])
    made = two.own / "keep"
    assert group == KeepGroup(paths=(made,))
    assert (made / "memory.max").read_text() == "5"
    assert (made / "memory.swap.max").read_text() == "0"
    assert (made / "pids.max").read_text() == "6"
    assert (made / "cgroup.procs").read_text() == "77"


def test_version_2_as_a_unit_steps_aside_before_it_hands_down(tmp_path: Path) -> None:
    two = tree(tmp_path)
    place(77, name="keep", memory=5, pids=6, unit=True, trees=[two])
    assert (two.own / "loader" / "cgroup.procs").read_text() == str(os.getpid())


def test_version_2_uses_the_parent_that_hands_down_already(tmp_path: Path) -> None:
    two = tree(tmp_path, handed_down="memory pids")
    (two.own / "cgroup.subtree_control").unlink()
    (two.own / "cgroup.controllers").unlink()
    group = place(77, name="keep", memory=5, pids=6, unit=False, trees=[two])
    assert group.paths == (tmp_path / "keep",)


def test_what_cannot_be_had_is_named(tmp_path: Path) -> None:
    group = place(
        77, name="keep", memory=5, pids=6, unit=False, trees=[tree(tmp_path, controllers="cpu")]
    )
    assert group.paths == ()
    assert [text.split(":")[0] for text in group.missing] == ["cgroup-memory", "cgroup-pids"]
    assert "not to be had" in group.missing[0]
    nothing = place(77, name="keep", memory=5, pids=6, unit=False, trees=[])
    assert "no cgroup controller for it is mounted" in nothing.missing[0]


def test_oom_kills_are_read_from_both_versions(tmp_path: Path) -> None:
    (tmp_path / "memory.events").write_text("low 0\noom 2\noom_kill 2\n")
    assert KeepGroup(paths=(tmp_path,)).oom_kills() == 2
    (tmp_path / "memory.events").unlink()
    (tmp_path / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n")
    assert KeepGroup(paths=(tmp_path,)).oom_kills() == 3


def test_a_container_s_view_of_its_groups_is_understood(tmp_path: Path) -> None:
    root = tmp_path / "with space"
    (root / "sub").mkdir(parents=True)
    mounts, own = tmp_path / "mountinfo", tmp_path / "cgroup"
    escaped = str(root).replace(" ", r"\040")
    mounts.write_text(
        f"30 23 0:26 / {escaped} rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
        "31 23 0:27 / /elsewhere rw - ext4 /dev/sda rw\n"
    )
    for path, expected in (("/sub", root / "sub"), ("/../other", root), ("/gone", root)):
        own.write_text(f"0::{path}\n")
        (found,) = hierarchies(mounts=mounts, own=own)
        assert (found.version, found.root, found.own) == (2, root, expected)
