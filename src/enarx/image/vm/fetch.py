"""Packages from the distribution, by way of apt and without touching the system's own state.

A directory of our own holds apt's lists and one more list of sources: the mirror that this
machine already uses, with the suites that the lock names. Nothing is installed. A package
that was fetched once stays in the cache under its SHA-256, and then no network is needed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from enarx.errors import HostError, VerificationError
from enarx.image.vm import lock
from enarx.image.vm.lock import Package

UPDATE_SECONDS: Final = 300
"""For apt to read three suites' lists; it takes 5 s."""
DOWNLOAD_SECONDS: Final = 300
"""For all packages together, 52 MB; it takes seconds."""
KEYRINGS: Final = (
    "/usr/share/keyrings/debian-archive-keyring.gpg",
    "/usr/share/keyrings/debian-archive-keyring.pgp",
)
RELOCK: Final = "make a new lock of what the mirror has now: enarx image lock"

_URI = re.compile(r"'[^']*' (\S+)_(\S+)_(?:amd64|all)\.deb (\d+) SHA256:([0-9a-f]{64})")


def fetch(
    packages: Iterable[Package], *, cache: Path, mirror: str, say: Callable[[str], None]
) -> dict[str, Path]:
    """The packages' files, by name; fetched where the cache does not have them.

    Args:
        cache: directory of packages.
        mirror: URL of a Debian mirror; empty for the one this machine uses.
        say: told what is fetched.

    Raises:
        HostError: apt cannot be used (`image.apt`), or the mirror has a package no longer
            (`image.package-gone`).
        VerificationError: what came is not what the lock says (`image.package-hash`).
    """
    wanted = {
        package.name: (package, cache / f"{package.sha256.hex()}.deb") for package in packages
    }
    lacking = [package for package, path in wanted.values() if not _is(path, package)]
    if lacking:
        say(f"fetching {len(lacking)} packages, {sum(p.size for p in lacking) / 1e6:.1f} MB")
        _make(cache)
        with _Apt(mirror) as apt:
            got = apt.download(lacking)
            for package in lacking:
                if not _is(got[package.name], package):
                    raise VerificationError(
                        f"{package.name} {package.version} is not the file that was locked: "
                        f"expected SHA-256 {package.sha256.hex()}, found "
                        f"{hashlib.sha256(got[package.name].read_bytes()).hexdigest()}",
                        hint=RELOCK,
                        code="image.package-hash",
                    )
                shutil.move(got[package.name], wanted[package.name][1])
    return {name: path for name, (_, path) in wanted.items()}


def relock(*, mirror: str) -> tuple[Package, ...]:
    """The packages that are wanted, in the versions that the mirror has now.

    Raises:
        HostError: apt cannot be used (`image.apt`), or does not know a package.
    """
    with _Apt(mirror) as apt:
        return tuple(
            apt.locate(apt.kernel() if name == lock.KERNEL_META else name, role=role, suite=suite)
            for name, (role, suite) in lock.WANTED.items()
        )


