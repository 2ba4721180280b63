"""The `enarx` command as a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .conftest import EXAMPLES

SECONDS = 120.0
"""Far more than any of these commands takes, on a busy machine too."""
COMMAND = (sys.executable, "-m", "enarx")


def enarx(
    *arguments: str | Path, stdin: bytes = b"", env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run the command to its end."""
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        input=stdin,
        capture_output=True,
        timeout=SECONDS,
        env=os.environ | (env or {}),
        check=False,
    )


def start(
    *arguments: str | Path, stdin: int = subprocess.PIPE, env: dict[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start the command."""
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | (env or {}),
    )


def example(name: str) -> Path:
    """One of the modules in examples/."""
    return EXAMPLES / name / f"{name}.wasm"


def on(host: str) -> tuple[str, ...]:
    """Options that run on this simulated host, without the report."""
    return ("--host", host, "--policy", "development", "--quiet")


def last_json(output: bytes) -> dict[str, Any]:
    """The last line, which is JSON."""
    found: dict[str, Any] = json.loads(output.decode().strip().splitlines()[-1])
    return found


def texts(process: subprocess.CompletedProcess[bytes]) -> Sequence[str]:
    """stdout and stderr, as text."""
    return process.stdout.decode(), process.stderr.decode()
