"""Hosts for the tests of this room."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

if sys.platform != "linux":
    collect_ignore_glob = ["test_*.py"]

from .rig import RunningHost

Start = Callable[..., RunningHost]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start hosts that end with the test."""
    started: list[RunningHost] = []

    def one(*arguments: str, **options: Any) -> RunningHost:
        host = RunningHost(*arguments, **options)
        started.append(host)
        return host

    yield one
    for host in reversed(started):
        host.close()


@pytest.fixture(scope="session")
def owner(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An owner's certificate as a real Keep wants it (DER)."""
    from enarx.client.identity import load_identity

    return load_identity(tmp_path_factory.mktemp("owner") / "owner.pem").certificate


@pytest.fixture
def host(start: Start) -> RunningHost:
    """A host with the fake silicon."""
    return start()
