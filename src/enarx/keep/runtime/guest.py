"""One run of a module: link, run, and say how it ended."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import wasmtime
from wasmtime import (
    Engine,
    Func,
    FuncType,
    Linker,
    Module,
    Store,
    ValType,
    WasiConfig,
    WasmtimeError,
)

from enarx.errors import ModuleError
from enarx.keep.runtime import module as modules
from enarx.keep.runtime.memory import MemoryBudget
from enarx.wire import limits
from enarx.wire.session import Exit, Killed, Trap

FRAMES = 64
"""Frames of a trap that are told; the innermost, since a stack overflow has thousands."""
_FRAME = re.compile(r"^\s*\d+:\s+(?:0x[0-9a-f]+ - )?[^!\n]*!(.*?)(?:::h[0-9a-f]{16})?$", re.M)
_PREVIEW_1 = "wasi_snapshot_preview1"


class _Exited(Exception):
    """The guest called proc_exit."""

    def __init__(self, code: int) -> None:
        self.code = code


def make_linker(engine: Engine) -> Linker:
    """WASI preview 1, built in, with a proc_exit that takes every exit code."""
    linker = Linker(engine)
    linker.define_wasi()
    # The built-in one refuses exit codes from 126 on.
    linker.allow_shadowing = True
    linker.define_func(_PREVIEW_1, "proc_exit", FuncType([ValType.i32()], []), _proc_exit)
    linker.allow_shadowing = False
    return linker


def _proc_exit(code: int) -> None:
    raise _Exited(code)


def set_wasi(
    store: Store,
    *,
    argv: Sequence[str],
    env: Mapping[str, str],
    inherit: Sequence[bool],
    directory: str | None,
) -> None:
    """Give the guest its arguments, environment, standard streams and files.

    Args:
        inherit: for each of the descriptors 0, 1, 2, whether it is this process's own;
            otherwise it reads as empty and swallows what is written.
        directory: preopened under its own path, read-only; None for no files.
    """
    wasi = WasiConfig()
    wasi.argv = list(argv)
    wasi.env = list(env.items())
    for wanted, give in zip(
        inherit, (wasi.inherit_stdin, wasi.inherit_stdout, wasi.inherit_stderr), strict=True
    ):
        if wanted:
            give()
    if directory is not None:
        wasi.preopen_dir(directory, directory, False)
    store.set_wasi(wasi)


def run(linker: Linker, store: Store, module: Module, budget: MemoryBudget) -> Exit | Trap | Killed:
    """Instantiate and run to the end. Raises ModuleError where it cannot be instantiated."""
    try:
        instance = linker.instantiate(store, module)
        start = instance.exports(store)[modules.START]
        assert isinstance(start, Func)  # noqa: S101 - check_interface saw to it
        start(store)
    except _Exited as exited:
        # As of a process, the low byte; but a failure never becomes a success by it.
        return Exit(code=exited.code and (exited.code & 0xFF or 0xFF))
    except wasmtime.Trap as trap:
        return _killed(budget) if budget.refused else _trap(trap)
    except WasmtimeError as error:
        if budget.refused:
            return _killed(budget)
        raise ModuleError(
            f"the module cannot be instantiated: {modules.whole(str(error))}",
            code="module.instantiate",
        ) from None
    return Exit(code=0)


def _killed(budget: MemoryBudget) -> Killed:
    return Killed(
        reason="limit.memory",
        detail=f"the workload wanted more memory than its limit of {budget.limit} bytes,"
        " was refused it and trapped",
    )


def _trap(trap: wasmtime.Trap) -> Trap:
    text = trap.message
    trace, _, _ = text.partition("Caused by:")
    frames = [name[: limits.NAME] for name in _FRAME.findall(trace)]
    return Trap(message=modules.cause(text), frames=tuple(frames[:FRAMES]))
