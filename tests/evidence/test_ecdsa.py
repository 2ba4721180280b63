"""Raw ECDSA signatures: ranges as FIPS 186-5 has them."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from enarx.errors import ParseError
from enarx.evidence.ecdsa import (
    P256_ORDER,
    der_from_raw_p256,
    p256_key_from_raw,
    raw_p256_from_der,
    raw_p256_key,
)

ECDSA = ec.ECDSA(hashes.SHA256())


def _raw(r: int, s: int) -> bytes:
    return r.to_bytes(32) + s.to_bytes(32)


def test_signature_survives_the_way_to_raw_and_back() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    raw = raw_p256_from_der(key.sign(b"message", ECDSA))
    again = p256_key_from_raw(raw_p256_key(key.public_key()))

    again.verify(der_from_raw_p256(raw), b"message", ECDSA)


def test_high_s_is_as_valid_as_low_s() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    raw = raw_p256_from_der(key.sign(b"message", ECDSA))
    other = raw[:32] + (P256_ORDER - int.from_bytes(raw[32:])).to_bytes(32)

    key.public_key().verify(der_from_raw_p256(other), b"message", ECDSA)


@pytest.mark.parametrize(
    "raw",
    [
        _raw(0, 1),
        _raw(1, 0),
        _raw(P256_ORDER, 1),
        _raw(1, P256_ORDER),
        b"\xff" * 64,
        b"\x01" * 63,
        b"\x01" * 65,
        b"",
    ],
)
def test_number_outside_its_range_is_refused(raw: bytes) -> None:
    with pytest.raises(ParseError):
        der_from_raw_p256(raw)


@pytest.mark.parametrize("raw", [bytes(64), b"\xff" * 64, b"\x01" * 63, b""])
def test_key_that_is_no_point_on_the_curve_is_refused(raw: bytes) -> None:
    with pytest.raises(ParseError) as error:
        p256_key_from_raw(raw)
    assert error.value.code == "ecdsa.point"
