"""System packages that add something, though none is needed to run Keeps.

    python3 tools/system.py tests       what the tests can use
    python3 tools/system.py vm          what Keeps that are virtual machines need
    python3 tools/system.py examples    what `make examples` needs

As root on Debian or Ubuntu what is missing is installed, without a question and
in bounded time; otherwise it is named, with what it would add, and the exit code
is 1. Set-up goes on all the same.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

APT_TIMEOUT = 400  # seconds; measured 7 s on a good line, a dead mirror must not hang CI


class Package(NamedTuple):
    """A Debian package, how to tell that it is there, and what it is good for."""

    name: str
    proof: str  # a glob: the package is there when any path matches
    adds: str


PACKAGES = {
    "tests": (
        Package("systemd", "/lib/systemd/systemd", "tests of Keeps as units of a real systemd"),
        Package("dbus", "/usr/bin/dbus-daemon", "the bus over which systemd is asked"),
    ),
    "vm": (
        Package("qemu-system-x86", "/usr/bin/qemu-system-x86_64", "Keeps that are machines"),
        Package("swtpm", "/usr/bin/swtpm", "their TPMs"),
        Package("swtpm-tools", "/usr/bin/swtpm_setup", "the making of their TPMs"),
    ),
    "examples": (
        Package("rustc", "/usr/bin/rustc", "the compiler of the examples"),
        Package(
            "libstd-rust-dev-wasm32",
            "/usr/lib/rustlib/wasm32-was*/lib/libstd-*",
            "its library for WebAssembly",
        ),
        Package("lld", "/usr/bin/wasm-ld", "the linker for WebAssembly"),
    ),
}


def is_there(package: Package) -> bool:
    """Whether the package's proof is on this machine."""
    path = Path(package.proof)
    return any(Path(path.anchor).glob(str(path.relative_to(path.anchor))))


def release() -> dict[str, str]:
    """The fields of /etc/os-release; empty where there is none."""
    try:
        lines = Path("/etc/os-release").read_text().splitlines()
    except OSError:
        return {}
    return {name: value.strip('"') for name, _, value in (line.partition("=") for line in lines)}


def apt_get(*arguments: str) -> bool:
    """Runs apt-get without questions; whether it succeeded."""
    command = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=60", "-o", "Acquire::Retries=2"]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    try:
        done = subprocess.run(
            [*command, *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=APT_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def replaces_libc(command: list[str]) -> bool:
    """Whether this would bring another C library: lists of a newer release do so unasked."""
    try:
        done = subprocess.run(
            ["apt-get", "-s", *command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=APT_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return True
    return any(line.startswith("Inst libc6 ") for line in done.stdout.splitlines())


def install(packages: list[Package], suite: str) -> None:
    """Installs the packages from this release, whatever other lists the machine has."""
    print("setup: installing", ", ".join(package.name for package in packages), flush=True)
    fields = release()
    # Debian 12 machines often have lists of newer releases as well.
    pin = ["-t", suite] if fields.get("VERSION_CODENAME") == "bookworm" else []
    command = ["install", "-y", "--no-install-recommends", *pin, *(each.name for each in packages)]
    if replaces_libc(command):
        print("setup: apt would replace the C library for that, so nothing is installed")
        return
    # A fresh container has no lists yet; a machine with lists need not fetch them.
    if not apt_get(*command):
        apt_get("update")
        apt_get(*command)


def missing(purpose: str) -> list[Package]:
    """What of this purpose is not on this machine."""
    return [package for package in PACKAGES[purpose] if not is_there(package)]


def ensure(purpose: str) -> bool:
    """Installs what is missing where that can be done and names the rest; whether all is there."""
    lacking = missing(purpose)
    if lacking and os.geteuid() == 0 and shutil.which("apt-get"):
        # QEMU of the release itself is too old for the firmware of our machines.
        install(lacking, "bookworm-backports" if purpose == "vm" else "bookworm")
        lacking = missing(purpose)
    if not lacking:
        return True
    print(f"setup: missing for {purpose}:", file=sys.stderr)
    for package in lacking:
        print(f"  {package.name:<24}{package.adds}", file=sys.stderr)
    names = " ".join(package.name for package in lacking)
    print(f"  to have it, as root: apt-get install {names}", file=sys.stderr)
    return False


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in PACKAGES:
        sys.exit(f"usage: python3 tools/system.py {'|'.join(PACKAGES)}")
    sys.exit(0 if ensure(sys.argv[1]) else 1)
