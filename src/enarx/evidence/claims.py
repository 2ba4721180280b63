"""The claims of a Keep: what its report data is the hash of.

A CBOR map from text to byte strings, as interoperable RA-TLS has it (CCC Attestation SIG,
*Interoperable RA-TLS*), deterministic::

    { "pubkey-hash": << [1, SHA-256 over the certificate's SubjectPublicKeyInfo] >>,
      "nonce": what the client sent,  "init-data": SHA-256 of the init data,
      "payload": SHA-256 manifest digest,  "runtime": SHA-256 manifest digest,
      "sandbox": << [text, ...] >> }

``<< >>`` is a byte string that holds encoded CBOR. The report data is SHA-256 over exactly
these bytes, and 32 zeros.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

import msgspec

from enarx.errors import ParseError
from enarx.evidence import cbor

MAX_CLAIMS_BYTES: Final = 8 * 1024
"""Ours take under 400 bytes."""

MAX_NONCE_BYTES: Final = 64
MAX_SANDBOX_LEVELS: Final = 32
MAX_LEVEL_CHARACTERS: Final = 64

HASH_SHA256: Final = 1
"""IANA Named Information Hash Algorithm registry: sha-256."""

REPORT_DATA_BYTES: Final = 64

_DIGEST: Final = 32
_NAMES: Final = ("pubkey-hash", "nonce", "init-data", "payload", "runtime", "sandbox")


class Claims(msgspec.Struct, frozen=True, kw_only=True):
    """What a Keep says of itself, bound to its evidence by the report data.

    Attributes:
        key_digest: SHA-256 over the DER SubjectPublicKeyInfo of its certificate.
        nonce: what the client sent, up to 64 bytes.
        init_data: SHA-256 of the init data it was started with.
        payload, runtime: manifest digests of what was measured.
        sandbox: names of the sandbox levels in force.
    """

    key_digest: bytes
    nonce: bytes
    init_data: bytes
    payload: bytes
    runtime: bytes
    sandbox: tuple[str, ...] = ()

    def pack(self) -> bytes:
        """The claims buffer; the inverse of :meth:`parse`."""
        return cbor.encode(
            {
                "pubkey-hash": cbor.encode([HASH_SHA256, self.key_digest]),
                "nonce": self.nonce,
                "init-data": self.init_data,
                "payload": self.payload,
                "runtime": self.runtime,
                "sandbox": cbor.encode(list(self.sandbox)),
            }
        )

    @classmethod
    def parse(cls, data: bytes) -> Claims:
        """Read a claims buffer.

        Raises:
            ParseError: not deterministic CBOR, an entry missing, unknown or of another form.
        """
        entries = cbor.decode(data, what="claims", limit=MAX_CLAIMS_BYTES)
        if not isinstance(entries, dict) or set(entries) != set(_NAMES):
            raise ParseError(
                f"claims must have exactly the entries {', '.join(_NAMES)}", code="claims.entries"
            )
        for name, value in entries.items():
            if not isinstance(value, bytes):
                raise ParseError(f"claim {name!r} is not a byte string", code="claims.form")
        for name in ("init-data", "payload", "runtime"):
            if len(entries[name]) != _DIGEST:
                raise ParseError(
                    f"claim {name!r} is {len(entries[name])} bytes, it must be {_DIGEST}",
                    code="claims.form",
                )
        if not 1 <= len(entries["nonce"]) <= MAX_NONCE_BYTES:
            raise ParseError("claim 'nonce' must have 1 to 64 bytes", code="claims.form")
        return cls(
            key_digest=key_digest(entries["pubkey-hash"]),
            nonce=entries["nonce"],
            init_data=entries["init-data"],
            payload=entries["payload"],
            runtime=entries["runtime"],
            sandbox=_levels(entries["sandbox"]),
        )


def key_digest(encoded: bytes) -> bytes:
    """The SHA-256 digest in a ``pubkey-hash`` claim.

    Raises:
        ParseError: not ``[1, 32 bytes]`` (other hash algorithms are not accepted).
    """
    value = cbor.decode(encoded, what="claim 'pubkey-hash'", limit=256)
    if (
        isinstance(value, list)
        and len(value) == 2
        and type(value[0]) is int  # true is a number to Python, and is none to CBOR
        and value[0] == HASH_SHA256
        and isinstance(value[1], bytes)
        and len(value[1]) == _DIGEST
    ):
        return value[1]
    raise ParseError("claim 'pubkey-hash' is not [1, SHA-256 digest]", code="claims.key")


def report_data(claims: bytes) -> bytes:
    """The report data that evidence over these claims must have."""
    return hashlib.sha256(claims).digest().ljust(REPORT_DATA_BYTES, b"\0")


def _levels(encoded: bytes) -> tuple[str, ...]:
    value: Any = cbor.decode(encoded, what="claim 'sandbox'", limit=MAX_CLAIMS_BYTES)
    if not isinstance(value, list) or len(value) > MAX_SANDBOX_LEVELS:
        raise ParseError("claim 'sandbox' is not a short list", code="claims.sandbox")
    for level in value:
        if (
            not isinstance(level, str)
            or not 1 <= len(level) <= MAX_LEVEL_CHARACTERS
            or not level.isprintable()
        ):
            raise ParseError("claim 'sandbox' holds what is no level's name", code="claims.sandbox")
    return tuple(value)
