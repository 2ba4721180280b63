"""Attestation results as CWT: COSE_Sign1, ES256 and ES384.

Sources: RFC 8392 (CWT); RFC 9052, sections 3.1 (headers), 4.2 and 4.4 (COSE_Sign1); RFC 9053,
section 2.1 (ES256, ES384).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import cbor2
from cryptography.hazmat.primitives.asymmetric import ec

from enarx.errors import ParseError
from enarx.evidence import cbor
from enarx.verifier.ear import NO_LEEWAY, Ear, Token
from enarx.verifier.ear_claims import CBOR, write_claims
from enarx.verifier.ear_envelope import Envelope
from enarx.verifier.ear_keys import algorithm_of, sign

MAX_TOKEN: Final = 2 * 1024 * 1024
"""Bytes of a token; raw evidence has at most 1 MiB."""

TAG_CWT: Final = 61
TAG_SIGN1: Final = 18

_ALGORITHM: Final = 1
_CRITICAL: Final = 2
_CONTENT_TYPE: Final = 3
_KEY_ID: Final = 4
_UNDERSTOOD: Final = frozenset({_ALGORITHM, _CONTENT_TYPE, _KEY_ID})
_PARTS: Final = (bytes, dict, bytes, bytes)
"""Protected header, unprotected header, payload, signature."""


def write_cwt(ear: Ear, key: ec.EllipticCurvePrivateKey, *, key_id: bytes | None = None) -> bytes:
    """Sign an EAR, as tagged COSE_Sign1.

    Args:
        key: P-256 or P-384; it decides the algorithm.
        key_id: a hint for relying parties that know several keys.

    Raises:
        UsageError: a key on another curve, or an EAR that cannot be written.
    """
    protected = cbor.encode({_ALGORITHM: algorithm_of(key).number})
    payload = cbor.encode(write_claims(ear, CBOR))
    signature = sign(key, _signed(protected, payload))
    unprotected = {} if key_id is None else {_KEY_ID: key_id}
    return cbor.encode(cbor2.CBORTag(TAG_SIGN1, [protected, unprotected, payload, signature]))


def read_cwt(
    token: bytes,
    key: ec.EllipticCurvePublicKey,
    *,
    at: datetime,
    leeway: timedelta = NO_LEEWAY,
) -> Token:
    """Verify a token and read it.

    Args:
        token: COSE_Sign1, with or without its tag and the CWT tag.
        key: of the verifier that is trusted, from elsewhere than the token.
        at: the time to judge at; aware, UTC.
        leeway: by how much the issuer's clock may be ahead or behind.

    Raises:
        ParseError: not a COSE_Sign1 (``ear.structure``, ``cbor.*``), or not an EAR
            (``ear.schema``).
        VerificationError: the signature does not verify or is of another algorithm than the
            key's (``ear.signature``), or it is not valid at that time (``ear.time``).
    """
    return open_cwt(token).token(key, at=at, leeway=leeway)


def open_cwt(token: bytes) -> Envelope:
    """Take a token apart, without believing it.

    Raises:
        ParseError: not a COSE_Sign1 with a map inside (``ear.structure``, ``cbor.*``).
    """
    protected, unprotected, payload, signature = _parts(token)
    header = _map(protected, "protected header")
    return Envelope(
        header={**unprotected, **header},
        algorithm=header.get(_ALGORITHM),
        problem=_header_problem(header, unprotected),
        claims=_map(payload, "claims"),
        message=_signed(protected, payload),
        signature=signature,
        form=CBOR,
    )


def _parts(token: bytes) -> tuple[bytes, dict[Any, Any], bytes, bytes]:
    item = cbor.decode(
        token,
        what="token",
        limit=MAX_TOKEN,
        deterministic=False,
        tags=frozenset({TAG_CWT, TAG_SIGN1}),
    )
    for tag in (TAG_CWT, TAG_SIGN1):
        if isinstance(item, cbor2.CBORTag) and item.tag == tag:
            item = item.value
    if (
        not isinstance(item, list)
        or len(item) != len(_PARTS)
        or not all(isinstance(part, kind) for part, kind in zip(item, _PARTS, strict=True))
    ):
        raise ParseError(
            "token is not a COSE_Sign1 with its payload inside",
            hint="expected [protected, unprotected, payload, signature]",
            code="ear.structure",
        )
    protected, unprotected, payload, signature = item
    return protected, unprotected, payload, signature


def _map(data: bytes, what: str) -> dict[Any, Any]:
    value = cbor.decode(data, what=what, limit=MAX_TOKEN, deterministic=False)
    if not isinstance(value, dict):
        raise ParseError(f"{what} is not a map", code="ear.structure")
    return value


def _header_problem(protected: Mapping[Any, Any], unprotected: Mapping[Any, Any]) -> str:
    """Why no key can make the token good; empty if one can (RFC 9052, section 3.1)."""
    if protected.keys() & unprotected.keys():
        return "a header parameter is both protected and not"
    if _CRITICAL in unprotected:
        return "critical header parameters must be protected"
    critical = protected.get(_CRITICAL, [])
    if not isinstance(critical, list) or not {*map(str, critical)} <= {*map(str, _UNDERSTOOD)}:
        return f"header has {critical!r} as critical, unknown here"
    return ""


def _signed(protected: bytes, payload: bytes) -> bytes:
    """Sig_structure (RFC 9052, section 4.4), without external data."""
    return cbor.encode(["Signature1", protected, b"", payload])
