"""Which back ends this host knows of, and what it lacks for each (`/v1/contracts`)."""

from __future__ import annotations

from enarx.errors import HostError, UsageError
from enarx.host import probe
from enarx.wire.manager import Contract
from enarx.wire.silicon import SiliconStatus

_EVIDENCE = {"sgx": "sgx-quote-v3", "snp": "snp-report", "tdx": "tdx-quote-v4"}
_SUBSTRATE = {"sgx": "process", "snp": "vm", "tdx": "vm"}
_NOT_YET = "this version of enarx launches Keeps on simulated silicon only"


def on_hardware() -> tuple[Contract, ...]:
    """The back ends that need hardware. Probing takes some milliseconds: once is enough."""
    return tuple(
        Contract(
            backend=name,
            substrate=_SUBSTRATE[name],
            evidence=evidence,
            simulated=False,
            missing=(*probe.missing_for(name), _NOT_YET),
        )
        for name, evidence in _EVIDENCE.items()
    )


def simulated(silicon: SiliconStatus | None, trouble: str) -> tuple[Contract, ...]:
    """Those on simulated silicon; `silicon` is None while it does not run, `trouble` why."""
    names = silicon.backends if silicon else tuple(f"sim-{name}" for name in _EVIDENCE)
    return tuple(
        Contract(
            backend=name,
            substrate="process",
            evidence=_EVIDENCE.get(name.removeprefix("sim-"), "unknown"),
            simulated=True,
            missing=() if silicon else (f"the silicon does not run: {trouble}",),
        )
        for name in names
    )


def require(name: str, offered: tuple[Contract, ...]) -> None:
    """Raise where no Keep can be made on this back end."""
    contract = next((c for c in offered if c.backend == name), None)
    if contract is None:
        usable = ", ".join(c.backend for c in offered if not c.missing) or "none now"
        raise UsageError(
            f"this host knows no back end {name!r}",
            hint=f"It offers: {usable}.",
            code="backend.unknown",
        )
    if contract.missing:
        raise HostError(
            f"this host cannot run {name}: {'; '.join(contract.missing)}",
            hint="`enarx platform info` on the host tells how to get what is missing.",
            code="backend.missing",
        )
