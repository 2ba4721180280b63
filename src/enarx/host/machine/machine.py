"""One machine: TPM and QEMU started in order, and both taken away again.

1. The TPM is made and started. 2. The control port's listener; QEMU connects to it. 3. QEMU.
4. Its control port is relayed as a packet socket, which is what a process Keep has, and the
Keep's listener is relayed to the port behind which the machine listens.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import socket
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from enarx.errors import HostError
from enarx.host.machine import accelerator, child, monitor, qemu, relay, tpm
from enarx.host.machine import image as images
from enarx.host.machine.accelerator import Accelerator
from enarx.host.machine.child import Child
from enarx.host.machine.image import Image
from enarx.host.process import Process
from enarx.wire.limits import MIB

DIRECTORY: Final = "vm"
"""Of one machine, in its Keep's directory."""
BASE_MEMORY: Final = 640
"""MiB of the guest beside its workload's: the unpacked root (110), kernel, firmware, Python,
compiler."""
OVERHEAD: Final = 512 * MIB
"""What QEMU and the TPM take beside the guest's memory: translated code, mostly."""
PROCESSES: Final = 64
"""Processes and threads of QEMU and the TPM."""
CONNECT_SECONDS: Final = 30.0
"""For QEMU to connect its control port; it does so before it makes the machine."""
END_SECONDS: Final = 5.0
"""For QEMU and the TPM to be gone once they were killed."""
SETTLE_SECONDS: Final = 0.5
"""For the end of the one to follow that of the other, and to be noticed."""
_TERMINAL = re.compile(r"\x1b\[[0-9;=?]*[A-Za-z]|\r")
"""What firmware writes for the eyes of a terminal."""
_CONSOLE_TAIL: Final = 600
"""Characters of the machine's console that an error shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to launch. memory: of the workload, in bytes. authority: of the TPM's certificates."""

    image: Path
    authority: Path
    memory: int


class Machine:
    """A machine that runs. `control` is the loader's end of its control port, in packets."""

    def __init__(self, places: qemu.Places, how: Accelerator, plan: Plan) -> None:
        self._places, self.accelerator, self._plan = places, how, plan
        self._processes: list[Child] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._port = 0
        self._relay: relay.PortRelay | None = None
        self.trouble = ""
        """Why it ended, where that was not its own doing."""
        self.process: Process
        self.control: socket.socket

    @classmethod
    async def start(cls, directory: Path, plan: Plan) -> Machine:
        """Launch a machine for the Keep in `directory`.

        Raises:
            HostError: something that is needed is missing or fails; nothing is left behind.
            VerificationError: a file of the image is not the one described.
        """
        image = await asyncio.to_thread(Image.open, plan.image)
        program = shutil.which(qemu.PROGRAM)
        if program is None:
            raise HostError(
                f"{qemu.PROGRAM} is not installed",
                hint="`enarx platform info` tells how to get what VM Keeps need.",
                code="host.machine-program",
            )
        machine = cls(
            qemu.Places(directory=directory / DIRECTORY), await accelerator.choose(program), plan
        )
        try:
            await machine._start(image, program)
        except BaseException:
            await machine.close()
            raise
        return machine

    async def _start(self, image: Image, program: str) -> None:
        places = self._places
        try:
            places.directory.mkdir(mode=0o700)
            state = places.directory / "nv"
            state.mkdir(mode=0o700)
            shutil.copyfile(image.path(images.VARIABLES), places.variables)
        except OSError as error:
            raise HostError(
                f"cannot write {places.directory}: {error.strerror}",
                hint="The host's run directory needs space.",
                code="host.run-dir",
            ) from None
        # 1.
        await tpm.make(state, authority=self._plan.authority)
        module = await tpm.start(state, places.tpm, places.directory / "tpm.log")
        self._processes.append(module)
        # 2. and 3.
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(str(places.control))
            listener.listen(1)
            listener.setblocking(False)
            memory = BASE_MEMORY + -(-self._plan.memory // MIB)
            line = qemu.command(
                image, places, accelerator=self.accelerator, memory=memory, program=program
            )
            with (places.directory / "qemu.log").open("wb") as log:
                emulator = await child.start(line, stdout=log, stderr=log)
            self._processes.append(emulator)
            self.process = emulator.handle
            stream = await self._accept(listener, emulator)
        # 4.
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.control.setblocking(False)
        self._go(relay.relay_control(stream, theirs))
        self._go(self._watch(module, emulator))

    async def _accept(self, listener: socket.socket, emulator: Child) -> socket.socket:
        loop = asyncio.get_running_loop()
        connected = asyncio.create_task(loop.sock_accept(listener))
        ended = asyncio.create_task(emulator.wait())
        try:
            await asyncio.wait(
                {connected, ended}, timeout=CONNECT_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
            if connected.done():
                return connected.result()[0]
        finally:
            connected.cancel()
            ended.cancel()
        how = "ended" if emulator.status is not None else "hangs"
        raise HostError(
            f"QEMU {how} before there was a machine: {self._tail('qemu.log')}",
            hint="`enarx platform info` tells what VM Keeps need.",
            code="host.machine-start",
        )

    async def forward(self, listener: socket.socket) -> None:
        """Pass connections on to the Keep; call once it listens. Raises HostError."""
        self._port = await monitor.forwarded_port(self._places.monitor)
        self._relay = relay.PortRelay(listener, lambda: self._port)
        await self._relay.start()

    def console(self) -> str:
        """The last of what the machine wrote to its console; for an error."""
        return self._tail("console.log")

    async def close(self) -> None:
        """Take everything away, whatever state it is in."""
        if self._relay is not None:
            await self._relay.close()
        for process in reversed(self._processes):
            process.kill()
        for process in self._processes:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(END_SECONDS):
                    await process.wait()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await asyncio.to_thread(shutil.rmtree, self._places.directory, ignore_errors=True)

    async def _watch(self, module: Child, emulator: Child) -> None:
        """A machine without its TPM can prove nothing any more: it ends."""
        gone = {asyncio.create_task(each.wait()): each for each in (module, emulator)}
        try:
            await asyncio.wait(gone, return_when=asyncio.FIRST_COMPLETED)
            # Each of them ends when the other does, and either may be noticed first. A TPM that
            # ends because its machine did ends in good order.
            await asyncio.wait(gone, timeout=SETTLE_SECONDS)
            if module.status or emulator.status is None:
                self.trouble = "the TPM of this machine is gone"
                emulator.kill()
        finally:
            for task in gone:
                task.cancel()

    def _go(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.create_task(coroutine))

    def _tail(self, name: str) -> str:
        with contextlib.suppress(OSError):
            written = (self._places.directory / name).read_text(errors="replace")
            text = _TERMINAL.sub("", written).strip()
            return text[-_CONSOLE_TAIL:] or "it wrote nothing"
        return "it wrote nothing"
