"""The assembler of seccomp filters, by running its programs as the kernel would."""

from __future__ import annotations

import errno
import struct

import pytest

from enarx.keep.sandbox import seccomp
from enarx.keep.sandbox.bpf import Allow, Check, assemble

ALLOW, KILL = 0x7FFF0000, 0x80000000
EPERM, ENOSYS = 0x50000 | errno.EPERM, 0x50000 | errno.ENOSYS
X86_64 = 0xC000003E
NUMBERS = {"read": 0, "mmap": 9, "clone": 56, "clone3": 435}
RULES = (
    Allow("read", "always"),
    Allow("mmap", "not executable", (Check(argument=2, mask=4, value=0),)),
    Allow("clone", "both hold", (Check(argument=0, mask=1, value=1), Check(argument=1, value=7))),
    Allow("clone", "or this alone", (Check(argument=0, value=17),)),
)


def run(program: bytes, number: int, *arguments: int, arch: int = X86_64) -> int:
    """Interpret classic BPF (linux/filter.h) over one struct seccomp_data."""
    data = struct.pack("=iIQ6Q", number, arch, 0, *arguments, *[0] * (6 - len(arguments)))
    instructions = list(struct.iter_unpack("=HBBI", program))
    accumulator = position = 0
    while True:
        code, true, false, value = instructions[position]
        position += 1
        match code:
            case 0x20:
                accumulator = int.from_bytes(data[value : value + 4], "little")
            case 0x54:
                accumulator &= value
            case 0x15:
                position += true if accumulator == value else false
            case 0x35:
                position += true if accumulator >= value else false
            case 0x06:
                return int(value)
            case _:
                raise AssertionError(hex(code))


@pytest.fixture(scope="module")
def program() -> bytes:
    return assemble(RULES, numbers=NUMBERS, errno=errno.EPERM, refused={"clone3": errno.ENOSYS})


@pytest.mark.parametrize(
    ("number", "arguments", "result"),
    [
        (0, (), ALLOW),
        (1, (), EPERM),
        (9, (0, 0, 3), ALLOW),
        (9, (0, 0, 7), EPERM),
        (9, (0, 0, 1 << 32 | 4), EPERM),
        (56, (1, 7), ALLOW),
        (56, (3, 7), ALLOW),
        (56, (1, 8), EPERM),
        (56, (2, 7), EPERM),
        (56, (17, 0), ALLOW),
        (435, (), ENOSYS),
        (0x7FFF, (), EPERM),
    ],
)
def test_call_gets_the_answer_its_rules_give(
    program: bytes, number: int, arguments: tuple[int, ...], result: int
) -> None:
    assert run(program, number, *arguments) == result


def test_another_architecture_kills(program: bytes) -> None:
    assert run(program, 0, arch=0x40000003) == KILL  # i386


def test_x32_kills(program: bytes) -> None:
    assert run(program, 0x40000000) == KILL


@pytest.mark.parametrize("rules", [seccomp.KEEP, seccomp.APP_LOADER, seccomp.WORKLOAD])
def test_every_rule_says_why_and_later_stages_only_take_away(rules: tuple[Allow, ...]) -> None:
    allowed = {name for rule in rules for name in rule.names.split()}
    assert all(rule.reason for rule in rules)
    assert allowed <= {name for rule in seccomp.KEEP for name in rule.names.split()}


def test_no_number_is_known_that_is_not_used() -> None:
    used = {name for rule in seccomp.KEEP for name in rule.names.split()}
    assert set(seccomp.NUMBERS) == used | {"clone3", "openat2"}
