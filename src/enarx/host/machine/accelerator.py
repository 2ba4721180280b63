"""Whether KVM runs virtual machines here, found out by making one.

That /dev/kvm is there says little: nested virtualization may lack what QEMU asks for, and
then QEMU ends with an assertion. The trial machine has no devices and never runs.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import Final

from enarx.host.machine import child

TRIAL_SECONDS: Final = 10.0
"""For QEMU to make a machine and say hello; it takes 0.2 s."""
_KVM: Final = "/dev/kvm"
_TRIAL: Final = (
    "-machine", "q35,accel=kvm", "-cpu", "host", "-m", "64", "-S", "-nodefaults",
    "-no-user-config", "-nographic", "-qmp", "stdio",
)  # fmt: skip
_QUIT: Final = b'{"execute":"qmp_capabilities"}\n{"execute":"quit"}\n'


@dataclass(frozen=True, slots=True, kw_only=True)
class Accelerator:
    """name: of QEMU's accelerator. cpu: the processor the guest sees. why_not: why not KVM."""

    name: str
    cpu: str
    why_not: str = ""


async def choose(qemu: str) -> Accelerator:
    """KVM where a machine can be made with it, otherwise the emulator, and why."""
    reason = await _trouble(qemu)
    if not reason:
        return Accelerator(name="kvm", cpu="host")
    return Accelerator(name="tcg", cpu="max", why_not=reason)


async def _trouble(qemu: str) -> str:
    if not os.access(_KVM, os.R_OK | os.W_OK):
        there = os.path.exists(_KVM)
        return f"{_KVM} may not be opened by this user" if there else f"there is no {_KVM}"
    process = await child.start(
        [qemu, *_TRIAL],
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(TRIAL_SECONDS):
            _, error = await process.communicate(_QUIT)
    except TimeoutError:
        return f"KVM did not make a machine within {TRIAL_SECONDS:g} s"
    finally:
        process.kill()
        await process.wait()
    if process.status:
        lines = error.decode(errors="replace").strip().splitlines() or ["it gave no reason"]
        return f"KVM makes no machine here: {lines[0][:200]}"
    return ""
