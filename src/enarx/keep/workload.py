"""The workload's process, seen from the app loader: fork it, feed it, follow it, end it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any

from enarx.errors import EnarxError, ModuleError, WorkloadError
from enarx.keep.runtime import child
from enarx.wire import framing, limits, problem
from enarx.wire.codec import unpack
from enarx.wire.fields import Limits
from enarx.wire.session import Ended, Event, Exit, Failed, Killed, Started, Stderr, Stdout, Trap

QUEUE = 4
"""Pieces of output in memory that the owner has not taken; then the guest waits."""

_CPU_SIGNALS = (child.LIMIT_SIGNAL, signal.SIGXCPU)
_FromChild = Started | Exit | Trap | Killed | Failed
_FROM_CHILD: Any = _FromChild


class WorkloadProcess:
    """A forked process that waits for its workload. Use from one event loop.

    Forked before the Keep has a key, so that no key is in its memory.
    """

    def __init__(self, *, pid: int, pipes: _Pipes, bounds: Limits) -> None:
        self._pid = pid
        self._pidfd = os.pidfd_open(pid)
        self._pipes = pipes
        self._limits = bounds
        self._killed: Killed | None = None
        self._status: int | None = None
        for descriptor in pipes.parent:
            os.set_blocking(descriptor, False)

    @classmethod
    def fork(
        cls, *, bounds: Limits, own_files: bool, filtered: bool, not_inherited: tuple[int, ...]
    ) -> WorkloadProcess:
        """Fork it; in the child this never returns.

        Args:
            not_inherited: descriptors of the app loader that the workload must not have.
        """
        pipes = _Pipes()
        pid = os.fork()
        if pid:
            pipes.close_ends(pipes.child)
            return cls(pid=pid, pipes=pipes, bounds=bounds)
        status = os.EX_SOFTWARE
        try:
            for descriptor in (*pipes.parent, *not_inherited):
                os.close(descriptor)
            for standard, descriptor in enumerate(pipes.standard):
                os.dup2(descriptor, standard)
                os.close(descriptor)
            child.main(
                child.Surroundings(
                    request=pipes.request[0],
                    report=pipes.report[1],
                    limits=bounds,
                    own_files=own_files,
                    filtered=filtered,
                )
            )
            status = os.EX_OK
        finally:
            os._exit(status)

    def kill(self, *, reason: str, detail: str) -> None:
        """End it now; `events` then ends with Killed, unless it had ended by itself."""
        if self._killed is None and self._status is None:
            self._killed = Killed(reason=reason, detail=detail)
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    async def feed(self, data: bytes) -> None:
        """Write to its standard input, waiting while it does not read; no end is no bytes."""
        try:
            await _write_all(self._pipes.stdin[1], data)
        except BrokenPipeError:
            # It closed its standard input, or has ended: the rest is for nobody.
            return

    def end_input(self) -> None:
        """End its standard input."""
        self._pipes.close_ends((self._pipes.stdin[1],))

    async def events(self, workload: bytes) -> AsyncGenerator[Event, None]:
        """Give it its `Workload` message; then Started, output as it is taken, and the end.

        A reader that does not take more makes the guest wait. When the reader goes away the
        process is killed.
        """
        wall: asyncio.TimerHandle | None = None
        try:
            sent = asyncio.create_task(self._send(workload))
            del workload
            reports = self._reports()
            report = await anext(reports, None)
            if isinstance(report, Started):
                if self._limits.wall is not None:
                    wall = asyncio.get_running_loop().call_later(
                        self._limits.wall / 1000, self._time_out
                    )
                yield report
                async with contextlib.aclosing(self._output()) as output:
                    async for piece in output:
                        yield piece
                ending = await anext(reports, None)
                started = True
            else:
                ending, started = report, False
            await self._wait()
            sent.cancel()
            yield self._outcome(ending, started=started)
        finally:
            if wall is not None:
                wall.cancel()
            self.kill(reason="stopped", detail="its owner went away")

    def close(self) -> None:
        """Kill it if it still runs, and give up all descriptors."""
        self.kill(reason="stopped", detail="the Keep ends")
        self._pipes.close_ends(self._pipes.parent)

    async def _send(self, workload: bytes) -> None:
        with contextlib.suppress(BrokenPipeError):
            await _write_all(self._pipes.request[1], workload)
        self._pipes.close_ends((self._pipes.request[1],))

    async def _reports(self) -> AsyncIterator[_FromChild]:
        reader = framing.FrameReader(limit=limits.FRAME)
        try:
            async for message in framing.frames(_pieces(self._pipes.report[0]), reader):
                yield unpack(message, _FROM_CHILD, limit=limits.FRAME)
        except EnarxError as error:
            self.kill(reason="stopped", detail="it broke the protocol within the Keep")
            yield Failed(problem=problem.from_error(error))

    async def _output(self) -> AsyncGenerator[Event, None]:
        """Both outputs until both have ended, each piece at the reader's pace."""
        queue: asyncio.Queue[Event | None] = asyncio.Queue(maxsize=QUEUE)

        async def pump(descriptor: int, kind: Callable[..., Event]) -> None:
            async for data in _pieces(descriptor):
                await queue.put(kind(data=data))
            await queue.put(None)

        pumps = [
            asyncio.create_task(pump(self._pipes.stdout[0], Stdout)),
            asyncio.create_task(pump(self._pipes.stderr[0], Stderr)),
        ]
        try:
            remaining = len(pumps)
            while remaining:
                piece = await queue.get()
                if piece is None:
                    remaining -= 1
                else:
                    yield piece
        finally:
            for task in pumps:
                task.cancel()

    async def _wait(self) -> None:
        if self._status is None:
            await _ready(self._pidfd, write=False)
            _, status = os.waitpid(self._pid, 0)
            self._status = os.waitstatus_to_exitcode(status)
            os.close(self._pidfd)

    def _time_out(self) -> None:
        self.kill(
            reason="limit.wall", detail=f"the workload ran longer than {self._limits.wall} ms"
        )

    def _outcome(self, ending: _FromChild | None, *, started: bool) -> Ended:
        if ending is not None and not isinstance(ending, Started):
            return ending
        if self._killed is not None:
            return self._killed
        ended_by = -(self._status or 0)
        if not started:
            return Failed(problem=problem.from_error(self._compile_error(ended_by)))
        if ended_by in _CPU_SIGNALS:
            return Killed(
                reason="limit.cpu",
                detail=f"the workload used more than {self._limits.cpu} ms of processor time",
            )
        if ended_by == signal.SIGKILL:
            return Killed(
                reason="limit.memory",
                detail="the workload was killed from outside the Keep, as a host does when"
                " the Keep's control group is out of memory",
            )
        error = WorkloadError(
            f"the workload's process ended unexpectedly, {_how(ended_by, self._status)}",
            code="workload.crashed",
        )
        return Failed(problem=problem.from_error(error))

    def _compile_error(self, ended_by: int) -> ModuleError:
        if ended_by in _CPU_SIGNALS:
            return ModuleError(
                f"the module took more than {self._limits.compile} ms of processor time to compile",
                hint="Allow more with the limit `compile`, if the module is to be trusted.",
                code="limit.compile-time",
            )
        return ModuleError(
            f"the compiler ended before the module was compiled, {_how(ended_by, self._status)};"
            f" it may use {child.COMPILE_MEMORY >> 20} MiB of memory",
            hint="The module is too large or made to be hard to compile.",
            code="limit.compile-memory",
        )


