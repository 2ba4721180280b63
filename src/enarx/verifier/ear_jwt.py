"""Attestation results as JWT: JWS compact serialisation, ES256 and ES384.

Sources: RFC 7515, sections 3.1 (compact serialisation), 4.1.11 (``crit``) and 5.2; RFC 7519;
RFC 8725 (what goes wrong with JWTs).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec

from enarx.errors import ParseError
from enarx.verifier import strictjson
from enarx.verifier.ear import NO_LEEWAY, Ear, Token
from enarx.verifier.ear_claims import JSON, write_claims
from enarx.verifier.ear_envelope import Envelope
from enarx.verifier.ear_keys import (
    algorithm_of,
    from_base64url,
    sign,
    to_base64url,
)

MAX_TOKEN: Final = 2 * 1024 * 1024
"""Characters of a token; with raw evidence of 1 MiB it has 1.4 million."""

MAX_HEADER: Final = 64 * 1024
"""Bytes of a header; one with a certificate chain has 10,000."""


def write_jwt(ear: Ear, key: ec.EllipticCurvePrivateKey, *, key_id: str | None = None) -> str:
    """Sign an EAR.

    Args:
        key: P-256 or P-384; it decides the algorithm.
        key_id: a hint for relying parties that know several keys.

    Raises:
        UsageError: a key on another curve, or an EAR that cannot be written.
    """
    header = {"alg": algorithm_of(key).name, "typ": "JWT"}
    if key_id is not None:
        header["kid"] = key_id
    body = ".".join(
        to_base64url(msgspec.json.encode(part, order="sorted"))
        for part in (header, write_claims(ear, JSON))
    )
    return f"{body}.{to_base64url(sign(key, body.encode('ascii')))}"


def read_jwt(
    token: str | bytes,
    key: ec.EllipticCurvePublicKey,
    *,
    at: datetime,
    leeway: timedelta = NO_LEEWAY,
) -> Token:
    """Verify a token and read it.

    Args:
        token: as it came; white space around it is cut off.
        key: of the verifier that is trusted, from elsewhere than the token.
        at: the time to judge at; aware, UTC.
        leeway: by how much the issuer's clock may be ahead or behind.

    Raises:
        ParseError: not a JWS (``ear.structure``, ``json.*``), or not an EAR (``ear.schema``).
        VerificationError: the signature does not verify or is of another algorithm than the
            key's (``ear.signature``), or it is not valid at that time (``ear.time``).
    """
    return open_jwt(token).token(key, at=at, leeway=leeway)


def open_jwt(token: str | bytes) -> Envelope:
    """Take a token apart, without believing it.

    Raises:
        ParseError: not a JWS with a JSON object inside (``ear.structure``, ``json.*``).
    """
    header_part, claims_part, signature_part = _split(token)
    header_text = from_base64url(header_part, what="header")
    claims_text = from_base64url(claims_part, what="claims")
    header = strictjson.decode(header_text, what="header", limit=MAX_HEADER)
    # RFC 7515, section 4.1.11. No extension is understood here; `jwk`, `x5c` are not believed.
    critical = header.get("crit", "nothing")
    return Envelope(
        header=header,
        algorithm=header.get("alg"),
        problem=f"header has {critical!r} as critical, unknown here" if "crit" in header else "",
        claims=strictjson.decode(claims_text, what="claims", limit=MAX_TOKEN),
        message=f"{header_part}.{claims_part}".encode("ascii"),
        signature=from_base64url(signature_part, what="signature"),
        form=JSON,
    )


def _split(token: str | bytes) -> tuple[str, str, str]:
    if len(token) > MAX_TOKEN:
        raise ParseError(
            f"token has {len(token)} characters, at most {MAX_TOKEN} are read", code="ear.size"
        )
    try:
        text = token.decode("ascii") if isinstance(token, bytes) else token
    except UnicodeDecodeError:
        raise ParseError("token is not ASCII", code="ear.structure") from None
    parts = text.strip(" \t\r\n").split(".")
    if len(parts) != 3 or not parts[0] or not parts[1]:
        raise ParseError(
            f"token has {len(parts)} parts, expected header, claims and signature",
            hint="expected a JWS in compact form: three parts with dots between them",
            code="ear.structure",
        )
    return parts[0], parts[1], parts[2]
