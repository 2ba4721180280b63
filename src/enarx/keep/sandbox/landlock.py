"""Landlock: no files but the Keep's own, no TCP, no signals or sockets to outside.

Source: Linux, Documentation/userspace-api/landlock.rst and include/uapi/linux/landlock.h.
"""

from __future__ import annotations

import ctypes
import os
import struct

from enarx.keep.sandbox import libc

_VERSION_FLAG = 1
_RULE_PATH_BENEATH = 1
_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
"""How many rights over files each ABI version knows, from bit 0."""
_TCP_RIGHTS = 0b11
_SCOPES = 0b11
_WRITE_FILE, _READ_FILE, _READ_DIR, _REMOVE_FILE, _MAKE_REG = 1 << 1, 1 << 2, 1 << 3, 1 << 5, 1 << 8
_MAKE_DIR = 1 << 7


def enter(*, own: str | None) -> None:
    """Deny everything that this kernel's Landlock can, but plain files under `own`.

    Raises OSError; ENOSYS or EOPNOTSUPP where the kernel has no Landlock.
    """
    version = libc.syscall(libc.LANDLOCK_CREATE_RULESET, None, 0, _VERSION_FLAG)
    files = (1 << _FILE_RIGHTS[min(version, max(_FILE_RIGHTS))]) - 1
    network = _TCP_RIGHTS if version >= 4 else 0
    scopes = _SCOPES if version >= 6 else 0
    fields = [files] + [network] * (version >= 4) + [scopes] * (version >= 6)
    attributes = struct.pack(f"={len(fields)}Q", *fields)
    ruleset = libc.syscall(libc.LANDLOCK_CREATE_RULESET, attributes, len(attributes), 0)
    try:
        if own is not None:
            _allow(
                ruleset,
                own,
                _READ_FILE | _READ_DIR | _WRITE_FILE | _MAKE_REG | _MAKE_DIR | _REMOVE_FILE,
            )
        libc.syscall(libc.LANDLOCK_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    directory = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        rule = ctypes.create_string_buffer(struct.pack("=Qi", rights, directory))
        libc.syscall(libc.LANDLOCK_ADD_RULE, ruleset, _RULE_PATH_BENEATH, rule, 0)
    finally:
        os.close(directory)
