"""What the trusted computing base counts."""

from __future__ import annotations

from pathlib import Path

from enarx.image.manifest import Source
from enarx.image.tcb import code_lines, count

TEXT = '''"""A module.

Docstring of three lines.
"""

import os  # a comment behind code


# a comment alone
def f(a: int,
      b: int) -> str:
    """Docstring."""
    return """two
lines"""
'''


def test_lines_are_lines_of_code() -> None:
    assert code_lines(TEXT) == 5
    assert code_lines("") == 0


def test_parts_are_our_rooms_and_the_distributions(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\ny = 2\n")
    (tmp_path / "b.so").write_bytes(b"\0" * 5000)
    sources = [
        Source(path="zlib_x/b.so", origin=str(tmp_path / "b.so")),
        Source(path="enarx/keep/a.py", origin=str(tmp_path / "a.py")),
        Source(path="enarx/errors.py", origin=str(tmp_path / "a.py")),
    ]
    parts = count(sources)
    assert [(p.name, p.files, p.lines, p.native) for p in parts] == [
        ("enarx", 1, 2, 0),
        ("enarx.keep", 1, 2, 0),
        ("zlib_x", 1, 0, 5000),
    ]
