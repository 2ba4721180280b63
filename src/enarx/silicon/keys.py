"""The keys of one simulated chip and of its simulated vendors, kept from start to start.

Two files in the state directory, each written once and never changed: `silicon.keys` with
the P-256 keys and the identity of the chip, and `silicon-amd.keys` with the RSA keys that
are made when SNP evidence is first wanted. Mode 0600; what others could read is refused.
Without a state directory all keys are made anew and end with the process.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
import tempfile
from pathlib import Path
from typing import Annotated, Final, TypeVar

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)
from msgspec import Meta

from enarx.errors import EnarxError, HostError
from enarx.evidence.pck import PLATFORM_INSTANCE_ID_SIZE, PPID_SIZE
from enarx.evidence.snp import HWID_SIZE
from enarx.wire.codec import Message, pack, unpack
from enarx.wire.fields import Digest, Version

CHIP_FILE: Final = "silicon.keys"
AMD_FILE: Final = "silicon-amd.keys"
KEYS_MAX: Final = 64 * 1024
"""Bytes of one key file; two RSA-4096 keys take 5 KB."""
RSA_BITS: Final = 4096
_RSA_EXPONENT: Final = 65537

_Key = Annotated[bytes, Meta(min_length=1, max_length=8192)]
"""One private key, PKCS #8 DER."""


class ChipKeys(Message, frozen=True, kw_only=True):
    """Private P-256 keys of the simulated PKI for SGX and TDX, VCEK, and the chip's identity.

    root, platform_ca, tcb_signing, pck: P-256.
    vcek: P-384.
    ppid, instance, hwid: what identifies this simulated machine.
    """

    version: Version = 1
    root: _Key
    platform_ca: _Key
    tcb_signing: _Key
    pck: _Key
    vcek: _Key
    ppid: Annotated[bytes, Meta(min_length=PPID_SIZE, max_length=PPID_SIZE)]
    instance: Annotated[
        bytes, Meta(min_length=PLATFORM_INSTANCE_ID_SIZE, max_length=PLATFORM_INSTANCE_ID_SIZE)
    ]
    hwid: Annotated[bytes, Meta(min_length=HWID_SIZE, max_length=HWID_SIZE)]


class AmdKeys(Message, frozen=True, kw_only=True):
    """Private RSA-4096 keys of the simulated AMD PKI."""

    version: Version = 1
    ark: _Key
    ask: _Key


class _Sealed(Message, frozen=True, kw_only=True):
    """What stands in a file: the keys, and a hash by which damage is noticed."""

    content: Annotated[bytes, Meta(max_length=KEYS_MAX)]
    sha256: Digest


_T = TypeVar("_T", ChipKeys, AmdKeys)


def make_chip_keys() -> ChipKeys:
    """New keys for a new simulated machine."""
    return ChipKeys(
        root=_make_ec(ec.SECP256R1()),
        platform_ca=_make_ec(ec.SECP256R1()),
        tcb_signing=_make_ec(ec.SECP256R1()),
        pck=_make_ec(ec.SECP256R1()),
        vcek=_make_ec(ec.SECP384R1()),
        ppid=secrets.token_bytes(PPID_SIZE),
        instance=secrets.token_bytes(PLATFORM_INSTANCE_ID_SIZE),
        hwid=secrets.token_bytes(HWID_SIZE),
    )


def make_amd_keys() -> AmdKeys:
    """New RSA keys. Slow: a second or two."""
    return AmdKeys(ark=_make_rsa(), ask=_make_rsa())


def load_ec(key: bytes) -> ec.EllipticCurvePrivateKey:
    """An elliptic-curve key of a file.

    Raises:
        HostError: it is none (`silicon.keys`).
    """
    loaded = _load(key)
    if not isinstance(loaded, ec.EllipticCurvePrivateKey):
        raise _damaged("a key is not an elliptic-curve key")
    return loaded


def load_rsa(key: bytes) -> rsa.RSAPrivateKey:
    """An RSA key of a file.

    Raises:
        HostError: it is none (`silicon.keys`).
    """
    loaded = _load(key)
    if not isinstance(loaded, rsa.RSAPrivateKey):
        raise _damaged("a key is not an RSA key")
    return loaded


def read(path: Path, kind: type[_T]) -> _T | None:
    """The keys in a file; None where there is no such file.

    Raises:
        HostError: it cannot be read, others can read it, or it is damaged (`silicon.keys`).
    """
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
                raise _damaged(
                    f"{path} must belong to this user and be readable by nobody else",
                    hint=f"chmod 600 {path}, if nobody else has read it",
                )
            data = file.read(KEYS_MAX + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _damaged(f"cannot read {path}: {error.strerror or error}") from None
    try:
        sealed = unpack(data, _Sealed, limit=KEYS_MAX)
        if hashlib.sha256(sealed.content).digest() != sealed.sha256:
            raise _damaged(f"{path} is damaged: its hash does not fit")
        return unpack(sealed.content, kind)
    except EnarxError as error:
        if error.code == "silicon.keys":
            raise
        raise _damaged(f"{path} is not a key file of simulated silicon: {error.message}") from None


def write(path: Path, keys: ChipKeys | AmdKeys) -> None:
    """Write keys to a file that does not exist yet: whole or not at all, and to the disk.

    Raises:
        HostError: it cannot be written (`silicon.state`).
        FileExistsError: another silicon was faster; read its keys.
    """
    content = pack(keys)
    data = pack(_Sealed(content=content, sha256=hashlib.sha256(content).digest()))
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
        try:
            with open(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.link(temporary, path)
        finally:
            os.unlink(temporary)
        _sync_directory(path.parent)
    except FileExistsError:
        raise
    except OSError as error:
        raise HostError(
            f"cannot keep the keys of simulated silicon in {path}: {error.strerror or error}",
            hint="give a state directory that can be written, or none to make new keys each time",
            code="silicon.state",
        ) from None


def keep(state: Path | None, name: str, keys: _T, kind: type[_T]) -> _T:
    """Write new keys where there is a state directory; the ones to use.

    Raises:
        HostError: as `read` and `write`.
    """
    if state is None:
        return keys
    try:
        write(state / name, keys)
    except FileExistsError:
        return read(state / name, kind) or keys
    return keys


def chip_keys(state: Path | None) -> ChipKeys:
    """The chip's keys from its state directory, made there at the first start.

    Raises:
        HostError: as `read` and `write`.
    """
    found = None if state is None else read(state / CHIP_FILE, ChipKeys)
    return found or keep(state, CHIP_FILE, make_chip_keys(), ChipKeys)


def _make_ec(curve: ec.EllipticCurve) -> bytes:
    return _dump(ec.generate_private_key(curve))


def _make_rsa() -> bytes:
    return _dump(rsa.generate_private_key(public_exponent=_RSA_EXPONENT, key_size=RSA_BITS))


def _dump(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def _load(key: bytes) -> object:
    try:
        return load_der_private_key(key, password=None)
    except (ValueError, TypeError):
        raise _damaged("a key cannot be read") from None


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _damaged(problem: str, *, hint: str = "") -> HostError:
    return HostError(
        f"the keys of simulated silicon cannot be used: {problem}",
        hint=hint
        or "move the file away: new keys are made then, and who pinned the old root must learn "
        "the new one",
        code="silicon.keys",
    )
