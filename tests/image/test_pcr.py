"""Registers predicted from files are those that a machine's TPM shows."""

from __future__ import annotations

import contextlib
import hashlib
import json
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enarx.errors import ParseError, UsageError
from enarx.evidence.eventlog import extend, parse_event_log
from enarx.image import pcr
from enarx.image.authenticode import PE32_PLUS, authenticode_sha256

VECTORS = Path(__file__).resolve().parents[3] / "shared" / "vectors" / "eventlog"

# Two boots on QEMU 10.0.2 (TCG) with OVMF 2025.02-8+deb13u1, Linux 6.12.95+deb12 and swtpm:
# the digests of the files, and what the kernel then read from the TPM.
FIRMWARE = "624e06de18b4fa535e90db7160d00d3d07d206422b89999bf1e27d920264e4e0"
INITRD = "f2c2b2a27c30e4984fc6bd3579d4d000270e0b128c31abd9ad9d840078228c28"
SEPARATOR_ONLY = "3d458cfe55cc03ea1f443f1562beec8df51c75e14a9fcf9a7234a13f198e7969"
BOOTS = {
    "console=ttyS0 quiet panic=-1 no_timer_check": (
        "e4dc4f800f94a65d2719f3091353aee3202bc8b9ffe1791053c938befca42ed6"
    ),
    "console=ttyS0 quiet panic=-1 no_timer_check mitigations=auto": (
        "b39721e504d18da190cf522654b885f26568f536a8f58a33214e68f017fa20e1"
    ),
}
OTHERS = {
    2: SEPARATOR_ONLY,
    3: SEPARATOR_ONLY,
    4: "15e48da84c08127f95b17854c32e99de12e7664e8615e61a88bed8190a50be52",
    5: "a5ceb755d043f32431d63e39f5161464620a3437280494b5850dc1b47cc074e0",
    6: SEPARATOR_ONLY,
    7: "b5710bf57d25623e4019027da116821fa99f5c81e9e38b87671cc574f9281439",
    8: "00" * 32,
}
KERNEL = "c830f84c0c40deb7d49de5df2f4c1c471b7e7678d992d7ebb6a1c29b61fb2a7a"


@pytest.mark.parametrize("command_line", BOOTS)
def test_prediction_is_what_the_tpm_of_a_real_boot_said(command_line: str) -> None:
    found = pcr.registers(
        firmware=pcr.FIRMWARE[bytes.fromhex(FIRMWARE)],
        kernel=bytes.fromhex(KERNEL),
        command_line=pcr.command_line_digest(command_line),
        initrd=bytes.fromhex(INITRD),
    )
    assert {index: value.hex() for index, value in found.items() if index} == {
        **OTHERS,
        9: BOOTS[command_line],
    }


def logs() -> list[Path]:
    return sorted(VECTORS.glob("*/event_log.bin"))


@pytest.mark.skipif(not logs(), reason=f"no samples in {VECTORS}")
def test_events_of_real_machines_have_the_digests_this_module_computes() -> None:
    seen = set()
    texts = {b"Exit Boot Services Invocation", b"Calling EFI Application from Boot Option"}
    for path in logs():
        if json.loads((path.parent / "expected.json").read_text())["failure"] == "structure":
            continue
        log = parse_event_log(path.read_bytes())
        if "sha256" not in log.banks:
            continue
        for event in log.events:
            digest = event.digests["sha256"]
            if event.kind == 4 and event.data == bytes(4):
                assert extend("sha256", bytes(32), digest).hex() == SEPARATOR_ONLY
                seen.add("separator")
            elif event.data in texts:
                assert digest == hashlib.sha256(event.data).digest()
                seen.add(event.data)
            elif event.kind == 0x80000001:
                guid, data = event.data[:16], event.data[32:]
                characters, size = struct.unpack("<QQ", event.data[16:32])
                name = data[: 2 * characters].decode("utf-16-le")
                assert digest == pcr.variable_digest(guid, name, data[len(data) - size :])
                seen.add("variable")
    assert {"separator", "variable"} | texts <= seen


