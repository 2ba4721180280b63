"""Find a host that runs on this machine already: its manager's socket in the usual places."""

from __future__ import annotations

import os
import socket
import stat
import sys
import warnings
from pathlib import Path
from typing import Final

from enarx.wire.endpoint import Endpoint

SOCKET_NAME: Final = "manager.sock"
_SYSTEM_RUN_DIR: Final = Path("/run/enarx")
_CONNECT_SECONDS: Final = 1.0
"""A local socket answers at once, or its backlog is full and the host of no use."""


def find_local_host() -> Endpoint | None:
    """The host of this user, or of the system; None where none runs.

    A socket is only taken where this user or root made it, in a directory that nobody else
    can write: somebody else's host is for who names it with ``--host``. The socket of a host
    that was killed is passed over.
    """
    if sys.platform == "win32":
        return None
    for directory in _run_dirs():
        path = directory / SOCKET_NAME
        if _is_ours(directory) and _is_ours(path, socket_file=True) and _answers(path):
            return Endpoint(path=str(path))
    return None


def _run_dirs() -> list[Path]:
    if os.geteuid() == 0:
        return [_SYSTEM_RUN_DIR]
    import platformdirs

    with warnings.catch_warnings():
        # It warns where XDG_RUNTIME_DIR is not set; whose directory it is, is checked here.
        warnings.simplefilter("ignore")
        return [Path(platformdirs.user_runtime_dir("enarx")), _SYSTEM_RUN_DIR]


def _is_ours(path: Path, *, socket_file: bool = False) -> bool:
    try:
        status = path.lstat()
    except OSError:
        return False
    if status.st_uid not in (0, os.geteuid()):
        return False
    if socket_file:
        return stat.S_ISSOCK(status.st_mode)
    return stat.S_ISDIR(status.st_mode) and not status.st_mode & 0o022


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_CONNECT_SECONDS)
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True
