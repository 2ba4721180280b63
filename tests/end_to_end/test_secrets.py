"""A secret is in the Keep, and nowhere else on the host."""

from __future__ import annotations

import os
import secrets
import subprocess
import threading
from pathlib import Path

import pytest

from enarx.testing import host as private_host

from .command import example, on, start
from .processes import children_of, eventually, memory_holds, mentioning

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="reads the memory of other processes")


def test_secret_is_in_no_process_of_the_host_but_the_keep(tmp_path: Path) -> None:
    secret = secrets.token_hex(24).encode()
    argument = secrets.token_hex(24)
    file = tmp_path / "secret"
    file.write_bytes(secret)
    with private_host() as address:
        process = start(
            "run", *on(address), "--secret", f"FOO={file}", example("slow"), "--", "60000", "1",
            argument, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        watchdog = threading.Timer(90, process.kill)
        watchdog.start()
        directory = address.removeprefix("unix:").removesuffix("/manager.sock")
        try:
            # The module runs, and so has its secret: now is the time to look.
            eventually(lambda: any(memory_holds(pid, secret) for pid in _keeps()))
            host = [pid for pid in _host(directory) if pid != process.pid]
            assert len(host) >= 3  # manager, fork server or loader, silicon
            assert [pid for pid in host if memory_holds(pid, secret)] == []
            assert [pid for pid in host if memory_holds(pid, argument.encode())] == []
            for pid in host:
                for name in ("cmdline", "environ"):
                    assert secret not in Path(f"/proc/{pid}/{name}").read_bytes()
            assert set(host) <= set(mentioning("enarx"))  # all of them were there to be read
            for path in Path(directory).rglob("*"):
                if path.is_file():
                    assert secret not in path.read_bytes(), path
        finally:
            watchdog.cancel()
            process.kill()
            process.wait()


def _keeps() -> list[int]:
    return mentioning("enarx.keep.zygote")


def _host(directory: str) -> list[int]:
    """Processes of the host on this run directory, without its Keeps and their zygote."""
    everybody = set(mentioning(f"{directory}/"))
    for pid in list(everybody):
        everybody |= set(children_of(pid))
    return sorted(everybody - set(_keeps()))
