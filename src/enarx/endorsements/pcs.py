"""Intel's provisioning certification service (and PCCS): addresses, and what its answers hold.

The chain over the signer of an answer comes in a response header, as percent-encoded PEM.
Revocation lists come as DER; a PCCS sends some of them as hex.

Source: Intel SGX and TDX PCS API, version 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, unquote

import msgspec

from enarx.endorsements import limits
from enarx.endorsements.references import (
    Item,
    PckCrl,
    QeIdentityOf,
    Reference,
    RootCrl,
    TcbInfoOf,
    parse_name,
)
from enarx.endorsements.sources import PCCS_ROOT_CRL_PATH
from enarx.errors import ParseError
from enarx.evidence.ecdsa import P256_SIZE
from enarx.verifier import strictjson
from enarx.verifier.crl import crl_der

TCB_CHAIN: Final = "TCB-Info-Issuer-Chain"
IDENTITY_CHAIN: Final = "SGX-Enclave-Identity-Issuer-Chain"
PCK_CRL_CHAIN: Final = "SGX-PCK-CRL-Issuer-Chain"

_BASE: Final = "certification/v4"
_HEX_OF_SEQUENCE: Final = frozenset({b"3081", b"3082", b"3083"})
"""How DER begins that is longer than 127 bytes, written in hex."""


class _TcbReply(msgspec.Struct):
    tcbInfo: msgspec.Raw
    signature: str


class _IdentityReply(msgspec.Struct):
    enclaveIdentity: msgspec.Raw
    signature: str


def path_of(reference: TcbInfoOf | QeIdentityOf | PckCrl) -> str:
    """Path and query under the service's base address."""
    match reference:
        case TcbInfoOf():
            return f"/{reference.tee}/{_BASE}/tcb?fmspc={reference.fmspc.hex()}"
        case QeIdentityOf():
            return f"/{reference.tee}/{_BASE}/qe/identity"
        case PckCrl():
            return f"/sgx/{_BASE}/pckcrl?ca={reference.authority}&encoding=der"


def reference_of(path: str, query: Mapping[str, str]) -> Reference | None:
    """What a request asks for; ``None`` if nothing. The inverse of :func:`path_of`."""
    if path == PCCS_ROOT_CRL_PATH:
        return RootCrl()
    for tee in ("sgx", "tdx"):
        if path == f"/{tee}/{_BASE}/qe/identity":
            return parse_name(f"intel/{tee}/qe-identity")
        if path == f"/{tee}/{_BASE}/tcb":
            return _named(f"intel/{tee}/tcb/{query.get('fmspc', '').lower()}")
    if path == f"/sgx/{_BASE}/pckcrl":
        return _named(f"intel/pck-crl/{query.get('ca', '')}")
    return None


def _named(name: str) -> Reference | None:
    try:
        return parse_name(name)
    except ParseError:
        return None


def read(
    reference: TcbInfoOf | QeIdentityOf | PckCrl, body: bytes, headers: Mapping[str, str]
) -> Item:
    """An answer as an item, not verified.

    Args:
        headers: of the answer, names in lower case.

    Raises:
        ParseError: the answer does not have its form.
    """
    match reference:
        case TcbInfoOf():
            text, signature = _signed(body, _TcbReply)
            chain = _chain(headers, TCB_CHAIN)
        case QeIdentityOf():
            text, signature = _signed(body, _IdentityReply)
            chain = _chain(headers, IDENTITY_CHAIN)
        case PckCrl():
            text, signature = read_list(body), b""
            chain = _chain(headers, PCK_CRL_CHAIN)
    return Item(name=reference.name, body=text, chain=chain, signature=signature)


def read_list(body: bytes) -> bytes:
    """A revocation list as DER, from DER, PEM or hex.

    Raises:
        ParseError: none of them.
    """
    text = body.strip()
    if text[:4].lower() in _HEX_OF_SEQUENCE:
        try:
            return bytes.fromhex(text.decode("ascii"))
        except ValueError:
            raise ParseError("revocation list is not hex to its end", code="crl.form") from None
    return crl_der(text if text.startswith(b"-----BEGIN") else body)


def _signed(body: bytes, kind: type[_TcbReply] | type[_IdentityReply]) -> tuple[bytes, bytes]:
    """The inner object exactly as it stands in the answer, and its signature."""
    strictjson.decode(body, what="answer", limit=limits.DOCUMENT)
    try:
        reply = msgspec.json.decode(body, type=kind)
        signature = bytes.fromhex(reply.signature)
    except (msgspec.DecodeError, ValueError) as error:
        raise ParseError(
            f"answer is not a signed document: {error}", code="endorsements.form"
        ) from None
    if len(signature) != 2 * P256_SIZE:
        raise ParseError(
            f"answer has a signature of {len(signature)} bytes", code="endorsements.form"
        )
    inner = reply.tcbInfo if isinstance(reply, _TcbReply) else reply.enclaveIdentity
    return bytes(inner), signature


def _chain(headers: Mapping[str, str], name: str) -> bytes:
    # SGX-TCB-Info-Issuer-Chain is what older services call the first of these.
    value = headers.get(name.lower()) or headers.get(f"sgx-{name.lower()}")
    if not value or len(value) > limits.HEADER:
        raise ParseError(
            f"answer has no header {name} of at most {limits.HEADER} characters",
            hint="a proxy between here and the service may have dropped it",
            code="endorsements.header",
        )
    return unquote(value).encode("utf-8", "replace")


def write(item: Item) -> tuple[str, tuple[tuple[str, str], ...], bytes]:
    """Media type, headers and body with which the service would answer."""
    chain = quote(item.chain.decode("ascii", "replace"))
    signature = item.signature.hex().encode()
    match item.reference:
        case TcbInfoOf():
            body = b'{"tcbInfo":' + item.body + b',"signature":"' + signature + b'"}'
            return "application/json", ((TCB_CHAIN, chain),), body
        case QeIdentityOf():
            body = b'{"enclaveIdentity":' + item.body + b',"signature":"' + signature + b'"}'
            return "application/json", ((IDENTITY_CHAIN, chain),), body
        case PckCrl():
            return "application/pkix-crl", ((PCK_CRL_CHAIN, chain),), item.body
        case _:
            return "application/pkix-crl", (), item.body
