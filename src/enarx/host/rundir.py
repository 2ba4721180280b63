"""The run directory and the state directory of a host: where they are, and whose they are.

RUN/manager.lock    held by the manager while it lives; its pid is written in it
   /manager.sock    the manager's API
   /manager.log     what a host in the background says
   /silicon.sock    the silicon's socket
   /keeps/<kuuid>/  see `order`
STATE/silicon/      keys of the simulated silicon
     /server.pem    the manager's TLS key and certificate
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import warnings
from dataclasses import dataclass
from pathlib import Path

from enarx.errors import HostError, UsageError

_SOCKET_PATH = 107
"""unix(7): sizeof(sun_path) less the closing zero."""
_LONGEST = "/keeps/01234567-89ab-cdef-0123-456789abcdef/loader.sock"
_PROBE = 64 * 1024
"""Bytes written to see whether there is space: more than all a host writes but its log."""


@dataclass(frozen=True, kw_only=True)
class RunDir:
    """Paths of one host's run directory."""

    root: Path

    @property
    def lock(self) -> Path:
        """Held by the manager."""
        return self.root / "manager.lock"

    @property
    def socket(self) -> Path:
        """The manager's socket."""
        return self.root / "manager.sock"

    @property
    def silicon(self) -> Path:
        """The silicon's socket."""
        return self.root / "silicon.sock"

    @property
    def keeps(self) -> Path:
        """The directory of the Keeps' directories."""
        return self.root / "keeps"


def default_run_dir() -> Path:
    """/run/enarx for root, else below $XDG_RUNTIME_DIR."""
    if os.geteuid() == 0:
        return Path("/run/enarx")
    import platformdirs

    with warnings.catch_warnings():
        # It warns where XDG_RUNTIME_DIR is not set; `prepare_run_dir` checks what it gives.
        warnings.simplefilter("ignore")
        return Path(platformdirs.user_runtime_dir("enarx"))


def default_state_dir() -> Path:
    """/var/lib/enarx for root, else the user's own state directory."""
    if os.geteuid() == 0:
        return Path("/var/lib/enarx")
    import platformdirs

    return Path(platformdirs.user_state_dir("enarx"))


def prepare_run_dir(root: Path) -> RunDir:
    """Make the run directory. UsageError where its path is too long, HostError where it cannot.

    Others may pass through it (a Keep's socket is reached by its own path), not read it.
    """
    root = root.absolute()
    length = len(str(root).encode()) + len(_LONGEST)
    if length > _SOCKET_PATH:
        raise UsageError(
            f"{root} is {length - _SOCKET_PATH} bytes too long for the sockets in it",
            hint="Choose a shorter --run-dir, such as /run/enarx.",
            code="host.run-dir",
        )
    _own_directory(root, 0o711, "--run-dir")
    _own_directory(root / "keeps", 0o711, "--run-dir")
    return RunDir(root=root)


def prepare_state_dir(root: Path) -> Path:
    """Make the state directory, for its owner alone. HostError where it cannot be written."""
    root = root.absolute()
    _own_directory(root, 0o700, "--state-dir")
    return root


def _own_directory(path: Path, mode: int, option: str) -> None:
    hint = f"Choose another with {option}."
    try:
        path.mkdir(mode=mode, parents=True, exist_ok=True)
        info = path.lstat()
        if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.geteuid():
            raise HostError(
                f"{path} must be a directory of user {os.geteuid()}, it is of {info.st_uid}",
                hint=hint,
                code="host.directory",
            )
        if info.st_mode & 0o022:
            raise HostError(
                f"{path} can be written by others (mode {stat.S_IMODE(info.st_mode):o})",
                hint=f"chmod go-w {path}, or choose another with {option}.",
                code="host.directory",
            )
        probe = path / ".space"
        try:
            probe.write_bytes(bytes(_PROBE))
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            hint = f"Make room on its disk. {hint}"
        raise HostError(
            f"cannot write the directory {path}: {error.strerror}",
            hint=hint,
            code="host.directory",
        ) from None


class Lock:
    """The one manager of a run directory. The kernel lets go of it when its holder dies."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def take(cls, run: RunDir) -> Lock:
        """Hold it until this process ends. HostError where another does, with its pid."""
        try:
            descriptor = os.open(run.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise HostError(
                f"cannot open {run.lock}: {error.strerror}", code="host.directory"
            ) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise _held(run, holder(run)) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        return cls(descriptor)

    def release(self) -> None:
        """Let go of it."""
        os.close(self._descriptor)


def require_nobody(run: RunDir) -> None:
    """HostError where a host runs on this run directory."""
    pid = holder(run)
    if pid is not None:
        raise _held(run, pid)


def _held(run: RunDir, pid: int | None) -> HostError:
    return HostError(
        f"a host runs on {run.root} already (process {pid or 'unknown'})",
        hint="`enarx host status` shows it, `enarx host down` ends it; "
        "another one needs another --run-dir.",
        code="host.running",
    )


def holder(run: RunDir) -> int | None:
    """The pid of the manager that holds the lock, None where nobody does."""
    try:
        descriptor = os.open(run.lock, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.read(descriptor, 32).strip()
        return int(text) if text.isdigit() else None
    else:
        return None
    finally:
        os.close(descriptor)
