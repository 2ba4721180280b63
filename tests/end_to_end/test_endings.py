"""However the command is ended, wherever it is: no process, socket or directory is left."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from enarx.client.localhost import find_local_host

from .command import enarx, example, on, start
from .processes import children_of, eventually, mentioning

pytestmark = pytest.mark.skipif(
    find_local_host() is not None, reason="a host runs here: no private one would be started"
)

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@pytest.fixture
def temporary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory of our own for private hosts, short enough for sockets."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="t", dir="/tmp") as directory:
        yield Path(directory)


def spinning(temporary: Path, *options: str) -> subprocess.Popen[bytes]:
    """`enarx run` of a program that never ends, once it runs."""
    process = start(
        "run", "-q", *options, example("spin"), stdin=subprocess.DEVNULL,
        env={"TMPDIR": str(temporary)},
    )  # fmt: skip
    watchdog = threading.Timer(60, process.kill)
    watchdog.start()
    assert process.stdout is not None
    assert process.stdout.readline() == b"spinning\n"
    watchdog.cancel()
    return process


def assert_nothing_left(temporary: Path, family: list[int]) -> None:
    eventually(lambda: not mentioning(f"{temporary}/"))
    eventually(lambda: not list(temporary.iterdir()))
    eventually(lambda: not [pid for pid in family if _alive(pid)])


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("number", SIGNALS)
def test_signal_while_the_workload_runs(temporary: Path, number: signal.Signals) -> None:
    process = spinning(temporary)
    family = children_of(process.pid)
    assert len(family) >= 3  # manager, silicon, Keep
    process.send_signal(number)
    assert process.wait(60) == 128 + number
    assert_nothing_left(temporary, family)


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("milliseconds", [0, 100, 250, 400, 700, 1000, 1500])
def test_signal_at_any_moment(temporary: Path, number: signal.Signals, milliseconds: int) -> None:
    process = start(
        "run", "-q", example("spin"), stdin=subprocess.DEVNULL, env={"TMPDIR": str(temporary)}
    )
    try:
        process.wait(milliseconds / 1000)
    except subprocess.TimeoutExpired:
        process.send_signal(number)
    # Before Python is up the signal's own default ends it.
    assert process.wait(60) in (128 + number, -number)
    assert process.stderr is not None
    assert b"Traceback" not in process.stderr.read() or process.returncode == -number
    assert_nothing_left(temporary, [])


def test_kill_of_the_client_takes_everything_away(temporary: Path) -> None:
    process = spinning(temporary)
    family = children_of(process.pid)
    process.kill()
    process.wait(60)
    assert_nothing_left(temporary, family)


def _of(process: subprocess.Popen[bytes], words: str) -> int:
    family = set(children_of(process.pid))
    return next(pid for pid in mentioning(words) if pid in family)


@pytest.mark.parametrize("victim", ["enarx.silicon", "enarx.host.manager", "enarx.keep.zygote"])
def test_kill_of_a_part_ends_the_command_with_its_reason(temporary: Path, victim: str) -> None:
    process = spinning(temporary)
    family = children_of(process.pid)
    os.kill(_of(process, victim), signal.SIGKILL)
    assert process.wait(60) == 125
    assert process.stderr is not None
    message = process.stderr.read().decode()
    assert "went away" in message or "ended" in message
    assert "Traceback" not in message
    assert_nothing_left(temporary, family)


def test_signal_ends_the_keep_on_a_host_that_goes_on(host: str) -> None:
    from enarx.client.agent import AsyncClient
    from enarx.wire.manager import State

    async def states() -> list[State]:
        async with AsyncClient(host) as client:
            return [status.state for status in await client.keeps()]

    import asyncio

    process = start("run", *on(host), example("spin"), stdin=subprocess.DEVNULL)
    assert process.stdout is not None
    assert process.stdout.readline() == b"spinning\n"
    assert State.RUNNING in asyncio.run(states())
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    eventually(lambda: State.RUNNING not in asyncio.run(states()))


def test_killed_client_ends_its_keep_on_a_host_that_goes_on(host: str) -> None:
    import asyncio

    from enarx.client.agent import AsyncClient
    from enarx.wire.manager import State

    async def states() -> list[State]:
        async with AsyncClient(host) as client:
            return [status.state for status in await client.keeps()]

    process = start("run", *on(host), example("spin"), stdin=subprocess.DEVNULL)
    assert process.stdout is not None
    assert process.stdout.readline() == b"spinning\n"
    process.kill()
    process.wait()
    eventually(lambda: State.RUNNING not in asyncio.run(states()))


def test_ignored_sigint_stays_ignored(host: str) -> None:
    """As under nohup or in a background job of a shell without job control."""
    process = subprocess.Popen(
        ["sh", "-c", 'trap "" INT; exec "$@"', "sh", *_command(host)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == b"line 1\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0


def _command(host: str) -> list[str]:
    from .command import COMMAND

    return [*COMMAND, "run", *on(host), str(example("slow")), "--", "50", "10"]


def test_exit_code_of_a_private_host_run_is_the_workloads(temporary: Path) -> None:
    done = enarx("run", "-q", example("exit"), "--", "7", env={"TMPDIR": str(temporary)})
    assert done.returncode == 7
    assert_nothing_left(temporary, [])
