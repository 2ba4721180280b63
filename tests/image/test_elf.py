"""ELF files: the same as the system's own reader says, and nothing but errors for broken ones."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enarx.errors import ParseError
from enarx.image import elf
from enarx.image.manifest import Disk
from enarx.image.payload import find_payload
from enarx.image.runtime import find_runtime

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="ELF files are Linux's")


def _objects() -> list[str]:
    runtime = find_runtime(find_payload(), Disk())
    return [source.origin for source in runtime.sources if not source.path.endswith(".py")]


@pytest.mark.skipif(shutil.which("readelf") is None, reason="readelf (binutils) is not installed")
def test_every_object_of_the_runtime_reads_as_readelf_reads_it() -> None:
    for origin in _objects():
        said = subprocess.run(
            ["readelf", "-dlW", origin], capture_output=True, text=True, check=True, timeout=60
        ).stdout
        found = elf.read_dynamic(origin)
        assert found is not None
        assert list(found.needed) == re.findall(r"\(NEEDED\).*\[(.*)\]", said)
        runpath = [
            part for one in re.findall(r"\(RUNPATH\).*\[(.*)\]", said) for part in one.split(":")
        ]
        assert list(found.runpath) == [part for part in runpath if part]
        interpreter = re.findall(r"program interpreter: (.*)\]", said)
        assert ([found.interpreter] if found.interpreter else []) == interpreter


def test_a_file_that_is_not_elf_is_none(tmp_path: Path) -> None:
    for content in (b"", b"\x7fEL", b"#!/bin/sh\n", b"import os\n"):
        path = tmp_path / "file"
        path.write_bytes(content)
        assert elf.read_dynamic(str(path)) is None


def _real() -> bytes:
    return Path(sys.executable).resolve().read_bytes()


@pytest.mark.parametrize("size", [4, 16, 63])
def test_a_cut_header_is_an_error(tmp_path: Path, size: int) -> None:
    path = tmp_path / "cut"
    path.write_bytes(_real()[:size])
    with pytest.raises(ParseError) as caught:
        elf.read_dynamic(str(path))
    assert caught.value.code == "parse.elf"


@pytest.mark.parametrize(("at", "value"), [(4, 1), (5, 2), (18, 0xB7)], ids=["32", "big", "arm"])
def test_an_object_for_another_machine_is_an_error(tmp_path: Path, at: int, value: int) -> None:
    content = bytearray(_real()[:4096])
    content[at] = value
    path = tmp_path / "other"
    path.write_bytes(content)
    with pytest.raises(ParseError, match="not for 64-bit x86"):
        elf.read_dynamic(str(path))


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_a_damaged_object_is_read_or_refused_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = bytearray(_real()[: 64 * 1024])
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, 1024))
        content[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)))
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(content[:cut] if data.draw(st.booleans()) else content)
    try:
        elf.read_dynamic(str(path))
    except ParseError as error:
        assert error.code == "parse.elf"  # noqa: PT017 - both outcomes are good
