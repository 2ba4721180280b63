"""An empty root directory: no file of the host is left, not even by a forgotten path.

Everything the Keep needs is in its memory already. The only place it can write to is a
small file system in memory at `/run`, which holds its key for the moment OpenSSL reads it,
and the workload's secrets. Source: Linux, mount_setattr(2), fsopen(2), pivot_root(2).
"""

from __future__ import annotations

import ctypes
import errno
import os

from enarx.keep.sandbox import libc
from enarx.wire import limits

RUN = "/run"
_RUN_SIZE = 2 * limits.SECRETS
"""The secrets, each rounded up to whole pages, and the key."""
_RUN_INODES = 300
"""256 secrets and what is around them."""

_FSCONFIG_SET_STRING, _FSCONFIG_CMD_CREATE = 1, 6
_CLOEXEC = 1
_RDONLY, _NOSUID, _NODEV, _NOEXEC = 1, 2, 4, 8
_MOVE_EMPTY_PATH = 4
_AT_EMPTY_PATH = 0x1000
_MS_REC, _MS_PRIVATE = 0x4000, 0x40000
_MNT_DETACH = 2


def enter(*, uid: int, gid: int) -> None:
    """Leave the host's files for an empty root; `RUN` belongs to `uid`. Raises OSError.

    Needs a mount namespace of its own.
    """
    _make_private()
    root = _tmpfs(mode="755", nr_inodes="4", size="4k")
    os.mkdir("run", dir_fd=root)
    libc.syscall(libc.MOVE_MOUNT, root, b"", libc.AT_FDCWD, b"/", _MOVE_EMPTY_PATH)
    os.fchdir(root)
    try:
        libc.syscall(libc.PIVOT_ROOT, b".", b".")
        libc.syscall(libc.UMOUNT2, b".", _MNT_DETACH)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        # We are in a chroot that is no mount point. No capability to leave it will be left.
        os.chroot(".")
    os.chdir("/")
    run = _tmpfs(
        mode="700", uid=str(uid), gid=str(gid), nr_inodes=str(_RUN_INODES), size=str(_RUN_SIZE)
    )
    libc.syscall(libc.MOVE_MOUNT, run, b"", libc.AT_FDCWD, RUN.encode(), _MOVE_EMPTY_PATH)
    attributes = (ctypes.c_uint64 * 4)(_RDONLY, 0, 0, 0)
    libc.syscall(
        libc.MOUNT_SETATTR, root, b"", _AT_EMPTY_PATH, attributes, ctypes.sizeof(attributes)
    )
    os.close(run)
    os.close(root)


def is_empty() -> bool:
    """Whether the root holds nothing but `RUN` and cannot be written to."""
    if os.listdir("/") != ["run"] or os.listdir(RUN):
        return False
    return bool(os.statvfs("/").f_flag & os.ST_RDONLY)


def _make_private() -> None:
    """Nothing that we mount may show elsewhere."""
    try:
        libc.syscall(libc.MOUNT, None, b"/", None, _MS_REC | _MS_PRIVATE, None)
    except OSError as error:
        # "/" is no mount point but a chroot's directory: whoever made it made it private.
        if error.errno != errno.EINVAL:
            raise


def _tmpfs(**options: str) -> int:
    """A new file system in memory, not attached anywhere; its descriptor."""
    context = libc.syscall(libc.FSOPEN, b"tmpfs", _CLOEXEC)
    try:
        for name, value in options.items():
            libc.syscall(
                libc.FSCONFIG, context, _FSCONFIG_SET_STRING, name.encode(), value.encode(), 0
            )
        libc.syscall(libc.FSCONFIG, context, _FSCONFIG_CMD_CREATE, None, None, 0)
        return libc.syscall(libc.FSMOUNT, context, _CLOEXEC, _NOSUID | _NODEV | _NOEXEC)
    finally:
        os.close(context)
