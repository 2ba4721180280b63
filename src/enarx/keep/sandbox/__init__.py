"""The sandbox around a Keep: what protects the host, and other Keeps, from what runs inside.

Levels, in the order in which they are entered:

1. `prepare`, in the zygote: an empty root and no bounding set, which its Keeps inherit;
   a user namespace where that is needed to make the others.
2. `fork`: mount-namespace, pid-namespace, net-namespace, ipc-namespace, uts-namespace.
3. `confine`, in the Keep, which is process 1 now: empty-root, own-uid, no-capabilities,
   no-new-privs, not-dumpable, resource limits, landlock, seccomp.
4. `seccomp.enter` again, with less, in each of the Keep's two processes.

A level that this machine does not give is left out and named with the reason; any other
failure raises HostError, and there is no Keep then. Where it is cheap, a level is in force
only once its effect was seen from inside.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable

from enarx.errors import HostError
from enarx.keep.sandbox import credentials, landlock, namespaces, rlimits, root, seccomp

_PID_BYTES = 4
_NOT_GIVEN = frozenset(
    {
        errno.EPERM,
        errno.ENOSYS,
        errno.EOPNOTSUPP,
        errno.ENOSPC,  # the limit on namespaces is reached, or set to none
        errno.EUSERS,  # likewise, nesting
    }
)
"""Errors by which a kernel says: you may not, or, I cannot."""


class Levels:
    """The levels in force, and those that are missing, each with its reason."""

    def __init__(self) -> None:
        self.in_force: list[str] = []
        self.missing: dict[str, str] = {}

    def enter(self, *names: str, by: Callable[[], object]) -> bool:
        """Enter the levels `names` by calling `by`; whether the machine gave them.

        Raises:
            HostError: it failed for another reason than a privilege or feature not given.
        """
        try:
            by()
        except OSError as error:
            if error.errno not in _NOT_GIVEN:
                raise HostError(
                    f"cannot enter {', '.join(names)}: {error.strerror}", code="keep.sandbox"
                ) from error
            self.missing.update(dict.fromkeys(names, error.strerror or "not given"))
            return False
        self.in_force += names
        return True

    def confirm(self, name: str, *, effect: bool) -> None:
        """Fail where a level that was entered has no effect."""
        if name in self.in_force and not effect:
            raise HostError(f"{name} was entered but has no effect", code="keep.sandbox")


def prepare() -> str | None:
    """Level 1; the place for files in memory that the zygote has then, None where it has none."""
    for rules in (seccomp.KEEP, seccomp.APP_LOADER, seccomp.WORKLOAD):
        seccomp.program(rules)
    own_files = None
    with contextlib.suppress(OSError):
        # What is not given here is missed, and named, by each Keep.
        namespaces.leave_mounts()
        root.enter(uid=os.geteuid(), gid=os.getegid())
        own_files = root.RUN
    credentials.empty_bounding_set()
    return own_files


def fork(levels: Levels) -> int:
    """Level 2, and the fork. Raises OSError.

    A process namespace takes only children, so that the Keep is a grandchild. The zygote
    inherits it from the process between, which ends at once.

    Returns:
        as os.fork: 0 in the Keep, its process id in the zygote.
    """
    reader, writer = os.pipe()
    between = os.fork()
    if between:
        os.close(writer)
        keep = int.from_bytes(os.read(reader, _PID_BYTES), "little")
        os.close(reader)
        os.waitpid(between, 0)
        if not keep:
            raise ChildProcessError(errno.ECHILD, "it ended before the Keep began")
        return keep
    try:
        levels.enter(*namespaces.ALL, by=namespaces.leave)
        child = os.fork()
    except (HostError, OSError):
        os._exit(os.EX_OSERR)
    if child:
        os.write(writer, child.to_bytes(_PID_BYTES, "little"))
        os._exit(os.EX_OK)
    return 0


def confine(levels: Levels, *, uid: int) -> None:
    """Level 3, up to and with the first stage of seccomp.

    Args:
        levels: what `fork` left; is added to.
        uid: user id to take; 0 keeps the one there is.
    """
    if namespaces.in_user_namespace():
        levels.in_force.append("user-namespace")
    own_mounts = "mount-namespace" in levels.in_force
    if own_mounts:
        namespaces.name_host()
    seen = namespaces.visible()
    for name in namespaces.VISIBLE:
        levels.confirm(name, effect=name in seen)
    if own_mounts:
        owner, group = uid or os.geteuid(), uid or os.getegid()
        levels.enter("empty-root", by=lambda: root.enter(uid=owner, gid=group))
    else:
        levels.missing["empty-root"] = levels.missing["mount-namespace"]
    levels.confirm("empty-root", effect=root.is_empty())
    _take_credentials(levels, uid=uid)
    alone = not {"own-uid", "user-namespace"}.isdisjoint(levels.in_force)
    rlimits.enter(processes=alone)
    own_files = root.RUN if "empty-root" in levels.in_force else None
    levels.enter("landlock", by=lambda: landlock.enter(own=own_files))
    levels.confirm("landlock", effect=not _succeeds(lambda: os.listdir("/")))
    levels.enter("seccomp", by=lambda: seccomp.enter(seccomp.KEEP))
    levels.confirm("seccomp", effect=not _succeeds(lambda: os.nice(0)))


def _take_credentials(levels: Levels, *, uid: int) -> None:
    if uid:
        levels.enter("own-uid", by=lambda: credentials.take_uid(uid))
    levels.enter("no-capabilities", by=credentials.drop_capabilities)
    levels.confirm("no-capabilities", effect=credentials.capabilities() == 0)
    levels.enter("no-new-privs", by=credentials.forbid_new_privileges)
    levels.confirm("no-new-privs", effect=credentials.has_no_new_privileges())
    levels.enter("not-dumpable", by=credentials.hide_memory)
    levels.confirm("not-dumpable", effect=credentials.has_hidden_memory())


def _succeeds(action: Callable[[], object]) -> bool:
    try:
        action()
    except OSError:
        return False
    return True
