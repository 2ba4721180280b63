"""Whether a module can run here, said in words a user can act on.

What can be seen from the first bytes is said before the compiler sees any of it. The rest
is asked of the compiled module, since a second parser of our own would be a second way to
be wrong about hostile bytes; compiling is bounded (`child`).
"""

from __future__ import annotations

from wasmtime import Engine, FuncType, Linker, Module, Store, WasmtimeError

from enarx.errors import ModuleError
from enarx.wire import limits

START = "_start"
UNKNOWN_NAMED = 20
"""Unknown imports that are named; how many more there are is said by number."""

_MAGIC = b"\0asm"
_CORE_VERSION = b"\x01\0\0\0"
_COMPONENT_LAYER = b"\x01\0"
_TEXT_LOOKED_AT = 4096


def check_header(module: bytes) -> None:
    """Refuse what is not a WebAssembly 1.0 binary module, and say what it seems to be.

    Source: WebAssembly core specification, section 5.5.16; the component model's Binary.md.
    """
    if not module:
        raise ModuleError("the module is empty", code="module.empty")
    if len(module) > limits.MODULE:
        raise ModuleError(
            f"the module has {len(module)} bytes, at most {limits.MODULE} are taken",
            hint="Strip debug information, for example with `wasm-strip`.",
            code="module.too-large",
        )
    if not module.startswith(_MAGIC):
        raise _not_binary(module)
    if module[4:8] == _CORE_VERSION:
        return
    if module[6:8] == _COMPONENT_LAYER:
        raise ModuleError(
            "this is a WebAssembly component; a Keep runs modules for WASI preview 1",
            hint="Build for the target wasm32-wasip1.",
            code="module.component",
        )
    raise ModuleError(
        f"the module has version {module[4:8].hex()}, expected {_CORE_VERSION.hex()}",
        code="module.version",
    )


def _not_binary(module: bytes) -> ModuleError:
    text = module[:_TEXT_LOOKED_AT].lstrip()
    if text.startswith((b"(module", b"(component", b"(;", b";;")):
        return ModuleError(
            "this is WebAssembly text, not a binary module",
            hint="Convert it first, for example with `wat2wasm`.",
            code="module.text",
        )
    return ModuleError(
        f"this is not WebAssembly: it begins with {module[:4].hex()}, expected {_MAGIC.hex()}",
        code="module.not-wasm",
    )


def compile_module(engine: Engine, module: bytes) -> Module:
    """Validate and compile. Raises ModuleError with the compiler's reason."""
    try:
        return Module(engine, module)
    except WasmtimeError as error:
        raise ModuleError(
            f"the module is not valid: {cause(str(error))}", code="module.invalid"
        ) from None


def check_interface(module: Module, linker: Linker, store: Store) -> None:
    """Refuse a module that asks for what is not here, or cannot be started."""
    unknown = [
        f"{item.module}.{item.name}" for item in module.imports if not _known(item, linker, store)
    ]
    if unknown:
        named = ", ".join(name[: limits.NAME] for name in unknown[:UNKNOWN_NAMED])
        more = len(unknown) - UNKNOWN_NAMED
        raise ModuleError(
            f"the module imports what a Keep does not have: {named}"
            + (f" and {more} more" if more > 0 else ""),
            hint="A Keep has WASI preview 1 (wasi_snapshot_preview1) and nothing else.",
            code="module.unknown-imports",
        )
    start = next((item.type for item in module.exports if item.name == START), None)
    if not isinstance(start, FuncType):
        raise ModuleError(
            f"the module has no function {START}",
            hint="Build a program, not a library: with a main function, for wasm32-wasip1.",
            code="module.no-start",
        )
    if start.params or start.results:
        raise ModuleError(f"{START} must take nothing and return nothing", code="module.start-type")


def _known(item: object, linker: Linker, store: Store) -> bool:
    try:
        linker.get(store, item.module, item.name)  # type: ignore[attr-defined]
    except WasmtimeError:
        return False
    return True


def cause(text: str) -> str:
    """The reason in one of wasmtime's messages, without the frames before it, as one line."""
    _, found, reason = text.partition("Caused by:")
    return whole(reason if found else text)


def whole(text: str) -> str:
    """One of wasmtime's messages as one line."""
    lines = (line.strip() for line in text.splitlines())
    return "; ".join(line for line in lines if line not in ("", "Caused by:"))[: limits.TEXT // 2]
