"""One puppet payload for all, and one silicon for the tests that do not harm it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.silicon.rig import Silicon, puppet_payload, running


@pytest.fixture(scope="session", autouse=True)
def _linux_only() -> None:
    if not sys.platform.startswith("linux"):
        pytest.skip("the silicon needs Linux")


@pytest.fixture(scope="session")
def puppet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A payload whose Keeps do what a test tells them."""
    return puppet_payload(tmp_path_factory.mktemp("puppet"))


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, puppet: Path) -> Iterator[Silicon]:
    """A silicon that many tests talk to."""
    directory = tmp_path_factory.mktemp("shared")
    with running(directory, "--payload", str(puppet), "--state", str(directory)) as silicon:
        yield silicon
