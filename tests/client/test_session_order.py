"""Events of a workload come in one order, whoever sends them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from enarx.client.bounds import Timeouts
from enarx.client.result import EXIT_REFUSED, EXIT_TRAP, error_of, exit_code
from enarx.client.session import Run
from enarx.errors import EnarxError, KeepLostError, LimitError, ProtocolError, UsageError
from enarx.wire.codec import pack
from enarx.wire.fields import Limits
from enarx.wire.framing import frame
from enarx.wire.problem import Problem
from enarx.wire.session import Event, Exit, Failed, Killed, Lost, Started, Stdout, Trap

STARTED = Started(module=bytes(32))
OUT = Stdout(data=b"x")
END = Exit(code=0)


def receive(
    *events: Event, chunks: int = 1 << 20, then_wait: bool = False, rest: bytes = b""
) -> list[Event]:
    """What a run makes of this stream, cut into pieces."""
    stream = b"".join(frame(pack(event)) for event in events) + rest

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(stream), chunks):
            yield stream[start : start + chunks]
        if then_wait:
            await asyncio.sleep(60)

    async def main() -> list[Event]:
        timeouts = Timeouts(start=0.1, grace=0.1)
        run = Run(None, Limits(wall=100, compile=1), timeouts)  # type: ignore[arg-type]
        run.receive(pieces())
        return [event async for event in run]

    return asyncio.run(asyncio.wait_for(main(), 30))


@pytest.mark.parametrize("chunks", [1, 2, 7, 1 << 20])
def test_events_are_whole_however_the_stream_is_cut(chunks: int) -> None:
    assert receive(STARTED, OUT, OUT, END, chunks=chunks) == [STARTED, OUT, OUT, END]


def test_workload_may_fail_before_it_starts() -> None:
    failed = Failed(problem=Problem(title="ModuleError", detail="no", code="module.start"))
    assert receive(failed) == [failed]


@pytest.mark.parametrize(
    "events",
    [
        (OUT, STARTED, END),
        (STARTED, STARTED, END),
        (STARTED, END, END),
        (STARTED, END, OUT),
        (STARTED, Lost(size=1), END),
    ],
)
def test_disorder_is_refused(events: tuple[Event, ...]) -> None:
    with pytest.raises(ProtocolError) as caught:
        receive(*events)
    assert caught.value.code == "protocol.order"


@pytest.mark.parametrize("events", [(), (STARTED,), (STARTED, OUT)])
def test_stream_without_an_end_is_a_lost_keep(events: tuple[Event, ...]) -> None:
    with pytest.raises(KeepLostError):
        receive(*events)


def test_half_a_frame_at_the_end_is_refused() -> None:
    with pytest.raises(ProtocolError):
        receive(STARTED, rest=frame(pack(OUT))[:-1])


@pytest.mark.parametrize("events", [(), (STARTED,), (STARTED, OUT)])
def test_silence_is_given_up_on_where_the_workload_has_a_limit(events: tuple[Event, ...]) -> None:
    with pytest.raises(LimitError) as caught:
        receive(*events, then_wait=True)
    assert caught.value.code == "limit.silent"


def test_exit_codes() -> None:
    assert exit_code(Exit(code=200)) == 200
    assert exit_code(Trap(message="x")) == EXIT_TRAP == 134
    assert exit_code(Killed(reason="limit.cpu", detail="x")) == EXIT_REFUSED == 125


def test_trap_is_told_with_its_frames_and_a_limit_with_its_option() -> None:
    trap = error_of(Trap(message="unreachable", frames=("inner", "outer")))
    assert trap is not None
    assert trap.message.splitlines() == [
        "the workload trapped: unreachable", "    at inner", "    at outer",
    ]  # fmt: skip
    killed = error_of(Killed(reason="limit.wall", detail="too long"))
    assert killed is not None
    assert "--wall-time" in killed.hint
    assert error_of(END) is None


def test_failure_to_start_is_the_keeps_own_error() -> None:
    problem = Problem(title="UsageError", detail="no _start", code="module.start")
    with pytest.raises(EnarxError) as caught:
        error_of(Failed(problem=problem))
    assert isinstance(caught.value, UsageError)
    assert caught.value.code == "module.start"
