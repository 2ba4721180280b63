"""What a machine attests with; the seam between PID 1 and real or simulated silicon."""

from __future__ import annotations

from typing import Protocol

from enarx.wire.silicon import ReportReply


class Attester(Protocol):
    """Evidence for the one Keep of this machine.

    backend: what the init data must name.
    """

    backend: str

    def bind(self, init_digest: bytes) -> None:
        """Fix the SHA-256 of the init data for the life of this machine; called once."""

    def report(self, report_data: bytes) -> ReportReply:
        """Evidence over 64 bytes."""

    def activate(self, *, credential: bytes, encrypted_seed: bytes) -> bytes:
        """Where the silicon is a TPM: proof that its two keys live together. Else HostError."""
