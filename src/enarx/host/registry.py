"""The Keeps of this host: whose they are, what state they are in, how many there may be."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from enarx.errors import LimitError, RefusedError
from enarx.host import limits
from enarx.host.order import Order, read_status
from enarx.host.process import Process
from enarx.wire.manager import KeepStatus, State


@dataclass(kw_only=True)
class Keep:
    """A Keep with its loader. `status` is the last known; `process` None before and after."""

    order: Order
    directory: Path
    status: KeepStatus
    process: Process | None = None
    ended: bool = False

    def refresh(self) -> KeepStatus:
        """The status that its loader stored last, unless the Keep has ended."""
        if not self.ended and (stored := read_status(self.directory)) is not None:
            self.status = stored
        return self.status

    def end(self, detail: str) -> None:
        """It is gone: the loader's last word stands where it is a last word."""
        self.refresh()
        self.ended = True
        if self.status.state not in (State.SHUTDOWN, State.ERROR):
            self.status = msgspec.structs.replace(
                self.status, state=State.ERROR, detail=detail, address=""
            )


@dataclass
class _Allowance:
    """A token bucket."""

    tokens: float
    filled: float


@dataclass
class Registry:
    """All Keeps of the host, oldest first; ended ones are remembered for a while."""

    _keeps: dict[bytes, Keep] = field(default_factory=dict)
    _allowances: OrderedDict[str, _Allowance] = field(default_factory=OrderedDict)

    def add(self, keep: Keep) -> None:
        """Remember a Keep."""
        self._keeps[keep.order.kuuid] = keep

    def forget(self, keep: Keep) -> None:
        """Drop a Keep that never was."""
        self._keeps.pop(keep.order.kuuid, None)

    def get(self, kuuid: bytes, principal: str) -> Keep:
        """The Keep, if it is this principal's. Others do not learn whether it exists."""
        keep = self._keeps.get(kuuid)
        if keep is None or keep.order.principal != principal:
            raise RefusedError(
                "there is no such Keep, or it is not yours",
                hint="`enarx keep ls` lists yours; one that ended is forgotten after a while.",
                code="keep.unknown",
            )
        return keep

    def of(self, principal: str) -> tuple[Keep, ...]:
        """All Keeps of one principal, oldest first."""
        return tuple(k for k in self._keeps.values() if k.order.principal == principal)

    def living(self) -> tuple[Keep, ...]:
        """All Keeps that have not ended."""
        return tuple(k for k in self._keeps.values() if not k.ended)

    def uids(self) -> Iterator[int]:
        """User ids that living Keeps have."""
        return (k.order.uid for k in self._keeps.values() if not k.ended)

    def admit(self, principal: str) -> None:
        """Check every bound for one more Keep. RefusedError where one is reached."""
        living = self.living()
        mine = sum(k.order.principal == principal for k in living)
        if len(living) >= limits.KEEPS_TOTAL:
            raise LimitError(
                f"this host runs {len(living)} Keeps and no more",
                hint="Try later or elsewhere.",
                code="limit.keeps",
            )
        if mine >= limits.KEEPS_PER_PRINCIPAL:
            raise LimitError(
                f"you have {mine} Keeps here and may have no more",
                hint="End some with `enarx keep stop`.",
                code="limit.keeps",
            )
        self._take_token(principal)

    def _take_token(self, principal: str) -> None:
        now = time.monotonic()
        bucket = self._allowances.pop(principal, None) or _Allowance(limits.CREATES_BURST, now)
        self._allowances[principal] = bucket
        if len(self._allowances) > limits.PRINCIPALS:
            self._allowances.popitem(last=False)
        bucket.tokens = min(
            limits.CREATES_BURST, bucket.tokens + (now - bucket.filled) * limits.CREATES_PER_SECOND
        )
        bucket.filled = now
        if bucket.tokens < 1:
            raise LimitError(
                f"more than {limits.CREATES_PER_SECOND:g} Keeps a second",
                hint="Wait a second.",
                code="limit.rate",
            )
        bucket.tokens -= 1

    def trim(self) -> None:
        """Forget the oldest ended Keeps above their bound."""
        ended = [k for k in self._keeps.values() if k.ended]
        for keep in ended[: max(0, len(ended) - limits.ENDED_KEEPS)]:
            self.forget(keep)
