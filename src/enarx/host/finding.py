"""What was found out about this machine, and where to look: shared by all probes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

TRIAL_SECONDS = 10.0
"""A trial takes 0.03 s; a machine that needs longer is no host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One capability. `seen` is what was found, `remedy` how to get what is missing."""

    name: str
    present: bool
    seen: str
    remedy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Where the kernel's files are: below `root`, which tests replace."""

    root: Path = Path("/")

    def exists(self, path: str) -> bool:
        """Whether the file or device is there."""
        return (self.root / path.lstrip("/")).exists()

    def read(self, path: str) -> str:
        """The file's text without white space around; empty where it cannot be read."""
        try:
            return (self.root / path.lstrip("/")).read_text(errors="replace").strip()
        except OSError:
            return ""

    def cpu_flags(self) -> frozenset[str]:
        """The flags of the first processor (/proc/cpuinfo)."""
        for line in self.read("/proc/cpuinfo").splitlines():
            name, _, value = line.partition(":")
            if name.strip() in ("flags", "Features"):
                return frozenset(value.split())
        return frozenset()

    def switched_on(self, path: str) -> bool:
        """Whether a module parameter says yes."""
        return self.read(path) in ("Y", "1")


def missing(name: str, seen: Iterable[str], remedy: str) -> Finding:
    """Something that is not there."""
    return Finding(name=name, present=False, seen="; ".join(seen), remedy=remedy)


def present(name: str, *seen: str) -> Finding:
    """Something that is there."""
    return Finding(name=name, present=True, seen="; ".join(seen))


def attempt(trial: str) -> str:
    """Try something in a process of its own; why it failed, empty where it worked."""
    command = [sys.executable, "-I", "-S", str(Path(__file__).with_name("trials.py")), trial]
    return run(command)


def run(command: list[str]) -> str:
    """Run a short program; what it says of its failure, empty where it exits 0."""
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter, or a tool found on the path
            command, capture_output=True, text=True, timeout=TRIAL_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode == 0:
        return ""
    return (done.stdout + done.stderr).strip() or f"it exited with {done.returncode}"
