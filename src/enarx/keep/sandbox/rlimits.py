"""Resource limits that a process puts on itself (setrlimit(2)).

Memory and processor time of the workload are limited elsewhere: `runtime.child`.
"""

from __future__ import annotations

import resource

from enarx.wire import limits

OPEN_FILES = limits.HTTP_CONNECTIONS + limits.HTTP_BACKLOG + 128
"""Connections that are served, those in their handshake, and what the Keep holds itself."""
PROCESSES = 256
"""Two processes; the compiler and the runtime's event loop start a few threads each."""


def enter(*, processes: bool) -> None:
    """Lower the limits, hard and soft. Raises OSError or ValueError.

    Args:
        processes: limit processes, too. They are counted for each user, so this makes sense
            only where no other process runs under ours.
    """
    wanted = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
        resource.RLIMIT_NOFILE: OPEN_FILES,
    }
    if processes:
        wanted[resource.RLIMIT_NPROC] = PROCESSES
    for kind, value in wanted.items():
        _, hard = resource.getrlimit(kind)
        lowest = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (lowest, lowest))
