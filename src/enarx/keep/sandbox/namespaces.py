"""Namespaces of the Keep's own: mounts, processes, network, IPC and host name.

Source: Linux, namespaces(7) and user_namespaces(7).
"""

from __future__ import annotations

import fcntl
import os
import socket

from enarx.keep.sandbox import libc

_NEWNS, _NEWUTS, _NEWIPC = 0x00020000, 0x04000000, 0x08000000
_NEWUSER, _NEWPID, _NEWNET = 0x10000000, 0x20000000, 0x40000000

ALL = {
    "mount-namespace": _NEWNS,
    "pid-namespace": _NEWPID,
    "net-namespace": _NEWNET,
    "ipc-namespace": _NEWIPC,
    "uts-namespace": _NEWUTS,
}
"""What each is called among the levels. The kernel gives all of them or none."""
VISIBLE = ("pid-namespace", "net-namespace", "uts-namespace")
"""Those whose effect can be seen from inside."""

_HOST_NAME = "keep"
_GET_USER_NAMESPACE = 0xFF09
_INITIAL_USER_NAMESPACE = 0xEFFFFFFD
"""PIDFD_GET_USER_NAMESPACE (linux/pidfd.h) and PROC_USER_INIT_INO (linux/proc_ns.h)."""


def leave_mounts() -> None:
    """Leave the host's mounts.

    Whoever may not do it as it is, gets a user namespace first in which it may do this and
    make the other namespaces, too. Raises OSError where that is not to be had either.
    """
    try:
        libc.syscall(libc.UNSHARE, _NEWNS)
    except PermissionError:
        uid, gid = os.geteuid(), os.getegid()
        libc.syscall(libc.UNSHARE, _NEWUSER | _NEWNS)
        _write("/proc/self/setgroups", b"deny")
        _write("/proc/self/uid_map", b"%d %d 1" % (uid, uid))
        _write("/proc/self/gid_map", b"%d %d 1" % (gid, gid))


def leave() -> None:
    """Leave all of `ALL`; of the process namespace, only the next child.

    Raises OSError, and then nothing has changed.
    """
    libc.syscall(libc.UNSHARE, sum(ALL.values()))


def in_user_namespace() -> bool:
    """Whether we are in another user namespace than the machine's first.

    Linux before 6.11 cannot tell without /proc; then this says no, which promises less.
    """
    process = os.pidfd_open(os.getpid())
    try:
        namespace = fcntl.ioctl(process, _GET_USER_NAMESPACE)
    except OSError:
        return False
    finally:
        os.close(process)
    try:
        return os.fstat(namespace).st_ino != _INITIAL_USER_NAMESPACE
    finally:
        os.close(namespace)


def name_host() -> None:
    """Replace the host's name by our own; only in a namespace of ours. Raises OSError."""
    socket.sethostname(_HOST_NAME)


def visible() -> set[str]:
    """Those of `VISIBLE` whose effect is seen."""
    effects = {
        "pid-namespace": os.getpid() == 1,
        "net-namespace": {name for _, name in socket.if_nameindex()} <= {"lo"},
        "uts-namespace": os.uname().nodename == _HOST_NAME,
    }
    return {name for name, effect in effects.items() if effect}


def _write(path: str, text: bytes) -> None:
    with open(path, "wb", buffering=0) as file:
        file.write(text)
