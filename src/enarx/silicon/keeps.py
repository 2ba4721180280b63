"""The Keeps that live, and the channel of each: a report is signed for the launch it is for.

The channel was made for one launch and is what tells who asks. Whatever comes over it, the
report is over that launch's measurement and host data, and over the 64 bytes asked for.
"""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass, field
from typing import Final

from enarx.errors import EnarxError, HostError, LimitError, RefusedError
from enarx.image.installation import Installation
from enarx.silicon import chip, packets
from enarx.silicon.loop import Loop
from enarx.wire import limits, problem, silicon
from enarx.wire.codec import Message, unpack

REPORT_PACKET: Final = 4096
"""Bytes of one request on a report channel; a GetReport has 90."""
REPORT_BURST: Final = 32
"""Reports that one Keep may ask for at once. It needs one for its certificate, and one for
each session that is bound to fresh evidence."""
REPORTS_PER_SECOND: Final = 32.0
"""And after that. A Keep that asks faster is simply not read for a while."""


@dataclass(slots=True)
class _Keep:
    """One launch, its channel, and how many reports it may ask for."""

    kuuid: bytes
    channel: socket.socket
    launch: chip.Launch
    allowance: float = REPORT_BURST
    counted: float = field(default_factory=time.monotonic)


class Keeps:
    """All Keeps that were launched and have not ended."""

    def __init__(self, loop: Loop, signer: chip.Chip, installation: Installation) -> None:
        self._loop, self._chip = loop, signer
        self._payload, self._runtime = installation.payload_digest, installation.runtime_digest
        self._keeps: dict[bytes, _Keep] = {}

    def open(self, kuuid: bytes, launch: chip.Launch) -> int:
        """Make the report channel of a launch; its record is in it already.

        Returns:
            The Keep's end, which is the caller's.

        Raises:
            RefusedError: there is a Keep of this kuuid (`silicon.kuuid-taken`).
            LimitError: there are too many Keeps (`silicon.full`).
            HostError: no descriptors are left (`silicon.descriptors`).
        """
        if kuuid in self._keeps:
            raise RefusedError("there is a Keep of this kuuid already", code="silicon.kuuid-taken")
        if len(self._keeps) >= limits.KEEPS:
            raise LimitError(f"there are {limits.KEEPS} Keeps already", code="silicon.full")
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        except OSError as error:
            raise HostError(
                f"cannot make a report channel: {error.strerror}",
                hint="raise the limit of open files (ulimit -n) of this host",
                code="silicon.descriptors",
            ) from None
        ours.setblocking(False)
        record = silicon.LaunchRecord(
            backend=launch.backend, payload=self._payload, runtime=self._runtime
        )
        packets.send(ours, record)
        keep = _Keep(kuuid=kuuid, channel=ours, launch=launch)
        self._keeps[kuuid] = keep
        self._loop.add(ours, lambda: self._report(keep))
        return theirs.detach()

    def ended(self, kuuid: bytes) -> None:
        """A Keep ended, or is to be heard no more: its channel is closed."""
        keep = self._keeps.pop(kuuid, None)
        if keep is not None:
            self._loop.remove(keep.channel)
            keep.channel.close()

    def lose_all(self) -> None:
        """All Keeps are lost: nothing vouches for them any more."""
        for kuuid in list(self._keeps):
            self.ended(kuuid)

    def _report(self, keep: _Keep) -> None:
        """One packet of a Keep's."""
        if not self._allowed(keep):
            return
        descriptors: list[int] = []
        reply: Message
        try:
            received = packets.receive(keep.channel, REPORT_PACKET)
            if received is None:
                self._loop.remove(keep.channel)  # the zygote says when it ended
                return
            packet, descriptors = received
            request = unpack(packet, silicon.GetReport, limit=REPORT_PACKET)
            media_type, evidence = self._chip.report(keep.launch, request.report_data)
            reply = silicon.ReportReply(media_type=media_type, evidence=evidence)
        except BlockingIOError:
            return
        except EnarxError as error:
            reply = problem.from_error(error)
        finally:
            packets.close(descriptors)
        if not packets.send(keep.channel, reply):
            self.ended(keep.kuuid)

    def _allowed(self, keep: _Keep) -> bool:
        """Whether this Keep may ask now; if not, it is not read until it may."""
        now = time.monotonic()
        gained = (now - keep.counted) * REPORTS_PER_SECOND
        keep.allowance = min(float(REPORT_BURST), keep.allowance + gained)
        keep.counted = now
        if keep.allowance >= 1.0:
            keep.allowance -= 1.0
            return True
        self._loop.remove(keep.channel)
        self._loop.later(1.0 / REPORTS_PER_SECOND, lambda: self._read_again(keep))
        return False

    def _read_again(self, keep: _Keep) -> None:
        if self._keeps.get(keep.kuuid) is keep:
            self._loop.add(keep.channel, lambda: self._report(keep))
