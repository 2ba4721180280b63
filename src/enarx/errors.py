"""The error tree: what failed, split by what the caller can do about it.

    EnarxError
    ├── UsageError            the caller asked for something that makes no sense: change the call
    │   ├── ConfigError       a file of the user's is wrong: it names line and column
    │   └── ModuleError       the WebAssembly module is not one we can run
    ├── ParseError            bytes from elsewhere do not have the form they must have (offset)
    ├── PolicyError           the appraisal policy itself is unusable (empty, contradictory)
    ├── VerificationError     the verdict does not allow what was asked: never go on
    ├── ProtocolError         the other side broke the protocol: it is hostile or of another version
    │   └── LimitError        more than a named limit allows (size, count, depth, time)
    ├── RefusedError          the other side understood and said no: it says why
    ├── HostError             the host cannot do it (no space, port taken, permission): it says what
    │   └── UnreachableError  nobody answers there
    ├── KeepLostError         a Keep, loader, silicon or manager died or went away
    └── WorkloadError         the workload itself failed: it trapped or hit one of its limits

Every error says what was wrong, where, and what to do. ``code`` is stable, short
and dotted; it is what crosses the wire (RFC 9290 problem details) and what tests
and programs compare. The command line prints ``str(error)`` and never a traceback.
"""

from __future__ import annotations


class EnarxError(Exception):
    """Base of everything this package raises on purpose.

    Args:
        message: what was wrong and where, as one sentence for a person.
        hint: what to do about it, as one sentence; empty where nothing can be done.
        code: stable dotted name, such as ``"keep.nonce-spent"``; the class's own when empty.
    """

    default_code = "error"

    def __init__(self, message: str, *, hint: str = "", code: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code or self.default_code

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message


class UsageError(EnarxError):
    """The caller asked for something that makes no sense; nothing was done."""

    default_code = "usage"


class ConfigError(UsageError):
    """A file the user wrote is wrong. ``line`` and ``column`` count from 1, 0 where unknown."""

    default_code = "config"

    def __init__(
        self,
        message: str,
        *,
        path: str = "",
        line: int = 0,
        column: int = 0,
        hint: str = "",
        code: str = "",
    ) -> None:
        where = path + (f":{line}:{column}" if line else "")
        super().__init__(f"{where}: {message}" if where else message, hint=hint, code=code)
        self.path, self.line, self.column = path, line, column


class ModuleError(UsageError):
    """The WebAssembly module is not one that a Keep can run."""

    default_code = "module"


class ParseError(EnarxError):
    """Bytes do not have the form their specification gives. ``offset`` counts from 0, in bytes."""

    default_code = "parse"

    def __init__(
        self, message: str, *, offset: int | None = None, hint: str = "", code: str = ""
    ) -> None:
        super().__init__(
            message if offset is None else f"{message} (at byte {offset})", hint=hint, code=code
        )
        self.offset = offset


class PolicyError(EnarxError):
    """The appraisal policy itself cannot be used; an empty one is never taken for 'allow'."""

    default_code = "policy"


class VerificationError(EnarxError):
    """The verdict does not allow what was asked. Nothing was sent."""

    default_code = "verification"


class ProtocolError(EnarxError):
    """The other side broke the protocol: it is hostile, broken or of another version."""

    default_code = "protocol"


class LimitError(ProtocolError):
    """Something a stranger controls is larger, longer, deeper or slower than its named limit."""

    default_code = "limit"


class RefusedError(EnarxError):
    """The other side understood the request and refused it."""

    default_code = "refused"


class HostError(EnarxError):
    """This machine, or the host, cannot do what is needed."""

    default_code = "host"


class UnreachableError(HostError):
    """Nobody answers at that address."""

    default_code = "host.unreachable"


class KeepLostError(EnarxError):
    """A Keep, or a process it stands on, died or went away."""

    default_code = "keep.lost"


class WorkloadError(EnarxError):
    """The workload itself failed: it trapped, or it hit one of its limits."""

    default_code = "workload"
