"""A verdict for people and programs: one line, a tree, or JSON.

What comes from evidence is written by strangers: control characters never reach a terminal.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from enarx.errors import ParseError
from enarx.verifier.expected import SIMULATED_WARNING
from enarx.verifier.trace import Link, Tier

if TYPE_CHECKING:
    from enarx.verifier.verdict import Verdict

LONGEST_VALUE: Final = 100
"""Characters of an expected or found value on one line of the tree; JSON has all of it."""

_MARKS: Final = {
    Tier.AFFIRMING: ("✓", "ok"),
    Tier.WARNING: ("!", "warn"),
    Tier.CONTRAINDICATED: ("✗", "FAIL"),
    Tier.NONE: ("·", "note"),
}


def printable(text: str) -> str:
    """The text without what a terminal would obey (line breaks stay: ours, between lines)."""
    return "".join(
        sign if sign.isprintable() or sign == "\n" else f"\\x{ord(sign):02x}" for sign in text
    )


def stamp(when: datetime | None) -> str | None:
    """RFC 3339, UTC, to the second."""
    return when.strftime("%Y-%m-%dT%H:%M:%SZ") if when is not None else None


def as_json(verdict: Verdict) -> str:
    """The whole verdict as one JSON object."""
    return json.dumps(
        {
            "type": verdict.kind,
            "verdict": verdict.tier.value,
            "genuine": verdict.genuine,
            "simulated": verdict.simulated,
            "failure": verdict.failure.value if verdict.failure is not None else None,
            "policy": verdict.policy,
            "at": stamp(verdict.at),
            "valid_until": stamp(verdict.valid_until),
            "findings": list(verdict.verified.findings) if verdict.verified is not None else [],
            "trust_vector": {claim.value: value for claim, value in verdict.trust_vector.items()},
            "fields": dict(verdict.fields),
            "trace": [_link_as_json(link) for link in verdict.trace],
        },
        indent=1,
    )


def _link_as_json(link: Link) -> dict[str, Any]:
    return {
        "name": link.name,
        "subject": link.subject,
        "outcome": link.outcome.value,
        "failure": link.failure.value if link.failure is not None else None,
        "expected": link.expected,
        "found": link.found,
        "claim": link.claim.value,
        "source": link.source,
        "valid_until": stamp(link.valid_until),
        "remedy": link.remedy,
        "depth": link.depth,
    }


def unreadable_as_json(error: ParseError, *, kind: str | None, policy: str) -> str:
    """The same keys for input that cannot be read as evidence."""
    return json.dumps(
        {
            "type": kind,
            "verdict": Tier.NONE.value,
            "genuine": False,
            "simulated": False,
            "failure": "structure",
            "policy": policy,
            "error": {"code": error.code, "message": error.message, "offset": error.offset},
            "valid_until": None,
            "trust_vector": {},
            "fields": {},
            "trace": [],
        },
        indent=1,
    )


def headline(verdict: Verdict) -> str:
    """One line: the verdict, of what, under which policy, until when."""
    cause = f" ({verdict.failure.value})" if verdict.failure is not None else ""
    until = f", valid until {stamp(verdict.valid_until)}" if verdict.valid_until else ""
    simulated = f" - {SIMULATED_WARNING}" if verdict.simulated else ""
    return (
        f"{verdict.tier.value}{cause}: {verdict.kind} evidence, policy {verdict.policy}, "
        f"at {stamp(verdict.at)}{until}{simulated}"
    )


def as_summary(verdict: Verdict, *, unicode: bool) -> str:
    """The headline, and what is wrong with it; plain ASCII unless ``unicode``."""
    lines = [headline(verdict)]
    for link in (*verdict.failed, *verdict.warnings):
        lines.append(f"  {_MARKS[link.outcome][1]}: {_sentence(link)}")
        if link.remedy:
            lines.append(f"        {link.remedy}")
    return _shown(lines, unicode=unicode)


def _shown(lines: list[str], *, unicode: bool) -> str:
    text = "\n".join(printable(line).replace("\n", "\\x0a") for line in lines)
    return text if unicode else text.replace("…", "...").encode("ascii", "replace").decode("ascii")


def as_tree(verdict: Verdict, *, unicode: bool) -> str:
    """The chain of trust, root first, one line a link; failures with what to do about them.

    Args:
        unicode: draw with line-drawing characters; plain ASCII otherwise.
    """
    links = sorted(verdict.trace, key=lambda link: link.depth)
    lines = [headline(verdict)]
    for number, link in enumerate(links):
        after = links[number + 1].depth if number + 1 < len(links) else -1
        indent, fork = _branch(link.depth, last=after != link.depth, unicode=unicode)
        mark = _MARKS[link.outcome][0 if unicode else 1]
        until = f" until {stamp(link.valid_until)}" if link.valid_until else ""
        source = f" [{link.source}]" if link.source else ""
        lines.append(f"{indent}{fork}{mark} {_sentence(link)}{source}{until}")
        if not link.ok and link.remedy:
            lines.append(f"{indent}   {'→' if unicode else '->'} {link.remedy}")
    return _shown(lines, unicode=unicode)


def _branch(depth: int, *, last: bool, unicode: bool) -> tuple[str, str]:
    if unicode:
        return "   " * depth, "└─ " if last else "├─ "
    return "   " * depth, "`- " if last else "|- "


def _sentence(link: Link) -> str:
    expected, found = _short(link.expected), _short(link.found)
    if link.outcome is Tier.AFFIRMING and expected == found:
        return f"{link.subject}: {found}" if found else link.subject
    if expected and found:
        return f"{link.subject}: expected {expected}, found {found}"
    return f"{link.subject}: {found or expected}" if found or expected else link.subject


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}… ({len(text)})"
