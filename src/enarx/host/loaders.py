"""What the manager and its fork server say to each other, over a SOCK_SEQPACKET pair.

    fork server -> manager: ServerReady               everything is imported
    manager -> fork server: StartLoader
    fork server -> manager: LoaderStarted + [pidfd]   it was forked
    loader -> manager:      LoaderReady               it listens (over the same socket)
    manager -> fork server: Guard + [pidfd]           private hosts: end this process, too

Neither is the wire's business: both are one host, in one version.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from enarx.wire.codec import Message
from enarx.wire.fields import Kuuid, Text

PACKET = 16 * 1024
"""Most bytes of one packet: a path is at most 4 KiB."""


class ServerReady(Message, frozen=True, kw_only=True, tag_field="kind", tag="server-ready"):
    """A fork is a loader from now on."""


class StartLoader(Message, frozen=True, kw_only=True, tag_field="kind", tag="start"):
    """Fork a loader for the Keep in `directory`."""

    kuuid: Kuuid
    directory: Text


class LoaderStarted(Message, frozen=True, kw_only=True, tag_field="kind", tag="started"):
    """The loader's process exists; its pidfd goes beside this."""

    kuuid: Kuuid
    pid: Annotated[int, Meta(ge=1)]


class LoaderReady(Message, frozen=True, kw_only=True, tag_field="kind", tag="ready"):
    """The loader listens."""

    kuuid: Kuuid


class Guard(Message, frozen=True, kw_only=True, tag_field="kind", tag="guard"):
    """End this process when the manager is gone; its pidfd goes beside this."""


ToServer = StartLoader | Guard
FromServer = ServerReady | LoaderStarted | LoaderReady
