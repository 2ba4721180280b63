"""Fixtures: real zygotes, and Keeps forked from them, which all end with the test."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

if sys.platform != "linux" or platform.machine() != "x86_64":
    pytest.skip("a Keep needs Linux on x86-64", allow_module_level=True)

from harness import Keep, Owner, Zygote  # noqa: E402

KEEP_UID = 61_234
"""A user id that nobody here has."""
EXAMPLES = HERE.parents[1] / "examples"


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    """One zygote for all tests that do not hurt it."""
    started = Zygote()
    yield started
    started.close()


@pytest.fixture(scope="session")
def owner(tmp_path_factory: pytest.TempPathFactory) -> Owner:
    return Owner.make(tmp_path_factory.mktemp("owner"))


@pytest.fixture
def stranger(tmp_path: Path) -> Owner:
    return Owner.make(tmp_path, "stranger")


@pytest.fixture
def launch(zygote: Zygote, owner: Owner, tmp_path: Path) -> Iterator[Callable[..., Keep]]:
    """Launches a Keep; by default boots it, too, which must succeed."""
    keeps: list[Keep] = []

    def make(*, boot: bool = True, **options: object) -> Keep:
        uid = KEEP_UID if os.geteuid() == 0 else 0
        keep = Keep.launch(zygote, owner, tmp_path, **{"uid": uid, **options})  # type: ignore[arg-type]
        keeps.append(keep)
        if boot:
            answer = keep.boot()
            assert keep.certificate, answer
        return keep

    yield make
    for keep in keeps:
        keep.close()


@pytest.fixture
def example() -> Callable[[str], bytes]:
    """A committed example module, by name."""
    return lambda name: (EXAMPLES / name / f"{name}.wasm").read_bytes()
