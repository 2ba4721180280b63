"""The engine: what WebAssembly is spoken here, and how much of it there may be."""

from __future__ import annotations

from wasmtime import Config, Engine, Store

from enarx.keep.runtime.memory import MemoryBudget

INSTANCES = 16
MEMORIES = 16
"""Each reserves 4 GiB of address space, of which there are 128 TiB."""
TABLES = 16
TABLE_ELEMENTS = 1_000_000
"""In each table; an element takes 8 bytes. A Python interpreter has about 10,000."""


def make_engine(budget: MemoryBudget) -> Engine:
    """An engine that speaks WebAssembly 2.0 with SIMD, tail calls and several memories.

    What no toolchain for WASI preview 1 produces is off: less code that a hostile module
    can reach. Memory that garbage-collected references would need is not counted, so they
    are off, and externref with them.
    """
    config = Config()
    config.wasm_threads = False
    config.shared_memory = False
    config.wasm_memory64 = False
    config.gc_support = False
    config.wasm_gc = False
    config.wasm_function_references = False
    config.wasm_exceptions = False
    config.wasm_component_model = False
    config.wasm_stack_switching = False
    config.wasm_custom_page_sizes = False
    config.wasm_wide_arithmetic = False
    # Images of the initial memory would be files in memory, which the budget does not see.
    config.memory_init_cow = False
    budget.govern(config)
    return Engine(config)


def make_store(engine: Engine) -> Store:
    """A store with bounds on what a module may have many of."""
    store = Store(engine)
    store.set_limits(
        table_elements=TABLE_ELEMENTS, instances=INSTANCES, tables=TABLES, memories=MEMORIES
    )
    return store
