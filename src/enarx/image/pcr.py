"""The TPM registers of a measured boot, from files alone.

The boot is OVMF's: it starts a kernel that QEMU hands it, which loads its initrd through its
EFI stub. Each register starts at zeros and is extended with these digests, in order:

====  =======================================================================================
 0    the firmware itself: one value a build (:data:`FIRMWARE`), or given
 2    separator (there are no option ROMs)
 3    separator
 4    Authenticode hash of the kernel; ``Calling EFI Application from Boot Option``; separator
 5    separator; ``Exit Boot Services Invocation``; ``Exit Boot Services Returned with Success``
 6    separator
 7    the variables SecureBoot, PK, KEK, db, dbx, all empty; separator
 8    nothing
 9    command line as the kernel gets it (UTF-16, zero-terminated); the initrd
====  =======================================================================================

Left out: 1 (the machine's ACPI tables and boot variables, which vary with memory and devices),
10 (the kernel's own), 11 and 12 (the Keep's own), 13 to 15 (nothing).

Sources: TCG *PC Client Platform Firmware Profile* (1.06), sections 3.3.4 and 10.4; EDK II,
QemuKernelLoaderFsDxe (``initrd=initrd``); Linux, drivers/firmware/efi/libstub/efi-stub-helper.c.
Measured: OVMF 2025.02, Linux 6.12, QEMU 10.0.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from enarx.errors import UsageError
from enarx.evidence.eventlog import replay_digests
from enarx.evidence.tpm_bundle import BANK, BOOT_PCRS, DIGEST, boot_digest
from enarx.image.authenticode import authenticode_sha256

FIRMWARE: Final[Mapping[bytes, bytes]] = MappingProxyType(
    {
        # ovmf 2025.02-8+deb13u1: OVMF_CODE_4M.fd
        bytes.fromhex(
            "624e06de18b4fa535e90db7160d00d3d07d206422b89999bf1e27d920264e4e0"
        ): bytes.fromhex("0101271704ccc2360ddbb08438d591c23fb8a0a9cb0cebc60cefea7868833f8e"),
    }
)
"""Register 0 by SHA-256 of the firmware's file, as boots have shown it.

It is not computed: firmware measures its first volume as it lies in memory, relocated."""

INITRD_SUFFIX: Final = " initrd=initrd"
"""What the firmware appends to the command line where there is an initrd."""

_GLOBAL: Final = bytes.fromhex("61dfe48bca93d211aa0d00e098032b8c")
"""EFI_GLOBAL_VARIABLE, as it is stored (UEFI 2.10, section 3.3)."""
_SECURITY: Final = bytes.fromhex("cbb219d73a3d9645a3bcdad00e67656f")
"""EFI_IMAGE_SECURITY_DATABASE_GUID (UEFI 2.10, section 32.6.1)."""
_VARIABLES: Final = (
    (_GLOBAL, "SecureBoot"),
    (_GLOBAL, "PK"),
    (_GLOBAL, "KEK"),
    (_SECURITY, "db"),
    (_SECURITY, "dbx"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineBoot:
    """What a machine should boot, and so what its TPM should say.

    Attributes:
        pcrs: registers by number, those that can be known beforehand.
        layers: digests of what can be named: ``firmware``, ``kernel``, ``command_line``,
            ``initrd``.
    """

    pcrs: Mapping[int, bytes]
    layers: Mapping[str, bytes]

    @property
    def measurement(self) -> bytes:
        """The launch measurement of a VM Keep: SHA-256 over the registers that say what booted."""
        return boot_digest(self.pcrs)

    @property
    def registers(self) -> tuple[tuple[str, tuple[bytes, ...]], ...]:
        """Reference values by register, layers first, so that a mismatch names the layer."""
        values = {**self.layers, **{f"pcr{index}": value for index, value in self.pcrs.items()}}
        return tuple((name, (value,)) for name, value in values.items())


def predict(
    *,
    kernel: bytes,
    initrd_sha256: bytes,
    command_line: str,
    firmware_sha256: bytes,
    pcr0: bytes | None = None,
) -> MachineBoot:
    """What the TPM of a machine with these files will say.

    Args:
        kernel: the kernel's file.
        initrd_sha256, firmware_sha256: of the files.
        command_line: as QEMU is given it.
        pcr0: of a firmware that is not in :data:`FIRMWARE`, from a machine one trusts.

    Raises:
        ParseError: the kernel is no EFI program.
        UsageError: the firmware is unknown and no ``pcr0`` was given.
    """
    firmware = pcr0 if pcr0 is not None else FIRMWARE.get(firmware_sha256)
    if firmware is None or len(firmware) != DIGEST:
        raise UsageError(
            f"firmware {firmware_sha256.hex()} is not known, so register 0 cannot be predicted",
            hint="use the firmware of `enarx image build`, or give register 0 of a machine that "
            "you trust and that booted this firmware",
            code="image.firmware",
        )
    layers = {
        "firmware": firmware,
        "kernel": authenticode_sha256(kernel),
        "command_line": command_line_digest(command_line),
        "initrd": initrd_sha256,
    }
    return MachineBoot(pcrs=registers(**layers), layers=layers)


def registers(
    *, firmware: bytes, kernel: bytes, command_line: bytes, initrd: bytes
) -> Mapping[int, bytes]:
    """The registers of this module's docstring, from the digests of the layers."""
    separator = _sha256(bytes(4))
    variables = [variable_digest(guid, name, b"") for guid, name in _VARIABLES]
    extended: dict[int, Iterable[bytes]] = {
        2: (separator,),
        3: (separator,),
        4: (kernel, _sha256(b"Calling EFI Application from Boot Option"), separator),
        5: (
            separator,
            _sha256(b"Exit Boot Services Invocation"),
            _sha256(b"Exit Boot Services Returned with Success"),
        ),
        6: (separator,),
        7: (*variables, separator),
        8: (),
        9: (command_line, initrd),
    }
    values = {
        index: replay_digests(BANK, digests, size=DIGEST) for index, digests in extended.items()
    }
    return {index: values.get(index, firmware) for index in BOOT_PCRS}


def command_line_digest(command_line: str) -> bytes:
    """Digest of the kernel's load options: UTF-16LE with a zero behind, suffix included."""
    return _sha256((command_line + INITRD_SUFFIX).encode("utf-16-le") + bytes(2))


def variable_digest(guid: bytes, name: str, content: bytes) -> bytes:
    """Digest of a UEFI_VARIABLE_DATA (Platform Firmware Profile, section 10.2.6)."""
    encoded = name.encode("utf-16-le")
    return _sha256(guid + struct.pack("<QQ", len(name), len(content)) + encoded + content)


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
