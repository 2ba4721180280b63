"""Quotes of a TPM whose key was only supplied: what they say of which registers."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from enarx.evidence.tpm import MAGIC, TYPE_QUOTE, Attest, PcrSelection
from enarx.verifier import (
    Failure,
    Policy,
    ReferenceValues,
    Tier,
    Verdict,
    Verifier,
    endorsements_from,
)

VALUES = {"0": "a0" * 32, "7": "a7" * 32}


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def judged(key: rsa.RSAPrivateKey, *, selected: tuple[int, ...], register: str) -> Verdict:
    joined = b"".join(bytes.fromhex(VALUES[str(index)]) for index in selected)
    quote = Attest(
        magic=MAGIC,
        type=TYPE_QUOTE,
        selections=(PcrSelection.of("sha256", selected),),
        pcr_digest=hashlib.sha256(joined).digest(),
    ).pack()
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    inputs = {
        "ak_public": public,
        "signature": key.sign(quote, padding.PKCS1v15(), hashes.SHA256()),
        "pcrs": json.dumps(VALUES).encode(),
    }
    good = bytes.fromhex(VALUES[register.removeprefix("pcr")])
    return Verifier().appraise(
        quote,
        kind="tpm",
        policy=Policy.builtin("genuine"),
        endorsements=endorsements_from(inputs.items()),
        references=ReferenceValues(registers=((register, (good,)),)),
        at=datetime(2026, 6, 1, tzinfo=UTC),
    )


def test_register_that_was_quoted_is_compared(key: rsa.RSAPrivateKey) -> None:
    assert judged(key, selected=(0, 7), register="pcr7").tier is Tier.AFFIRMING


def test_register_that_was_not_quoted_is_nobodys_word(key: rsa.RSAPrivateKey) -> None:
    assert judged(key, selected=(0,), register="pcr7").failure is Failure.MEASUREMENT
