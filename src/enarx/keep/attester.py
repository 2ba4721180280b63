"""Evidence from the silicon, over the report channel that came with this Keep's launch.

The silicon knows by the channel who asks, so that nobody gets a report for what it did not
launch. When the channel ends, nothing vouches for this Keep any more, and it must end.
"""

from __future__ import annotations

import socket

from enarx.errors import KeepLostError, ProtocolError
from enarx.wire.codec import pack, unpack
from enarx.wire.problem import Problem, to_error
from enarx.wire.silicon import PACKET, GetReport, LaunchRecord, ReportReply

REPORT_SECONDS = 10.0
"""How long the silicon may take to sign: a process on this machine, or the machine itself."""


def read_launch_record(channel: socket.socket) -> LaunchRecord:
    """What this Keep was launched as; the first packet on the channel."""
    return unpack(_receive(channel), LaunchRecord, limit=PACKET)


def get_report(channel: socket.socket, *, report_data: bytes) -> ReportReply:
    """Evidence over 64 bytes. Raises the silicon's problem, or KeepLostError."""
    try:
        channel.sendall(pack(GetReport(report_data=report_data)))
    except OSError:
        raise gone() from None
    answer = _receive(channel)
    try:
        return unpack(answer, ReportReply, limit=PACKET)
    except ProtocolError:
        raise to_error(unpack(answer, Problem, limit=PACKET)) from None


def gone() -> KeepLostError:
    """The error for a report channel that has ended."""
    return KeepLostError(
        "the silicon that vouched for this Keep is gone",
        hint="Make a new Keep; this one's evidence is worth nothing any more.",
        code="keep.silicon-gone",
    )


def _receive(channel: socket.socket) -> bytes:
    channel.settimeout(REPORT_SECONDS)
    try:
        packet = channel.recv(PACKET)
    except TimeoutError:
        raise KeepLostError(
            f"the silicon did not answer within {REPORT_SECONDS:g} s", code="keep.silicon-gone"
        ) from None
    except OSError:
        raise gone() from None
    if not packet:
        raise gone()
    return packet
