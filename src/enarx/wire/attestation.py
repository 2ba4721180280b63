"""What client and Keep say through the manager, which proxies it unread (steps 3 to 6).

The loader answers an `AttestRequest` by making the Keep (step 5), in which the app loader
makes its key and one-use certificate (step 6). Nothing in these messages is secret, and
nothing in them is believed before it is verified.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from enarx.wire import limits
from enarx.wire.codec import Message, pack
from enarx.wire.fields import (
    Certificate,
    Digest,
    Endorsements,
    Kuuid,
    Limits,
    Name,
    Nonce,
    Text,
    Version,
)


class InitData(Message, frozen=True, kw_only=True):
    """What the host must not be able to change: its SHA-256 is measured as host-chosen data.

    SNP HOST_DATA, TDX MRCONFIGID, SGX CONFIGID. The client computes it from what it asked
    for; the Keep acts on nothing else.
    """

    version: Version = 1
    kuuid: Kuuid
    backend: Name
    nonce: Nonce
    owner: Digest
    """SHA-256 of the owner's certificate (DER)."""
    limits: Limits


def init_data(*, kuuid: bytes, backend: str, nonce: bytes, owner: bytes, limits: Limits) -> bytes:
    """The init data as bytes; `owner` is the SHA-256 of the owner's certificate."""
    return pack(InitData(kuuid=kuuid, backend=backend, nonce=nonce, owner=owner, limits=limits))


class AttestRequest(Message, frozen=True, kw_only=True):
    """Step 3: make the Keep and give its evidence. Asked again, it gives the same answer."""

    version: Version = 1
    nonce: Nonce
    """The nonce of `CreateKeep`; the loader refuses another."""


class AttestResponse(Message, frozen=True, kw_only=True):
    """The Keep's certificate, which carries its evidence, and what helps to verify it."""

    version: Version = 1
    certificate: Certificate
    endorsements: Endorsements = ()
    address: Text
    """Where the Keep listens, as in `KeepStatus`."""


Credential = Annotated[bytes, Meta(min_length=1, max_length=limits.CREDENTIAL)]


class ActivateRequest(Message, frozen=True, kw_only=True):
    """Steps 3 and 4 of a Keep with a TPM, a second time: do its two keys live in one TPM?

    Asked after `AttestResponse`, whose evidence names the keys. Only a TPM that holds both gives
    out the secret in the credential (TPM 2.0 Library, part 1, chapter 24).
    """

    version: Version = 1
    nonce: Nonce
    """The nonce of `CreateKeep`; the loader refuses another."""
    credential: Credential
    """Content of the TPM2B_ID_OBJECT."""
    seed: Credential
    """Content of the TPM2B_ENCRYPTED_SECRET."""


class ActivateResponse(Message, frozen=True, kw_only=True):
    """HMAC-SHA256 under the secret, over the quote in the Keep's evidence."""

    version: Version = 1
    proof: Digest


class File(Message, frozen=True, kw_only=True):
    """One measured file."""

    path: Annotated[str, Meta(min_length=1, max_length=1024)]
    size: Annotated[int, Meta(ge=0)]
    sha256: Digest


Files = Annotated[tuple[File, ...], Meta(max_length=limits.FILES)]


class Manifest(Message, frozen=True, kw_only=True):
    """The files of one component, sorted by path. Its digest is the SHA-256 of its encoding."""

    version: Version = 1
    component: Name
    """`payload` or `runtime`."""
    files: Files


class Manifests(Message, frozen=True, kw_only=True):
    """What the silicon says it launched; worth as much as its digests are in the evidence.

    Read only to name the file that differs, after a measurement did not fit.
    """

    payload: Manifest
    runtime: Manifest
