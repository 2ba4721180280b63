"""Control groups, version 1 and 2: memory and process limits around a Keep.

What is to be had differs: root on a plain machine may do all, a systemd unit may do it
below itself (Delegate=yes), a container often may do nothing. Where a limit cannot be had
it is named in `missing` and the Keep runs without it.

Version 2 (cgroups(7), Documentation/admin-guide/cgroup-v2.rst): one tree; a group that
holds processes cannot hand controllers to children, so the loader moves itself aside when
its unit is delegated, and otherwise the parent's group is tried. Version 1: one tree for
each controller.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

MEMORY, PIDS = "memory", "pids"
_UNIT = "name=systemd"
_REMOVE_SECONDS = 1.0
"""How long the kernel may take to take leave of killed processes."""
_FREEZE_ROUNDS = 50
"""How often a version 1 group is read again while its processes are killed."""


@dataclass(frozen=True, kw_only=True)
class Hierarchy:
    """One mounted tree, and our own group in it. `controllers` is empty for version 2."""

    version: int
    controllers: frozenset[str]
    root: Path
    own: Path


@dataclass(frozen=True, kw_only=True)
class KeepGroup:
    """The groups of one Keep. `missing`: limits that are not in force, with the reason."""

    paths: tuple[Path, ...] = ()
    missing: tuple[str, ...] = ()

    def oom_kills(self) -> int:
        """How many processes the kernel killed in it for want of memory."""
        return sum(
            _counter(path / name, "oom_kill")
            for path in self.paths
            for name in ("memory.events", "memory.oom_control")
        )

    def remove(self) -> None:
        """Kill what is left in it, and remove it."""
        for path in self.paths:
            _kill(path)
        deadline = time.monotonic() + _REMOVE_SECONDS
        for path in self.paths:
            while path.exists():
                try:
                    path.rmdir()
                except OSError:
                    if time.monotonic() > deadline:
                        break
                    time.sleep(0.005)


def hierarchies(
    *, mounts: Path = Path("/proc/self/mountinfo"), own: Path = Path("/proc/self/cgroup")
) -> tuple[Hierarchy, ...]:
    """The control group trees that this process sees and is in."""
    groups: dict[frozenset[str], str] = {}
    for line in own.read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        groups[frozenset(filter(None, controllers.split(",")))] = path
    found = []
    for line in mounts.read_text().splitlines():
        before, _, after = line.partition(" - ")
        fields, (kind, _, options, *_) = before.split(), after.split(" ")
        if kind not in ("cgroup", "cgroup2"):
            continue
        names = frozenset(options.split(",")) if kind == "cgroup" else frozenset()
        match = next((g for g in groups if (g <= names if g else kind == "cgroup2")), None)
        if match is None or (kind == "cgroup" and not match):
            continue
        root = Path(_unescape(fields[4]))
        path = os.path.relpath(groups[match], _unescape(fields[3]))
        # Outside of what is mounted here: another namespace's group, so the root is ours.
        group = root if path.startswith("..") else root / path
        version = 1 if kind == "cgroup" else 2
        found.append(
            Hierarchy(
                version=version,
                controllers=match,
                root=root,
                own=group if group.is_dir() else root,
            )
        )
    return tuple(found)


def place(
    pid: int,
    *,
    name: str,
    memory: int,
    pids: int,
    unit: bool,
    trees: Iterable[Hierarchy] | None = None,
) -> KeepGroup:
    """Put a process under limits in groups of its own, as far as this host allows.

    Args:
        pid: the process; its children are in the group, too. 0: nobody.
        name: name of the group to make.
        memory: most bytes, swap included.
        pids: most processes and threads.
        unit: we are a delegated systemd unit: the process must end with it.
        trees: where to look; this process's own hierarchies when None.
    """
    trees = tuple(hierarchies() if trees is None else trees)
    paths: list[Path] = []
    missing: list[str] = []
    for controller, limit in ((MEMORY, memory), (PIDS, pids)):
        reason = "no cgroup controller for it is mounted"
        for tree in trees:
            if tree.version == 1 and controller not in tree.controllers:
                continue
            made = _group(tree, controller, name, unit=unit)
            if isinstance(made, str):
                reason = made
                continue
            try:
                _limit(made, tree.version, controller, limit)
            except OSError as error:
                reason = f"{made}: {error.strerror}"
                if made not in paths:
                    _remove_empty(made)
                continue
            if made not in paths:
                paths.append(made)
            break
        else:
            missing.append(f"cgroup-{controller}: {reason}")
    if unit:
        paths += _join_unit(trees, name, paths)
    for path in paths if pid else ():
        try:
            _move(pid, path / "cgroup.procs")
        except OSError as error:
            missing.append(f"{path.name}: {path}: {error.strerror}")
    return KeepGroup(paths=tuple(paths), missing=tuple(missing))


def _move(pid: int, members: Path) -> None:
    """Move a process and the children it has by now; those it makes later follow it.

    A Keep forks the process of its workload while it is being moved. Raises OSError.
    """
    members.write_text(str(pid))
    process = Path(f"/proc/{pid}")
    if not process.exists():
        return
    for child in (process / "task" / str(pid) / "children").read_text().split():
        with contextlib.suppress(ProcessLookupError):
            members.write_text(child)


def anticipate() -> None:
    """Let the kernel get ready to move a process, which `place` will ask for soon.

    After some idle time the first move waits for an RCU grace period, 10 to 20 ms (the
    kernel's cgroup_threadgroup_rwsem); moving ourselves to where we are begins it.
    """
    us = str(os.getpid())
    for tree in hierarchies():
        members = tree.own / "cgroup.procs"
        if MEMORY in tree.controllers or tree.version == 2:
            with contextlib.suppress(OSError):
                # Never to where we are not: `own` may be the root of another namespace's view.
                if us in members.read_text().split():
                    members.write_text(us)
                    return


def place_nobody() -> tuple[int, tuple[str, ...]]:
    """Try the limits on an empty group: the version that is used, and what is missing."""
    trees = hierarchies()
    group = place(
        0, name=f"enarx-probe-{os.getpid()}", memory=1 << 30, pids=64, unit=False, trees=trees
    )
    group.remove()
    version = 1 if any(tree.version == 1 and tree.controllers for tree in trees) else 2
    return version, group.missing


def _group(tree: Hierarchy, controller: str, name: str, *, unit: bool) -> Path | str:
    """A group with that controller in it, or why there is none."""
    reason = ""
    bases = [tree.own] if tree.version == 1 else [tree.own, tree.own.parent]
    for base in bases:
        if not base.is_relative_to(tree.root):
            continue
        try:
            if tree.version == 2:
                _hand_down(base, controller, aside=unit and base == tree.own)
            group = base / name
            group.mkdir(exist_ok=True)
        except OSError as error:
            reason = f"{base}: {error.strerror}"
            continue
        return group
    return reason or f"{tree.own}: not permitted"


def _hand_down(base: Path, controller: str, *, aside: bool) -> None:
    """Version 2: let children of `base` have the controller. Raises OSError."""
    if controller not in (base / "cgroup.controllers").read_text().split():
        raise FileNotFoundError(2, f"the {controller} controller is not to be had")
    control = base / "cgroup.subtree_control"
    if controller in control.read_text().split():
        return
    if aside:
        # A group with processes cannot hand controllers down: we go into a child first.
        loader = base / "loader"
        loader.mkdir(exist_ok=True)
        (loader / "cgroup.procs").write_text(str(os.getpid()))
    control.write_text(f"+{controller}")


def _limit(group: Path, version: int, controller: str, limit: int) -> None:
    if controller == PIDS:
        (group / "pids.max").write_text(str(limit))
        return
    name = "memory.limit_in_bytes" if version == 1 else "memory.max"
    (group / name).write_text(str(limit))
    # Swap is not always accounted for; without it the limit would only be slower.
    swap = ("memory.memsw.limit_in_bytes", str(limit)) if version == 1 else ("memory.swap.max", "0")
    with contextlib.suppress(OSError):
        (group / swap[0]).write_text(swap[1])


def _join_unit(trees: Iterable[Hierarchy], name: str, taken: list[Path]) -> list[Path]:
    """A group below our unit in the tree by which systemd knows what belongs to it."""
    for tree in trees:
        if _UNIT in tree.controllers or (tree.version == 2 and not taken):
            group = tree.own / name
            with contextlib.suppress(OSError):
                group.mkdir(exist_ok=True)
                return [] if group in taken else [group]
    return []


def _kill(group: Path) -> None:
    with contextlib.suppress(OSError):
        (group / "cgroup.kill").write_text("1")
        return
    for _ in range(_FREEZE_ROUNDS):
        try:
            members = (group / "cgroup.procs").read_text().split()
        except OSError:
            return
        if not members:
            return
        for member in members:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(int(member), signal.SIGKILL)
        time.sleep(0.002)


def _remove_empty(group: Path) -> None:
    with contextlib.suppress(OSError):
        group.rmdir()


def _counter(path: Path, name: str) -> int:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.split()[0] == name), 0)


def _unescape(text: str) -> str:
    """Mount points have octal escapes for space, tab, newline and backslash (proc(5))."""
    for escape, char in ((r"\040", " "), (r"\011", "\t"), (r"\012", "\n"), (r"\134", "\\")):
        text = text.replace(escape, char)
    return text
