"""Probes of what holds a process Keep: namespaces, control groups, filters, memory."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil

from enarx.host.cgroup import MEMORY, PIDS, place_nobody
from enarx.host.finding import Finding, Machine, attempt, missing, present, run

_SYS_LANDLOCK_CREATE_RULESET, _LANDLOCK_VERSION = 444, 1
"""landlock(7): with this flag the call returns the ABI version."""
_MIB = 1024 * 1024
_LEAST_MEMORY = 512 * _MIB
"""One Keep with its compiler, beside the host itself."""


def systemd(machine: Machine) -> Finding:
    """systemd as the init, and a right to ask it for units."""
    from enarx.host.systemd import unavailable

    if not machine.exists("/run/systemd/system"):
        return missing(
            "systemd", ["it is not the init of this machine"],
            "Nothing: keep loaders run as supervised processes instead.",
        )  # fmt: skip
    if reason := unavailable():
        return missing("systemd", [reason], "Run `enarx host up` as root for loaders as units.")
    return present("systemd", "init; loaders become units")


def cgroups(_machine: Machine) -> Finding:
    """Control groups: limits are really set."""
    version, reasons = place_nobody()
    if reasons:
        return missing(
            "cgroups", reasons,
            "Root, or a delegated group (systemd-run --user -p Delegate=yes); in a container: "
            "a writable /sys/fs/cgroup.",
        )  # fmt: skip
    return present("cgroups", f"version {version}", f"limits on {MEMORY} and {PIDS} can be set")


def bubblewrap(_machine: Machine) -> Finding:
    """bubblewrap, run."""
    path = shutil.which("bwrap")
    remedy = "apt install bubblewrap. Keeps do without it."
    if path is None:
        return missing("bubblewrap", ["no bwrap on the path"], remedy)
    reason = run([path, "--unshare-all", "--ro-bind", "/", "/", "/bin/true"])
    if reason:
        return missing("bubblewrap", [f"{path} does not work: {reason}"], remedy)
    return present("bubblewrap", path)


def user_namespaces(_machine: Machine) -> Finding:
    """User namespaces, and those that a Keep needs inside of one."""
    reason = attempt("user-namespace")
    if reason:
        return missing(
            "user-namespaces", [reason],
            "sysctl kernel.unprivileged_userns_clone=1, user.max_user_namespaces above 0, and on "
            "Ubuntu kernel.apparmor_restrict_unprivileged_userns=0; or run the host as root.",
        )  # fmt: skip
    return present("user-namespaces", "made one, with mount, pid, net and ipc inside")


def namespaces(_machine: Machine) -> Finding:
    """Namespaces as root makes them."""
    reason = attempt("namespaces")
    if reason:
        return missing("namespaces", [reason], "Root, or a user namespace.")
    return present("namespaces", "made mount, pid, net and ipc namespaces")


def landlock(_machine: Machine) -> Finding:
    """Landlock's ABI version."""
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(
        _SYS_LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), _LANDLOCK_VERSION
    )
    if version < 1:
        reason = os.strerror(ctypes.get_errno())
        return missing(
            "landlock", [reason], "Linux 5.13 or newer, started with lsm= that contains landlock."
        )
    return present("landlock", f"ABI {version}")


def seccomp(_machine: Machine) -> Finding:
    """Seccomp filters, tried."""
    reason = attempt("seccomp")
    if reason:
        return missing("seccomp", [reason], "A kernel with CONFIG_SECCOMP_FILTER.")
    return present("seccomp", "a filter was taken")


def memory(machine: Machine) -> Finding:
    """Memory in all, and what is free."""
    sizes: dict[str, int] = {}
    for line in machine.read("/proc/meminfo").splitlines():
        name, _, rest = line.partition(":")
        with contextlib.suppress(ValueError, IndexError):
            sizes[name] = int(rest.split()[0]) * 1024
    total, free = sizes.get("MemTotal", 0), sizes.get("MemAvailable", 0)
    seen = f"{total // _MIB} MiB, {free // _MIB} MiB available"
    if free < _LEAST_MEMORY:
        return missing("memory", [seen], f"At least {_LEAST_MEMORY // _MIB} MiB available.")
    return present("memory", seen)
