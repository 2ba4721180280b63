"""Launch measurements, against other implementations and vendors' own vectors."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from sevsnpmeasure.gctx import GCTX

from enarx.errors import UsageError
from enarx.image import launch

PAYLOAD, RUNTIME = b"\x11" * 32, b"\x22" * 32
_SGXS = (
    Path(__file__).parents[2].parent
    / "shared/vectors/sgx-sigstruct/test-enclave-fortanix/enclave.sgxs"
)


def test_snp_launch_digest_is_what_another_implementation_computes() -> None:
    pages = launch.launch_image(payload=PAYLOAD, runtime=RUNTIME)
    peer = GCTX()
    peer.update_normal_pages(0, b"".join(pages))
    assert launch.snp_launch_digest(pages) == peer.ld()
    assert launch.launch_measurement("sim-snp", payload=PAYLOAD, runtime=RUNTIME) == peer.ld()


@pytest.mark.skipif(not _SGXS.exists(), reason=f"there is no {_SGXS}")
def test_mrenclave_of_a_real_enclave_is_the_one_its_signer_signed() -> None:
    stream = _SGXS.read_bytes()
    size, ssa_frame_size, pages = _read_sgxs(stream)
    signed = (_SGXS.parent / "sigstruct.bin").read_bytes()[960:992]
    assert hashlib.sha256(stream).digest() == signed
    assert launch.mrenclave(pages, size=size, ssa_frame_size=ssa_frame_size) == signed


def _read_sgxs(stream: bytes) -> tuple[int, int, list[launch.EnclavePage]]:
    """Size, SSA frame size and pages of an SGXS stream whose pages are all measured."""
    tag, ssa_frame_size, size = struct.unpack_from("<8sIQ", stream)
    assert tag == b"ECREATE\0"
    pages = []
    at = 64
    while at < len(stream):
        tag, offset, flags = struct.unpack_from("<8sQQ", stream, at)
        assert tag == b"EADD\0\0\0\0"
        at += 64
        content = b"".join(_chunks(stream, at, offset))
        at += 16 * (64 + launch.CHUNK)
        pages.append(launch.EnclavePage(offset=offset, flags=flags, content=content))
    return size, ssa_frame_size, pages


def _chunks(stream: bytes, at: int, page: int) -> Iterator[bytes]:
    for number in range(16):
        record = at + number * (64 + launch.CHUNK)
        tag, offset = struct.unpack_from("<8sQ", stream, record)
        assert tag == b"EEXTEND\0"
        assert offset == page + number * launch.CHUNK
        yield stream[record + 64 : record + 64 + launch.CHUNK]


def test_mrtd_is_the_hash_of_the_records_that_the_tdx_module_extends() -> None:
    # TDX module base architecture specification: each record is 128 bytes, name in the first
    # 16, guest-physical address in the next 8; an extension is followed by its 256 bytes.
    pages = launch.launch_image(payload=PAYLOAD, runtime=RUNTIME)
    records = bytearray()
    for number, page in enumerate(pages):
        address = number * 4096
        records += b"MEM.PAGE.ADD".ljust(16, b"\0") + address.to_bytes(8, "little") + bytes(104)
        for offset in range(0, 4096, 256):
            place = (address + offset).to_bytes(8, "little")
            records += b"MR.EXTEND".ljust(16, b"\0") + place + bytes(104)
            records += page[offset : offset + 256]
    assert launch.mrtd(pages) == hashlib.sha384(records).digest()


@pytest.mark.parametrize(("backend", "size"), [("sim-sgx", 32), ("sim-snp", 48), ("sim-tdx", 48)])
def test_each_back_end_measures_in_its_own_size(backend: str, size: int) -> None:
    assert len(launch.launch_measurement(backend, payload=PAYLOAD, runtime=RUNTIME)) == size


@pytest.mark.parametrize("backend", list(launch.BACKENDS))
def test_payload_and_runtime_are_not_interchangeable(backend: str) -> None:
    assert launch.launch_measurement(
        backend, payload=PAYLOAD, runtime=RUNTIME
    ) != launch.launch_measurement(backend, payload=RUNTIME, runtime=PAYLOAD)


def test_an_unknown_back_end_is_refused_with_those_there_are() -> None:
    with pytest.raises(UsageError, match="sim-sgx, sim-snp, sim-tdx") as caught:
        launch.launch_measurement("snp", payload=PAYLOAD, runtime=RUNTIME)
    assert caught.value.code == "usage.backend"


@pytest.mark.parametrize("payload", [b"", b"short", bytes(33)])
def test_a_digest_of_another_size_is_refused(payload: bytes) -> None:
    with pytest.raises(UsageError, match="32 bytes"):
        launch.launch_measurement("sim-sgx", payload=payload, runtime=RUNTIME)
