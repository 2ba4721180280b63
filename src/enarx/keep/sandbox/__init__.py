"""The sandbox around a Keep: what protects the host, and other Keeps, from what runs inside.

Levels, in the order in which a process enters them:

1. `leave_namespaces`, in a process that then forks: mount-namespace, pid-namespace,
   net-namespace, ipc-namespace, uts-namespace; user-namespace where the others need it.
2. `confine`, in the fork, which is PID 1 of its own: empty-root, own-uid, no-capabilities,
   no-new-privs, not-dumpable, resource limits, landlock, seccomp.
3. `seccomp.enter` again, with less, in each of the Keep's two processes.

A level that this machine does not give is left out and named with the reason; any other
failure raises HostError, and there is no Keep then. Where it is cheap, a level is in force
only once its effect was seen from inside.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from enarx.errors import HostError
from enarx.keep.sandbox import credentials, landlock, namespaces, rlimits, root, seccomp

_NOT_GIVEN = frozenset(
    {
        errno.EPERM,
        errno.EACCES,
        errno.ENOSYS,
        errno.EOPNOTSUPP,
        errno.ENOSPC,  # the limit on namespaces is reached, or set to none
        errno.EUSERS,  # likewise, nesting
        errno.ENOENT,  # no /proc to write the user namespace's maps to
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


def leave_namespaces(levels: Levels) -> None:
    """Level 1; the caller must fork now and go on with `confine` in the child."""
    levels.enter(*namespaces.NAMES, by=namespaces.leave)
    if namespaces.in_user_namespace():
        levels.in_force.insert(0, "user-namespace")


def confine(levels: Levels, *, uid: int) -> None:
    """Level 2, up to and with the first stage of seccomp.

    Args:
        levels: what `leave_namespaces` left; is added to.
        uid: user id to take; 0 keeps the one there is.
    """
    if "uts-namespace" in levels.in_force:
        namespaces.name_host()
    seen = namespaces.visible()
    for name in namespaces.VISIBLE:
        levels.confirm(name, effect=name in seen)
    if "mount-namespace" in levels.in_force:
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
    credentials.empty_bounding_set()
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
