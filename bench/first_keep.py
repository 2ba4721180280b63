"""What a Keep costs, as ratios to bare wasmtime measured in the same run.

    python bench/first_keep.py [--keeps N]

Whole commands are timed in turns, so that noise meets all alike; medians are printed. The
baselines are the same module run by bare wasmtime: in a fresh Python process, and in this one.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import wasmtime

import enarx
from enarx.client.agent import AsyncKeep
from enarx.testing import host
from enarx.wire.session import Exit

ROOT = Path(__file__).resolve().parents[1]
MODULE = ROOT / "examples" / "hello" / "hello.wasm"
ENARX = Path(sys.executable).with_name("enarx")
BARE = """
import sys, wasmtime
engine = wasmtime.Engine()
store = wasmtime.Store(engine)
wasi = wasmtime.WasiConfig()
wasi.inherit_stdout()
wasi.argv = ["hello.wasm"]
store.set_wasi(wasi)
linker = wasmtime.Linker(engine)
linker.define_wasi()
instance = linker.instantiate(store, wasmtime.Module.from_file(engine, sys.argv[1]))
instance.exports(store)["_start"](store)
"""
TINY = """
(module
  (import "wasi_snapshot_preview1" "fd_write"
    (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 8) "\\10\\00\\00\\00\\06\\00\\00\\00hello\\n")
  (func (export "_start")
    (drop (call $write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 0)))))
"""
"""A module that takes no time to compile: what is left is the Keep itself."""
COMMANDS, CALLS = 9, 40
IDLE_SECONDS = 120


def command(*words: str) -> Callable[[], None]:
    """A whole process, as a user starts it."""

    def run() -> None:
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL, timeout=60)

    return run


def in_process() -> None:
    """The baseline without a fresh process: everything else as in BARE."""
    with (
        tempfile.TemporaryFile() as output,
        redirected(output.fileno()),
        contextlib.suppress(wasmtime.ExitTrap),
    ):
        exec(compile(BARE.replace("sys.argv[1]", repr(str(MODULE))), "bare", "exec"), {})


@contextlib.contextmanager
def redirected(descriptor: int):
    """Standard output elsewhere: the guest writes to descriptor 1 itself."""
    kept = os.dup(1)
    os.dup2(descriptor, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def in_turns(functions: dict[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """Median milliseconds of each function, called in turns after one round of warming up."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for turn in range(rounds + 1):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            if turn:
                times[name].append((time.perf_counter() - start) * 1000)
    return {name: statistics.median(values) for name, values in times.items()}


async def one_keep(
    client: enarx.AsyncClient, policy: enarx.Policy, module: Path | bytes = MODULE
) -> None:
    """Create, attest, run, result: what the figure of the API is about."""
    workload = enarx.workload(module)
    async with await client.create(backend="sim-sgx") as keep:
        attestation = await keep.attest(policy=policy)
        async with attestation.session().run(workload) as run:
            events = [event async for event in run]
    if not isinstance(events[-1], Exit) or events[-1].code:
        raise SystemExit(f"hello did not end well: {events[-1]}")


async def keeps_a_second(
    address: str, policy: enarx.Policy, module: bytes, *, keeps: int, workers: int
) -> float:
    """Rate of whole Keeps with so many at the same time."""
    left = iter(range(keeps))

    async def worker() -> None:
        async with enarx.AsyncClient(address) as client:
            for _ in left:
                await one_keep(client, policy, module)

    start = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(workers)))
    return keeps / (time.perf_counter() - start)


async def idle(address: str, policy: enarx.Policy, *, keeps: int) -> tuple[float, float]:
    """Seconds to make so many Keeps that wait for their owner, and MiB of each (private)."""
    made: list[AsyncKeep] = []
    start = time.perf_counter()
    async with asyncio.timeout(IDLE_SECONDS), contextlib.AsyncExitStack() as stack:
        client = await stack.enter_async_context(enarx.AsyncClient(address))
        before = private_memory()
        for _ in range(keeps):
            keep = await client.create(backend="sim-sgx")
            await keep.attest(policy=policy)
            made.append(keep)
        seconds = time.perf_counter() - start
        used = private_memory() - before
        for keep in made:
            await client.end(keep.kuuid)
    return seconds, used / keeps / 2**20


def private_memory() -> int:
    """Bytes that all enarx processes but this one hold for themselves alone."""
    total = 0
    for process in Path("/proc").iterdir():
        if not process.name.isdigit() or int(process.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            words = (process / "cmdline").read_bytes()
            if b"enarx" in words:
                for line in (process / "smaps_rollup").read_text().splitlines():
                    if line.startswith(("Private_Clean:", "Private_Dirty:")):
                        total += int(line.split()[1]) * 1024
    return total


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--keeps", type=int, default=200, help="idle Keeps at the same time")
    keeps = arguments.parse_args().keeps
    policy = enarx.Policy.builtin("development")
    tiny = bytes(wasmtime.wat2wasm(TINY))
    with host() as address:
        whole = in_turns(
            {
                "bare wasmtime, fresh Python": command(sys.executable, "-c", BARE, str(MODULE)),
                "enarx run, host up": command(
                    str(ENARX), "run", "--quiet", "--host", address, "--policy", "development",
                    str(MODULE),
                ),
            },
            COMMANDS,
        )  # fmt: skip
        with asyncio.Runner() as runner:
            client = enarx.AsyncClient(address)
            parts = in_turns(
                {
                    "bare wasmtime, in process": in_process,
                    "create, attest, run, result (API)": lambda: runner.run(
                        one_keep(client, policy)
                    ),
                    "the same with a tiny module": lambda: runner.run(
                        one_keep(client, policy, tiny)
                    ),
                },
                CALLS,
            )
            rate = runner.run(keeps_a_second(address, policy, tiny, keeps=100, workers=4))
            seconds, memory = runner.run(idle(address, policy, keeps=keeps))
    base = whole["bare wasmtime, fresh Python"]
    print("First Keep, medians in milliseconds (ratio to bare wasmtime in a fresh Python)\n")
    for name, value in {**whole, **parts}.items():
        print(f"  {name:<36} {value:8.1f}  {value / base:6.2f}")
    print(f"\n  whole Keeps a second, tiny module, four at a time {rate:8.1f}")
    print(f"  {keeps} idle Keeps: made in {seconds:.1f} s, {memory:.1f} MiB each")


if __name__ == "__main__":
    main()
