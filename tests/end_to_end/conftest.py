"""A real host for all end-to-end tests, and an owner of their own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from enarx.client.identity import Identity, load_identity
from enarx.testing import host as private_host

EXAMPLES = Path(__file__).parents[2] / "examples"

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="hosts need Linux")


@pytest.fixture(scope="session")
def owner_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ENARX_HOME of the tests' owner."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def _home(owner_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENARX_HOME", str(owner_home))


@pytest.fixture(scope="session")
def identity(owner_home: Path) -> Identity:
    """The tests' owner."""
    return load_identity(owner_home / "owner.pem")


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    """Somebody else."""
    return load_identity(tmp_path_factory.mktemp("stranger") / "owner.pem")


@pytest.fixture(scope="session")
def host() -> Iterator[str]:
    """The address of a real host on simulated silicon."""
    with private_host() as address:
        yield address


@pytest.fixture(scope="session")
def tls_host() -> Iterator[str]:
    """The address of a real host that listens with TLS on this machine."""
    with private_host(listen="127.0.0.1:0") as address:
        yield address
