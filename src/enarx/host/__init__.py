"""Untrusted: keep manager, keep loader, launchers, platform probe.

Everything here needs Linux on x86-64, except `probe`, which says so elsewhere.
"""

from __future__ import annotations

import platform
import sys

from enarx.errors import HostError


def require_linux() -> None:
    """Raise HostError where no Keep can ever run."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise HostError(
            f"a host needs Linux on x86-64; this is {platform.system()} on {platform.machine()}",
            hint="Use a host elsewhere: enarx run --host https://HOST:PORT#sha256=...",
            code="host.platform",
        )
