"""What the silicon and the zygote say to each other: how a measured image becomes a Keep.

The silicon starts the zygote out of the measured tree, with one end of a SOCK_SEQPACKET
pair as descriptor 3. One packet is one message; descriptors travel beside it (SCM_RIGHTS)
in the order given here. The end of file on either side means that the other is gone: the
zygote and its Keeps end themselves then, and the silicon starts another zygote.

    zygote -> silicon: ZygoteReady                    once everything is imported
    silicon -> zygote: Fork + [report channel, control, listener]
    zygote -> silicon: Forked + [pidfd] | ForkFailed  one for each Fork, in any order
    zygote -> silicon: Ended                          once for each Forked, when the Keep ends
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from enarx.wire.codec import Message
from enarx.wire.fields import Digest, Kuuid, Name
from enarx.wire.problem import Problem

DESCRIPTOR = 3
"""Where the zygote finds its end of the socket pair."""
PACKET = 64 * 1024
"""Most bytes of one packet; a problem's two texts are the longest part."""


class ZygoteReady(Message, frozen=True, kw_only=True, tag_field="kind", tag="zygote-ready"):
    """Everything a Keep needs is imported; from now on a fork is a Keep."""


class Fork(Message, frozen=True, kw_only=True, tag_field="kind", tag="fork"):
    """Step 5: become a Keep.

    uid: user id the Keep takes where it may; 0 keeps the zygote's own.
    payload, runtime: digests of what was measured, as the LaunchRecord says them.
    """

    kuuid: Kuuid
    uid: Annotated[int, Meta(ge=0, le=0xFFFFFFFE)] = 0
    backend: Name
    payload: Digest
    runtime: Digest


class Forked(Message, frozen=True, kw_only=True, tag_field="kind", tag="forked"):
    """The Keep's process exists; `pid` is as the zygote sees it."""

    kuuid: Kuuid
    pid: Annotated[int, Meta(ge=1)]


class ForkFailed(Message, frozen=True, kw_only=True, tag_field="kind", tag="failed"):
    """There is no Keep."""

    kuuid: Kuuid
    problem: Problem


class Ended(Message, frozen=True, kw_only=True, tag_field="kind", tag="ended"):
    """The Keep's process is gone and reaped.

    status: as waitpid gives it decoded: its exit code, or minus the signal that ended it.
    """

    kuuid: Kuuid
    status: Annotated[int, Meta(ge=-128, le=255)]


FromZygote = ZygoteReady | Forked | ForkFailed | Ended
