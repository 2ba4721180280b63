"""Read a WebAssembly module from disk, and say plainly what it is when it is not one.

Only what can be seen at a glance is checked here, before a Keep is made for it. What the
module imports and exports is checked in the Keep, which has to do it anyway.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from enarx.errors import ModuleError
from enarx.wire import limits

_MAGIC: Final = b"\0asm"
_CORE: Final = b"\1\0\0\0"
"""WebAssembly core specification, section 5.5.16: version 1."""
_LAYER_COMPONENT: Final = b"\1\0"
"""Component model, Binary.md: bytes 6 and 7 are the layer; 1 is a component."""
_ELF: Final = b"\x7fELF"
_TEXT_STARTS: Final = (b"(", b";;")


@dataclass(frozen=True, kw_only=True)
class Module:
    """A module to run.

    Attributes:
        name: what the guest sees as its program name.
        code: the binary format.
    """

    name: str
    code: bytes

    @classmethod
    def from_file(cls, path: Path) -> Module:
        """Read and check a module. Raises ModuleError."""
        try:
            with path.open("rb") as file:
                code = file.read(limits.MODULE + 1)
        except FileNotFoundError:
            raise ModuleError(
                f"{path}: no such file", hint="name a .wasm file", code="module.missing"
            ) from None
        except OSError as error:
            raise ModuleError(
                f"{path}: cannot read it: {error.strerror}", code="module.unreadable"
            ) from None
        return cls.from_bytes(code, name=path.name, where=str(path))

    @classmethod
    def from_bytes(cls, code: bytes, *, name: str, where: str = "") -> Module:
        """Check a module that is in memory. `where` is what errors call it."""
        _check(code, where or name)
        return cls(name=name[: limits.NAME], code=code)


def _check(code: bytes, where: str) -> None:
    if not code:
        raise ModuleError(f"{where}: the file is empty", code="module.empty")
    if len(code) > limits.MODULE:
        raise ModuleError(
            f"{where}: larger than {limits.MODULE // limits.MIB} MiB, the most a Keep takes",
            hint="strip debug information from it, for example with `wasm-strip`",
            code="module.size",
        )
    if code[:4] != _MAGIC:
        raise _not_wasm(code, where)
    if code[4:8] == _CORE:
        return
    if len(code) >= 8 and code[6:8] == _LAYER_COMPONENT:
        raise ModuleError(
            f"{where}: this is a WebAssembly component; this version runs core modules",
            hint="build it for WASI preview 1, with rustc: --target wasm32-wasip1",
            code="module.component",
        )
    raise ModuleError(
        f"{where}: WebAssembly version {code[4:8].hex() or 'missing'}, only 01000000 is known",
        code="module.version",
    )


def _not_wasm(code: bytes, where: str) -> ModuleError:
    if code.lstrip()[:2].startswith(_TEXT_STARTS):
        return ModuleError(
            f"{where}: this is WebAssembly text (.wat); a Keep takes the binary format",
            hint=f"translate it: wat2wasm {where} -o module.wasm",
            code="module.text",
        )
    if code[:4] == _ELF:
        return ModuleError(
            f"{where}: this is native code (ELF); a Keep never runs native code from outside",
            hint="compile the program to WebAssembly (.wasm); a .cwasm is native code as well",
            code="module.native",
        )
    return ModuleError(
        f"{where}: not a WebAssembly module: it begins with {code[:4].hex()}, not 0061736d",
        hint="compile the program to WebAssembly, with rustc: --target wasm32-wasip1",
        code="module.not-wasm",
    )
