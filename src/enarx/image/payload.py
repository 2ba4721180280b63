"""The payload: the code of a Keep and its pinned dependencies, the same on every back end.

Our own part is taken from the installed `enarx` package, the rest from what the RECORD of
each distribution lists (PyPA, "Recording installed projects"). Only `.py` files and shared
objects count: no `.pyc`, which nobody could check, and nothing that a Keep does not load.
"""

from __future__ import annotations

import csv
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from enarx.errors import HostError, LimitError, UsageError
from enarx.image.manifest import Source
from enarx.wire import limits

DISTRIBUTIONS: Final = (
    "cbor2",
    "cffi",
    "cryptography",
    "h11",
    "msgspec",
    "pycparser",
    "wasmtime",
)
"""What runs inside a Keep besides our own code; requirements/payload.in has the versions."""
OWN_FILES: Final = ("__init__.py", "errors.py")
OWN_ROOMS: Final = ("wire", "evidence", "keep")
RECORD_MAX: Final = 4 * limits.MIB
"""Bytes of one RECORD; cryptography's has 30 KB."""

_CODE = re.compile(r"\.py$|\.so$|\.so\.[0-9.]+$")


def find_payload(directory: Path | None = None) -> tuple[Source, ...]:
    """Where the payload's files are, sorted by path.

    Args:
        directory: a tree that holds a payload and nothing else, instead of what is installed.

    Raises:
        UsageError: this is not Linux on x86-64 (`image.platform`), or `directory` holds no
            payload (`image.payload`).
        HostError: a distribution is not installed, or its RECORD is unusable.
    """
    require_linux()
    sources = _tree(directory) if directory is not None else _installed()
    return tuple(sorted(sources, key=lambda source: source.path))


def require_linux() -> None:
    """Raise unless the files of this machine are those that a Keep runs."""
    machine = os.uname().machine if hasattr(os, "uname") else ""
    if not sys.platform.startswith("linux") or machine != "x86_64":
        raise UsageError(
            f"a Keep runs on Linux on x86-64: what a Linux host runs cannot be measured from "
            f"the files of this machine ({sys.platform} {machine})".rstrip(),
            hint="make a file of reference values with 'enarx measure --json' on such a machine, "
            "and give it to the command or put it into the policy",
            code="image.platform",
        )


def _tree(directory: Path) -> list[Source]:
    if not (directory / "enarx" / "keep" / "__init__.py").is_file():
        raise UsageError(
            f"{directory} holds no payload: there is no enarx/keep in it", code="image.payload"
        )
    return [
        Source(path=path, origin=os.path.join(directory, path))
        for path in _code_below(str(directory), "")
    ]


def _installed() -> list[Source]:
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    paths = [f"enarx/{name}" for name in OWN_FILES]
    for room in OWN_ROOMS:
        paths += _code_below(os.path.dirname(package), f"enarx/{room}")
    sources = [
        Source(path=path, origin=os.path.join(os.path.dirname(package), path)) for path in paths
    ]
    for name in DISTRIBUTIONS:
        sources += _distribution(name)
    return sources


def _code_below(root: str, start: str) -> Iterator[str]:
    """Paths of all code files below `start`, relative to `root`."""
    count = 0
    for folder, folders, names in os.walk(os.path.join(root, start), followlinks=False):
        folders[:] = [name for name in folders if name != "__pycache__"]
        for name in names:
            if _CODE.search(name):
                count += 1
                if count > limits.FILES:
                    raise LimitError(
                        f"{root} has more than {limits.FILES} files", code="limit.component"
                    )
                yield os.path.relpath(os.path.join(folder, name), root)


def _distribution(name: str) -> Iterator[Source]:
    """The code files of one installed distribution, by its RECORD."""
    site, info = _find_info(name)
    path = os.path.join(site, info, "RECORD")
    try:
        with open(path, encoding="utf-8", newline="") as file:
            text = file.read(RECORD_MAX + 1)
    except (OSError, UnicodeError) as error:
        raise HostError(
            f"cannot read {path}, which lists the files of {name}: {error}",
            hint=f"reinstall it: pip install --force-reinstall {name}",
            code="image.record",
        ) from None
    if len(text) > RECORD_MAX:
        raise LimitError(f"{path} is larger than {RECORD_MAX} bytes", code="limit.record")
    for row in csv.reader(text.splitlines()):
        entry = os.path.normpath(row[0]) if row else ""
        outside = os.path.isabs(entry) or entry.startswith("..")
        if not outside and _CODE.search(entry) and "__pycache__" not in entry:
            yield Source(path=entry, origin=os.path.join(site, entry))


def _find_info(name: str) -> tuple[str, str]:
    """Where a distribution is installed: the directory of `sys.path`, its dist-info in it."""
    pattern = re.compile(re.escape(name) + r"-[^-]+\.dist-info", re.IGNORECASE)
    for site in sys.path:
        try:
            entries = os.listdir(site or ".")
        except OSError:
            continue  # sys.path may name what is not there
        found = [entry for entry in entries if pattern.fullmatch(entry)]
        if len(found) == 1:
            return os.path.abspath(site), found[0]
        if found:
            raise HostError(
                f"{site} has several versions of {name}: {', '.join(sorted(found))}",
                hint=f"reinstall it: pip install --force-reinstall {name}",
                code="image.distribution",
            )
    raise HostError(
        f"the distribution {name}, which is part of every Keep, is not installed",
        hint=f"pip install {name}",
        code="image.distribution",
    )