@pytest.mark.parametrize(
    ("changed", "register"), [("firmware", 0), ("kernel", 4), ("command_line", 9), ("initrd", 9)]
)
def test_each_layer_changes_its_register_and_no_other(changed: str, register: int) -> None:
    layers = dict.fromkeys(("firmware", "kernel", "command_line", "initrd"), b"a" * 32)
    before = pcr.registers(**layers)
    after = pcr.registers(**{**layers, changed: b"b" * 32})
    assert {index for index in before if before[index] != after[index]} == {register}


def test_a_space_in_the_command_line_is_another_command_line() -> None:
    assert pcr.command_line_digest("quiet") != pcr.command_line_digest("quiet ")


def test_unknown_firmware_is_refused_unless_its_register_is_given() -> None:
    files = {
        "kernel": pe(),
        "initrd_sha256": b"i" * 32,
        "command_line": "quiet",
        "firmware_sha256": b"f" * 32,
    }
    with pytest.raises(UsageError) as caught:
        pcr.predict(**files)
    assert caught.value.code == "image.firmware"
    boot = pcr.predict(**files, pcr0=b"0" * 32)
    assert boot.pcrs[0] == b"0" * 32
    assert boot.layers["kernel"] == authenticode_sha256(pe())
    assert dict(boot.registers)["pcr4"] == (boot.pcrs[4],)
    assert len(boot.measurement) == 32


def pe(
    *,
    sections: tuple[bytes, ...] = (b"first section!!!", b"second one......"),
    checksum: bytes = b"\0" * 4,
    certificate: bytes = b"",
    behind: bytes = b"behind the sections.....",
) -> bytes:
    """A PE32+ file with what Authenticode leaves out, and what not."""
    optional_size, start = 112 + 16 * 8, 64
    headers = 512
    body = b"".join(sections) + behind
    optional = bytearray(struct.pack("<H", PE32_PLUS).ljust(optional_size, b"\0"))
    optional[60:64] = struct.pack("<I", headers)
    optional[64:68] = checksum
    if certificate:
        optional[112 + 32 : 112 + 40] = struct.pack("<II", headers + len(body), len(certificate))
    table, offset = b"", headers
    for section in sections:
        table += struct.pack("<8sIIII16x", b".x", 0, 0, len(section), offset)
        offset += len(section)
    coff = struct.pack("<4sHHIIIHH", b"PE\0\0", 0x8664, len(sections), 0, 0, 0, optional_size, 0)
    head = b"MZ".ljust(60, b"\0") + struct.pack("<I", start) + coff + bytes(optional) + table
    return head.ljust(headers, b"\0") + body + certificate


def test_checksum_and_certificates_do_not_count() -> None:
    plain = authenticode_sha256(pe())
    assert authenticode_sha256(pe(checksum=b"abcd")) == plain
    signed = pe(certificate=b"c" * 64)
    # The entry of the certificate table is left out, too.
    assert authenticode_sha256(signed) == plain


def test_all_else_counts() -> None:
    data = pe()
    optional = 64 + 24
    free = {*range(optional + 64, optional + 68), *range(optional + 144, optional + 152)}
    plain = authenticode_sha256(data)
    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] ^= 0x20
        try:
            same = authenticode_sha256(bytes(changed)) == plain
        except ParseError:
            continue
        assert same == (position in free), position


def test_hash_is_over_the_parts_in_the_order_they_lie_in() -> None:
    data = pe()
    optional = 64 + 24
    by_hand = hashlib.sha256(
        data[: optional + 64] + data[optional + 68 : optional + 144] + data[optional + 152 :]
    )
    assert authenticode_sha256(data) == by_hand.digest()


@given(st.binary(max_size=300), st.integers(0, 600), st.integers(1, 300))
def test_damaged_files_are_hashed_or_refused_and_nothing_else(
    noise: bytes, at: int, length: int
) -> None:
    data = pe()
    for damaged in (data[:at], data[:at] + noise + data[at + length :], noise):
        with contextlib.suppress(ParseError):
            assert len(authenticode_sha256(damaged)) == 32