class _Pipes:
    """Five pipes, each (reading end, writing end)."""

    def __init__(self) -> None:
        self.request, self.stdin = os.pipe(), os.pipe()
        self.report, self.stdout, self.stderr = os.pipe(), os.pipe(), os.pipe()
        self.standard = (self.stdin[0], self.stdout[1], self.stderr[1])
        self.child = (self.request[0], self.report[1], *self.standard)
        self.parent = (
            self.request[1],
            self.stdin[1],
            self.report[0],
            self.stdout[0],
            self.stderr[0],
        )
        self._closed: set[int] = set()

    def close_ends(self, ends: tuple[int, ...]) -> None:
        """Close those of `ends` that are still open."""
        for end in ends:
            if end not in self._closed:
                self._closed.add(end)
                os.close(end)


def _how(ended_by: int, status: int | None) -> str:
    return f"by {signal.Signals(ended_by).name}" if ended_by > 0 else f"with status {status}"


async def _pieces(descriptor: int) -> AsyncIterator[bytes]:
    """What comes out of a non-blocking pipe, until its end."""
    while True:
        try:
            piece = os.read(descriptor, limits.HTTP_CHUNK)
        except BlockingIOError:
            await _ready(descriptor, write=False)
            continue
        if not piece:
            return
        yield piece


async def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:
            await _ready(descriptor, write=True)


async def _ready(descriptor: int, *, write: bool) -> None:
    """Wait until a descriptor can be read from, or written to."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    add, remove = (
        (loop.add_writer, loop.remove_writer) if write else (loop.add_reader, loop.remove_reader)
    )
    add(descriptor, ready.set)
    try:
        await ready.wait()
    finally:
        remove(descriptor)
