"""Makes ``.venv`` with everything pinned, so that the other targets of the Makefile work.

    python3 tools/setup.py              the ``enarx`` command
    python3 tools/setup.py --dev        also what tests and checks need

Needs Python >= 3.11 with ``venv`` and nothing else. Everything that is
downloaded is compared with the digests in ``requirements/``; only wheels are
taken, so that no foreign build script runs. The package itself is installed in
place, without network. A second run with nothing changed only reads a stamp.

Written so that older interpreters can read it: they are to print what to
install, not a syntax error.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import system

MINIMUM = (3, 11)
ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
LOCKS = {"runtime": ("lock.txt",), "dev": ("lock.txt", "dev.txt")}
# What else decides how the environment looks.
INPUTS = ("pyproject.toml", "tools/setup.py", "tools/system.py")
PIP_TIMEOUT = 900  # seconds; a slow line needs minutes for 30 MB, a dead one must not hang CI


class SetupError(Exception):
    """Set-up cannot go on; the message says what to do."""


def newer_python() -> str | None:
    """Path of an interpreter on PATH that is new enough, newest first."""
    for minor in range(15, MINIMUM[1] - 1, -1):
        found = shutil.which(f"python3.{minor}")
        if found:
            return found
    return None


def require_python() -> None:
    """Goes on under a new enough interpreter, or says how to get one."""
    if sys.version_info >= MINIMUM:
        return
    # The name that the Makefile uses unless told otherwise: then the choice is ours.
    newer = newer_python() if os.environ.get("PYTHON", "python3") == "python3" else None
    if newer:
        os.execv(newer, [newer, *sys.argv])
    found = ".".join(str(part) for part in sys.version_info[:3])
    raise SetupError(
        f"expected Python 3.11 or later, found {found} ({sys.executable})\n"
        "  install one, as root: apt-get install python3.11 python3.11-venv\n"
        "  and name it: make setup PYTHON=python3.11"
    )


def stamp_text(kind: str) -> str:
    """What the environment of this kind was, or is to be, made from."""
    digest = hashlib.sha256()
    names = [f"requirements/{name}" for name in LOCKS[kind]]
    for name in [*names, *INPUTS]:
        content = (ROOT / name).read_bytes()
        digest.update(f"{name} {len(content)}\n".encode() + content)
    # Scripts in an environment name its path: a moved checkout needs a new one.
    return f"{digest.hexdigest()} {VENV}\n"


def is_current(kind: str) -> bool:
    """Whether nothing is to be done."""
    try:
        current = (VENV / f".enarx-{kind}").read_text() == stamp_text(kind)
    except OSError:
        return False
    return current and (VENV / "bin" / "enarx").exists() and PYTHON.exists()


def has_usable_venv() -> bool:
    """Whether ``.venv`` is an environment of this path with a working interpreter and pip."""
    try:
        belongs = str(VENV) in (VENV / "bin" / "pip").read_text(errors="replace")
    except OSError:
        return False
    probe = [str(PYTHON), "-I", "-c", f"import sys, pip; sys.exit(sys.version_info < {MINIMUM})"]
    return belongs and subprocess.run(probe, capture_output=True, check=False).returncode == 0


def make_venv() -> None:
    """Makes ``.venv`` anew unless there is one that works."""
    if has_usable_venv():
        return
    print(f"setup: making .venv with Python {sys.version.split()[0]}", flush=True)
    made = subprocess.run(
        [sys.executable, "-I", "-m", "venv", "--clear", str(VENV)],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode == 0:
        return
    if "ensurepip" in made.stdout + made.stderr or "No module named venv" in made.stderr:
        version = f"{sys.version_info[0]}.{sys.version_info[1]}"
        raise SetupError(
            f"{sys.executable} cannot make virtual environments\n"
            f"  install the missing part, as root: apt-get install python{version}-venv"
        )
    raise SetupError(f"cannot make {VENV}\n  {(made.stderr or made.stdout).strip()}")


def pip(*arguments: str) -> None:
    """Runs the environment's pip, untouched by the user's settings for other installs."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PIP_TARGET", "PIP_PREFIX", "PIP_REQUIRE_VIRTUALENV")
    }
    environment.update(PIP_USER="0", PIP_NO_INPUT="1", PIP_DISABLE_PIP_VERSION_CHECK="1")
    command = [str(PYTHON), "-I", "-m", "pip", "--quiet", *arguments]
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=environment,
            timeout=PIP_TIMEOUT,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        raise SetupError(f"pip took more than {PIP_TIMEOUT} s; is the network slow?") from None
    if done.returncode != 0:
        raise SetupError(
            "pip could not install what is pinned (its message is above)\n"
            "  without network it works only if everything is installed already"
        )


def install(kind: str) -> None:
    """Brings ``.venv`` to what the locks and this checkout say."""
    make_venv()
    print("setup: installing pinned dependencies", flush=True)
    locks = [part for name in LOCKS[kind] for part in ("-r", f"requirements/{name}")]
    pip("install", "--require-hashes", "--only-binary=:all:", *locks)
    pip("install", "--no-deps", "--no-build-isolation", "--no-index", "--editable", ".")


def setup(kind: str) -> None:
    """Everything, once; others who want the same at the same time wait."""
    if is_current(kind):
        return
    with Path(__file__).open("rb") as turnstile:
        fcntl.flock(turnstile, fcntl.LOCK_EX)
        if is_current(kind):
            return
        install(kind)
        if kind == "dev" and not system.ensure("tests"):
            print("setup: going on without; tests that need it are skipped", flush=True)
        # Last, and in one step: an interrupted set-up is not taken for a finished one.
        for done in {"runtime", kind}:
            stamp = VENV / f".enarx-{done}"
            new = stamp.with_name(f"{stamp.name}.new")
            new.write_text(stamp_text(done))
            new.replace(stamp)
    print("setup: done, the command is .venv/bin/enarx", flush=True)


def main() -> int:
    """The command line; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, add_help=True)
    parser.add_argument("--dev", action="store_true", help="also what tests and checks need")
    kind = "dev" if parser.parse_args().dev else "runtime"
    try:
        require_python()
        setup(kind)
    except SetupError as error:
        print(f"setup: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"setup: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("setup: interrupted; run it again to go on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
