"""`make setup` and `make examples`: what they say when something is missing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / "tools"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what set-up reads, with no environment in it yet."""
    for name in ("tools", "requirements"):
        (tmp_path / name).mkdir()
        for path in (ROOT / name).iterdir():
            if path.is_file():
                (tmp_path / name / path.name).write_bytes(path.read_bytes())
    for name in ("pyproject.toml", "Makefile"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    return tmp_path


def run_python(checkout: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Runs code with the set-up tools importable."""
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=checkout / "tools",
        env={"PATH": "/nowhere"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def pretend_done(checkout: Path, kind: str) -> None:
    """Leaves what a finished set-up leaves, without the download."""
    code = f"import setup; (setup.VENV / '.enarx-{kind}').write_text(setup.stamp_text('{kind}'))"
    (checkout / ".venv" / "bin").mkdir(parents=True, exist_ok=True)
    for name in ("python", "enarx"):
        (checkout / ".venv" / "bin" / name).touch()
    assert run_python(checkout, code).returncode == 0


def is_current(checkout: Path, kind: str = "runtime") -> bool:
    code = f"import setup, sys; sys.exit(not setup.is_current('{kind}'))"
    return run_python(checkout, code).returncode == 0


def test_old_python_is_named_with_the_command_that_gets_a_newer_one(checkout: Path) -> None:
    code = "import sys; sys.version_info = (3, 10, 12); import setup; sys.exit(setup.main())"
    done = run_python(checkout, code)
    assert done.returncode == 1
    assert "expected Python 3.11 or later, found 3.10.12" in done.stderr
    assert "apt-get install python3.11 python3.11-venv" in done.stderr
    assert not (checkout / ".venv").exists()


def test_python_without_venv_is_named_with_the_command_that_adds_it(checkout: Path) -> None:
    (checkout / "tools" / "fake").write_text("#!/bin/sh\necho No module named venv >&2; exit 1\n")
    (checkout / "tools" / "fake").chmod(0o755)
    code = (
        "import sys, pathlib, setup; sys.executable = str(pathlib.Path('fake').resolve());"
        "sys.argv = ['setup.py']; sys.exit(setup.main())"
    )
    done = run_python(checkout, code)
    assert done.returncode == 1
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert f"apt-get install python{version}-venv" in done.stderr
    assert "Traceback" not in done.stderr


def test_missing_interpreter_is_named_before_anything_is_made(checkout: Path) -> None:
    done = subprocess.run(
        ["make", "setup", "PYTHON=no-such-python"],
        cwd=checkout,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode != 0
    assert "no-such-python is not here" in done.stderr
    assert not (checkout / ".venv").exists()


def test_finished_setup_is_not_done_again(checkout: Path) -> None:
    assert not is_current(checkout)
    pretend_done(checkout, "runtime")
    assert is_current(checkout)
    assert not is_current(checkout, "dev")


@pytest.mark.parametrize("name", ["requirements/lock.txt", "pyproject.toml"])
def test_changed_input_makes_setup_run_again(checkout: Path, name: str) -> None:
    pretend_done(checkout, "runtime")
    with (checkout / name).open("a") as file:
        file.write("# changed\n")
    assert not is_current(checkout)


def test_moved_checkout_makes_setup_run_again(checkout: Path) -> None:
    pretend_done(checkout, "runtime")
    moved = checkout.with_name("moved")
    checkout.rename(moved)
    assert not is_current(moved)


def test_missing_system_package_is_named_with_what_it_adds_and_no_question(
    checkout: Path,
) -> None:
    code = """
import os, sys, system
package = system.Package("no-such-package", "/no/such/path*", "tests of nothing")
system.PACKAGES["tests"] = (package,)
os.geteuid = lambda: 1000
sys.exit(0 if system.ensure("tests") else 1)
"""
    done = run_python(checkout, code)
    assert done.returncode == 1
    assert "no-such-package" in done.stderr
    assert "tests of nothing" in done.stderr
    assert "as root: apt-get install no-such-package" in done.stderr


def test_examples_refuse_another_compiler_rather_than_compare(checkout: Path) -> None:
    (checkout / "examples").mkdir()
    compiler = checkout / "rustc"
    compiler.write_text("#!/bin/sh\necho rustc 1.85.0\n")
    compiler.chmod(0o755)
    done = subprocess.run(
        [str(TOOLS / "examples.sh")],
        env={**os.environ, "RUSTC": str(compiler)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert "expected rustc 1.63.0 (Debian 12's), found rustc 1.85.0" in done.stderr


def test_make_alone_prints_the_targets() -> None:
    done = subprocess.run(
        ["make"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    for target in ("setup", "demo", "test", "lint", "bench", "fuzz", "examples", "clean"):
        assert f"  {target} " in done.stdout
