"""Bounds on Keeps: for each principal, for the host, and on the rate."""

from __future__ import annotations

from pathlib import Path

import pytest

from enarx.errors import LimitError, RefusedError
from enarx.host import limits, registry
from enarx.host.order import Order
from enarx.host.registry import Keep, Registry
from enarx.wire.fields import Limits
from enarx.wire.manager import KeepStatus, State

D = bytes(32)


def keep(number: int, principal: str) -> Keep:
    kuuid = number.to_bytes(16, "big")
    return Keep(
        order=Order(
            kuuid=kuuid, backend="sim-sgx", nonce=D, owner=b"x", limits=Limits(), created=number,
            principal=principal, silicon="/s",
        ),
        directory=Path("/nowhere"),
        status=KeepStatus(
            kuuid=kuuid, backend="sim-sgx", state=State.READY, owner=D, created=number
        ),
    )  # fmt: skip


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(registry.time, "monotonic", lambda: now[0])
    return now


def test_one_principal_leaves_room_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "KEEPS_PER_PRINCIPAL", 2)
    keeps = Registry()
    for number in range(2):
        keeps.admit("uid:1")
        keeps.add(keep(number, "uid:1"))
    with pytest.raises(LimitError) as caught:
        keeps.admit("uid:1")
    assert caught.value.code == "limit.keeps"
    keeps.admit("uid:2")


def test_the_host_has_a_bound_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "KEEPS_TOTAL", 2)
    keeps = Registry()
    for number in range(2):
        keeps.add(keep(number, f"uid:{number}"))
    with pytest.raises(LimitError):
        keeps.admit("uid:9")


def test_ended_keeps_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "KEEPS_TOTAL", 1)
    keeps, one = Registry(), keep(1, "uid:1")
    keeps.add(one)
    one.end("it died")
    keeps.admit("uid:1")
    assert one.status.state is State.ERROR


def test_creation_has_a_rate(clock: list[float]) -> None:
    keeps = Registry()
    for _ in range(limits.CREATES_BURST):
        keeps.admit("uid:1")
    with pytest.raises(LimitError) as caught:
        keeps.admit("uid:1")
    assert caught.value.code == "limit.rate"
    keeps.admit("uid:2")
    clock[0] += 1 / limits.CREATES_PER_SECOND
    keeps.admit("uid:1")
    with pytest.raises(LimitError):
        keeps.admit("uid:1")


def test_the_rates_of_many_principals_do_not_fill_memory(
    clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PRINCIPALS", 3)
    keeps = Registry()
    for number in range(10):
        keeps.admit(f"uid:{number}")
    assert len(keeps._allowances) == 3


def test_the_oldest_ended_keeps_are_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ENDED_KEEPS", 2)
    keeps = Registry()
    for number in range(4):
        keeps.add(one := keep(number, "uid:1"))
        if number != 1:
            one.end("over")
    keeps.trim()
    assert [k.order.created for k in keeps.of("uid:1")] == [1, 2, 3]


def test_a_keep_of_another_principal_is_unknown() -> None:
    keeps = Registry()
    keeps.add(one := keep(1, "uid:1"))
    assert keeps.get(one.order.kuuid, "uid:1") is one
    with pytest.raises(RefusedError) as other:
        keeps.get(one.order.kuuid, "uid:2")
    with pytest.raises(RefusedError) as nobody:
        keeps.get(bytes(16), "uid:2")
    assert str(other.value) == str(nobody.value)
