"""Step 5 for a Keep that is a machine; the rest of the loader sees a Keep like any other."""

from __future__ import annotations

import contextlib
import shutil
import socket
from pathlib import Path
from typing import Final

from enarx.host.keepprocess import KeepProcess, listen
from enarx.host.machine import image, qemu, tpm
from enarx.host.machine.machine import BASE_MEMORY, OVERHEAD, PROCESSES, Machine, Plan
from enarx.host.order import Order
from enarx.wire.fields import Endorsement
from enarx.wire.limits import MIB
from enarx.wire.manager import Contract

BACKEND: Final = "tpm"
EVIDENCE: Final = "tpm-quote"
BOOT_SECONDS: Final = 240.0
"""From Boot to Ready: firmware, kernel and Python start meanwhile. Three seconds with KVM, ten
of a processor of its own where it is emulated, minutes on a machine that is busy besides."""
_PROGRAMS: Final = (
    (qemu.PROGRAM, "qemu-system-x86"),
    (tpm.PROGRAM, "swtpm"),
    (tpm.SETUP, "swtpm-tools"),
)


class MachineKeep:
    """A machine and the Keep in it."""

    def __init__(self, machine: Machine, keep: KeepProcess, listener: socket.socket) -> None:
        self._machine, self.keep, self._listener = machine, keep, listener

    @classmethod
    async def launch(cls, order: Order, directory: Path) -> MachineKeep:
        """Start the machine. It waits for `KeepProcess.boot` then. Errors: `Machine.start`."""
        listener, address, path = listen(order, directory)
        plan = Plan(
            image=Path(order.image), authority=Path(order.authority), memory=order.limits.memory
        )
        try:
            machine = await Machine.start(directory, plan)
        except BaseException:
            listener.close()
            if path is not None:
                path.unlink(missing_ok=True)
            raise
        keep = KeepProcess(
            process=machine.process,
            control=machine.control,
            address=address,
            socket_path=path,
            overhead=OVERHEAD + BASE_MEMORY * MIB,
            processes=PROCESSES,
            boot_seconds=BOOT_SECONDS,
        )
        return cls(machine, keep, listener)

    async def serve(self) -> None:
        """Let the owner in; call when the Keep is ready. Raises HostError."""
        await self._machine.forward(self._listener)

    def endorsements(self, authority: Path) -> tuple[Endorsement, ...]:
        """The certificates above the TPM's own."""
        return tuple(
            Endorsement(role="chain", data=certificate)
            for certificate in tpm.authority_certificates(authority)
        )

    @property
    def trouble(self) -> str:
        """Why it ended, where that was not its own doing; empty otherwise."""
        return self._machine.trouble

    @property
    def detail(self) -> str:
        """What a person should know of it: why it is slow, where it is."""
        why_not = self._machine.accelerator.why_not
        return f"its processor is emulated: {why_not}" * bool(why_not)

    def last_words(self) -> str:
        """The end of the machine's console."""
        return self._machine.console()

    async def close(self) -> None:
        """Take machine, TPM and listener away."""
        await self._machine.close()
        with contextlib.suppress(OSError):
            self._listener.close()


def lacking_programs() -> list[str]:
    """Programs that are needed and not here, each with its package."""
    return [
        f"{program} is not installed (on Debian: the package {package})"
        for program, package in _PROGRAMS
        if shutil.which(program) is None
    ]


def contract(directory: Path | None) -> Contract:
    """The back end as this host offers it. directory: of the image."""
    missing = lacking_programs()
    if trouble := image.trouble(directory):
        missing.append(trouble)
    return Contract(
        backend=BACKEND,
        substrate="vm",
        evidence=EVIDENCE,
        # The TPM is a program of this host's: what it says is worth what the host's word is.
        simulated=True,
        missing=tuple(missing),
    )
