"""Which layers a measured boot names: the kernel, its command line and its initrd.

A Linux kernel that firmware starts directly leaves three events: firmware measures the kernel
file (Authenticode hash) into register 4, and the kernel's EFI stub measures its load options and
its initrd into register 9. Where there are several of a kind (a boot loader, a shim), no layer is
named: the registers speak for themselves.

Sources: *TCG PC Client Platform Firmware Profile* (1.06), sections 3.3.4 and 10.4.1;
Linux, drivers/firmware/efi/libstub/efistub.h (ids of the tagged events).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final

from enarx.evidence.eventlog import Event, EventLog

EV_EVENT_TAG: Final = 0x00000006
EV_EFI_BOOT_SERVICES_APPLICATION: Final = 0x80000003

BOOT_LOADER_PCR: Final = 4
KERNEL_PCR: Final = 9

TAG_INITRD: Final = 0x8F3B22EC
TAG_LOAD_OPTIONS: Final = 0x8F3B22ED

_TAGGED = struct.Struct("<II")


def layers(log: EventLog, bank: str) -> Mapping[str, bytes]:
    """Digests by layer: ``kernel``, ``command_line``, ``initrd``; those that are there once.

    They are worth as much as the log's replay: compare it with a quote first.
    """
    found: dict[str, list[bytes]] = {}
    for event in log.events:
        name = _layer(event)
        if name and bank in event.digests:
            found.setdefault(name, []).append(event.digests[bank])
    return {name: digests[0] for name, digests in found.items() if len(digests) == 1}


def _layer(event: Event) -> str:
    if event.index == BOOT_LOADER_PCR and event.kind == EV_EFI_BOOT_SERVICES_APPLICATION:
        return "kernel"
    if event.index != KERNEL_PCR or event.kind != EV_EVENT_TAG or len(event.data) < _TAGGED.size:
        return ""
    tag, _ = _TAGGED.unpack_from(event.data)
    return {TAG_INITRD: "initrd", TAG_LOAD_OPTIONS: "command_line"}.get(tag, "")
