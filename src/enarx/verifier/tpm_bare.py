"""Bare quotes: what can be said of a TPMS_ATTEST with what is supplied beside it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_public_key,
)

from enarx.errors import ParseError, UsageError
from enarx.evidence.eventlog import EventLog
from enarx.evidence.tpm import Attest, Banks
from enarx.evidence.tpm_keys import Public, PublicKey, Signature, bare_signature
from enarx.verifier.endorsements import Endorsements
from enarx.verifier.preimages import check_preimages
from enarx.verifier.tpm_pcrs import check_log, quoted, read_pcrs
from enarx.verifier.tpm_quote import Quote, check_quote, describe_quote
from enarx.verifier.trace import Claim, Failure, Trace
from enarx.verifier.unread import refuse_unread
from enarx.verifier.verified import Verified

MAX_KEY: Final = 16 * 1024
"""Bytes of a public key in any form; PEM of RSA 4096 has 800."""


def verify_bare(
    raw: bytes, attest: Attest, *, endorsements: Endorsements, at: datetime
) -> Verified:
    """The signature by a key that was supplied, and the registers that were."""
    trace = Trace()
    key, problem = _key(endorsements, trace)
    signatures, unreadable = _signatures(endorsements, key)
    quote = Quote(
        raw=raw,
        attest=attest,
        signatures=signatures,
        key=key,
        banks=_banks(endorsements),
        problem=problem or unreadable,
    )
    check_quote(quote, trace)
    log = None
    if endorsements.event_log and not isinstance(quote.banks, str):
        log = check_log(endorsements.event_log, _quoted(attest, quote.banks), trace)
    genuine = trace.sound
    check_preimages(attest.extra_data, b"", endorsements, trace)
    refuse_unread("tpm-quote", endorsements, trace)
    banks = {} if isinstance(quote.banks, str) else quote.banks
    return Verified(
        kind="tpm",
        evidence=quote,
        at=at,
        links=trace.links,
        genuine=genuine,
        root=None,
        describe=lambda: {**describe_quote(quote), **_describe(key, log)},
        product="TPM 2.0",
        registers=_registers(attest, banks),
        report_data=attest.extra_data,
        flags={"key_proven": False, "memory_encrypted": False},
        findings=("ak_unproven", *_weak(attest)),
    )


def read_public_key(data: bytes) -> PublicKey:
    """A key from PEM, DER (SubjectPublicKeyInfo) or TPMT_PUBLIC.

    Raises:
        ParseError: none of them, or neither RSA nor elliptic-curve.
    """
    if len(data) > MAX_KEY:
        raise ParseError(f"public key has {len(data)} bytes", code="tpm.size")
    try:
        if data.startswith(b"-----BEGIN"):
            key = load_pem_public_key(data)
        elif data[:1] == b"\x30":
            key = load_der_public_key(data)
        else:
            return Public.parse(data).key
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ParseError(f"public key cannot be read: {error}", code="tpm.public") from error
    if not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
        raise ParseError("public key is neither RSA nor elliptic-curve", code="tpm.public")
    return key


def spki_sha256(key: PublicKey) -> bytes:
    """SHA-256 over the DER SubjectPublicKeyInfo."""
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(spki).digest()


def _key(endorsements: Endorsements, trace: Trace) -> tuple[PublicKey | None, str]:
    """The supplied attestation key, and why there is none."""
    keys: dict[str, PublicKey] = {}
    for role in ("ak_public", "ak_tpmt_public"):
        data = endorsements.role(role)
        if data is None:
            continue
        try:
            keys[role] = read_public_key(data)
        except ParseError as error:
            return None, f"{role}: {error.message}"
    if not keys:
        return None, "no attestation key was supplied (--with ak_public=FILE)"
    digests = {role: spki_sha256(key).hex() for role, key in keys.items()}
    trace.check(
        len(set(digests.values())) == 1,
        "tpm.ak.same",
        "every form of the attestation key is the same key",
        failure=Failure.BINDING,
        claim=Claim.INSTANCE_IDENTITY,
        expected="one key",
        found=", ".join(f"{role} {digest[:16]}" for role, digest in digests.items()),
        source="relying party",
        remedy="supply one key",
        depth=2,
    )
    trace.note(
        "tpm.ak",
        "attestation key is trusted because it was supplied",
        found="no certificate chain and no activation say in which TPM it lives",
        claim=Claim.INSTANCE_IDENTITY,
        source="RFC 9334, section 4.1",
        depth=2,
    )
    return next(iter(keys.values())), ""


def _signatures(
    endorsements: Endorsements, key: PublicKey | None
) -> tuple[tuple[Signature, ...], str]:
    """All signatures that were supplied, and why there is none."""
    found: list[Signature] = []
    marshalled, bare = endorsements.role("signature_tpmt"), endorsements.role("signature")
    try:
        if marshalled is not None:
            found.append(Signature.parse(marshalled))
        if bare is not None and key is not None:
            found.append(bare_signature(key, bare))
    except (ParseError, UsageError) as error:
        return (), error.message
    return tuple(found), "" if found else "no signature was supplied (--with signature=FILE)"


def _banks(endorsements: Endorsements) -> Banks | str:
    data = endorsements.role("pcrs")
    if data is None:
        return "no register values were supplied (--with pcrs=FILE)"
    try:
        return read_pcrs(data)
    except ParseError as error:
        return error.message


def _quoted(attest: Attest, banks: Banks) -> Banks:
    """The banks that the quote is over: a log need not have others."""
    quoted = {one.bank for one in attest.selections}
    return {bank: values for bank, values in banks.items() if bank in quoted}


def _registers(attest: Attest, banks: Banks) -> Mapping[str, bytes]:
    """Values of the one quoted bank, by ``pcrN``; nothing where there are several."""
    signed = quoted(attest, banks)
    if len(signed) != 1:
        return {}
    return {f"pcr{index}": value for values in signed.values() for index, value in values.items()}


def _weak(attest: Attest) -> tuple[str, ...]:
    return ("sha1_bank",) if any(one.bank == "sha1" for one in attest.selections) else ()


def _describe(key: PublicKey | None, log: EventLog | None) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if key is not None:
        fields["ak_spki_sha256"] = spki_sha256(key).hex()
    if log is not None:
        fields["event_log_events"] = log.records
        fields["event_log_pcrs"] = sorted(log.replay(log.banks[0]))
    return fields
