"""Starts the zygote out of the measured tree.

Where the tree can be a root it becomes the zygote's root, and no file of the host can be
reached from it. Otherwise the measured loader, interpreter and libraries are named one by
one, so that still nothing else is run.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from dataclasses import dataclass
from typing import Final

from enarx.silicon import isolation
from enarx.silicon.snapshot import PAYLOAD, Snapshot
from enarx.wire.zygote import DESCRIPTOR

_FLAGS: Final = ("-I", "-S", "-B", "-X", "utf8", "-X", "pycache_prefix=/nonexistent")
"""Isolated, without site packages; no .pyc is written, and none is looked for: none is measured."""
_ENVIRONMENT: Final = {"LC_ALL": "C"}
"""Any other locale is read from files that are not measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Zygote:
    """A zygote that was started. It is not ready before it says so."""

    pid: int
    pidfd: int
    channel: socket.socket

    def kill(self) -> None:
        """End it at once and let go of it. Its Keeps see the end of file and end themselves."""
        self.channel.close()
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED)
        os.close(self.pidfd)


def spawn(snapshot: Snapshot) -> Zygote:
    """Start a zygote. Call from the main thread: the kernel kills the zygote when it ends.

    Raises:
        OSError: no process or socket can be made. What fails afterwards ends the zygote, which
            writes why to standard error.
    """
    program, arguments, environment = _command(snapshot)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        _become_zygote(
            snapshot, theirs.fileno(), parent, program=program, arguments=arguments, env=environment
        )
    theirs.close()
    ours.setblocking(False)
    return Zygote(pid=pid, pidfd=os.pidfd_open(pid), channel=ours)


def _command(snapshot: Snapshot) -> tuple[str, list[str], dict[str, str]]:
    """Program, its arguments and its environment."""
    root = "" if snapshot.own_root else snapshot.root
    runtime = snapshot.runtime
    path = [root + part for part in (*runtime.python_path, PAYLOAD)]
    code = (
        f"import sys; sys.path[:] = {path!r}; from enarx.keep.zygote import main; sys.exit(main())"
    )
    interpreter = root + runtime.interpreter
    python = [interpreter, *_FLAGS, "-c", code]
    libraries = ":".join(root + part for part in runtime.library_path)
    if snapshot.own_root or not runtime.loader:
        return interpreter, python, _ENVIRONMENT | {"LD_LIBRARY_PATH": libraries}
    # The kernel would take the host's loader, and the loader the host's libraries.
    loaded = {os.path.dirname(source.path) for source in runtime.sources if ".so" in source.path}
    everywhere = ":".join([libraries, *sorted(root + directory for directory in loaded)])
    loader = root + runtime.loader
    return loader, [loader, "--library-path", everywhere, *python], _ENVIRONMENT


def _become_zygote(
    snapshot: Snapshot,
    channel: int,
    parent: int,
    *,
    program: str,
    arguments: list[str],
    env: dict[str, str],
) -> None:
    """In the child: never returns."""
    try:
        isolation.die_with_parent(parent)
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDONLY)
        # Above all numbers that are about to be taken.
        spare = [os.dup(channel) for _ in range(DESCRIPTOR + 1)][-1]
        os.dup2(nothing, 0)
        os.dup2(2, 1)
        os.dup2(spare, DESCRIPTOR)
        os.closerange(DESCRIPTOR + 1, os.sysconf("SC_OPEN_MAX"))
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        if snapshot.own_root:
            isolation.enter_root(snapshot.root)
            isolation.keep_capabilities()
        os.execve(program, arguments, env)  # noqa: S606 - no shell is wanted
    except OSError as error:
        os.write(2, f"enarx silicon: cannot start the zygote: {error}\n".encode())
    finally:
        os._exit(127)
