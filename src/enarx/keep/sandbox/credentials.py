"""Who the Keep is: a user id of its own, no capability, and no way to get one.

Source: Linux, capabilities(7) and prctl(2).
"""

from __future__ import annotations

import ctypes
import errno
import os

from enarx.keep.sandbox import libc

_SET_PDEATHSIG, _GET_DUMPABLE, _SET_DUMPABLE = 1, 3, 4
_CAPBSET_DROP = 24
_SET_NO_NEW_PRIVS, _GET_NO_NEW_PRIVS = 38, 39
_CAP_AMBIENT, _CAP_AMBIENT_CLEAR_ALL = 47, 4
_CAPABILITY_VERSION_3 = 0x20080522
_LAST_CAPABILITY = 63
"""Two 32-bit words hold them; the kernel of 2026 knows 41."""
CAPGET = 125


def take_uid(uid: int) -> None:
    """Become `uid`, with a group of the same number and no other. Raises OSError."""
    try:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    except OSError as error:
        if error.errno == errno.EINVAL:
            # No such user in our user namespace.
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM)) from error
        raise


def drop_capabilities() -> None:
    """Give up every capability in every set. Raises OSError."""
    libc.prctl(_CAP_AMBIENT, _CAP_AMBIENT_CLEAR_ALL)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    libc.syscall(libc.CAPSET, header, (ctypes.c_uint32 * 6)())


def empty_bounding_set() -> None:
    """Make sure that no program can give a capability back, where we have one at all."""
    for capability in range(_LAST_CAPABILITY + 1):
        try:
            libc.prctl(_CAPBSET_DROP, capability)
        except OSError as error:
            # EPERM: we hold no capability to begin with. EINVAL: there are no more.
            if error.errno in (errno.EPERM, errno.EINVAL):
                return
            raise


def capabilities() -> int:
    """The effective, permitted and inheritable capabilities, as one bit set."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    data = (ctypes.c_uint32 * 6)()
    libc.syscall(CAPGET, header, data)
    low, high = data[0] | data[1] | data[2], data[3] | data[4] | data[5]
    return int(low | high << 32)


def forbid_new_privileges() -> None:
    """No set-user-id program will ever raise this process. Raises OSError."""
    libc.prctl(_SET_NO_NEW_PRIVS, 1)


def has_no_new_privileges() -> bool:
    """Whether `forbid_new_privileges` is in force."""
    return libc.prctl(_GET_NO_NEW_PRIVS) == 1


def hide_memory() -> None:
    """No core dump, and no tracing by anybody but root. Raises OSError."""
    libc.prctl(_SET_DUMPABLE, 0)


def has_hidden_memory() -> bool:
    """Whether `hide_memory` is in force."""
    return libc.prctl(_GET_DUMPABLE) == 0


def end_with_parent(signal: int) -> None:
    """Get `signal` when the process that forked this one ends. Raises OSError."""
    libc.prctl(_SET_PDEATHSIG, signal)
