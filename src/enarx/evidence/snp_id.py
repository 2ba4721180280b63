"""The ID block and ID authentication page an SNP guest may be launched with.

With them the guest's owner signs what is launched: measurement, family, image, security
version and policy; the firmware refuses to launch anything else and puts digests of the
two keys into every report.

Source: AMD 56860, section 8.17.5, tables 75 (ID_BLOCK) and 76 (ID_AUTH_INFO); chapter 10,
tables 137 to 140 (keys and signatures).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from enarx.errors import ParseError, UsageError
from enarx.evidence.layout import Layout, octets, u32, u64
from enarx.evidence.snp import P384_SIZE, SIGNATURE_COMPONENT_SIZE

ID_BLOCK_SIZE: Final = 96
ID_AUTH_SIZE: Final = 4096
ID_KEY_SIZE: Final = 1028
CURVE_P384: Final = 2

_X: Final = 4
_Y: Final = _X + SIGNATURE_COMPONENT_SIZE
_KEY_END: Final = _Y + SIGNATURE_COMPONENT_SIZE


@dataclass(frozen=True, slots=True, kw_only=True)
class IdBlock:
    """ID_BLOCK (table 75): what may be launched."""

    measurement: bytes = octets(48)
    family_id: bytes = octets(16)
    image_id: bytes = octets(16)
    version: int = u32()
    guest_svn: int = u32()
    policy: int = u64()

    @classmethod
    def parse(cls, data: bytes) -> IdBlock:
        """Read exactly 96 bytes.

        Raises:
            ParseError: another length.
        """
        return _ID_BLOCK.parse(_exactly(data, ID_BLOCK_SIZE, "ID block"))

    def pack(self) -> bytes:
        """The 96 bytes; the inverse of :meth:`parse`."""
        return _ID_BLOCK.pack(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class IdAuth:
    """ID_AUTH_INFO (table 76): who says so.

    Attributes:
        id_key_algo, author_key_algo: 1 for ECDSA P-384 with SHA-384; the latter 0 without.
        id_block_signature: by the ID key, over the ID block.
        id_key, author_key: 1028 bytes, as :func:`pack_key` writes them.
        id_key_signature: by the author key, over the 1028 bytes of the ID key.
    """

    id_key_algo: int = u32()
    author_key_algo: int = u32()
    reserved_008: bytes = octets(56)
    id_block_signature: bytes = octets(512)
    id_key: bytes = octets(ID_KEY_SIZE)
    reserved_644: bytes = octets(60)
    id_key_signature: bytes = octets(512)
    author_key: bytes = octets(ID_KEY_SIZE)
    reserved_c84: bytes = octets(892)

    @classmethod
    def parse(cls, data: bytes) -> IdAuth:
        """Read exactly one page.

        Raises:
            ParseError: another length.
        """
        return _ID_AUTH.parse(_exactly(data, ID_AUTH_SIZE, "ID authentication page"))

    def pack(self) -> bytes:
        """The page; the inverse of :meth:`parse`."""
        return _ID_AUTH.pack(self)


_ID_BLOCK: Final = Layout(IdBlock, size=ID_BLOCK_SIZE)
_ID_AUTH: Final = Layout(IdAuth, size=ID_AUTH_SIZE)


def key_digest(key: bytes) -> bytes:
    """What a report says of a key: SHA-384 over its 1028 bytes."""
    return hashlib.sha384(key).digest()


def pack_key(x: int, y: int) -> bytes:
    """A P-384 public key as the firmware takes it (table 140).

    Raises:
        UsageError: a coordinate does not fit.
    """
    if not (0 <= x < 1 << 384 and 0 <= y < 1 << 384):
        raise UsageError("coordinates are not of P-384", code="snp.key")
    parts = (value.to_bytes(SIGNATURE_COMPONENT_SIZE, "little") for value in (x, y))
    return (CURVE_P384.to_bytes(4, "little") + b"".join(parts)).ljust(ID_KEY_SIZE, b"\0")


def unpack_key(key: bytes) -> tuple[int, int]:
    """The coordinates of a key.

    Raises:
        ParseError: another curve or length, or bytes set that must be zero.
    """
    _exactly(key, ID_KEY_SIZE, "key")
    x, y = key[_X:_Y], key[_Y:_KEY_END]
    if int.from_bytes(key[:_X], "little") != CURVE_P384:
        raise ParseError("key is not of P-384", offset=0, code="snp.key")
    if any(x[P384_SIZE:]) or any(y[P384_SIZE:]) or any(key[_KEY_END:]):
        raise ParseError("key has bytes set that must be zero", code="snp.key")
    return int.from_bytes(x, "little"), int.from_bytes(y, "little")


def _exactly(data: bytes, size: int, what: str) -> bytes:
    if len(data) != size:
        raise ParseError(
            f"{what} is {len(data)} bytes, it must be {size}",
            offset=min(len(data), size),
            code="snp.length",
        )
    return data
