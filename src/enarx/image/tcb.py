"""The trusted computing base of a Keep, counted: what a tenant has to trust, and how much."""

from __future__ import annotations

import io
import tokenize
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from enarx.image.manifest import Source

_NOT_CODE: Final = frozenset(
    {
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENCODING,
        tokenize.ENDMARKER,
    }
)
_OURS: Final = "enarx"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part of the payload.

    name: a room of ours (`enarx.keep`), or a distribution's top-level package.
    lines: lines of Python that hold code: neither blank, nor comment, nor docstring.
    native: bytes of machine code, for which there are no lines here.
    """

    name: str
    files: int
    lines: int
    bytes: int
    native: int


def count(sources: Iterable[Source]) -> tuple[Part, ...]:
    """Count the files of a payload by part, our own rooms first."""
    groups: dict[str, list[Source]] = {}
    for source in sources:
        groups.setdefault(_part_of(source.path), []).append(source)
    parts = [_count_part(name, group) for name, group in groups.items()]
    return tuple(sorted(parts, key=lambda part: (not part.name.startswith(_OURS), part.name)))


def code_lines(text: str) -> int:
    """Lines that hold code: every line that a token other than a comment or docstring touches."""
    lines: set[int] = set()
    at_start = True
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in _NOT_CODE:
            at_start = at_start or token.type in (tokenize.NEWLINE, tokenize.INDENT)
            continue
        # A string that begins a statement is a docstring: it says something and does nothing.
        if not (at_start and token.type == tokenize.STRING):
            lines.update(range(token.start[0], token.end[0] + 1))
        at_start = False
    return len(lines)


def _part_of(path: str) -> str:
    first, _, rest = path.partition("/")
    if first != _OURS:
        return first.removesuffix(".py").partition(".")[0]
    room, slash, _ = rest.partition("/")
    return f"{_OURS}.{room}" if slash else _OURS


def _count_part(name: str, sources: list[Source]) -> Part:
    lines = size = native = 0
    for source in sources:
        data = Path(source.origin).read_bytes()
        size += len(data)
        if source.path.endswith(".py"):
            lines += code_lines(data.decode("utf-8"))
        else:
            native += len(data)
    return Part(name=name, files=len(sources), lines=lines, bytes=size, native=native)
