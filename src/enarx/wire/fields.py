"""Field types that several messages share, with their bounds."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from enarx.wire import limits
from enarx.wire.codec import Message

Version = Annotated[int, Meta(ge=1, le=1)]
"""Version of the protocol; a change that an older peer would misread raises it."""
Digest = Annotated[bytes, Meta(min_length=32, max_length=32)]
"""SHA-256."""
Nonce = Annotated[bytes, Meta(min_length=32, max_length=32)]
Kuuid = Annotated[bytes, Meta(min_length=16, max_length=16)]
"""A Keep's UUID (RFC 9562, version 4), its 16 bytes."""
Name = Annotated[str, Meta(min_length=1, max_length=limits.NAME)]
Text = Annotated[str, Meta(max_length=limits.TEXT)]
Certificate = Annotated[bytes, Meta(min_length=1, max_length=limits.CERTIFICATE)]
"""X.509, DER."""
Blob = Annotated[bytes, Meta(max_length=limits.ATTESTATION)]
Milliseconds = Annotated[int, Meta(ge=1, le=366 * 24 * 3600 * 1000)]
Bytes = Annotated[int, Meta(ge=1, le=1 << 44)]
Timestamp = Annotated[int, Meta(ge=0, le=1 << 40)]
"""Seconds since the epoch, UTC, by the clock of whoever says it."""


class Limits(Message, frozen=True, kw_only=True):
    """What a Keep may use; part of the init data, so it is measured and cannot be changed.

    memory: bytes of linear memory and tables of the workload; the host adds what the Keep's
        own code needs.
    cpu: milliseconds of processor time of the workload, compiling not counted; None is no limit.
    wall: milliseconds from start to end of the workload; None is no limit.
    compile: milliseconds of processor time for compiling the module.
    """

    memory: Bytes = 256 * limits.MIB
    cpu: Milliseconds | None = None
    wall: Milliseconds | None = None
    compile: Milliseconds = 30_000


class Endorsement(Message, frozen=True, kw_only=True):
    """One endorsement (RFC 9334, section 8.2) in the form its vendor gives it.

    role: what it is: vcek, ask, ark, crl, collateral, ... as `enarx verify --with` names them.
    """

    role: Name
    data: Blob


Endorsements = Annotated[tuple[Endorsement, ...], Meta(max_length=limits.ENDORSEMENTS)]

__all__ = [
    "Blob",
    "Bytes",
    "Certificate",
    "Digest",
    "Endorsement",
    "Endorsements",
    "Kuuid",
    "Limits",
    "Milliseconds",
    "Name",
    "Nonce",
    "Text",
    "Timestamp",
    "Version",
]
