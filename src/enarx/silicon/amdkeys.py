"""The RSA keys of the simulated AMD PKI, made in a child when SNP evidence is first wanted.

They take a second or two, during which the silicon goes on serving everybody else. Back
ends that need no such keys never wait for them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from enarx.errors import EnarxError, HostError
from enarx.silicon import isolation, keys, pki
from enarx.silicon.amd import AmdPki
from enarx.silicon.keys import AmdKeys, ChipKeys
from enarx.silicon.loop import Loop
from enarx.wire.codec import pack, unpack

RENEW_AFTER: Final = timedelta(days=1)
"""Certificates and revocation list are issued anew after this time."""
_PIECE: Final = 4096

Answer = Callable[[AmdPki | EnarxError], None]


class AmdVendor:
    """The simulated AMD: has no keys before the first `ask`."""

    def __init__(self, loop: Loop, chip: ChipKeys, state: Path | None) -> None:
        self._loop, self._chip, self._state = loop, chip, state
        self._keys: AmdKeys | None = None
        self._issued: tuple[datetime, AmdPki] | None = None
        self._waiting: list[Answer] = []
        self._child: tuple[int, int] | None = None

    def ask(self, answer: Answer) -> None:
        """Call `answer` with the certificates, or with what went wrong: now or later."""
        try:
            if self._keys is None and self._state is not None:
                self._keys = keys.read(self._state / keys.AMD_FILE, AmdKeys)
            if self._keys is not None:
                answer(self._certificates(self._keys))
                return
            self._waiting.append(answer)
            if self._child is None:
                self._start()
        except EnarxError as error:
            answer(error)

    def _certificates(self, made: AmdKeys) -> AmdPki:
        now = pki.now()
        if self._issued is None or now - self._issued[0] > RENEW_AFTER:
            self._issued = (now, AmdPki.issue(made, self._chip, at=now))
        return self._issued[1]

    def _start(self) -> None:
        reading, writing = os.pipe()
        parent = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            os.close(reading)
            self._finish(HostError(f"cannot fork: {error.strerror}", code="silicon.fork"))
            return
        finally:
            if os.getpid() == parent:
                os.close(writing)
        if pid == 0:
            _make(writing, parent)
        self._child = (pid, reading)
        received = bytearray()
        self._loop.add(reading, lambda: self._read(received))

    def _read(self, received: bytearray) -> None:
        assert self._child is not None  # noqa: S101 - it is what was readable
        pid, reading = self._child
        piece = os.read(reading, _PIECE)
        received += piece
        if piece and len(received) <= keys.KEYS_MAX:
            return
        self._loop.remove(reading)
        os.close(reading)
        os.waitpid(pid, 0)
        self._child = None
        try:
            made = unpack(bytes(received), AmdKeys)
            self._keys = keys.keep(self._state, keys.AMD_FILE, made, AmdKeys)
            self._finish(self._certificates(self._keys))
        except EnarxError as error:
            self._finish(error)

    def _finish(self, result: AmdPki | EnarxError) -> None:
        waiting, self._waiting = self._waiting, []
        for answer in waiting:
            answer(result)


def _make(writing: int, parent: int) -> None:
    """In the child: never returns."""
    status = 1
    try:
        isolation.die_with_parent(parent)
        os.dup2(writing, 3)
        # Sockets that stayed open here would hide their end of file from others.
        os.closerange(4, os.sysconf("SC_OPEN_MAX"))
        with open(3, "wb") as pipe:
            pipe.write(pack(keys.make_amd_keys()))
        status = 0
    finally:
        os._exit(status)
