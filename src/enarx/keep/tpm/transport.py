"""A TPM 2.0 as bytes in and bytes out: one command, one response.

The kernel's device takes a whole command in one write and gives the whole response to one read
(Linux, Documentation/security/tpm); swtpm's server socket is a stream, on which the length in
the header (TPM 2.0 Library, part 3, chapter 5) says where a response ends.
"""

from __future__ import annotations

import os
import select
import socket
from typing import Final, Protocol

from enarx.errors import HostError

RESOURCE_MANAGER: Final = "/dev/tpmrm0"
"""The kernel's resource manager: our keys and sessions are ours, and go when we close it."""

MAX_RESPONSE: Final = 4096
"""Bytes of a response: what TPMs for PC clients say at most."""

COMMAND_SECONDS: Final = 60.0
"""How long one command may take: making an RSA key in a TPM that an emulated processor's host
emulates, too, takes seconds."""

HEADER: Final = 10
"""Bytes of a header: tag u16, size u32, code u32."""


class Transport(Protocol):
    """Where commands go."""

    def exchange(self, command: bytes) -> bytes:
        """Send one command and return its response.

        Raises:
            HostError: the TPM is gone, does not answer in time, or answers with no response.
        """

    def close(self) -> None:
        """Give it back."""


class Device:
    """The kernel's device file."""

    def __init__(self, path: str = RESOURCE_MANAGER) -> None:
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise HostError(
                f"{path} cannot be opened: {error.strerror}",
                hint="The machine needs a TPM 2.0 and a kernel that drives it.",
                code="tpm.none",
            ) from error

    def exchange(self, command: bytes) -> bytes:
        """See :class:`Transport`."""
        try:
            os.write(self._descriptor, command)
            waiting = select.poll()
            waiting.register(self._descriptor, select.POLLIN)
            if not waiting.poll(COMMAND_SECONDS * 1000):
                raise _late()
            return os.read(self._descriptor, MAX_RESPONSE)
        except OSError as error:
            raise _gone(error) from error

    def close(self) -> None:
        """See :class:`Transport`."""
        os.close(self._descriptor)


class Stream:
    """A connected socket to swtpm's server (``swtpm socket --server``)."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._socket.settimeout(COMMAND_SECONDS)

    @classmethod
    def connect(cls, path: str) -> Stream:
        """Connect to a Unix socket.

        Raises:
            HostError: nobody listens there.
        """
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(path)
        except OSError as error:
            connection.close()
            raise HostError(
                f"no TPM listens on {path}: {error.strerror}", code="tpm.none"
            ) from error
        return cls(connection)

    def exchange(self, command: bytes) -> bytes:
        """See :class:`Transport`."""
        try:
            self._socket.sendall(command)
            head = self._exactly(HEADER)
            size = int.from_bytes(head[2:6])
            if not HEADER <= size <= MAX_RESPONSE:
                raise HostError(f"TPM announces a response of {size} bytes", code="tpm.response")
            return head + self._exactly(size - HEADER)
        except TimeoutError:
            raise _late() from None
        except OSError as error:
            raise _gone(error) from error

    def _exactly(self, size: int) -> bytes:
        parts = bytearray()
        while len(parts) < size:
            part = self._socket.recv(size - len(parts))
            if not part:
                raise HostError("the TPM is gone", code="tpm.gone")
            parts += part
        return bytes(parts)

    def close(self) -> None:
        """See :class:`Transport`."""
        self._socket.close()


def _late() -> HostError:
    return HostError(f"the TPM did not answer within {COMMAND_SECONDS:g} s", code="tpm.gone")


def _gone(error: OSError) -> HostError:
    return HostError(f"the TPM is gone: {error.strerror or error}", code="tpm.gone")
