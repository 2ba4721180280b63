"""The silicon's own namespaces: where the measured tree can live and nobody else sees it.

In its own mount namespace the silicon has a tmpfs that no other process can reach by path
and that the kernel takes away with the last process in it: kill -9 leaves nothing behind.
Root needs nothing for it; others need a user namespace. Where neither is to be had the
silicon works in a plain private directory and says so.

Sources: namespaces(7), user_namespaces(7), mount(2), pivot_root(2), prctl(2).
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import struct
from dataclasses import dataclass
from typing import Final

_MS_RDONLY, _MS_NOSUID, _MS_NODEV = 1, 2, 4
_MS_REMOUNT, _MS_REC, _MS_PRIVATE = 32, 16384, 1 << 18
_MNT_DETACH = 2
_CLONE_NEWNS, _CLONE_NEWUSER = 0x00020000, 0x10000000
_PR_SET_PDEATHSIG = 1
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE = 47, 2
_CAPABILITY_VERSION_3 = 0x2008_0522
_CAPABILITY_SETS = struct.Struct("6I")
"""capset(2): effective, permitted and inheritable, low words first."""
_SYS_PIVOT_ROOT = 155  # x86-64

MOUNT_POINTS: Final = ("/mnt", "/media", "/srv", "/opt")
"""Directories that every system has (FHS 3.0): one of them is covered, in our namespace only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Isolation:
    """What could be had.

    mounts: the silicon has its own mount namespace, and may mount in it.
    missing: levels that are missing on this machine, each with its reason.
    """

    mounts: bool
    missing: tuple[str, ...] = ()


def enter() -> Isolation:
    """Enter namespaces of our own, as far as this machine allows. Call once, single-threaded."""
    reasons = []
    if os.geteuid() == 0:
        try:
            _unshare(_CLONE_NEWNS)
        except OSError as error:
            reasons.append(f"mount namespace: {_reason(error)}")
        else:
            return _private(())
    uid, gid = os.geteuid(), os.getegid()
    try:
        _unshare(_CLONE_NEWUSER | _CLONE_NEWNS)
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"{uid} {uid} 1")
        _write("/proc/self/gid_map", f"{gid} {gid} 1")
    except OSError as error:
        reasons.append(f"user namespace: {_reason(error)}")
        return Isolation(mounts=False, missing=(_plain(reasons),))
    return _private(
        ("own user id for each Keep: without root there is only the silicon's own, one for all",)
    )


def _private(missing: tuple[str, ...]) -> Isolation:
    """Let nothing that is mounted here be seen elsewhere."""
    try:
        _mount(None, "/", None, _MS_REC | _MS_PRIVATE, None)
    except OSError as error:
        reason = f"private mounts: {error.strerror}"
        return Isolation(mounts=False, missing=(*missing, _plain([reason])))
    return Isolation(mounts=True, missing=missing)


def _reason(error: OSError) -> str:
    # ENOSPC is the kernel's word for a limit of namespaces, which some systems set to 0.
    if error.errno == errno.ENOSPC:
        return "none allowed (sysctl user.max_user_namespaces)"
    return error.strerror or str(error)


def _plain(reasons: list[str]) -> str:
    return (
        f"private root ({'; '.join(reasons)}): the measured files lie in a directory of this "
        "user, whose other processes could change them"
    )


def mount_private_tmpfs(*, size: int, avoid: tuple[str, ...]) -> str:
    """Mount an empty tmpfs that only this namespace sees.

    Args:
        size: most bytes it may hold.
        avoid: paths that the silicon still needs, so that they must not be covered.

    Returns:
        The directory it is mounted on.

    Raises:
        OSError: it cannot be mounted anywhere.
    """
    for directory in MOUNT_POINTS:
        needed = any(path == directory or path.startswith(directory + "/") for path in avoid)
        if not needed and os.path.isdir(directory) and not os.path.islink(directory):
            options = f"size={size},mode=0755"
            _mount("enarx", directory, "tmpfs", _MS_NOSUID | _MS_NODEV, options)
            return directory
    raise FileNotFoundError(
        errno.ENOENT, f"no directory to mount on, tried {', '.join(MOUNT_POINTS)}"
    )


def make_read_only(directory: str) -> None:
    """Allow no more writing to the tmpfs on `directory`.

    Raises:
        OSError: the kernel refuses.
    """
    flags = _MS_REMOUNT | _MS_RDONLY | _MS_NOSUID | _MS_NODEV
    _mount(None, directory, None, flags, None)


def enter_root(directory: str) -> None:
    """Make the tmpfs on `directory` the root of this process, and let go of everything else.

    For a child before it executes: the process gets another mount namespace, in which no file
    of the host is left.

    Raises:
        OSError: the kernel refuses.
    """
    _unshare(_CLONE_NEWNS)
    os.chdir(directory)
    # pivot_root(".", ".") stacks the old root on the new one; the detach uncovers it.
    if _libc().syscall(_SYS_PIVOT_ROOT, b".", b".") != 0:
        raise _last_error("pivot_root")
    if _libc().umount2(b".", _MNT_DETACH) != 0:
        raise _last_error("umount2")
    os.chdir("/")


def keep_capabilities() -> None:
    """Let this process have its capabilities after it executes another program, too.

    In a user namespace whoever is not its root loses them at execve, unless they are ambient
    (capabilities(7)); the zygote needs them to make the namespaces of its Keeps, which drop
    them all. Outside of a user namespace there are none, and nothing happens.

    Raises:
        OSError: the kernel refuses.
    """
    header = struct.pack("Ii", _CAPABILITY_VERSION_3, 0)
    sets = ctypes.create_string_buffer(_CAPABILITY_SETS.size)
    if _libc().capget(header, sets) != 0:
        raise _last_error("capget")
    effective, permitted, _, effective_high, permitted_high, _ = _CAPABILITY_SETS.unpack(sets.raw)
    wanted = _CAPABILITY_SETS.pack(
        effective, permitted, permitted, effective_high, permitted_high, permitted_high
    )
    if _libc().capset(header, wanted) != 0:
        raise _last_error("capset")
    held = permitted | permitted_high << 32
    for capability in range(held.bit_length()):
        if held >> capability & 1 and _libc().prctl(
            _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, capability, 0, 0
        ):
            raise _last_error("prctl(PR_CAP_AMBIENT_RAISE)")


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when `parent` ends; at once if it already did."""
    if _libc().prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0 or os.getppid() != parent:
        os._exit(1)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _unshare(flags: int) -> None:
    if _libc().unshare(flags) != 0:
        raise _last_error("unshare")


def _mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None) -> None:
    encoded = [None if part is None else os.fsencode(part) for part in (source, target, kind)]
    options = None if data is None else data.encode()
    if _libc().mount(*encoded, ctypes.c_ulong(flags), options) != 0:
        raise _last_error(f"mount {target}")


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def _last_error(call: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{call}: {os.strerror(number)}")
