"""Workloads in a real Keep: streams, secrets, limits, traps, and modules that cannot run."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import wasmtime
from harness import SECONDS, Keep, Owner, Zygote

from enarx.wire import framing
from enarx.wire.codec import pack
from enarx.wire.fields import Limits
from enarx.wire.session import (
    Config,
    Exit,
    Failed,
    Killed,
    Started,
    Stdin,
    StdinEnd,
    Trap,
    Workload,
)

Launch = Callable[..., Keep]
Example = Callable[[str], bytes]

MIB = 1 << 20


def wat(text: str) -> bytes:
    return bytes(wasmtime.wat2wasm(text))


def workload(module: bytes, *args: str, **fields: Any) -> Workload:
    config = Config(args=args, **fields.pop("config", {}))
    return Workload(name="test", module=module, config=config, **fields)


_EXIT = """(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1) (func (export "_start") (call $exit (i32.const %d))))"""


# What works.


def test_events_begin_with_the_modules_digest_and_end_with_the_exit_code(
    launch: Launch, example: Example
) -> None:
    outcome = launch().run(workload(example("hello"), "one", "two"))
    assert outcome.events[0] == Started(module=hashlib.sha256(example("hello")).digest())
    assert outcome.end == Exit(code=0)
    assert outcome.stdout == b"Hello from a Keep!\narg 0: test\narg 1: one\narg 2: two\n"
    assert outcome.stderr == b""


def test_environment_is_what_was_configured_and_nothing_of_the_hosts(
    launch: Launch, example: Example
) -> None:
    outcome = launch().run(workload(example("hello"), config={"env": {"A": "1", "B": "ü"}}))
    assert [line for line in outcome.stdout.decode().splitlines() if line.startswith("env")] == [
        "env A=1",
        "env B=ü",
    ]


def test_standard_error_is_apart_from_standard_output(launch: Launch, example: Example) -> None:
    outcome = launch().run(workload(example("stderr"), "3"))
    assert outcome.stdout == b"out 1\nout 2\nout 3\n"
    assert outcome.stderr == b"err 1\nerr 2\nerr 3\n"


def test_real_work_on_real_input(launch: Launch, example: Example) -> None:
    from conftest import EXAMPLES

    patients = (EXAMPLES / "patients" / "patients.csv").read_bytes()
    outcome = launch().run(workload(example("patients")), patients)
    assert outcome.end == Exit(code=0)
    assert b"patients" in outcome.stdout


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 1_000_003])
def test_every_byte_goes_through_unchanged(launch: Launch, example: Example, size: int) -> None:
    data = os.urandom(size)
    outcome = launch().run(workload(example("cat")), data)
    assert outcome.stdout == data
    assert outcome.end == Exit(code=0)


def test_a_hundred_megabytes_go_through_in_bounded_memory(launch: Launch, example: Example) -> None:
    keep = launch()
    data = os.urandom(MIB) * 100
    outcome = keep.run(workload(example("cat")), data)
    assert hashlib.sha256(outcome.stdout).digest() == hashlib.sha256(data).digest()


@pytest.mark.parametrize(("code", "told"), [(0, 0), (1, 1), (125, 125), (126, 126), (255, 255)])
def test_exit_code_is_the_workloads(launch: Launch, code: int, told: int) -> None:
    assert launch().run(workload(wat(_EXIT % code))).end == Exit(code=told)


@pytest.mark.parametrize(("code", "told"), [(256, 255), (512, 255), (257, 1), (-1, 255)])
def test_a_failure_never_becomes_a_success_by_cutting_off_its_code(
    launch: Launch, code: int, told: int
) -> None:
    assert launch().run(workload(wat(_EXIT % code))).end == Exit(code=told)


def test_a_start_function_that_returns_is_a_success(launch: Launch) -> None:
    assert launch().run(workload(wat('(module (func (export "_start")))'))).end == Exit(code=0)


def test_simd_and_several_memories_are_spoken(launch: Launch) -> None:
    module = wat(
        """(module (memory 1) (memory 1) (func (export "_start")
        (v128.store (i32.const 0) (i32x4.splat (i32.const 7)))
        (i32.store 1 (i32.const 0) (i32.load 0 (i32.const 4)))
        (if (i32.ne (i32.load 1 (i32.const 0)) (i32.const 7)) (then unreachable))))"""
    )
    assert launch().run(workload(module)).end == Exit(code=0)


def test_a_guest_that_ignores_its_input_ends_all_the_same(launch: Launch, example: Example) -> None:
    outcome = launch().run(workload(example("hello")), b"x" * (2 * MIB))
    assert outcome.end == Exit(code=0)


# Standard streams as configured.


def test_streams_that_are_not_listed_are_empty_and_swallow(
    launch: Launch, example: Example
) -> None:
    outcome = launch().run(workload(example("cat"), config={"files": ()}), b"lost")
    assert outcome.stdout == outcome.stderr == b""
    assert outcome.end == Exit(code=0)


def test_streams_can_change_places(launch: Launch, example: Example) -> None:
    files = ("stdin", "stderr", "stdout")
    outcome = launch().run(workload(example("stderr"), "1", config={"files": files}))
    assert (outcome.stdout, outcome.stderr) == (b"err 1\n", b"out 1\n")


def test_an_output_cannot_be_read_from(launch: Launch, example: Example) -> None:
    outcome = launch().run(workload(example("cat"), config={"files": ("stdout",)}))
    assert outcome.end.problem.code == "workload.files"


# Secrets.


def test_secrets_are_variables_and_read_only_files(launch: Launch, example: Example) -> None:
    outcome = launch().run(
        workload(example("secrets"), "/run/secrets/FOO", secrets={"FOO": b"geheim"})
    )
    assert outcome.stdout == b"FOO=geheim\ngeheim"
    assert outcome.end == Exit(code=0)


def test_a_binary_secret_is_a_file_only(launch: Launch, example: Example) -> None:
    outcome = launch().run(
        workload(example("secrets"), "/run/secrets/FOO", secrets={"FOO": b"\xff\0\x01"})
    )
    assert outcome.stdout == b"\xff\0\x01"
    assert outcome.stderr == b"FOO is not set\n"


@pytest.mark.parametrize("path", ["/etc/passwd", "/run/secrets/../../etc/passwd", "/proc/self/mem"])
def test_no_other_file_is_there(launch: Launch, example: Example, path: str) -> None:
    outcome = launch().run(workload(example("secrets"), path, secrets={"FOO": b"x"}))
    assert outcome.end == Exit(code=2)


def test_too_many_secrets_are_refused(launch: Launch, example: Example) -> None:
    secrets = {f"S{number}": b"x" * 65_536 for number in range(17)}
    outcome = launch().run(workload(example("hello"), secrets=secrets))
    assert outcome.end.problem.code == "workload.secrets-too-large"


def test_an_argument_with_a_zero_character_is_refused(launch: Launch, example: Example) -> None:
    outcome = launch().run(workload(example("hello"), "a\0b"))
    assert outcome.end.problem.code == "workload.zero-character"


# Traps.


@pytest.mark.parametrize(
    ("kind", "message", "frame"),
    [
        ("panic", "unreachable", "trap::by_panic"),
        ("unreachable", "unreachable", "trap::by_unreachable"),
        ("memory", "out of bounds memory access", "trap::by_memory"),
        ("stack", "call stack exhausted", "trap::by_stack"),
        ("signature", "indirect call type mismatch", "trap::by_signature"),
    ],
)
def test_a_trap_is_told_with_its_frames(
    launch: Launch, example: Example, kind: str, message: str, frame: str
) -> None:
    outcome = launch().run(workload(example("trap"), kind))
    assert isinstance(outcome.end, Trap)
    assert message in outcome.end.message
    assert frame in outcome.end.frames
    assert len(outcome.end.frames) <= 64
    assert outcome.stdout == b"about to trap\n"


def test_a_trap_in_the_start_section_is_a_trap(launch: Launch) -> None:
    module = wat('(module (func $f unreachable) (start $f) (func (export "_start")))')
    assert isinstance(launch().run(workload(module)).end, Trap)


# Limits.


def test_processor_time_has_a_limit(launch: Launch, example: Example) -> None:
    outcome = launch(bounds=Limits(cpu=300)).run(workload(example("spin")))
    assert outcome.stdout == b"spinning\n"
    assert isinstance(outcome.end, Killed)
    assert outcome.end.reason == "limit.cpu"


def test_waiting_costs_no_processor_time(launch: Launch, example: Example) -> None:
    outcome = launch(bounds=Limits(cpu=300)).run(workload(example("slow"), "150", "4"))
    assert outcome.end == Exit(code=0)


@pytest.mark.parametrize("name", ["spin", "slow"])
def test_time_on_the_clock_has_a_limit(launch: Launch, example: Example, name: str) -> None:
    began = time.monotonic()
    outcome = launch(bounds=Limits(wall=400)).run(workload(example(name), "60000", "2"))
    assert outcome.end.reason == "limit.wall"
    assert 0.4 <= time.monotonic() - began < 10


def test_memory_has_a_limit_that_the_guest_can_handle(launch: Launch, example: Example) -> None:
    outcome = launch(bounds=Limits(memory=32 * MIB)).run(workload(example("membomb")))
    refused = int(outcome.stdout.split()[2])
    assert 24 <= refused <= 32
    assert outcome.end == Exit(code=1)


def test_a_trap_after_refused_memory_is_named_as_that(launch: Launch) -> None:
    module = wat(
        """(module (memory 1) (func (export "_start")
        (if (i32.eq (memory.grow (i32.const 4000)) (i32.const -1)) (then unreachable))))"""
    )
    assert launch().run(workload(module)).end == Exit(code=0)
    ended = launch(bounds=Limits(memory=64 * MIB)).run(workload(module)).end
    assert isinstance(ended, Killed)
    assert ended.reason == "limit.memory"


def test_memory_is_counted_over_all_memories(launch: Launch) -> None:
    grow = "(drop (memory.grow {} (i32.const 500)))"
    module = wat(
        f"""(module (memory 1) (memory 1) (memory 1) (func (export "_start")
        {grow.format(0)} {grow.format(1)} {grow.format(2)}
        (if (i32.eq (memory.size 2) (i32.const 1)) (then unreachable))))"""
    )
    assert launch(bounds=Limits(memory=128 * MIB)).run(workload(module)).end == Exit(code=0)
    ended = launch(bounds=Limits(memory=64 * MIB)).run(workload(module)).end
    assert ended.reason == "limit.memory"


def test_a_module_that_begins_with_more_memory_than_allowed_does_not_start(
    launch: Launch,
) -> None:
    module = wat('(module (memory 2000) (func (export "_start")))')
    ended = launch(bounds=Limits(memory=64 * MIB)).run(workload(module)).end
    assert ended.reason == "limit.memory"


def test_a_gigabyte_can_be_used_where_it_is_allowed(launch: Launch, example: Example) -> None:
    outcome = launch(bounds=Limits(memory=1100 * MIB)).run(workload(example("membomb"), "1000"))
    assert outcome.stdout == b"got 1000 MiB\n"


def test_a_table_cannot_grow_without_end(launch: Launch) -> None:
    module = wat(
        """(module (table 1 funcref) (func (export "_start")
        (if (i32.ne (table.grow (ref.null func) (i32.const 100000000)) (i32.const -1))
          (then unreachable))))"""
    )
    assert launch().run(workload(module)).end == Exit(code=0)


def slow_to_compile(functions: int) -> bytes:
    """Many locals, all alive around one loop: the register allocator's worst day."""
    count = 3000
    body = "".join(
        f"(local.set {n} (i32.add (local.get {n}) (local.get {n * 7 % count})))"
        for n in range(count)
    )
    loop = f"(loop $l {body} (br_if $l (local.get 0)))"
    function = f"(func (param i32) (local {'i32 ' * count}) {loop})"
    return wat(f'(module {function * functions} (func (export "_start")))')


