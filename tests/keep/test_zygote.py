"""The zygote: forks, says what became of each, and ends with the silicon."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import PAYLOAD, RUNTIME, SECONDS, Keep, Owner, Zygote

from enarx.wire.session import Exit, Workload
from enarx.wire.zygote import Fork, ForkFailed

Launch = Callable[..., Keep]


def request(kuuid: bytes) -> Fork:
    return Fork(kuuid=kuuid, backend="sim-sgx", payload=PAYLOAD, runtime=RUNTIME)


def test_zygote_has_one_thread_and_no_engine(zygote: Zygote) -> None:
    assert len(list(Path(f"/proc/{zygote.pid}/task").iterdir())) == 1


def test_keep_is_a_child_of_the_zygote_and_its_pidfd_is_passed_on(
    zygote: Zygote, launch: Launch
) -> None:
    keep = launch()
    assert f"PPid:\t{zygote.pid}\n" in Path(f"/proc/{keep.pid}/status").read_text()
    signal.pidfd_send_signal(keep.pidfd, signal.SIGKILL)
    assert keep.wait() == -signal.SIGKILL


def test_a_fork_without_its_descriptors_is_refused(zygote: Zygote) -> None:
    kuuid = uuid.uuid4().bytes
    left, right = socket.socketpair()
    with left, right:
        answer, descriptors = zygote.fork(request(kuuid), [left.fileno()])
    assert isinstance(answer, ForkFailed)
    assert (answer.kuuid, answer.problem.code) == (kuuid, "keep.fork")
    assert descriptors == []


def test_zygote_goes_on_after_a_refusal(zygote: Zygote, launch: Launch) -> None:
    zygote.fork(request(uuid.uuid4().bytes), [0])
    assert launch().certificate


def test_zygote_leaks_no_descriptor(zygote: Zygote, launch: Launch) -> None:
    def held() -> int:
        return len(list(Path(f"/proc/{zygote.pid}/fd").iterdir()))

    before = held()
    for _ in range(5):
        keep = launch(boot=False)
        keep.control.close()
        keep.wait()
    assert held() <= before


def test_many_keeps_run_side_by_side(launch: Launch, example: Callable[[str], bytes]) -> None:
    keeps = [launch(uid=0) for _ in range(12)]
    workload = Workload(name="x", module=example("hello"))
    outcomes = [keep.run(workload) for keep in keeps]
    assert [outcome.end for outcome in outcomes] == [Exit(code=0)] * 12
    assert [keep.wait() for keep in keeps] == [0] * 12


def test_when_the_silicon_goes_the_zygote_and_all_keeps_go(owner: Owner, tmp_path: Path) -> None:
    zygote = Zygote()
    keep = Keep.launch(zygote, owner, tmp_path)
    keep.boot()
    assert zygote.close() == 0
    keep.report.close()
    last = keep.hear_rest()[-1]
    assert last.detail == "the silicon that vouched for this Keep is gone"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to see another user's process")
def test_a_workloads_process_ends_with_its_keep(
    launch: Launch, example: Callable[[str], bytes]
) -> None:
    from test_session import children, deploy

    keep = launch()
    asyncio.run(deploy(keep, Workload(name="x", module=example("spin"), detach=True)))
    (child,) = children(keep.pid)
    pidfd = os.pidfd_open(child)
    signal.pidfd_send_signal(keep.pidfd, signal.SIGKILL)
    import select

    waiting = select.poll()
    waiting.register(pidfd, select.POLLIN)
    assert waiting.poll(SECONDS * 1000)
    os.close(pidfd)
