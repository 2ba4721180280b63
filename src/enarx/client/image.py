"""The image of Keeps that are machines, on the tenant's side: what its files must measure.

The tenant builds the image itself, or reproduces what somebody gave it. What a machine's TPM
must say follows from those files alone; nothing is taken from the host.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from enarx.client.paths import cache_dir
from enarx.errors import UsageError
from enarx.image.vm import layout

if TYPE_CHECKING:
    from enarx.image.pcr import MachineBoot
    from enarx.verifier.references import ReferenceValues

MACHINE: Final = "tpm"
"""The back end of Keeps that are machines with a TPM, and the technology of its evidence."""


def image_dir() -> Path:
    """Where `enarx image build` puts the image, and hosts and clients look for it."""
    return cache_dir() / "image"


def default_image() -> Path | None:
    """The directory of the image; None where none was built."""
    directory = image_dir()
    return directory if (directory / layout.DESCRIPTION).is_file() else None


@dataclass(frozen=True, kw_only=True)
class ImageValues:
    """What a machine that boots an image must be.

    Attributes:
        directory: of the image.
        payload, runtime: SHA-256 of their manifests.
        boot: the registers of its TPM.
    """

    directory: Path
    payload: bytes
    runtime: bytes
    boot: MachineBoot

    @classmethod
    def load(cls, *, built_from: bytes | None, directory: Path | None = None) -> ImageValues:
        """Read an image and compute what it measures.

        Args:
            built_from: digest of the payload that it must hold; None accepts any.
            directory: of the image; the user's own when None.

        Raises:
            HostError: there is no image (`image.missing`).
            VerificationError: a file is not the one described (`image.file`).
            UsageError: it holds another payload (`image.stale`), or its firmware is unknown.
            ParseError: its kernel is no EFI program.
        """
        from enarx.image.pcr import predict

        directory = directory or image_dir()
        image = layout.load_image(directory, check=True)
        payload = bytes.fromhex(image.payload)
        if built_from is not None and payload != built_from:
            raise UsageError(
                f"the image in {directory} holds another payload than this installation: "
                f"{payload.hex()} instead of {built_from.hex()}",
                hint="build it anew: enarx image build",
                code="image.stale",
            )
        boot = predict(
            kernel=(directory / layout.KERNEL).read_bytes(),
            initrd_sha256=bytes.fromhex(image.files[layout.INITRD].sha256),
            command_line=image.command_line,
            firmware_sha256=bytes.fromhex(image.files[layout.FIRMWARE].sha256),
        )
        return cls(
            directory=directory, payload=payload, runtime=bytes.fromhex(image.runtime), boot=boot
        )

    def references(self) -> ReferenceValues:
        """As reference values."""
        from enarx.verifier.references import ReferenceValues

        return ReferenceValues(
            measurements=(self.boot.measurement,),
            registers=self.boot.registers,
            payloads=(self.payload,),
            runtimes=(self.runtime,),
        )
