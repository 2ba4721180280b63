"""A manager that systemd started says when it is ready."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from enarx.host.notify import notify_systemd

from .conftest import Start


def test_the_manager_tells_systemd_once_it_serves(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        host = start()
        assert host.status.pid
        assert listener.recv(100) == b"READY=1"


def test_an_abstract_address_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("")
        listener.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + listener.getsockname().decode()[1:])
        notify_systemd("STATUS=x")
        assert listener.recv(100) == b"STATUS=x"


def test_outside_of_a_unit_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify_systemd()
