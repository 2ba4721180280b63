"""What is said to the silicon, and what it says, over local sockets on one host.

The silicon listens on a SOCK_SEQPACKET Unix socket: one packet is one request (a tagged
message) or one reply (the named message, or a Problem). Descriptors travel beside the
packet (SCM_RIGHTS) in the order given here. For real silicon the same seam is the kernel's
ABI (configfs-tsm, /dev/attestation); these messages are those of the simulated one.

    loader -> silicon: SiliconInfo                                -> SiliconStatus
                       GetEndorsements                            -> EndorsementsReply
                       GetManifests                               -> ManifestsReply + 1 descriptor
                           (a sealed memfd that holds the Manifests message)
                       Launch + [control, listener]               -> Launched + [pidfd]
    Keep -> silicon, over the report channel of its own launch:
                       GetReport                                  -> ReportReply
    silicon -> Keep, first packet on the report channel: LaunchRecord

The report channel is made by the silicon for one launch and is what tells it who asks, so
that a report can only be had by what was launched, for what was measured.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from enarx.wire.codec import Message
from enarx.wire.fields import Blob, Digest, Endorsements, Kuuid, Name, Text, Version

PACKET = 256 * 1024
"""Most bytes of one packet; endorsements of one back end are about 40 KB."""


class SiliconInfo(Message, frozen=True, kw_only=True, tag_field="kind", tag="info"):
    """What are you?"""


class SiliconStatus(Message, frozen=True, kw_only=True):
    """What this silicon is and what it has loaded."""

    version: Version = 1
    backends: Annotated[tuple[Name, ...], Meta(max_length=16)]
    payload: Digest
    runtime: Digest
    root: Digest
    """SHA-256 of the root's SubjectPublicKeyInfo."""
    sandbox: Annotated[tuple[Text, ...], Meta(max_length=32)] = ()
    """Levels of isolation that are missing on this machine, each with its reason."""


class GetEndorsements(Message, frozen=True, kw_only=True, tag_field="kind", tag="endorsements"):
    """The certificates and collateral of one back end."""

    backend: Name


class EndorsementsReply(Message, frozen=True, kw_only=True):
    """Endorsements, in the form their vendor would give them."""

    endorsements: Endorsements


class GetManifests(Message, frozen=True, kw_only=True, tag_field="kind", tag="manifests"):
    """The manifests of what was loaded."""


class ManifestsReply(Message, frozen=True, kw_only=True):
    """Beside it goes the descriptor; `size` is the length of what is in it."""

    size: Annotated[int, Meta(ge=1)]


class Launch(Message, frozen=True, kw_only=True, tag_field="kind", tag="launch"):
    """Step 5: make a Keep.

    host_data: SHA-256 of the init data; it will be in every report.
    uid: user id the Keep takes where the silicon may change it; 0 keeps the silicon's own.
    """

    backend: Name
    kuuid: Kuuid
    host_data: Digest
    uid: Annotated[int, Meta(ge=0, le=0xFFFFFFFE)] = 0


class Launched(Message, frozen=True, kw_only=True):
    """The Keep exists, and waits on its control socket for the loader."""

    pid: Annotated[int, Meta(ge=1)]


class LaunchRecord(Message, frozen=True, kw_only=True):
    """What the silicon tells the Keep it was launched as."""

    backend: Name
    payload: Digest
    runtime: Digest


class GetReport(Message, frozen=True, kw_only=True, tag_field="kind", tag="report"):
    """Evidence over 64 bytes of the Keep's choice."""

    report_data: Annotated[bytes, Meta(min_length=64, max_length=64)]


class ReportReply(Message, frozen=True, kw_only=True):
    """Evidence in the technology's own binary format."""

    media_type: Name
    evidence: Blob


Request = SiliconInfo | GetEndorsements | GetManifests | Launch
