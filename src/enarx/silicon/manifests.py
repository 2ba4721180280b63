"""The manifests of what was loaded, in a sealed memfd: written once, readable by many."""

from __future__ import annotations

import fcntl
import os

from enarx.errors import HostError
from enarx.image.installation import Installation
from enarx.wire.attestation import Manifests
from enarx.wire.codec import pack

_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


def seal_manifests(installation: Installation) -> tuple[int, int]:
    """A descriptor of the sealed message, and its size in bytes.

    Raises:
        HostError: there is no memory for it (`silicon.manifests`).
    """
    data = pack(Manifests(payload=installation.payload, runtime=installation.runtime))
    try:
        descriptor = os.memfd_create("enarx-manifests", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
    except OSError as error:
        raise HostError(
            f"cannot hold the manifests: {error.strerror}", code="silicon.manifests"
        ) from None
    return descriptor, len(data)


def manifests_descriptor(sealed: int) -> int:
    """Another descriptor of it with a position of its own, read-only.

    Raises:
        HostError: it cannot be opened again (`silicon.manifests`).
    """
    try:
        return os.open(f"/proc/self/fd/{sealed}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise HostError(
            f"cannot pass the manifests on: {error.strerror}",
            hint="the silicon needs /proc",
            code="silicon.manifests",
        ) from None
