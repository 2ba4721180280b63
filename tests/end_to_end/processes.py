"""What runs and what is there, seen from outside; bounded waits."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

PATIENCE = 30.0
"""Seconds that a test waits for something that takes milliseconds on an idle machine."""


def eventually(holds: Callable[[], bool], *, seconds: float = PATIENCE) -> float:
    """Wait until it holds; the seconds that took. Raises AssertionError after a bound."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < seconds, "it did not happen in time"
        time.sleep(0.02)
    return time.monotonic() - began


def command_lines() -> dict[int, str]:
    """The command line of every living process (zombies have none)."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                text = (
                    (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                )
            except OSError:
                continue
            if text:
                found[int(entry.name)] = text
    return found


def children_of(pid: int) -> list[int]:
    """All living descendants, whoever adopted them in between not counted."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if fields[0] != "Z":
                parents[int(entry.name)] = int(fields[1])
    found, frontier = [], [pid]
    while frontier:
        parent = frontier.pop()
        below = [child for child, above in parents.items() if above == parent]
        found += below
        frontier += below
    return found


def mentioning(text: str) -> list[int]:
    """Processes with this on their command line, other than ourselves."""
    return [pid for pid, line in command_lines().items() if text in line and pid != os.getpid()]


def memory_holds(pid: int, needle: bytes) -> bool:
    """Whether these bytes are anywhere in a process's writable memory; False once it ended."""
    try:
        regions = Path(f"/proc/{pid}/maps").read_text().splitlines()
        with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
            return any(
                _region_holds(memory, region.split()[0], needle)
                for region in regions
                if region.split()[1].startswith("rw")
            )
    except (FileNotFoundError, ProcessLookupError):
        return False  # it has ended


def _region_holds(memory: BinaryIO, span: str, needle: bytes) -> bool:
    start, end = (int(part, 16) for part in span.split("-"))
    tail = b""
    while start < end:
        try:
            memory.seek(start)
            piece = memory.read(min(1 << 22, end - start))
        except OSError:
            return False  # reserved, or unmapped meanwhile
        if not piece:
            return False
        if needle in tail + piece:
            return True
        tail = piece[1 - len(needle) :]
        start += len(piece)
    return False
