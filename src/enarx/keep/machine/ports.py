"""virtio-serial ports: byte streams between this machine and what launched it, by name.

Source: Linux, drivers/char/virtio_console.c; the names are in
/sys/class/virtio-ports/*/name.
"""

from __future__ import annotations

import os
import select

from enarx.errors import HostError, KeepLostError
from enarx.wire import framing
from enarx.wire.codec import Message, pack

CONTROL = "org.enarx.control"
"""Boot and Halt from the keep loader, Ready and Progress to it (`wire.loader`), as frames."""
HELLO = b"\nenarx machine is up\n"
"""What the control port begins with. Firmware may have a driver for such ports, take what is
said too early and write what it likes: the loader says nothing, and heeds nothing, before this."""
PORTS = "/sys/class/virtio-ports"
WRITE_SECONDS = 10.0
"""How long the keep loader may take to read what it is told."""
_PIECE = 64 * 1024


class Port:
    """One port, as a stream of frames."""

    def __init__(self, descriptor: int, *, limit: int) -> None:
        self._descriptor = descriptor
        self._frames = framing.FrameReader(limit=limit)

    @classmethod
    def open(cls, name: str, *, limit: int) -> Port:
        """Open the port of that name. HostError where this machine has none."""
        for entry in sorted(os.listdir(PORTS)) if os.path.isdir(PORTS) else ():
            with open(f"{PORTS}/{entry}/name", encoding="ascii") as file:
                if file.read().strip() == name:
                    flags = os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC
                    return cls(os.open(f"/dev/{entry}", flags), limit=limit)
        raise HostError(f"this machine has no port {name}", code="machine.port")

    def fileno(self) -> int:
        """For select."""
        return self._descriptor

    def receive(self) -> list[bytes]:
        """The whole messages that have come by now. KeepLostError where nobody is there."""
        messages = []
        try:
            while piece := os.read(self._descriptor, _PIECE):
                self._frames.feed(piece)
                while (message := self._frames.next()) is not None:
                    messages.append(message)
        except BlockingIOError:
            return messages
        if messages:
            return messages
        raise KeepLostError("the keep loader is gone", code="keep.loader-gone")

    def greet(self) -> None:
        """Say HELLO; frames follow. KeepLostError where nobody reads it."""
        self._write(HELLO)

    def send(self, message: Message) -> None:
        """Send one message. KeepLostError where nobody reads it."""
        self.send_packed(pack(message))

    def send_packed(self, message: bytes) -> None:
        """As `send`, for a message that is encoded already."""
        self._write(framing.frame(message))

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        waiting = select.poll()
        waiting.register(self._descriptor, select.POLLOUT)
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:
                if not waiting.poll(WRITE_SECONDS * 1000):
                    raise KeepLostError(
                        f"the keep loader read nothing for {WRITE_SECONDS:g} s",
                        code="keep.loader-gone",
                    ) from None
            except OSError as error:
                raise KeepLostError(
                    f"the keep loader is gone: {error.strerror}", code="keep.loader-gone"
                ) from None