def test_compiling_has_a_time_limit(launch: Launch) -> None:
    module = slow_to_compile(3)
    ended = launch(bounds=Limits(compile=500)).run(workload(module)).end
    assert isinstance(ended, Failed)
    assert ended.problem.code == "limit.compile-time"


# Modules that cannot run: each with its own code, and words.


@pytest.mark.parametrize(
    ("module", "code", "words"),
    [
        (b"", "module.empty", "empty"),
        (b"#!/bin/sh\necho", "module.not-wasm", "not WebAssembly"),
        (b"\x7fELF\x02\x01\x01", "module.not-wasm", "7f454c46"),
        (b'(module (func (export "_start")))', "module.text", "text"),
        (b"  ;; a comment\n(module)", "module.text", "text"),
        (b"\0asm\x0d\0\x01\0", "module.component", "component"),
        (b"\0asm\x02\0\0\0", "module.version", "02000000"),
        (b"\0asm", "module.version", "version"),
        (b"\0asm\x01\0\0\0\xff\xff", "module.invalid", "malformed"),
        (wat('(module (func (export "main")))'), "module.no-start", "_start"),
        (wat('(module (global (export "_start") i32 (i32.const 1)))'), "module.no-start", ""),
        (wat('(module (func (export "_start") (param i32)))'), "module.start-type", "nothing"),
        (
            wat('(module (import "env" "a" (func)) (import "gpu" "b" (func)) '
                '(func (export "_start")))'),
            "module.unknown-imports",
            "env.a, gpu.b",
        ),
        (
            wat('(module (import "wasi_snapshot_preview1" "no_such" (func)) '
                '(func (export "_start")))'),
            "module.unknown-imports",
            "wasi_snapshot_preview1.no_such",
        ),
        (
            wat('(module (import "wasi_snapshot_preview1" "fd_write" (func)) '
                '(func (export "_start")))'),
            "module.instantiate",
            "incompatible import type",
        ),
        (
            wat('(module (memory i64 1) (func (export "_start")))'),
            "module.invalid",
            "memory64",
        ),
        (
            wat('(module (memory 1 1 shared) (func (export "_start")))'),
            "module.invalid",
            "threads",
        ),
    ],
)  # fmt: skip
def test_module_that_cannot_run_is_refused_with_the_reason(
    launch: Launch, module: bytes, code: str, words: str
) -> None:
    ended = launch().run(workload(module)).end
    assert isinstance(ended, Failed)
    assert (ended.problem.title, ended.problem.code) == ("ModuleError", code)
    assert words in ended.problem.detail


