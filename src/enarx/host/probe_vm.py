"""What Keeps that are machines need: programs, and whether the processor must be emulated."""

from __future__ import annotations

import asyncio
import shutil

from enarx.host.finding import Finding, Machine, missing, present
from enarx.host.machine import accelerator, qemu
from enarx.host.machine.keep import lacking_programs

_NAME = "vm-keeps"


def machines(_: Machine) -> Finding:
    """Whether a Keep can be a virtual machine here, and how fast its processor is."""
    lacking = lacking_programs()
    program = shutil.which(qemu.PROGRAM)
    if lacking or program is None:
        return missing(
            _NAME, lacking, "make setup-vm, or as root: apt-get install qemu-system-x86 swtpm-tools"
        )
    chosen = asyncio.run(accelerator.choose(program))
    how = f"the processor is emulated, which is slow: {chosen.why_not}" * bool(chosen.why_not)
    return present(_NAME, f"{qemu.PROGRAM} and swtpm are there", how or "KVM works")
