"""What client and keep manager say to each other (steps 1 to 4).

    GET    /v1/contracts               -> ContractList
    POST   /v1/keeps        CreateKeep -> KeepStatus (201)
    GET    /v1/keeps                   -> KeepList, those of this principal only
    GET    /v1/keeps/{kuuid}           -> KeepStatus
    POST   /v1/keeps/{kuuid}/attest    AttestRequest -> AttestResponse, opaque to the manager
    GET    /v1/keeps/{kuuid}/manifests -> Manifests, opaque to the manager
    DELETE /v1/keeps/{kuuid}           -> KeepStatus, the Keep ended by its host
    GET    /v1/host                    -> HostStatus
    POST   /v1/tenant       Tenant     -> HostStatus

Errors are `problem.Problem`. The loader speaks the same over its own socket, for its one
Keep: GET /v1/keep, POST /v1/keep/attest, GET /v1/keep/manifests, DELETE /v1/keep.
A principal is who the transport says the client is: the certificate's SHA-256 over TLS,
the user id over a Unix socket.

TLS as Python has it accepts a self-signed client certificate only when it was told of it
before. So a client whose certificate a host does not know yet connects without one and
introduces itself as `Tenant`; the host refuses tenants that its operator did not allow.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated

from msgspec import Meta

from enarx.wire import limits
from enarx.wire.codec import Message
from enarx.wire.fields import (
    Certificate,
    Digest,
    Kuuid,
    Limits,
    Name,
    Nonce,
    Text,
    Timestamp,
    Version,
)


class State(Enum):
    """State of a Keep. It only ever moves down this list, and from any state to `error`."""

    INDETERMINATE = "indeterminate"
    """The loader runs; there is no Keep yet, or nobody can say."""
    READY = "ready"
    """The Keep listens with its one-use certificate and has taken no workload."""
    RUNNING = "running"
    """The Keep took its workload."""
    SHUTDOWN = "shutdown"
    """The Keep ended in good order."""
    ERROR = "error"
    """The Keep, or something it stands on, died or failed; `detail` says what."""


class Contract(Message, frozen=True, kw_only=True):
    """A back end that this host offers."""

    backend: Name
    substrate: Name
    evidence: Name
    simulated: bool
    missing: Annotated[tuple[Text, ...], Meta(max_length=32)] = ()
    """What the host lacks for it; offered only when empty."""


class ContractList(Message, frozen=True, kw_only=True):
    """All back ends this host knows of."""

    contracts: Annotated[tuple[Contract, ...], Meta(max_length=64)]


class CreateKeep(Message, frozen=True, kw_only=True):
    """Step 1. The owner's certificate is the one it will use towards the Keep."""

    version: Version = 1
    backend: Name
    nonce: Nonce
    owner: Certificate
    limits: Limits = Limits()


class KeepStatus(Message, frozen=True, kw_only=True):
    """What the host says of one Keep. Nothing here is attested."""

    kuuid: Kuuid
    backend: Name
    state: State
    owner: Digest
    """SHA-256 of the owner's certificate."""
    created: Timestamp
    detail: Text = ""
    address: Text = ""
    """Where the Keep listens: `unix:PATH`, or `tcp:PORT` at the manager's own host."""


class KeepList(Message, frozen=True, kw_only=True):
    """The Keeps of one principal, oldest first."""

    keeps: Annotated[tuple[KeepStatus, ...], Meta(max_length=limits.KEEPS)]


class Tenant(Message, frozen=True, kw_only=True):
    """A client's certificate, for the host to know in later TLS handshakes."""

    version: Version = 1
    certificate: Certificate


class HostStatus(Message, frozen=True, kw_only=True):
    """What the manager says of itself."""

    version: Name
    pid: Annotated[int, Meta(ge=1)]
    launcher: Name
    """How loaders are launched: `systemd` or `supervised`."""
    silicon: Text
    """`running`, or what is wrong with it."""
    keeps: Annotated[int, Meta(ge=0)]
    started: Timestamp
    address: Text = ""
    """Where it listens, as `--host` takes it."""
