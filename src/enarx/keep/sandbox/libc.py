"""System calls that Python has no function for, by number or by libc's name.

Numbers are those of x86-64 (arch/x86/entry/syscalls/syscall_64.tbl).
"""

from __future__ import annotations

import ctypes
import functools
import os
import platform
import sys

from enarx.errors import HostError

UMOUNT2, PIVOT_ROOT, SECCOMP, CAPSET, UNSHARE = 166, 155, 317, 126, 272
PRCTL, MOUNT = 157, 165
MOVE_MOUNT, FSOPEN, FSCONFIG, FSMOUNT, MOUNT_SETATTR = 429, 430, 431, 432, 442
LANDLOCK_CREATE_RULESET, LANDLOCK_ADD_RULE, LANDLOCK_RESTRICT_SELF = 444, 445, 446

AT_FDCWD = -100


def require_platform() -> None:
    """Raise HostError anywhere but on Linux on x86-64, for which the sandbox is written."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise HostError(
            f"a Keep needs Linux on x86-64, this is {sys.platform} on {platform.machine()}",
            hint="Run the host elsewhere; the client works here.",
            code="host.platform",
        )


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def syscall(number: int, *arguments: object) -> int:
    """Make one system call; integers go as 64-bit values. Raises OSError."""
    values = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result = int(_libc().syscall(ctypes.c_long(number), *values))
    if result == -1:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


def prctl(option: int, *arguments: int) -> int:
    """prctl(2), with zeros for the arguments that are not given. Raises OSError."""
    return syscall(PRCTL, option, *arguments, *(0,) * (4 - len(arguments)))
