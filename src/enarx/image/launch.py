"""Launch measurements, by the algorithm of each technology over the same launch image.

The launch image has two pages: the first names the payload's digest, the second the
runtime's. Every back end launches this image, so that its own measurement stands for both
components, and can be computed from the two digests alone.

    page = label, padded with zeros to 32 bytes || SHA-256 || zeros to 4096 bytes
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from enarx.errors import UsageError

PAGE: Final = 4096
CHUNK: Final = 256
"""SGX EEXTEND and TDX MR.EXTEND measure 256 bytes at a time."""

BACKENDS: Final[Mapping[str, str]] = MappingProxyType(
    {"sim-sgx": "sgx", "sim-snp": "snp", "sim-tdx": "tdx"}
)
"""Back ends whose launch this module can compute, and the technology of each."""

PAYLOAD_LABEL: Final = b"enarx payload"
RUNTIME_LABEL: Final = b"enarx runtime"
_LABEL_SIZE = 32
_DIGEST_SIZE = 32

SGX_SSA_FRAME_SIZE: Final = 1
SGX_PAGE_REG_READ: Final = 0x201
"""SECINFO.FLAGS of a regular page that is readable (Intel SDM volume 3D, section 35.7.1)."""

SNP_PAGE_NORMAL: Final = 0x01
"""PAGE_TYPE of PAGE_INFO (AMD 56860, SEV-SNP firmware ABI, table 67)."""
_SNP_PAGE_INFO = struct.Struct("<48s48sHBBBBBBQ")


def launch_measurement(backend: str, *, payload: bytes, runtime: bytes) -> bytes:
    """What the silicon of `backend` measures when it launches these two components.

    Args:
        backend: one of `BACKENDS`.
        payload, runtime: SHA-256 digests of the two manifests.

    Returns:
        SGX: MRENCLAVE, 32 bytes. SNP: launch digest, 48 bytes. TDX: MRTD, 48 bytes.

    Raises:
        UsageError: no such back end (`usage.backend`), or a digest is not 32 bytes.
    """
    try:
        technology = BACKENDS[backend]
    except KeyError:
        raise UsageError(
            f"there is no back end {backend!r} whose launch can be computed",
            hint=f"there are: {', '.join(BACKENDS)}",
            code="usage.backend",
        ) from None
    pages = launch_image(payload=payload, runtime=runtime)
    if technology == "sgx":
        enclave = [
            EnclavePage(offset=number * PAGE, flags=SGX_PAGE_REG_READ, content=page)
            for number, page in enumerate(pages)
        ]
        return mrenclave(enclave, size=len(pages) * PAGE)
    if technology == "snp":
        return snp_launch_digest(pages)
    return mrtd(pages)


def launch_image(*, payload: bytes, runtime: bytes) -> tuple[bytes, bytes]:
    """The two pages that are launched."""
    return _page(PAYLOAD_LABEL, payload), _page(RUNTIME_LABEL, runtime)


def _page(label: bytes, digest: bytes) -> bytes:
    if len(digest) != _DIGEST_SIZE:
        raise UsageError(f"a component's digest has 32 bytes, this one has {len(digest)}")
    return (label.ljust(_LABEL_SIZE, b"\0") + digest).ljust(PAGE, b"\0")


@dataclass(frozen=True, slots=True, kw_only=True)
class EnclavePage:
    """One page that is added to an enclave and measured in full.

    offset: from the start of the enclave, in bytes.
    flags: SECINFO.FLAGS.
    content: 4096 bytes.
    """

    offset: int
    flags: int
    content: bytes


def mrenclave(
    pages: Sequence[EnclavePage], *, size: int, ssa_frame_size: int = SGX_SSA_FRAME_SIZE
) -> bytes:
    """MRENCLAVE of an enclave that is built of these pages, in this order.

    Args:
        size: SECS.SIZE in bytes, a power of two.
        ssa_frame_size: SECS.SSAFRAMESIZE, in pages.

    Source: Intel SDM volume 3D, section 37.4.1 and the operation of ECREATE, EADD, EEXTEND.
    """
    digest = hashlib.sha256(struct.pack("<8sIQ44x", b"ECREATE", ssa_frame_size, size))
    for page in pages:
        digest.update(struct.pack("<8sQQ40x", b"EADD", page.offset, page.flags))
        for at in range(0, PAGE, CHUNK):
            digest.update(struct.pack("<8sQ48x", b"EEXTEND", page.offset + at))
            digest.update(page.content[at : at + CHUNK])
    return digest.digest()


def snp_launch_digest(pages: Sequence[bytes]) -> bytes:
    """Launch digest of a guest whose pages lie one after another from address 0.

    All pages are of type NORMAL, with no permissions below VMPL 0.

    Source: AMD 56860 (SEV-SNP firmware ABI), section 8.17.2, PAGE_INFO.
    """
    current = bytes(48)
    for number, page in enumerate(pages):
        info = _SNP_PAGE_INFO.pack(
            current,
            hashlib.sha384(page).digest(),
            _SNP_PAGE_INFO.size,
            SNP_PAGE_NORMAL,
            0,  # IMI_PAGE
            0,  # VMPL3_PERMS
            0,  # VMPL2_PERMS
            0,  # VMPL1_PERMS
            0,  # reserved
            number * PAGE,
        )
        current = hashlib.sha384(info).digest()
    return current


def mrtd(pages: Sequence[bytes]) -> bytes:
    """MRTD of a trust domain whose pages lie one after another from address 0, all measured.

    Source: Intel TDX module base architecture specification, section 12.2.1 (MRTD), and the
    operation of TDH.MEM.PAGE.ADD and TDH.MR.EXTEND.
    """
    digest = hashlib.sha384()
    for number, page in enumerate(pages):
        base = number * PAGE
        digest.update(struct.pack("<16sQ104x", b"MEM.PAGE.ADD", base))
        for offset in range(0, PAGE, CHUNK):
            digest.update(struct.pack("<16sQ104x", b"MR.EXTEND", base + offset))
            digest.update(page[offset : offset + CHUNK])
    return digest.digest()
