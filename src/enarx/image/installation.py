"""What this installation would launch: both components, measured, for every back end.

The tenant computes its expected values with this from its own files, never from the host's
word; silicon arrives at the same values while it copies the files it launches.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from enarx.image.launch import BACKENDS, launch_measurement
from enarx.image.manifest import Files, digest, measure
from enarx.image.payload import find_payload
from enarx.image.runtime import find_runtime
from enarx.wire.attestation import Manifest, Manifests


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """Payload and runtime of one installation.

    payload_digest, runtime_digest: SHA-256 of the two manifests.
    """

    payload: Manifest
    runtime: Manifest
    payload_digest: bytes
    runtime_digest: bytes

    @classmethod
    def of(cls, manifests: Manifests) -> Installation:
        """The installation that has these manifests."""
        return cls(
            payload=manifests.payload,
            runtime=manifests.runtime,
            payload_digest=digest(manifests.payload),
            runtime_digest=digest(manifests.runtime),
        )

    def measurement(self, backend: str) -> bytes:
        """Launch measurement of one back end; see `launch.launch_measurement`."""
        return launch_measurement(backend, payload=self.payload_digest, runtime=self.runtime_digest)

    def measurements(self) -> dict[str, bytes]:
        """Launch measurement of every back end that can be computed, by name."""
        return {backend: self.measurement(backend) for backend in BACKENDS}


def measure_installation(files: Files, *, payload: Path | None = None) -> Installation:
    """Measure what is installed here.

    Args:
        files: `manifest.Disk()`, or a `cache.Cache`.
        payload: a directory that holds a payload, instead of the installed one.

    Raises:
        UsageError: this is not Linux on x86-64 (`image.platform`).
        HostError: a file or distribution is missing or cannot be read (`image.*`).
        ParseError: a program or library is broken (`parse.elf`).
        LimitError: more files or bytes than a component may have.
    """
    payload_sources = find_payload(payload)
    runtime = find_runtime(payload_sources, files)
    return Installation.of(
        Manifests(
            payload=measure("payload", payload_sources, files),
            runtime=measure("runtime", runtime.sources, files),
        )
    )
