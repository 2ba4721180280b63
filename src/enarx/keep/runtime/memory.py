"""Linear memory of the guest, counted over all its memories, by the host's own allocator.

Wasmtime's own limit is for each memory, and tells nobody when it refused. With a memory
creator (wasmtime.h, `wasmtime_memory_creator_t`) every growth asks us, so that a trap that
follows a refusal can be named for what it is. Only growth comes by here, never an access.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Callable
from typing import Any

from wasmtime import Config
from wasmtime import _ffi as ffi

_PROT_NONE, _PROT_READ_WRITE = 0, 3
_MAP = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000
"""MAP_NORESERVE: the reservation is address space, and becomes memory as it is granted."""
_FAILED = ctypes.c_void_p(-1).value


class MemoryBudget:
    """How much memory the guest may have, and whether it was ever refused more."""

    def __init__(self, *, limit: int) -> None:
        self.limit = limit
        self.refused = False
        self._used = 0
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._libc.mmap.restype = ctypes.c_void_p
        # Whatever wasmtime may call must live as long as the budget does.
        self._alive: list[object] = []
        self._release = _Release(lambda _: None)

    def govern(self, config: Config) -> None:
        """Make every memory of the engine with this configuration draw on this budget."""
        creator = ffi.wasmtime_memory_creator_t(
            env=None, new_memory=_NewMemory(self._create), finalizer=self._release
        )
        self._alive.append(creator)
        ffi.wasmtime_config_host_memory_creator_set(config.ptr(), ctypes.byref(creator))

    def _grant(self, address: int, *, held: int, wanted: int) -> bool:
        """Turn `held` bytes at `address` into `wanted`."""
        more = wanted - held
        if self._used + more > self.limit:
            self.refused = True
            return False
        if self._libc.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(wanted), _PROT_READ_WRITE):
            # The process's own limit, or the machine's.
            self.refused = True
            return False
        self._used += more
        return True

    def _create(
        self,
        _env: Any,
        _type: Any,
        minimum: int,
        _maximum: int,
        reserved: int,
        guard: int,
        out: Any,
    ) -> int:
        size = max(reserved, minimum) + guard
        address = self._libc.mmap(None, ctypes.c_size_t(size), _PROT_NONE, _MAP, -1, 0)
        if address == _FAILED or not self._grant(address, held=0, wanted=minimum):
            self.refused = True
            return _error("the workload's memory limit is reached")
        size_now = minimum

        def get(_env: Any, size_out: Any, maximum_out: Any) -> int:
            size_out[0], maximum_out[0] = size_now, max(reserved, minimum)
            return int(address)

        def grow(_env: Any, wanted: int) -> int:
            nonlocal size_now
            if wanted > max(reserved, minimum) or not self._grant(
                address, held=size_now, wanted=wanted
            ):
                self.refused = True
                return _error("the workload's memory limit is reached")
            size_now = wanted
            return 0

        memory = out[0]
        memory.env = None
        memory.get_memory, memory.grow_memory = _Get(get), _Grow(grow)
        memory.finalizer = self._release
        self._alive += [memory.get_memory, memory.grow_memory]
        return 0


def _error(message: str) -> int:
    """A wasmtime_error_t that the caller owns, as the pointer that a callback returns."""
    pointer = ffi.wasmtime_error_new(message.encode())
    return ctypes.cast(pointer, ctypes.c_void_p).value or 0


_NewMemory: Callable[..., Any] = ffi.wasmtime_new_memory_callback_t
_Get: Callable[..., Any] = ffi.wasmtime_memory_get_callback_t
_Grow: Callable[..., Any] = ffi.wasmtime_memory_grow_callback_t
_Release: Callable[..., Any] = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
