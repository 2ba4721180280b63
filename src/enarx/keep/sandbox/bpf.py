"""An assembler for seccomp filters: allow-lists in, classic BPF for x86-64 out.

Each instruction is a struct sock_filter (linux/filter.h): u16 code, u8 jt, u8 jf, u32 k.
A filter looks at a struct seccomp_data (linux/seccomp.h): number at offset 0, architecture
at 4, six 64-bit arguments from 16. The kernel runs each filter for each number once when it
is installed, and then skips it for the numbers it always allows, so the order costs nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_LOAD, _AND, _JUMP_EQUAL, _JUMP_AT_LEAST, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x06

_ALLOW = 0x7FFF0000
_ERRNO = 0x00050000
_KILL_PROCESS = 0x80000000

_ARCH_X86_64 = 0xC000003E
_X32_BIT = 0x40000000
"""Numbers from here on are the x32 ABI, which goes by the same architecture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """`argument & mask == value`, over the low 32 bits of the argument."""

    argument: int
    mask: int = 0xFFFFFFFF
    value: int


@dataclass(frozen=True, slots=True)
class Allow:
    """System calls that are allowed, and why.

    names: separated by blanks. reason: what they are needed for. when: all must hold.
    """

    names: str
    reason: str
    when: tuple[Check, ...] = ()


def assemble(
    rules: Iterable[Allow],
    *,
    numbers: Mapping[str, int],
    errno: int,
    refused: Mapping[str, int],
) -> bytes:
    """The filter that allows what `rules` say.

    Several rules for one call are alternatives. Everything else fails with `errno`, except
    for the calls in `refused`, which have an error of their own. Another architecture's
    calls kill the process.
    """
    alternatives: dict[int, list[tuple[Check, ...]]] = {}
    for rule in rules:
        for name in rule.names.split():
            alternatives.setdefault(numbers[name], []).append(rule.when)
    program = [
        _instruction(_LOAD, 4),
        _instruction(_JUMP_EQUAL, _ARCH_X86_64, 1, 0),
        _instruction(_RETURN, _KILL_PROCESS),
        _instruction(_LOAD, 0),
        _instruction(_JUMP_AT_LEAST, _X32_BIT, 0, 1),
        _instruction(_RETURN, _KILL_PROCESS),
    ]
    for number, choices in sorted(alternatives.items()):
        block = _choices(choices, errno)
        program += [_instruction(_JUMP_EQUAL, number, 0, len(block)), *block]
    for name, error in refused.items():
        if numbers[name] not in alternatives:
            program += [
                _instruction(_JUMP_EQUAL, numbers[name], 0, 1),
                _instruction(_RETURN, _ERRNO | error),
            ]
    program.append(_instruction(_RETURN, _ERRNO | errno))
    return b"".join(program)


def _choices(choices: list[tuple[Check, ...]], errno: int) -> list[bytes]:
    """Code for one system call: allow when any alternative's checks all hold."""
    block: list[bytes] = []
    for checks in choices:
        for position, check in enumerate(checks):
            # Behind a check come three instructions for each further one, then the return.
            skip = 3 * (len(checks) - position - 1) + 1
            block += [
                _instruction(_LOAD, 16 + 8 * check.argument),
                _instruction(_AND, check.mask),
                _instruction(_JUMP_EQUAL, check.value, 0, skip),
            ]
        block.append(_instruction(_RETURN, _ALLOW))
    if all(choices):
        block.append(_instruction(_RETURN, _ERRNO | errno))
    return block


def _instruction(code: int, value: int, true: int = 0, false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, true, false, value)
