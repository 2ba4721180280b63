"""What went wrong, as a message: concise problem details (RFC 9290).

RFC 9290 gives the standard entries negative integer keys. Our maps have text keys only, so
they go by the names of RFC 9290, section 2: `title`, `detail`, `response-code`; `code` is
our stable name of the problem, and `hint` says what to do.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, field

from enarx import errors
from enarx.wire.codec import Message
from enarx.wire.fields import Name, Text

MEDIA_TYPE = "application/concise-problem-details+cbor"

_STATUS: tuple[tuple[type[errors.EnarxError], int], ...] = (
    (errors.LimitError, 413),
    (errors.ProtocolError, 400),
    (errors.UsageError, 400),
    (errors.ParseError, 400),
    (errors.RefusedError, 403),
    (errors.KeepLostError, 410),
    (errors.HostError, 503),
)
_KINDS: dict[str, type[errors.EnarxError]] = {
    kind.__name__: kind
    for kind in (
        errors.UsageError,
        errors.ModuleError,
        errors.ParseError,
        errors.ProtocolError,
        errors.LimitError,
        errors.RefusedError,
        errors.HostError,
        errors.KeepLostError,
        errors.WorkloadError,
    )
}


class Problem(Message, frozen=True, kw_only=True):
    """One problem. `title` is the class of the error, which says what the caller can do."""

    title: Name
    detail: Text
    code: Name
    hint: Text = ""
    status: Annotated[int, Meta(ge=400, le=599)] = field(default=500, name="response-code")


def from_error(error: errors.EnarxError) -> Problem:
    """The problem that tells the other side of `error`."""
    status = next((code for kind, code in _STATUS if isinstance(error, kind)), 500)
    title = next((k.__name__ for k in type(error).__mro__ if k.__name__ in _KINDS), "HostError")
    return Problem(
        title=title,
        detail=error.message[:4096],
        code=error.code,
        hint=error.hint[:4096],
        status=status,
    )


def to_error(problem: Problem) -> errors.EnarxError:
    """The error that `problem` tells of; an unknown title becomes RefusedError."""
    kind = _KINDS.get(problem.title, errors.RefusedError)
    return kind(problem.detail, hint=problem.hint, code=problem.code)
