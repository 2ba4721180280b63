"""One image for all tests of this room; machines boot one at a time, whatever else runs."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import platformdirs
import pytest

from enarx.errors import HostError
from enarx.host.machine.keep import lacking_programs
from enarx.image.vm import build as builder
from enarx.image.vm import fetch, lock
from enarx.image.vm.build import Built

EXAMPLES = Path(__file__).parents[2] / "examples"
RUN_SECONDS = 330.0
"""For one command that boots a machine: its own bounds are tighter."""
PACKAGES = Path(platformdirs.user_cache_dir("enarx", appauthor=False)) / "packages"
"""Where the command keeps packages, too: what was fetched once needs no network."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = str(Path(__file__).parent)
    for item in items:
        if str(item.path).startswith(here):
            # One process, and so one machine at a time.
            item.add_marker(pytest.mark.xdist_group("vm"))


@pytest.fixture(scope="session")
def built() -> Built:
    """The image of this installation; from what the mirror has now where the lock is too old."""
    if lacking := lacking_programs():
        pytest.skip("; ".join(lacking))
    try:
        return builder.build(lock.read_lock(), cache=PACKAGES, say=print)
    except HostError as error:
        if error.code != "image.package-gone":
            raise
        warnings.warn(f"{error.message}; tested with what the mirror has now", stacklevel=1)
        return builder.build(fetch.relock(mirror=""), cache=PACKAGES, say=print)


@pytest.fixture(scope="session")
def home(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's directory with the image in it."""
    home = tmp_path_factory.mktemp("home")
    builder.save(built, home / "cache" / "image")
    return home


@pytest.fixture
def enarx(home: Path) -> Callable[..., subprocess.Popen[bytes]]:
    """Start the command as that user."""

    def start(*arguments: str | Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "enarx", *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"ENARX_HOME": str(home)},
        )

    return start


def machines(marker: str = "enarx-") -> list[tuple[int, str]]:
    """QEMU and swtpm processes of Keeps: process id and command line."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            program = line.split(" ")[0].rsplit("/", 1)[-1]
            if program in ("qemu-system-x86_64", "swtpm") and marker in line:
                found.append((int(entry.name), line))
    return found


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """No machine outlives its test."""
    before = {pid for pid, _ in machines()}
    yield
    left = [line for pid, line in machines() if pid not in before]
    assert not left


@pytest.fixture
def copy_of_image(home: Path, tmp_path: Path) -> Path:
    """An image for a host that is not what the tenant built."""
    return Path(shutil.copytree(home / "cache" / "image", tmp_path / "image"))
