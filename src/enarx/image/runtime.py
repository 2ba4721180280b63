"""The runtime: the interpreter that runs a payload, its standard library, and all libraries.

Everything is named by the path at which a Keep finds it. Nothing is run to find out: the
libraries are read out of the ELF files (`libraries`), including those that Python opens
while it runs (libffi by way of `_ctypes`, OpenSSL by way of `_ssl`, the WebAssembly engine
by way of the payload).
"""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from enarx.errors import HostError
from enarx.image.libraries import find_libraries
from enarx.image.manifest import Files, Source
from enarx.image.payload import require_linux

LEFT_OUT: Final = frozenset(
    {
        "__pycache__",
        "dist-packages",
        "ensurepip",
        "idlelib",
        "lib2to3",
        "site-packages",
        "test",
        "tests",
        "tkinter",
        "turtledemo",
    }
)
"""Directories of the standard library that no Keep imports."""
MODULES_LEFT_OUT: Final = (
    "_ctypes_test",
    "_curses",
    "_dbm",
    "_gdbm",
    "_test",
    "_tkinter",
    "_xx",
    "nis",
    "ossaudiodev",
    "readline",
    "xxlimited",
)
"""Extension modules (by the start of their name) that would bring libraries no Keep has use
for: terminals, databases, windows, tests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """What runs a payload.

    sources: all files, sorted by path, each by its absolute path.
    interpreter: absolute path of the Python interpreter among them.
    python_path: directories for `sys.path`: standard library, its extension modules.
    library_path: directories that the dynamic loader must be told to search.
    loader: the dynamic loader, an absolute path among the files; empty for a static Python.
    """

    sources: tuple[Source, ...]
    interpreter: str
    python_path: tuple[str, ...]
    library_path: tuple[str, ...]
    loader: str


def find_runtime(payload: Iterable[Source], files: Files) -> Runtime:
    """The runtime of the interpreter that runs this code, for this payload.

    Raises:
        UsageError: this is not Linux on x86-64 (`image.platform`).
        HostError: a file cannot be read, or there is no standard library.
        ParseError: a program or library is broken.
    """
    require_linux()
    interpreter = os.path.realpath(getattr(sys, "_base_executable", "") or sys.executable)
    standard = os.path.realpath(sysconfig.get_path("stdlib"))
    extensions = _extensions(standard)
    python = [*_standard_library(standard), *_extension_modules(extensions)]
    payload_objects = [source.origin for source in payload if not source.path.endswith(".py")]
    objects = [origin for origin in python if not origin.endswith(".py")]
    libraries = find_libraries([*objects, *payload_objects], files, program=interpreter)
    bundled = {os.path.realpath(origin) for origin in payload_objects}
    sources = {origin: Source(path=origin, origin=origin) for origin in [interpreter, *python]}
    for source in libraries.sources:
        # Libraries that a wheel brings along are payload, and lie beside what needs them.
        if os.path.realpath(source.origin) not in bundled:
            sources[source.path] = source
    loader = files.dynamic(interpreter)
    return Runtime(
        sources=tuple(sources[path] for path in sorted(sources)),
        interpreter=interpreter,
        python_path=tuple(dict.fromkeys((standard, extensions))),
        library_path=libraries.search,
        loader=loader.interpreter if loader is not None else "",
    )


def _extensions(standard: str) -> str:
    """Directory of the standard library's extension modules; `standard` where there is none.

    Some systems keep them apart (`platstdlib`); in a virtual environment that name means the
    environment's own directory, which has none.
    """
    for base in (os.path.realpath(sysconfig.get_path("platstdlib")), standard):
        directory = os.path.join(base, "lib-dynload")
        if os.path.isdir(directory):
            return directory
    return standard


def _standard_library(directory: str) -> list[str]:
    """All modules of the standard library that are Python source."""
    found = []
    for folder, folders, names in os.walk(directory):
        folders[:] = [name for name in folders if name not in LEFT_OUT]
        found += [os.path.join(folder, name) for name in names if name.endswith(".py")]
    if os.path.join(directory, "os.py") not in found:
        raise HostError(
            f"there is no Python standard library in {directory}",
            hint="install the complete Python (on Debian: apt install python3)",
            code="image.standard-library",
        )
    return found


def _extension_modules(directory: str) -> list[str]:
    return [
        os.path.join(directory, name)
        for name in sorted(os.listdir(directory))
        if name.endswith(".so") and not name.startswith(MODULES_LEFT_OUT)
    ]
