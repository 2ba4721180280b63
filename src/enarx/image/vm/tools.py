"""Programs of pinned packages that the build runs: the target's own Python, and zstd.

Both run with the pinned loader and libraries, out of a temporary directory, so that the
machine that builds has no say in what comes out.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from enarx.errors import HostError
from enarx.image.vm import tree
from enarx.image.vm.deb import Content
from enarx.image.vm.newc import Entry

BYTECODE: Final = "/bytecode"
"""Where the VM's Python looks for compiled modules (`-X pycache_prefix`)."""
COMPILE_SECONDS: Final = 300
"""For about 600 modules; it takes 6 s."""
COMPRESS_SECONDS: Final = 900
"""For 100 MB at the highest usual level on one core; it takes 40 s."""
LEVEL: Final = "-19"

_ZSTD: Final = "/usr/bin/zstd"
_ZSTD_LIBRARIES: Final = ("libzstd.so.1", "liblzma.so.5", "liblz4.so.1")
_COMPILE: Final = """
import os, py_compile, sys
root, place = sys.argv[1:]
unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH
for folder, folders, names in os.walk(root):
    folders.sort()
    for name in sorted(names):
        if name.endswith(".py"):
            path = os.path.join(folder, name)
            seen = path[len(root):]
            to = root + place + seen[:-3] + ".cpython-311.pyc"
            py_compile.compile(path, to, seen, doraise=True, invalidation_mode=unchecked)
"""


class Tools:
    """The programs, ready to run. Use `tools`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def compile(self, code: Iterable[Entry], *, path: Sequence[str], first: str) -> list[Entry]:
        """Every source as byte code, which Python will take without looking at the source.

        Args:
            code: sources and extension modules.
            path: the directories in which the VM's Python looks for modules.
            first: a module; that it can be imported with all it needs is tried.

        Raises:
            HostError: a source does not compile, a module is missing, or the program failed
                (`image.tool`).
        """
        with tempfile.TemporaryDirectory(prefix="enarx-compile-") as name:
            root = Path(name)
            for entry in code:
                _write(root / entry.path.removeprefix("/"), entry.data)
            # Not -I: with it Python would not heed the fixed seed.
            flags = ("-s", "-S", "-P", "-B")
            self._run(
                tree.INTERPRETER, *flags, "-c", _COMPILE, name, BYTECODE,
                timeout=COMPILE_SECONDS, environment={"PYTHONHASHSEED": "0"},
            )  # fmt: skip
            places = [name + place for place in path]
            self._run(
                tree.INTERPRETER, *flags, "-X", f"pycache_prefix={name}/none",
                "-c", f"import sys; sys.path[:] = {places!r}; import {first}",
                timeout=COMPILE_SECONDS,
            )  # fmt: skip
            return [
                Entry(path="/" + str(found.relative_to(root)), data=found.read_bytes())
                for found in sorted((root / BYTECODE.removeprefix("/")).rglob("*.pyc"))
            ]

    def compress(self, data: bytes) -> bytes:
        """As one zstd frame, which the kernel unpacks. One thread: more give other bytes."""
        return self._run(_ZSTD, LEVEL, "-T1", "-q", "-c", timeout=COMPRESS_SECONDS, given=data)

    def _run(
        self,
        program: str,
        *arguments: str,
        timeout: float,
        environment: dict[str, str] | None = None,
        given: bytes = b"",
    ) -> bytes:
        root = str(self._directory)
        command = [root + tree.LOADER, "--library-path", root + "/usr/lib/x86_64-linux-gnu"]
        try:
            done = subprocess.run(  # noqa: S603 - a pinned program
                [*command, root + program, *arguments],
                env={"LC_ALL": "C", "PYTHONHOME": root + "/usr", **(environment or {})},
                input=given,
                capture_output=True,
                timeout=timeout,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise _failed(program, str(error)) from None
        if done.returncode:
            raise _failed(program, done.stderr.decode(errors="replace")[-500:])
        return done.stdout


@contextmanager
def tools(runtime: Iterable[Entry], packages: Iterable[Content]) -> Iterator[Tools]:
    """The programs, out of the runtime's files and the packages of tools.

    Raises:
        HostError: a program is not in the packages, or the disk is full.
    """
    with tempfile.TemporaryDirectory(prefix="enarx-tools-") as name:
        directory = Path(name)
        try:
            for entry in runtime:
                _write(directory / entry.path.removeprefix("/"), entry.data)
            for path, data in _tool_files(packages):
                _write(directory / path.removeprefix("/"), data)
            os.chmod(directory / tree.LOADER.removeprefix("/"), 0o500)
        except OSError as error:
            raise _failed("the tools", error.strerror or str(error)) from None
        yield Tools(directory)


def _tool_files(packages: Iterable[Content]) -> Iterator[tuple[str, bytes]]:
    """zstd and its libraries, whichever package has each."""
    wanted = [f"/usr/lib/x86_64-linux-gnu/{name}" for name in _ZSTD_LIBRARIES]
    for content in packages:
        if _ZSTD in content.files:
            yield _ZSTD, content.files[_ZSTD]
        for path in wanted:
            for place in (path, path.removeprefix("/usr")):
                try:
                    yield path, content.read(place)
                except KeyError:
                    continue


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _failed(program: str, why: str) -> HostError:
    return HostError(
        f"{program} failed while the image was built: {why}",
        hint="is there space in the directory for temporary files (TMPDIR)?",
        code="image.tool",
    )
