"""Every parser accepts broken input or refuses it with an error of ours."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def run_fuzz(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "tools" / "fuzz.py"), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_no_parser_lets_a_foreign_error_out() -> None:
    done = run_fuzz("--seed", "1", "--rounds", "6", "--seconds", "120")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 findings" in done.stdout


def test_finding_is_reported_with_its_place() -> None:
    """The fuzzer itself: a parser that fails on purpose is found."""
    code = (
        "import sys, fuzz; from fuzz_targets import Target;"
        "text = fuzz.attempt(Target('broken', lambda data: data[9], [b'']), b'');"
        "print(text); sys.exit(not text.startswith('finding: IndexError at '))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT / "tools",
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_unknown_target_is_refused() -> None:
    done = run_fuzz("--only", "no-such-parser")
    assert done.returncode == 2
    assert "no parser's name begins with 'no-such-parser'" in done.stderr
