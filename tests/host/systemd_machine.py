"""A machine with a real systemd, for tests: `systemd_machine.sh`, started and cleaned up."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from .rig import children

BOOT_SECONDS = 60.0
"""systemd is ready in 3 s on a quiet machine."""
_NEEDED = sorted({str(Path(__file__).resolve().parents[2]), sys.prefix, sys.base_prefix})
"""What the tests run from: this checkout and its interpreter, wherever they are."""
_CGROUPS = Path("/sys/fs/cgroup")
_NAME = "enarx-test-systemd-"
"""With the pid of the test process behind it: several may run at a time."""
_JOIN = """
for tree in /sys/fs/cgroup/*/; do
    mkdir -p "$tree/entered" && echo $$ > "$tree/entered/cgroup.procs"
done
exec "$@"
"""


def lacking() -> str:
    """Why no systemd can be started here; empty where it can."""
    if os.geteuid() != 0:
        return "needs root, for namespaces and control groups"
    if not Path("/lib/systemd/systemd").exists() or not shutil.which("dbus-daemon"):
        return "needs systemd and dbus-daemon (apt install systemd dbus)"
    if not shutil.which("unshare") or not shutil.which("nsenter"):
        return "needs unshare and nsenter (apt install util-linux)"
    if not (_CGROUPS / "systemd" / "cgroup.procs").exists():
        return "needs control groups of version 1 with the hierarchy of systemd"
    if not os.access(_CGROUPS / "systemd", os.W_OK):
        return "needs control groups that can be written"
    if "overlay" not in Path("/proc/filesystems").read_text():
        return "needs overlayfs"
    return ""


class Machine:
    """A running one. `shared` is a directory with the same path inside and outside."""

    def __init__(self, shared: Path, pid: int) -> None:
        self.shared, self.pid = shared, pid

    def enter(self, *command: str) -> tuple[str, ...]:
        """The command line that runs `command` inside, in a control group of its own there."""
        namespaces = ("--mount", "--pid", "--uts", "--ipc", "--net", "--cgroup")
        entered = ("nsenter", "--target", str(self.pid), *namespaces, "--wd=/", "--")
        return (*entered, "bash", "-c", _JOIN, "join", *command)

    def run(self, *command: str) -> str:
        done = subprocess.run(
            self.enter(*command), capture_output=True, text=True, timeout=30, check=False
        )
        return done.stdout.strip()

    def units(self) -> list[str]:
        """The units of keep loaders."""
        listed = self.run(
            "systemctl", "list-units", "--all", "--plain", "--no-legend", "enarx-keep-*"
        )
        return [line.split()[0] for line in listed.splitlines()]


@contextlib.contextmanager
def machine() -> Iterator[Machine]:
    """Start one, and take it away again with all that ran in it."""
    _remove_groups(*_abandoned())
    name = f"{_NAME}{os.getpid()}"
    shared = Path(tempfile.mkdtemp(prefix="esysd", dir="/tmp"))
    script = Path(__file__).with_name("systemd_machine.sh")
    with (shared / "script.log").open("wb") as log:
        # It must not outlive these tests, even when they are killed.
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "bash", str(script), name, str(shared), *_NEEDED],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        yield _booted(process, shared)
    finally:
        for pid in children(process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.kill()
        process.wait()
        _remove_groups(name)
        shutil.rmtree(shared, ignore_errors=True)


def _booted(process: subprocess.Popen[bytes], shared: Path) -> Machine:
    deadline = time.monotonic() + BOOT_SECONDS
    state = ""
    while time.monotonic() < deadline and process.poll() is None:
        for pid in children(process.pid):
            found = Machine(shared, pid)
            state = found.run("systemctl", "is-system-running")
            if state in ("running", "degraded") and found.run("busctl", "status"):
                return found
        time.sleep(0.2)
    log = (shared / "script.log").read_text() + _text(shared / "console")
    raise AssertionError(f"systemd did not start ({state}):\n{log[-3000:]}")


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _abandoned() -> set[str]:
    """What test processes left that were killed."""
    names = {path.name for path in _CGROUPS.glob(f"*/{_NAME}*")}
    return {name for name in names if not Path("/proc", name.removeprefix(_NAME)).exists()}


def _remove_groups(*names: str) -> None:
    """Control groups outlive what was in them; the innermost go first."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        left = [root for name in names for root in _CGROUPS.glob(f"*/{name}")]
        if not left:
            return
        for root in left:
            for path, _, _ in os.walk(root, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(path)
        time.sleep(0.05)