class _Apt:
    """apt with lists of its own, in a directory that goes with it."""

    def __init__(self, mirror: str) -> None:
        if shutil.which("apt-get") is None:
            raise _unusable(
                "there is no apt-get here", "build on Debian or a relative, or copy the image"
            )
        self._mirror = mirror or _own_mirror()
        self._root = Path(tempfile.mkdtemp(prefix="enarx-apt-"))
        self._environment = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}

    def __enter__(self) -> _Apt:
        try:
            for name in ("state/lists/partial", "cache/archives/partial", "files"):
                (self._root / name).mkdir(parents=True)
            (self._root / "status").touch()
            keyring = next((path for path in KEYRINGS if os.path.exists(path)), None)
            if keyring is None:
                raise _unusable("Debian's keys are not here", "install debian-archive-keyring")
            (self._root / "sources.list").write_text(
                "".join(
                    f"deb [arch=amd64 signed-by={keyring}] {self._mirror} {suite} main\n"
                    for suite in (lock.BASE, lock.BACKPORTS, lock.NEXT)
                )
            )
            self._run("apt-get", "update", timeout=UPDATE_SECONDS)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._root, ignore_errors=True)

    def download(self, packages: list[Package]) -> dict[str, Path]:
        """Their files, by name; HostError `image.package-gone` where the mirror has one no more."""
        named = [f"{package.name}={package.version}" for package in packages]
        done = self._try("apt-get", "download", *named, timeout=DOWNLOAD_SECONDS)
        found = {}
        for package in packages:
            files = [*(self._root / "files").glob(f"{package.name}_*.deb")]
            if len(files) == 1:
                found[package.name] = files[0]
            elif gone := re.search(
                f"'{re.escape(package.version)}' for '.*' was not found", done.stderr
            ):
                raise HostError(
                    f"the mirror no longer has a locked package: {gone[0]}",
                    hint=RELOCK,
                    code="image.package-gone",
                )
        if len(found) != len(packages):
            raise _unusable(f"fetching failed: {_last(done.stderr)}", "is the network there?")
        return found

    def locate(self, name: str, *, role: str, suite: str) -> Package:
        """Version, size and hash of what a suite has under this name."""
        out = self._run("apt-get", "download", "--print-uris", f"{name}/{suite}")
        found = _URI.search(out)
        if found is None:
            raise _unusable(f"{suite} has no package {name}", "name another mirror")
        _, version, size, sha256 = found.groups()
        return Package(
            name=name,
            version=version.replace("%3a", ":"),
            role=role,
            suite=suite,
            size=int(size),
            sha256=bytes.fromhex(sha256),
        )

    def kernel(self) -> str:
        """Name of the package with the current kernel."""
        meta = self.locate(lock.KERNEL_META, role=lock.KERNEL, suite=lock.BACKPORTS)
        out = self._run("apt-cache", "show", f"{lock.KERNEL_META}={meta.version}")
        found = re.search(r"^Depends: (linux-image-[a-z0-9.+~\-]+)", out, re.MULTILINE)
        if found is None:
            raise _unusable(f"{lock.KERNEL_META} names no kernel", "name another mirror")
        return found[1]

    def _run(self, program: str, *arguments: str, timeout: float = 60) -> str:
        done = self._try(program, *arguments, timeout=timeout)
        if done.returncode:
            raise _unusable(
                f"{program} {arguments[0]} failed: {_last(done.stderr)}",
                "is the network there? Packages that were fetched once need none",
            )
        return done.stdout

    def _try(
        self, program: str, *arguments: str, timeout: float
    ) -> subprocess.CompletedProcess[str]:
        options = {
            "Dir::Etc::SourceList": self._root / "sources.list",
            "Dir::Etc::SourceParts": "-",
            "Dir::State": self._root / "state",
            "Dir::State::status": self._root / "status",
            "Dir::Cache": self._root / "cache",
            "APT::Architecture": "amd64",
            "APT::Sandbox::User": "",
        }
        flags = [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
        try:
            return subprocess.run(  # noqa: S603 - apt, with arguments of our own
                [program, *flags, *arguments],
                cwd=self._root / "files",
                env=self._environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise _unusable(
                f"{program} {arguments[0]} took longer than {timeout:g} s", "try again"
            ) from None


def _own_mirror() -> str:
    """URL of the Debian mirror that this machine's own lists name."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        out = subprocess.run(
            ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"],  # noqa: S607
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout
        for uri in out.split():
            if uri.rstrip("/").endswith("/debian"):
                return uri
    raise _unusable(
        "this machine's own package sources name no Debian mirror",
        "name one: --mirror URL, as in the first line of a Debian sources.list",
    )


def _is(path: Path, package: Package) -> bool:
    try:
        if path.stat().st_size != package.size:
            return False
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest() == package.sha256
    except OSError:
        return False


def _make(directory: Path) -> None:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise HostError(f"cannot make {directory}: {error.strerror}", code="image.write") from None


def _last(text: str) -> str:
    """The last line that says what is wrong, without addresses."""
    lines = [line for line in text.splitlines() if line.startswith(("E:", "Err"))] or ["no reason"]
    return lines[-1].removeprefix("E: ")[:300]


def _unusable(problem: str, hint: str) -> HostError:
    return HostError(f"packages cannot be had: {problem}", hint=hint, code="image.apt")
