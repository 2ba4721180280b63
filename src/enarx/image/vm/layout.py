"""What an image is on disk: a directory of six files, one of which describes the others."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from enarx.errors import HostError, VerificationError
from enarx.wire import limits

FORMAT: Final = "enarx-vm-image"
DESCRIPTION: Final = "image.json"
KERNEL: Final = "vmlinuz"
INITRD: Final = "initrd"
FIRMWARE: Final = "firmware.fd"
VARIABLES: Final = "variables.fd"
BOM: Final = "bom.json"
FILES: Final = (KERNEL, INITRD, FIRMWARE, VARIABLES, BOM)
FILE_MAX: Final = 512 * limits.MIB
"""Bytes of one file; an initramfs has 25 MB."""
DESCRIPTION_MAX: Final = 64 * limits.KIB

COMMAND_LINE: Final = (
    "console=ttyS0 quiet loglevel=4 panic=-1 oops=panic no_timer_check lockdown=confidentiality"
    " init_on_alloc=1 ipv6.disable=1 random.trust_cpu=on random.trust_bootloader=off"
)
"""What the kernel is told. The first program reads none of it; it is measured all the same."""

_Hex32 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
_Text = Annotated[str, Meta(min_length=1, max_length=4096)]


class FileEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One file: bytes and SHA-256 (hex)."""

    size: Annotated[int, Meta(ge=1, le=FILE_MAX)]
    sha256: _Hex32


class Image(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The description.

    payload, runtime: digests of the two components, hex, as for process Keeps.
    lock: SHA-256 of the lock file it was built by.
    """

    format: str
    version: Annotated[int, Meta(ge=1, le=1)]
    enarx: _Text
    kernel: _Text
    command_line: _Text
    payload: _Hex32
    runtime: _Hex32
    lock: _Hex32
    files: dict[str, FileEntry]


def load_image(directory: Path, *, check: bool) -> Image:
    """Read the description of an image.

    Args:
        check: read the files, too, and compare them with it.

    Raises:
        HostError: there is no image, or none that can be used (`image.missing`).
        VerificationError: a file is not the one described (`image.file`).
    """
    path = directory / DESCRIPTION
    try:
        with path.open("rb") as file:
            image = msgspec.json.decode(file.read(DESCRIPTION_MAX), type=Image)
    except OSError as error:
        raise _missing(directory, f"{path}: {error.strerror}") from None
    except msgspec.DecodeError as error:
        raise _missing(directory, f"{path}: {error}") from None
    if image.format != FORMAT or set(image.files) != set(FILES):
        raise _missing(directory, f"{path} describes something else")
    if check:
        for name, entry in image.files.items():
            check_file(directory / name, entry)
    return image


def check_file(path: Path, entry: FileEntry) -> None:
    """Raise unless the file is the one described."""
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _missing(path.parent, f"{path}: {error.strerror}") from None
    if found != entry.sha256:
        raise VerificationError(
            f"{path} is not the file of this image: expected SHA-256 {entry.sha256}, found {found}",
            hint="build the image anew: enarx image build",
            code="image.file",
        )


def _missing(directory: Path, problem: str) -> HostError:
    return HostError(
        f"there is no VM image in {directory}: {problem}",
        hint="build one with 'enarx image build'",
        code="image.missing",
    )
