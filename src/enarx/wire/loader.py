"""What the keep loader and the Keep say over the control socket (steps 5 to 7).

The control socket is a SOCK_SEQPACKET pair made by the loader; the Keep gets one end at its
launch. Its end of file means that the other side is gone: the Keep ends itself then.

    loader -> Keep: Boot              the Keep is under its limits before it is told to anybody
    Keep -> loader: Ready | BootFailed   certificate made, listening
    Keep -> loader: Progress          each time the state changes
    loader -> Keep: Activate          where its silicon is a TPM: prove which one
    Keep -> loader: Activated | BootFailed
    loader -> Keep: Halt              end in good order
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from enarx.wire.attestation import Credential
from enarx.wire.codec import Message
from enarx.wire.fields import Certificate, Digest, Text
from enarx.wire.manager import State
from enarx.wire.problem import Problem


class Boot(Message, frozen=True, kw_only=True, tag_field="kind", tag="boot"):
    """Init data as the client will compute it, and the owner's certificate it names."""

    init_data: Annotated[bytes, Meta(max_length=4096)]
    owner: Certificate


class Halt(Message, frozen=True, kw_only=True, tag_field="kind", tag="halt"):
    """End in good order: workload first."""


class Ready(Message, frozen=True, kw_only=True, tag_field="kind", tag="ready"):
    """Step 7: the Keep waits for its owner."""

    certificate: Certificate


class Progress(Message, frozen=True, kw_only=True, tag_field="kind", tag="progress"):
    """The Keep's state, for the host's eyes: nothing about the workload itself."""

    state: State
    detail: Text = ""


class BootFailed(Message, frozen=True, kw_only=True, tag_field="kind", tag="failed"):
    """The Keep could not start."""

    problem: Problem


class Activate(Message, frozen=True, kw_only=True, tag_field="kind", tag="activate"):
    """What `ActivateRequest` asks; a Keep whose silicon is no TPM refuses it."""

    credential: Credential
    seed: Credential


class Activated(Message, frozen=True, kw_only=True, tag_field="kind", tag="activated"):
    """What `ActivateResponse` answers."""

    proof: Digest


ToKeep = Boot | Activate | Halt
FromKeep = Ready | Progress | Activated | BootFailed
