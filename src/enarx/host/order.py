"""What the manager writes down for a loader, and what is kept beside it: the Keep's directory.

    RUN/keeps/<kuuid>/order.cbor    Order: made before the loader starts
                     /loader.sock   the loader listens here, for the manager only
                     /keep.sock     the Keep listens here, unless on TCP
                     /cgroup        where the Keep's control groups are, one path a line
                     /status.cbor   KeepStatus, written again at each change

Nothing secret is in it: a nonce, a certificate and limits that the manager was told.
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from enarx.errors import HostError, ProtocolError
from enarx.host import limits
from enarx.wire.codec import Message, pack, unpack
from enarx.wire.fields import Certificate, Kuuid, Limits, Name, Nonce, Text, Timestamp
from enarx.wire.manager import KeepStatus

ORDER = "order.cbor"
STATUS = "status.cbor"
LOADER_SOCKET = "loader.sock"
KEEP_SOCKET = "keep.sock"
CGROUP = "cgroup"


class Order(Message, frozen=True, kw_only=True):
    """One Keep that a loader is to make when it is asked for attestation.

    principal: whose Keep it is. silicon: path of the silicon's socket. listen: IP address for
    the Keep's port; empty for a Unix socket. uid: user id for the Keep; 0 keeps the silicon's.
    reader: user id that may connect to the Keep's Unix socket. image: directory of the VM image,
    for a Keep that is a machine; empty for a process. authority: directory of the certificate
    authority of its TPM.
    """

    kuuid: Kuuid
    backend: Name
    nonce: Nonce
    owner: Certificate
    limits: Limits
    created: Timestamp
    principal: Name
    silicon: Text
    listen: Text = ""
    uid: int = 0
    reader: int = 0
    image: Text = ""
    authority: Text = ""


def directory_name(kuuid: bytes) -> str:
    """The kuuid as text (RFC 9562)."""
    return str(uuid.UUID(bytes=kuuid))


def write_order(directory: Path, order: Order) -> None:
    """Make the Keep's directory with its order in it. HostError where there is no room."""
    try:
        directory.mkdir(mode=0o711)
        _write(directory / ORDER, pack(order))
    except OSError as error:
        raise HostError(
            f"cannot write {directory}: {error.strerror}",
            hint="The host's run directory needs space and write permission.",
            code="host.run-dir",
        ) from None


def read_order(directory: Path) -> Order:
    """The order of a Keep. HostError where it is missing or damaged."""
    try:
        return unpack((directory / ORDER).read_bytes(), Order, limit=limits.ORDER)
    except (OSError, ProtocolError) as error:
        raise HostError(f"{directory} holds no usable order: {error}", code="host.order") from None


def write_status(directory: Path, status: KeepStatus) -> None:
    """Replace the stored status; raises OSError."""
    _write(directory / STATUS, pack(status))


def read_status(directory: Path) -> KeepStatus | None:
    """The stored status, None where there is no usable one."""
    try:
        return unpack((directory / STATUS).read_bytes(), KeepStatus)
    except (OSError, ProtocolError):
        return None


def _write(path: Path, content: bytes) -> None:
    """All or nothing, for readers; only the host's own user reads it."""
    temporary = path.with_name(f"{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    temporary.replace(path)
