"""What can only be known by trying it, tried in a process of its own.

    python -I -S trials.py NAME     prints nothing and exits 0, or says why not and exits 1

Run as a file, with the standard library alone; nothing of it lasts.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Callable

_CLONE_NEWUSER, _CLONE_REST = 0x1000_0000, 0x0002_0000 | 0x2000_0000 | 0x4000_0000 | 0x0800_0000
"""sched.h: user namespace; mount, pid, network and ipc namespaces."""
_PR_SET_NO_NEW_PRIVS = 38
_SYS_SECCOMP, _SECCOMP_SET_MODE_FILTER = 317, 1
_BPF_RET_K, _SECCOMP_RET_ALLOW = 0x06, 0x7FFF_0000


def user_namespace() -> None:
    """A user namespace, and in it the others that a Keep has."""
    _check(_libc().unshare(_CLONE_NEWUSER), "unshare(CLONE_NEWUSER)")
    _check(_libc().unshare(_CLONE_REST), "unshare(mount, pid, net, ipc) inside of it")


def namespaces() -> None:
    """The namespaces of a Keep without a user namespace, as root has them."""
    _check(_libc().unshare(_CLONE_REST), "unshare(mount, pid, net, ipc)")


def seccomp() -> None:
    """A filter that allows everything (seccomp(2))."""
    libc = _libc()
    _check(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl(PR_SET_NO_NEW_PRIVS)")
    instruction = ctypes.create_string_buffer(
        struct.pack("HBBI", _BPF_RET_K, 0, 0, _SECCOMP_RET_ALLOW), 8
    )
    program = ctypes.create_string_buffer(
        struct.pack("HxxxxxxP", 1, ctypes.addressof(instruction)), 16
    )
    _check(
        libc.syscall(_SYS_SECCOMP, _SECCOMP_SET_MODE_FILTER, 0, program), "seccomp(SET_MODE_FILTER)"
    )


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


TRIALS: dict[str, Callable[[], None]] = {
    "user-namespace": user_namespace,
    "namespaces": namespaces,
    "seccomp": seccomp,
}


def main() -> int:
    """One trial."""
    try:
        TRIALS[sys.argv[1]]()
    except OSError as error:
        print(error.strerror)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
