"""Text for people, of which parts were written by strangers."""

from __future__ import annotations

import os
import sys
from typing import Final, TextIO


def printable(text: str) -> str:
    """The text without what a terminal would obey; line breaks and tabs stay."""
    return "".join(
        sign if sign.isprintable() or sign in "\n\t" else f"\\x{ord(sign):02x}" for sign in text
    )


def speaks_unicode(stream: TextIO | None) -> bool:
    """Whether ticks and crosses can be written there."""
    encoding = (getattr(stream, "encoding", None) or "ascii").lower().replace("-", "")
    return encoding.startswith("utf")


def wants_colour(stream: TextIO | None) -> bool:
    """Whether to colour: only on a terminal, and not under NO_COLOR (no-color.org).

    A stream that was closed from the start is None.
    """
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or sys.platform == "win32":
        return False
    return stream is not None and stream.isatty()


_COLOURS: Final = {"red": "31", "green": "32", "yellow": "33", "bold": "1", "dim": "2"}


def paint(text: str, colour: str, *, on: bool) -> str:
    """The text in a colour, or as it is."""
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m" if on else text
