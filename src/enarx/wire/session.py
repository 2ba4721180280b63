"""What owner and Keep say to each other over the attested TLS 1.3 session (steps 8 to 10).

    POST /v1/workload   Workload, then Stdin frames, then StdinEnd -> stream of events
    GET  /v1/logs       [?follow=1]                               -> stream of events
    POST /v1/stop                                                 -> KeepReport
    GET  /v1/status                                               -> KeepReport

Streams are frames (`framing`). The workload's stream of events begins with `Started` and
ends with exactly one of `Exit`, `Trap`, `Killed`, `Failed`. Where `detach` is set the
response is a KeepReport once it has started or failed, and the events are kept in a bounded ring
for /v1/logs.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, field

from enarx.wire import limits
from enarx.wire.codec import Message
from enarx.wire.fields import Digest, Name, Text, Timestamp, Version
from enarx.wire.manager import State
from enarx.wire.problem import Problem

MEDIA_TYPE = "application/cbor-seq"

Argument = Annotated[str, Meta(max_length=limits.ARGUMENT)]
Variable = Annotated[str, Meta(min_length=1, max_length=limits.NAME, pattern="^[^=\0]+$")]
Secret = Annotated[bytes, Meta(max_length=limits.SECRETS)]
SecretName = Annotated[str, Meta(pattern="^[A-Za-z_][A-Za-z0-9_.-]{0,255}$")]
Chunk = Annotated[bytes, Meta(min_length=1, max_length=limits.HTTP_CHUNK)]
Stdio = Annotated[str, Meta(pattern="^(null|stdin|stdout|stderr)$")]


class Config(Message, frozen=True, kw_only=True):
    """What Enarx.toml says, checked by the client.

    files: what is behind descriptors 0, 1, 2, ... in this order.
    """

    args: Annotated[tuple[Argument, ...], Meta(max_length=limits.ARGUMENTS)] = ()
    env: Annotated[dict[Variable, Argument], Meta(max_length=limits.ARGUMENTS)] = field(
        default_factory=dict
    )
    files: Annotated[tuple[Stdio, ...], Meta(max_length=16)] = ("stdin", "stdout", "stderr")


class Workload(Message, frozen=True, kw_only=True, tag_field="kind", tag="workload"):
    """Step 9: module, configuration and secrets; taken once.

    name: what the guest sees as its program name (argv[0]).
    secrets: each is an environment variable of its name where it is text, and the file
        /run/secrets/NAME, in the guest only.
    detach: the workload outlives this connection; otherwise it ends with it.
    """

    version: Version = 1
    name: Name
    module: Annotated[bytes, Meta(max_length=limits.MODULE)]
    config: Config = Config()
    secrets: Annotated[dict[SecretName, Secret], Meta(max_length=256)] = field(default_factory=dict)
    detach: bool = False


class Stdin(Message, frozen=True, kw_only=True, tag_field="kind", tag="stdin"):
    """A piece of the workload's standard input."""

    data: Chunk


class StdinEnd(Message, frozen=True, kw_only=True, tag_field="kind", tag="stdin-end"):
    """The end of standard input."""


class Started(Message, frozen=True, kw_only=True, tag_field="kind", tag="started"):
    """The workload was taken and compiled and runs now."""

    module: Digest
    """SHA-256 of the module that runs."""


class Stdout(Message, frozen=True, kw_only=True, tag_field="kind", tag="stdout"):
    """A piece of standard output."""

    data: Chunk


class Stderr(Message, frozen=True, kw_only=True, tag_field="kind", tag="stderr"):
    """A piece of standard error."""

    data: Chunk


class Lost(Message, frozen=True, kw_only=True, tag_field="kind", tag="lost"):
    """The ring overflowed here: so many bytes of output are gone."""

    size: Annotated[int, Meta(ge=1)]


class Exit(Message, frozen=True, kw_only=True, tag_field="kind", tag="exit"):
    """The workload ended by itself."""

    code: Annotated[int, Meta(ge=0, le=255)]


class Trap(Message, frozen=True, kw_only=True, tag_field="kind", tag="trap"):
    """The workload trapped: WebAssembly stopped it."""

    message: Text
    frames: Annotated[tuple[Text, ...], Meta(max_length=64)] = ()
    """Function names, innermost first."""


class Killed(Message, frozen=True, kw_only=True, tag_field="kind", tag="killed"):
    """The Keep ended the workload: a limit, or its owner's word.

    reason: limit.memory, limit.cpu, limit.wall, stopped.
    """

    reason: Name
    detail: Text


class Failed(Message, frozen=True, kw_only=True, tag_field="kind", tag="failed"):
    """The workload could not be started, or the Keep failed under it."""

    problem: Problem


Input = Stdin | StdinEnd
Event = Started | Stdout | Stderr | Lost | Exit | Trap | Killed | Failed
Ended = Exit | Trap | Killed | Failed


class KeepReport(Message, frozen=True, kw_only=True):
    """What the Keep says of itself to its owner, over the attested session."""

    state: State
    module: Digest | None = None
    started: Timestamp | None = None
    ended: Annotated[tuple[Ended, ...], Meta(max_length=1)] = ()
    """How the workload ended; empty while it has not."""
