"""The runtime: every file that a Keep maps or imports is in it, found without running one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from enarx.image import libraries
from enarx.image.libraries import find_libraries
from enarx.image.manifest import Disk
from enarx.image.payload import find_payload
from enarx.image.runtime import Runtime, find_runtime

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a Keep's runtime is Linux's")

_IMPORTS = (
    "import asyncio, bz2, ctypes, decimal, hashlib, lzma, selectors, socket, sqlite3, ssl, struct\n"
    "import cbor2, cryptography.x509, cryptography.hazmat.primitives.asymmetric.ec, h11, msgspec\n"
    "import wasmtime\n"
    "wasmtime.Engine(); ssl.create_default_context()\n"
    "import sys\n"
    "sys.stdout.write(open('/proc/self/maps').read())\n"
    "for module in list(sys.modules.values()):\n"
    "    print('file', getattr(module, '__file__', None))\n"
)


@pytest.fixture(scope="module")
def runtime() -> Runtime:
    return find_runtime(find_payload(), Disk())


@pytest.fixture(scope="module")
def said(runtime: Runtime, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What a process says that has the payload and the standard library, and nothing else."""
    payload = tmp_path_factory.mktemp("payload")
    for source in find_payload():
        target = payload / source.path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(source.origin)
    path = [*runtime.python_path, str(payload)]
    done = subprocess.run(
        [runtime.interpreter, "-I", "-S", "-c", f"import sys; sys.path[:] = {path!r}\n" + _IMPORTS],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def measured(runtime: Runtime) -> set[str]:
    return {os.path.realpath(source.origin) for source in (*runtime.sources, *find_payload())}


def test_every_mapped_object_is_measured(measured: set[str], said: list[str]) -> None:
    mapped = {line[line.index("/") :] for line in said if " /" in line and line[0] != "f"}
    mapped = {path for path in mapped if ".so" in path}
    assert len(mapped) > 10
    assert {path for path in mapped if os.path.realpath(path) not in measured} == set()


def test_every_imported_file_is_measured(measured: set[str], said: list[str]) -> None:
    files = {line.removeprefix("file ") for line in said if line.startswith("file /")}
    assert len(files) > 100
    assert {path for path in files if os.path.realpath(path) not in measured} == set()


def test_the_loader_itself_finds_the_same_libraries(runtime: Runtime) -> None:
    traced = subprocess.run(
        [runtime.interpreter],
        env={"LD_TRACE_LOADED_OBJECTS": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    found = find_libraries([], Disk(), program=runtime.interpreter)
    ours = {os.path.realpath(source.origin) for source in found.sources}
    loaders = {
        os.path.realpath(line.split(" => ")[1].rpartition(" (")[0])
        for line in traced.splitlines()
        if " => /" in line
    }
    assert loaders <= ours
    assert ours - loaders <= {os.path.realpath(runtime.loader)}


def test_paths_are_absolute_sorted_and_unique(runtime: Runtime) -> None:
    paths = [source.path for source in runtime.sources]
    assert paths == sorted(set(paths))
    assert all(os.path.isabs(path) and os.path.normpath(path) == path for path in paths)


def test_what_no_keep_imports_is_left_out(runtime: Runtime) -> None:
    parts = {part for source in runtime.sources for part in Path(source.path).parts}
    assert not parts & {"test", "tkinter", "idlelib", "site-packages", "__pycache__"}
    assert not any(
        "libtk" in source.path or "readline" in source.path for source in runtime.sources
    )
    assert not any(source.path.endswith(".pyc") for source in runtime.sources)


def test_twice_the_same(runtime: Runtime) -> None:
    assert find_runtime(find_payload(), Disk()) == runtime


def test_a_cache_of_the_loader_that_is_broken_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: Runtime
) -> None:
    for content in (
        b"",
        b"nonsense",
        b"glibc-ld.so.cache1.1",
        b"glibc-ld.so.cache1.1" + b"\xff" * 60,
    ):
        path = tmp_path / "cache"
        path.write_bytes(content)
        monkeypatch.setattr(libraries, "CACHE", str(path))
        found = find_libraries([], Disk(), program=runtime.interpreter)
        assert any(source.path.endswith("/libc.so.6") for source in found.sources)
