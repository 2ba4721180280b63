"""The image that this host launches, as its builder described it (`enarx image build`).

The host does not vouch for it: what runs is measured, and the tenant compares. Checking the
files here tells a damaged image from an attack, and is what trusted boot rests on.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

import msgspec

from enarx.errors import HostError, VerificationError
from enarx.wire import limits

DESCRIPTION: Final = "image.json"
KERNEL, INITRD, FIRMWARE, VARIABLES = "vmlinuz", "initrd", "firmware.fd", "variables.fd"
LAUNCHED: Final = (KERNEL, INITRD, FIRMWARE, VARIABLES)
_DESCRIPTION_MAX: Final = 64 * limits.KIB


class _File(msgspec.Struct, frozen=True):
    size: int
    sha256: str


class _Description(msgspec.Struct, frozen=True):
    format: str
    version: int
    command_line: str
    files: dict[str, _File]


class Image:
    """An image in a directory; its files were compared with their description."""

    def __init__(self, directory: Path, description: _Description) -> None:
        self.directory = directory
        self.command_line = description.command_line

    @classmethod
    def open(cls, directory: Path) -> Image:
        """Read the description and check every file that is launched.

        Raises:
            HostError: there is no usable image (`image.missing`).
            VerificationError: a file is not the one described (`image.file`).
        """
        description = _describe(directory)
        for name in LAUNCHED:
            _check(directory / name, description.files[name])
        return cls(directory, description)

    def path(self, name: str) -> Path:
        """Where one of its files is."""
        return self.directory / name


def trouble(directory: Path | None) -> str:
    """Why no VM can be launched from this directory; empty where nothing speaks against it."""
    if directory is None:
        return "no VM image: build one with 'enarx image build'"
    try:
        _describe(directory)
    except HostError as error:
        return f"{error.message}: build one with 'enarx image build'"
    return ""


def _describe(directory: Path) -> _Description:
    path = directory / DESCRIPTION
    try:
        with path.open("rb") as file:
            description = msgspec.json.decode(file.read(_DESCRIPTION_MAX), type=_Description)
    except OSError as error:
        raise _missing(directory, f"{path.name}: {error.strerror}") from None
    except msgspec.DecodeError as error:
        raise _missing(directory, f"{path.name}: {error}") from None
    if (description.format, description.version) != ("enarx-vm-image", 1):
        raise _missing(directory, f"{path.name} describes something else")
    if lacking := [name for name in LAUNCHED if name not in description.files]:
        raise _missing(directory, f"{path.name} names no {', '.join(lacking)}")
    return description


def _check(path: Path, expected: _File) -> None:
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _missing(path.parent, f"{path.name}: {error.strerror}") from None
    if found != expected.sha256:
        raise VerificationError(
            f"the VM image's {path.name} is not the file it was built with: expected SHA-256 "
            f"{expected.sha256}, found {found}",
            hint="Build the image anew: enarx image build.",
            code="image.file",
        )


def _missing(directory: Path, problem: str) -> HostError:
    return HostError(
        f"there is no VM image in {directory} ({problem})",
        hint="Build one with 'enarx image build'.",
        code="image.missing",
    )
