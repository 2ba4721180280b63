"""What came of a workload."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from enarx.errors import WorkloadError
from enarx.wire.problem import to_error
from enarx.wire.session import Ended, Exit, Failed, Trap

if TYPE_CHECKING:
    from enarx.client.attestation import Attestation
    from enarx.verifier.verdict import Verdict

EXIT_REFUSED = 125
"""Exit code of everything that enarx refuses or that fails, limits included."""
EXIT_TRAP = 134
"""Exit code of a trap: what a shell shows for SIGABRT, as wasmtime's own command does."""


def exit_code(ended: Ended) -> int:
    """The exit code that stands for how a workload ended."""
    if isinstance(ended, Exit):
        return ended.code
    return EXIT_TRAP if isinstance(ended, Trap) else EXIT_REFUSED


def error_of(ended: Ended) -> WorkloadError | None:
    """The error that says how a workload ended; None for an exit, whatever its code.

    Raises:
        EnarxError: the Keep could not start the workload; the error is the Keep's own.
    """
    if isinstance(ended, Exit):
        return None
    if isinstance(ended, Failed):
        raise to_error(ended.problem)
    if isinstance(ended, Trap):
        frames = "".join(f"\n    at {frame}" for frame in ended.frames)
        return WorkloadError(f"the workload trapped: {ended.message}{frames}", code="workload.trap")
    return WorkloadError(
        f"the Keep ended the workload: {ended.detail}",
        hint=_LIMIT_HINTS.get(ended.reason, ""),
        code=f"workload.{ended.reason}",
    )


_LIMIT_HINTS = {
    "limit.memory": "give it more with --memory, or let it use less",
    "limit.cpu": "give it more with --cpu-time",
    "limit.wall": "give it more with --wall-time",
}


@dataclass(frozen=True, kw_only=True)
class Result:
    """What came of a workload that ran to an end.

    Attributes:
        exit_code: the workload's own; 134 for a trap; 125 where a limit ended it.
        stdout: all it wrote there.
        stderr: all it wrote there.
        ended: how it ended: `Exit`, `Trap` or `Killed`.
        seconds: how long that took, from when it was sent.
        attestation: of the Keep it ran in.
    """

    exit_code: int
    stdout: bytes
    stderr: bytes
    ended: Ended
    seconds: float
    attestation: Attestation

    @property
    def verdict(self) -> Verdict:
        """What the attestation of its Keep came to."""
        return self.attestation.verdict

    @property
    def report(self) -> str:
        """The trust report, as `enarx run` prints it."""
        from enarx.client.report import Report

        return Report.of(self.attestation, ended=self.ended, seconds=self.seconds).text()

    def check(self) -> Result:
        """Return itself after exit code 0; otherwise raise WorkloadError."""
        if error := error_of(self.ended):
            raise error
        if self.exit_code:
            raise WorkloadError(
                f"the workload ended with exit code {self.exit_code}", code="workload.exit"
            )
        return self
