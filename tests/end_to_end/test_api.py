"""The Python interface: one call, its asynchronous twin, and the steps one by one."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest

import enarx
from enarx.client import simple
from enarx.client.sync import Session
from enarx.errors import LimitError, RefusedError, UsageError, VerificationError, WorkloadError
from enarx.verifier.policy import Policy
from enarx.wire.fields import Limits
from enarx.wire.session import Exit, Killed, Started, Stdout, Trap, Workload

from .command import example

DEVELOPMENT = Policy.builtin("development")


def test_one_call(host: str) -> None:
    result = enarx.run(
        example("hello"), args=["a", "b"], env={"K": "v"}, host=host, policy="development"
    )
    assert result.exit_code == 0
    assert result.stdout.decode().splitlines()[2:] == ["arg 1: a", "arg 2: b", "env K=v"]
    assert result.stderr == b""
    assert result.ended == Exit(code=0)
    assert result.verdict.simulated
    assert result.report.startswith("SIMULATED SILICON")
    assert result.seconds > 0
    assert result.check() is result


def test_module_as_bytes_and_stdin(host: str) -> None:
    data = bytes(range(256)) * 1000
    result = enarx.run(
        example("cat").read_bytes(), stdin=data, host=host, policy=DEVELOPMENT
    )  # fmt: skip
    assert result.stdout == data


def test_asynchronous_twin_runs_many_at_once(host: str) -> None:
    async def main() -> list[enarx.Result]:
        async with asyncio.timeout(120), asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(
                    enarx.run_async(example("exit"), args=[str(n)], host=host, policy="development")
                )
                for n in range(8)
            ]
        return [task.result() for task in tasks]

    assert [result.exit_code for result in asyncio.run(main())] == list(range(8))


def test_call_in_a_running_loop_says_what_to_do_instead(host: str) -> None:
    async def main() -> None:
        with pytest.raises(UsageError, match="event loop") as caught:
            enarx.run(example("hello"), host=host)
        assert "run_async" in caught.value.hint

    asyncio.run(main())


def test_exit_code_and_trap_are_results_until_they_are_checked(host: str) -> None:
    failed = enarx.run(example("exit"), args=["3"], host=host, policy="development")
    assert failed.exit_code == 3
    with pytest.raises(WorkloadError, match="exit code 3"):
        failed.check()
    trapped = enarx.run(example("trap"), args=["panic"], host=host, policy="development")
    assert trapped.exit_code == 134
    assert isinstance(trapped.ended, Trap)
    assert trapped.stdout == b"about to trap\n"
    with pytest.raises(WorkloadError, match="by_panic"):
        trapped.check()


def test_limit_is_a_result_too(host: str) -> None:
    result = enarx.run(
        example("spin"), limits=Limits(wall=300), host=host, policy="development"
    )  # fmt: skip
    assert isinstance(result.ended, Killed)
    assert result.exit_code == 125
    with pytest.raises(WorkloadError) as caught:
        result.check()
    assert caught.value.code == "workload.limit.wall"


def test_verdict_has_no_truth_value_and_simulated_is_refused(host: str) -> None:
    with pytest.raises(VerificationError):
        enarx.run(example("hello"), host=host)
    result = enarx.run(example("hello"), host=host, policy="development")
    with pytest.raises(TypeError, match="require"):
        bool(result.verdict)


def test_output_beyond_its_bound_is_an_error(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simple, "OUTPUT_BYTES", 100_000)
    with pytest.raises(LimitError) as caught:
        enarx.run(example("cat"), stdin=bytes(200_000), host=host, policy="development")
    assert caught.value.code == "limit.output"


def test_wrong_arguments_are_refused_before_anything_is_sent(host: str) -> None:
    for wrong in ({"secrets": {"no space": b""}}, {"env": {"A=B": ""}}, {"args": ["x" * 200_000]}):
        with pytest.raises(UsageError):
            enarx.run(example("hello"), host=host, policy="development", **wrong)  # type: ignore[arg-type]


def test_steps_one_by_one(host: str) -> None:
    with enarx.Client(host) as client:
        assert client.host().silicon == "running"
        offered = [each.backend for each in client.contracts() if not each.missing]
        assert {"sim-sgx", "sim-snp", "sim-tdx"} <= set(offered)
        with client.create(backend="sim-tdx", limits=Limits(memory=32 << 20)) as keep:
            assert keep.backend == "sim-tdx"
            attestation = keep.attest(policy=DEVELOPMENT)
            session = attestation.session()
            with session.run(enarx.workload(example("hello"))) as run:
                events = list(run)
            assert isinstance(events[0], Started)
            assert events[-1] == run.ended == Exit(code=0)
            assert keep.kuuid.bytes in [status.kuuid for status in client.keeps()]


def test_without_a_session_nothing_can_be_sent(host: str) -> None:
    with enarx.Client(host) as client, client.create() as keep:
        attestation = keep.attest()
        with pytest.raises(VerificationError):
            attestation.session()


def test_input_can_depend_on_output(host: str) -> None:
    """A conversation: each line is sent after the answer to the one before has come."""
    answered = threading.Semaphore(1)

    def lines() -> Iterator[bytes]:
        for word in (b"one\n", b"two\n", b"three\n"):
            assert answered.acquire(timeout=60)
            yield word

    with enarx.Client(host) as client, client.create() as keep:
        session = keep.attest(policy=DEVELOPMENT).session()
        config = enarx.Config(args=("1",))
        got = b""
        with session.run(enarx.workload(example("slow"), config=config), stdin=lines()) as run:
            for event in run:
                if isinstance(event, Stdout):
                    got += event.data
                    answered.release()
        assert got == b"one\ntwo\nthree\n"


def test_input_that_fails_ends_the_workload_and_raises_its_own_error(host: str) -> None:
    """Half an input is never passed for a whole one."""

    def lines() -> Iterator[bytes]:
        yield b"one\n"
        raise ZeroDivisionError("the caller's own mistake")

    with enarx.Client(host) as client, client.create() as keep:
        session = keep.attest(policy=DEVELOPMENT).session()
        with pytest.raises(ZeroDivisionError):
            run_all(session, enarx.workload(example("cat")), lines())


def run_all(session: Session, workload: Workload, stdin: Iterator[bytes]) -> None:
    with session.run(workload, stdin=stdin) as run:
        for _ in run:
            pass


def test_leaving_early_ends_the_workload(host: str) -> None:
    with enarx.Client(host) as client:
        with client.create() as keep:
            session = keep.attest(policy=DEVELOPMENT).session()
            with session.run(enarx.workload(example("spin"))) as run:
                assert isinstance(next(iter(run)), Started)
        deadline = time.monotonic() + 30
        while client_state(client, keep.kuuid.bytes) == "running":
            assert time.monotonic() < deadline
            time.sleep(0.05)


def client_state(client: enarx.Client, kuuid: bytes) -> str:
    states = {status.kuuid: status.state.value for status in client.keeps()}
    return states.get(kuuid, "gone")


def test_deployed_workload_through_the_api(host: str) -> None:
    with enarx.Client(host) as client:
        session = client.create().attest(policy=DEVELOPMENT).session()
        config = enarx.Config(args=("50", "3"))
        session.deploy(enarx.workload(example("slow"), config=config, detach=True))
        text = b"".join(e.data for e in session.logs(follow=True) if isinstance(e, Stdout))
        assert text == b"line 1\nline 2\nline 3\n"
        with pytest.raises(RefusedError):
            session.deploy(enarx.workload(example("hello"), detach=True))
        assert session.stop().ended == (Exit(code=0),)


def test_client_that_is_not_open_says_so(host: str) -> None:
    client = enarx.Client(host)
    with pytest.raises(UsageError, match="context manager"):
        client.contracts()
    with client:
        pass
    with pytest.raises(UsageError):
        client.contracts()


def test_public_names_are_all_there() -> None:
    for name in dir(enarx):
        assert getattr(enarx, name) is not None
    with pytest.raises(AttributeError):
        enarx.no_such_name  # type: ignore[attr-defined]  # noqa: B018