def test_unknown_imports_are_named_up_to_a_bound(launch: Launch) -> None:
    imports = "".join(f'(import "env" "f{n}" (func))' for n in range(200))
    ended = launch().run(workload(wat(f'(module {imports} (func (export "_start")))'))).end
    assert "env.f19" in ended.problem.detail
    assert "env.f20" not in ended.problem.detail
    assert "and 180 more" in ended.problem.detail


# Back-pressure.

_ENDLESS_OUTPUT = """(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (data (i32.const 0) "\\10\\00\\00\\00\\00\\00\\01\\00")
  (func (export "_start")
    (loop $l (br_if $l (i32.eqz (call $write (i32.const 1) (i32.const 0) (i32.const 1)
      (i32.const 8)))))))"""


def test_a_reader_that_pauses_makes_the_guest_wait_and_the_keep_holds_little(
    launch: Launch,
) -> None:
    keep = launch()

    def resident() -> int:
        lines = Path(f"/proc/{keep.pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) * 1024

    async def go() -> tuple[int, int]:
        connection = await keep.connect()
        try:
            async with connection.stream("POST", "/v1/workload", body(), timeout=SECONDS) as pieces:
                await anext(pieces)
                before = resident()
                await asyncio.sleep(1)
                return before, resident()
        finally:
            await connection.close()

    async def body() -> AsyncIterator[bytes]:
        yield framing.frame(pack(workload(wat(_ENDLESS_OUTPUT))))
        yield framing.frame(pack(StdinEnd()))

    before, after = asyncio.run(go())
    assert after - before < 8 * MIB
    assert keep.wait() == 0


def test_a_guest_that_reads_slowly_makes_its_owner_wait(launch: Launch, example: Example) -> None:
    keep = launch()
    sent = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal sent
        module = workload(example("slow"), "60000")
        yield framing.frame(pack(module))
        while True:
            yield framing.frame(pack(Stdin(data=b"\n" * 65_536)))
            sent += 65_536

    async def go() -> None:
        connection = await keep.connect()
        try:
            async with connection.stream("POST", "/v1/workload", body(), timeout=SECONDS) as pieces:
                await anext(pieces)
                await asyncio.sleep(1)
        finally:
            await connection.close()

    asyncio.run(go())
    assert sent < 8 * MIB
    assert keep.wait() == 0


# Limits that only a Keep with smaller ones shows in reasonable time.


@pytest.fixture
def tight_zygote() -> Iterator[Zygote]:
    """Its compilers get 80 MiB."""
    code = "from enarx.keep.runtime import child; child.COMPILE_MEMORY = 80 << 20"
    zygote = Zygote(code=f"{code}; from enarx.keep.zygote import main; main()")
    yield zygote
    zygote.close()


def test_compiling_has_a_memory_limit(tight_zygote: Zygote, owner: Owner, tmp_path: Path) -> None:
    keep = Keep.launch(tight_zygote, owner, tmp_path)
    keep.boot()
    ended = keep.run(workload(slow_to_compile(30))).end
    assert isinstance(ended, Failed)
    assert ended.problem.code == "limit.compile-memory"
    assert "80 MiB" in ended.problem.detail
    keep.close()
