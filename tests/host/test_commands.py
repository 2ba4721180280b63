"""`enarx host` and `enarx platform info` as a user types them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .rig import PATIENCE, RunningHost, within

pytestmark = pytest.mark.slow


@pytest.fixture
def directories() -> Iterator[list[str]]:
    with tempfile.TemporaryDirectory(prefix="ecmd", dir="/tmp") as path:
        options = ["--run-dir", f"{path}/run", "--state-dir", f"{path}/state"]
        yield options
        enarx("host", "down", *options[:2])


def enarx(*arguments: str, code: int = 0) -> tuple[str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "enarx.cli.main", *arguments],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout, done.stderr


def test_up_status_down(directories: list[str]) -> None:
    run = directories[:2]
    out, _ = enarx("host", "up", *directories, "--launcher", "supervised")
    assert f"unix:{run[1]}/manager.sock" in out
    status = json.loads(enarx("host", "status", *run, "--json")[0])
    assert (status["silicon"], status["keeps"]) == ("running", 0)
    text, _ = enarx("host", "status", *run)
    assert "silicon    running" in text
    _, error = enarx("host", "up", *directories, code=125)
    assert f"(process {status['process']})" in error
    assert "The host is down." in enarx("host", "down", *run)[0]
    assert not Path(run[1]).exists()
    _, error = enarx("host", "status", *run, code=125)
    assert "no host runs" in error
    assert "No host was running." in enarx("host", "down", *run)[0]


def test_up_over_tls_prints_the_pin(directories: list[str]) -> None:
    out, _ = enarx("host", "up", *directories, "--listen", "127.0.0.1:0", "--any-tenant")
    assert "https://127.0.0.1:" in out
    assert "#sha256=" in out


def test_in_the_foreground_until_a_signal(directories: list[str]) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "enarx.cli.main", "host", "up", "--foreground", *directories],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert "The host is up" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == 0
    assert not Path(directories[1]).exists()


def test_down_ends_what_a_killed_host_left() -> None:
    host = RunningHost()
    try:
        keep = host.ready()
        loader, process, silicon = keep.loader(), keep.process(), host.silicon()
        host.manager.kill()
        host.manager.wait()
        assert loader.alive()
        assert "The host is down." in enarx("host", "down", "--run-dir", str(host.run))[0]
        within(1, lambda: not (loader.alive() or process.alive() or silicon.alive()))
        assert not host.run.exists()
    finally:
        host.close()


def test_down_kills_a_host_that_hangs() -> None:
    host = RunningHost()
    try:
        host.ready()
        os.kill(host.manager.pid, signal.SIGSTOP)
        assert "The host is down." in enarx("host", "down", "--run-dir", str(host.run))[0]
        host.manager.wait(PATIENCE)
        within(1, lambda: not host.processes())
    finally:
        host.close()


@pytest.mark.parametrize(
    "arguments",
    [
        ("--state-dir", "/proc/nothing"),
        ("--listen", "nowhere"),
        ("--tenant", "nobody"),
        ("--run-dir", "/" + "x" * 90),
    ],
)
def test_what_cannot_be_is_said_and_exits_125(
    directories: list[str], arguments: tuple[str, str]
) -> None:
    _, error = enarx("host", "up", *directories, *arguments, code=125)
    assert error.startswith("enarx: ")


def test_platform_info_as_table_and_as_json() -> None:
    table, _ = enarx("platform", "info")
    found = json.loads(enarx("platform", "info", "--json")[0])
    assert {"sgx", "sev-snp", "tdx", "kvm", "landlock", "memory"} <= {f["name"] for f in found}
    for finding in found:
        assert finding["name"] in table
        # How much memory is free changes between two calls.
        assert finding["name"] == "memory" or finding["seen"] in table
        if not finding["present"]:
            assert finding["remedy"] in table
