"""Directories, locks and sockets of a host, on machines where something is wrong."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from enarx.errors import EnarxError, HostError, UsageError

from .conftest import Start
from .rig import RunningHost


@pytest.fixture
def short() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ert", dir="/tmp") as path:
        yield Path(path)


def failure(host: RunningHost) -> EnarxError:
    with pytest.raises(EnarxError) as caught:
        _ = host.status
    assert host.manager.wait(10) == 125
    assert "Traceback" not in host.log
    assert caught.value.message in host.log
    return caught.value


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


def test_a_second_host_on_the_same_run_directory_is_told_of_the_first(start: Start) -> None:
    first = start()
    first_pid = first.status.pid
    told = first.told
    second = start(directory=first.directory)
    error = failure(second)
    assert error.code == "host.running"
    assert f"process {first_pid}" in error.message
    assert "host down" in error.hint
    assert first.manager.poll() is None
    assert first.create().created.kuuid
    assert told == first.told


def test_the_socket_of_a_killed_host_is_taken_over(start: Start) -> None:
    host = start()
    host.manager.kill()
    host.manager.wait()
    assert (host.run / "manager.sock").exists()
    host.start()
    assert host.create().created.kuuid


def test_a_stale_silicon_socket_is_taken_over(start: Start) -> None:
    host = start()
    silicon = host.silicon()
    host.manager.kill()
    host.manager.wait()
    silicon.kill()
    host.start()
    assert host.ready().status().address


def test_a_port_that_is_taken_is_named(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        error = failure(start("--listen", f"127.0.0.1:{port}"))
    assert error.code == "host.listen"
    assert str(port) in error.message
    assert "in use" in error.message


@pytest.mark.parametrize("text", ["nowhere", "example.com:1", "127.0.0.1:99999", "127.0.0.1"])
def test_what_is_no_address_is_refused(start: Start, text: str) -> None:
    assert failure(start("--listen", text)).code == "usage.address"


def test_a_run_directory_with_too_long_a_path_is_refused(start: Start, short: Path) -> None:
    error = failure(start(directory=short / ("x" * 80)))
    assert isinstance(error, UsageError)
    assert "too long" in error.message


def test_a_state_directory_that_cannot_be_written_is_named(start: Start, short: Path) -> None:
    (short / "state").write_text("a file is in the way")
    error = failure(start(directory=short))
    assert error.code == "host.directory"
    assert str(short / "state") in error.message


def test_a_state_directory_on_a_read_only_disk_is_named(start: Start, short: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root mounts")
    (short / "state").mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "ro,mode=700", "tmpfs", str(short / "state")], check=True
    )
    try:
        error = failure(start(directory=short))
    finally:
        subprocess.run(["umount", "-l", str(short / "state")], check=True)
    assert "Read-only file system" in error.message
    assert "--state-dir" in error.hint


@pytest.mark.parametrize("which", ["state", "run"])
def test_a_full_disk_is_named(start: Start, short: Path, which: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root mounts")
    (short / which).mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16k,mode=700", "tmpfs", str(short / which)],
        check=True,
    )
    try:
        error = failure(start(directory=short))
    finally:
        subprocess.run(["umount", "-l", str(short / which)], check=True)
    assert isinstance(error, HostError)
    assert "No space left on device" in error.message
    assert "Make room" in error.hint


def test_a_disk_that_fills_up_later_refuses_new_keeps_and_keeps_the_old(
    start: Start, short: Path
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root mounts")
    (short / "run").mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m,mode=711", "tmpfs", str(short / "run")], check=True
    )
    try:
        host = start(directory=short)
        keep = host.ready()
        fill(host.run / "filler")
        with pytest.raises(HostError) as caught:
            host.create()
        assert caught.value.code == "host.run-dir"
        assert "No space left" in caught.value.message
        assert len(list((host.run / "keeps").iterdir())) == 1
        assert keep.status().address
        (host.run / "filler").unlink()
        assert host.ready().status().address
        host.close()
    finally:
        subprocess.run(["umount", "-l", str(short / "run")], check=True)


def test_a_directory_that_others_can_write_is_refused(start: Start, short: Path) -> None:
    (short / "run").mkdir()
    (short / "run").chmod(0o777)
    assert "can be written by others" in failure(start(directory=short)).message


def test_a_directory_of_another_user_is_refused(start: Start, short: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root gives directories away")
    (short / "run").mkdir()
    os.chown(short / "run", 65533, 65533)
    assert "must be a directory of user 0" in failure(start(directory=short)).message


def test_silicon_that_does_not_start_is_reported(start: Start) -> None:
    error = failure(start("--payload", "/nowhere"))
    assert error.code == "host.silicon"
