"""What can be told of a module before a Keep is made for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from enarx.client.module import Module
from enarx.errors import ModuleError
from enarx.wire import limits

CORE = b"\0asm\1\0\0\0"

BAD = {
    "module.empty": b"",
    "module.not-wasm": b"#!/bin/sh\n",
    "module.native": b"\x7fELF\2\1\1",
    "module.component": b"\0asm\x0d\0\1\0",
    "module.version": b"\0asm\2\0\0\0",
}


@pytest.mark.parametrize("code", BAD)
def test_each_kind_of_wrong_file_has_its_own_error(code: str, tmp_path: Path) -> None:
    path = tmp_path / "app.wasm"
    path.write_bytes(BAD[code])
    with pytest.raises(ModuleError) as caught:
        Module.from_file(path)
    assert caught.value.code == code
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("text", [b"(module)", b"\n  (module\n)", b";; comment\n(module)"])
def test_text_format_is_called_so_and_translated(text: bytes) -> None:
    with pytest.raises(ModuleError) as caught:
        Module.from_bytes(text, name="app.wasm")
    assert caught.value.code == "module.text"
    assert ".wat" in caught.value.message
    assert "wat2wasm" in caught.value.hint


def test_truncated_header_is_not_taken_for_a_component() -> None:
    with pytest.raises(ModuleError) as caught:
        Module.from_bytes(b"\0asm", name="app.wasm")
    assert caught.value.code == "module.version"


def test_missing_file_and_directory(tmp_path: Path) -> None:
    with pytest.raises(ModuleError, match="no such file"):
        Module.from_file(tmp_path / "none.wasm")
    with pytest.raises(ModuleError, match="cannot read"):
        Module.from_file(tmp_path)


def test_file_of_the_limit_is_taken_and_one_byte_more_is_not(tmp_path: Path) -> None:
    path = tmp_path / "app.wasm"
    path.write_bytes(CORE)
    with path.open("r+b") as file:
        file.truncate(limits.MODULE)
    assert len(Module.from_file(path).code) == limits.MODULE
    with path.open("r+b") as file:
        file.truncate(limits.MODULE + 1)
    with pytest.raises(ModuleError) as caught:
        Module.from_file(path)
    assert caught.value.code == "module.size"
