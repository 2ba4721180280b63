"""QEMU's command line for a Keep: no device, no monitor and no network but what is named here.

Source: QEMU, qemu(1). Machine q35: the smaller `microvm` hangs at boot now and then where
the processor is emulated.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from enarx.host.machine import image as images
from enarx.host.machine.accelerator import Accelerator
from enarx.host.machine.image import Image

PROGRAM: Final = "qemu-system-x86_64"
GUEST: Final = "10.0.2.15:4433"
"""Where the Keep listens inside (keep.machine.system)."""
CONTROL_PORT: Final = "org.enarx.control"
"""The control port's name (keep.machine.ports)."""
_SANDBOX: Final = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where one machine's files and sockets are. Names are short: a socket's path has 107 bytes."""

    directory: Path

    @property
    def variables(self) -> Path:
        """Its copy of the firmware's variables."""
        return self.directory / "vars"

    @property
    def tpm(self) -> Path:
        """Socket of its TPM."""
        return self.directory / "tpm"

    @property
    def control(self) -> Path:
        """Socket where the loader waits for the control port."""
        return self.directory / "ctl"

    @property
    def monitor(self) -> Path:
        """Socket of QEMU's monitor."""
        return self.directory / "qmp"

    @property
    def console(self) -> Path:
        """What the machine writes to its serial port."""
        return self.directory / "console.log"


def command(
    image: Image, places: Places, *, accelerator: Accelerator, memory: int, program: str
) -> list[str]:
    """The command line. memory: of the guest, in MiB."""
    firmware = _escape(image.path(images.FIRMWARE))
    return [
        program,
        "-machine", f"q35,accel={accelerator.name}",
        "-cpu", accelerator.cpu,
        "-smp", "1",
        "-m", str(memory),
        "-nodefaults", "-no-user-config", "-nographic", "-no-reboot",
        "-sandbox", _SANDBOX,
        "-drive", f"if=pflash,format=raw,unit=0,readonly=on,file={firmware}",
        "-drive", f"if=pflash,format=raw,unit=1,file={_escape(places.variables)}",
        "-kernel", str(image.path(images.KERNEL)),
        "-initrd", str(image.path(images.INITRD)),
        "-append", image.command_line,
        "-chardev", f"socket,id=tpm,path={_escape(places.tpm)}",
        "-tpmdev", "emulator,id=tpm,chardev=tpm",
        "-device", "tpm-crb,tpmdev=tpm",
        "-object", "rng-random,id=entropy,filename=/dev/urandom",
        "-device", "virtio-rng-pci,rng=entropy",
        "-netdev", f"user,id=net,restrict=on,ipv6=off,hostfwd=tcp:127.0.0.1:0-{GUEST}",
        "-device", "virtio-net-pci,netdev=net,romfile=",
        "-device", "virtio-serial-pci",
        "-chardev", f"socket,id=control,path={_escape(places.control)}",
        "-device", f"virtserialport,chardev=control,name={CONTROL_PORT}",
        "-chardev", f"file,id=console,path={_escape(places.console)}",
        "-serial", "chardev:console",
        "-qmp", f"unix:{_escape(places.monitor)},server=on,wait=off",
    ]  # fmt: skip


def _escape(path: Path) -> str:
    """A path within one of QEMU's lists, where commas separate."""
    return str(path).replace(",", ",,")
