"""Certificates and revocation lists are read one way only, and chains are built strictly."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography import x509 as pyca
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st
from tests.verifier.snp_factory import FROM, UNTIL, Made, crl, key, name_of

from enarx.errors import ParseError
from enarx.evidence import der
from enarx.verifier.crl import load_crl
from enarx.verifier.endorsements import MAX_CERTIFICATE_BYTES, MAX_CRL_BYTES
from enarx.verifier.x509 import (
    MAX_NAMESAKES,
    MAX_PATH,
    build_path,
    load_certificate,
    load_certificates,
    load_pool,
    signed_by,
)
from enarx.verifier.x509_signing import ECDSA_SHA384

ROOT = Made("root", "root", "root", "root", authority=True)
MIDDLE = Made("middle", "root", "root", "middle", authority=True, path_length=0)
LEAF = Made("leaf", "middle", "middle", "leaf")


def path(leaf: Made, *authorities: Made) -> object:
    certificates, problems = load_pool(one.der() for one in authorities)
    assert not problems
    return build_path(load_certificate(leaf.der()), certificates)


def names(found: object) -> list[str]:
    return [one.common_name for one in found.certificates]  # type: ignore[attr-defined]


def pem(*ders: bytes) -> bytes:
    return b"".join(pyca.load_der_x509_certificate(one).public_bytes(Encoding.PEM) for one in ders)


def test_certificate_is_read_as_it_was_made() -> None:
    found = load_certificate(replace(MIDDLE, serial=0x1234).der())
    assert (found.common_name, found.issuer_common_name) == ("middle", "root")
    assert (found.serial, found.not_before, found.not_after) == (0x1234, FROM, UNTIL)
    assert (found.authority, found.path_length, found.algorithm) == (True, 0, ECDSA_SHA384)
    assert not found.self_issued


def test_chain_is_found_in_any_order() -> None:
    for authorities in ((ROOT, MIDDLE), (MIDDLE, ROOT), (ROOT, MIDDLE, ROOT, LEAF)):
        found = path(LEAF, *authorities)
        assert found.complete  # type: ignore[attr-defined]
        assert names(found) == ["leaf", "middle", "root"]


def test_missing_authority_is_named() -> None:
    found = path(LEAF, ROOT)
    assert not found.complete  # type: ignore[attr-defined]
    assert "middle" in found.problem  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "middle",
    [
        replace(MIDDLE, authority=False),
        replace(MIDDLE, key="another"),
        replace(MIDDLE, signer="another"),
    ],
)
def test_authority_that_is_none_ends_the_chain(middle: Made) -> None:
    assert not path(LEAF, middle, ROOT).complete  # type: ignore[attr-defined]


def test_root_must_sign_itself() -> None:
    root = replace(ROOT, signer="middle")
    assert not path(LEAF, MIDDLE, root).complete  # type: ignore[attr-defined]


def test_path_length_bounds_the_authorities_below() -> None:
    lower = Made("lower", "middle", "middle", "lower", authority=True)
    leaf = replace(LEAF, issuer="lower", signer="lower")
    assert not path(leaf, lower, MIDDLE, ROOT).complete  # type: ignore[attr-defined]
    longer = replace(MIDDLE, path_length=1)
    assert path(leaf, lower, longer, ROOT).complete  # type: ignore[attr-defined]


def test_chain_is_not_followed_for_ever() -> None:
    chain = [
        Made(f"a{number}", f"a{number + 1}", f"k{number + 1}", f"k{number}", authority=True)
        for number in range(MAX_PATH + 3)
    ]
    found = path(chain[0], *chain[1:])
    assert not found.complete  # type: ignore[attr-defined]
    assert len(found.certificates) == MAX_PATH  # type: ignore[attr-defined]


def test_circle_of_authorities_ends() -> None:
    one = Made("one", "two", "two", "one", authority=True)
    two = Made("two", "one", "one", "two", authority=True)
    assert not path(replace(LEAF, issuer="one", signer="one"), one, two).complete  # type: ignore[attr-defined]


def test_namesakes_are_not_tried_for_ever() -> None:
    few = [replace(MIDDLE, key=f"other{number}") for number in range(MAX_NAMESAKES - 1)]
    assert path(LEAF, *few, MIDDLE, ROOT).complete  # type: ignore[attr-defined]
    many = [*few, replace(MIDDLE, key="one more")]
    found = path(LEAF, *many, MIDDLE, ROOT)
    assert not found.complete  # type: ignore[attr-defined]


def build(
    public: ec.EllipticCurvePublicKey | rsa.RSAPublicKey,
    private: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey,
    digest: hashes.HashAlgorithm,
    **sign: object,
) -> bytes:
    builder = (
        pyca.CertificateBuilder()
        .subject_name(name_of("x"))
        .issuer_name(name_of("x"))
        .public_key(public)
        .serial_number(1)
        .not_valid_before(FROM)
        .not_valid_after(UNTIL)
    )
    return builder.sign(private, digest, **sign).public_bytes(Encoding.DER)  # type: ignore[arg-type]


RSA_3072 = rsa.generate_private_key(65537, 3072)
RSA_2048 = rsa.generate_private_key(65537, 2048)


@pytest.mark.parametrize(
    ("private", "digest", "pss", "good"),
    [
        (RSA_3072, hashes.SHA384(), (hashes.SHA384(), 48), True),
        (RSA_2048, hashes.SHA384(), (hashes.SHA384(), 48), False),  # too short
        (RSA_3072, hashes.SHA384(), (hashes.SHA384(), 32), False),  # another salt
        (RSA_3072, hashes.SHA384(), (hashes.SHA256(), 48), False),  # another mask
        (RSA_3072, hashes.SHA256(), (hashes.SHA256(), 32), False),
        (RSA_3072, hashes.SHA384(), None, False),  # PKCS#1 version 1.5
    ],
)
def test_only_the_vendors_rsa_signatures_count(
    private: rsa.RSAPrivateKey,
    digest: hashes.HashAlgorithm,
    pss: tuple[hashes.HashAlgorithm, int] | None,
    good: bool,
) -> None:
    more = {"rsa_padding": padding.PSS(padding.MGF1(pss[0]), pss[1])} if pss else {}
    made = load_certificate(build(private.public_key(), private, digest, **more))
    assert signed_by(made, made) is good


@pytest.mark.parametrize(
    ("curve", "digest", "good"),
    [
        (ec.SECP256R1(), hashes.SHA256(), True),
        (ec.SECP384R1(), hashes.SHA384(), True),
        (ec.SECP384R1(), hashes.SHA512(), False),
        (ec.SECP521R1(), hashes.SHA384(), False),
        (ec.SECP256K1(), hashes.SHA256(), False),
    ],
)
def test_only_the_vendors_curves_count(
    curve: ec.EllipticCurve, digest: hashes.HashAlgorithm, good: bool
) -> None:
    private = ec.generate_private_key(curve)
    made = load_certificate(build(private.public_key(), private, digest))
    assert signed_by(made, made) is good


def taken_apart(certificate: bytes) -> list[tuple[int, bytes]]:
    return list(der.elements(der.read_whole(certificate, tag=der.SEQUENCE)))


def put_together(parts: list[tuple[int, bytes]]) -> bytes:
    return der.element(der.SEQUENCE, b"".join(der.element(*part) for part in parts))


def test_algorithm_outside_must_be_the_one_inside() -> None:
    parts = taken_apart(ROOT.der())
    assert signed_by(*[load_certificate(put_together(parts))] * 2)
    sha256 = der.object_identifier("1.2.840.10045.4.3.2")
    changed = load_certificate(put_together([parts[0], (der.SEQUENCE, sha256), parts[2]]))
    assert not signed_by(changed, changed)


def test_signature_of_a_broken_octet_is_refused() -> None:
    parts = taken_apart(ROOT.der())
    for unused in range(1, 8):
        bits = bytes((unused,)) + parts[2][1][1:]
        certificate = put_together([parts[0], parts[1], (parts[2][0], bits)])
        try:
            changed = load_certificate(certificate)
        except ParseError:
            continue
        assert not signed_by(changed, changed)


def test_unknown_critical_extension_is_refused() -> None:
    builder = (
        pyca.CertificateBuilder()
        .subject_name(name_of("x"))
        .issuer_name(name_of("x"))
        .public_key(key("root").public_key())
        .serial_number(1)
        .not_valid_before(FROM)
        .not_valid_after(UNTIL)
        .add_extension(
            pyca.UnrecognizedExtension(pyca.ObjectIdentifier("1.2.3.4"), b"x"), critical=True
        )
    )
    made = builder.sign(key("root"), hashes.SHA384()).public_bytes(Encoding.DER)
    with pytest.raises(ParseError, match="critical"):
        load_certificate(made)


def test_over_long_input_is_refused_unread() -> None:
    with pytest.raises(ParseError):
        load_certificate(bytes(MAX_CERTIFICATE_BYTES + 1))
    with pytest.raises(ParseError):
        load_crl(bytes(MAX_CRL_BYTES + 1))


@given(st.binary(max_size=64))
def test_any_bytes_are_a_certificate_or_a_parse_error(data: bytes) -> None:
    for load in (load_certificate, load_crl):
        with pytest.raises(ParseError):
            load(data)


def test_pem_is_split_in_order() -> None:
    ders = (LEAF.der(), MIDDLE.der(), ROOT.der())
    assert load_certificates(pem(*ders)) == ders
    assert load_certificates(b"issued by somebody\n" + pem(*ders)) == ders
    assert load_certificates(ders[0]) == (ders[0],)


@pytest.mark.parametrize("position", range(0, 900, 13))
def test_damaged_pem_never_is_a_certificate_less(position: int) -> None:
    whole = pem(MIDDLE.der(), ROOT.der())
    changed = bytearray(whole)
    changed[position % len(whole)] ^= 0x04
    try:
        found = load_certificates(bytes(changed))
    except ParseError:
        return
    assert len(found) == 2


def test_too_many_certificates_are_refused() -> None:
    with pytest.raises(ParseError) as caught:
        load_certificates(pem(ROOT.der()) * 65)
    assert caught.value.code == "certificate.count"


def test_revocation_list_is_signed_by_its_issuer_and_nobody_else() -> None:
    found = load_crl(crl(issuer="root", signer="root", revoked=(5, 6)))
    root = load_certificate(ROOT.der())
    assert found.signed_by(root)
    assert not found.signed_by(load_certificate(replace(ROOT, key="x", signer="x").der()))
    assert not found.signed_by(load_certificate(replace(ROOT, subject="y", issuer="y").der()))
    assert found.lists(load_certificate(replace(LEAF, serial=5).der()))
    assert not found.lists(load_certificate(replace(LEAF, serial=7).der()))


def test_revocation_list_has_an_end() -> None:
    found = load_crl(crl())
    second = timedelta(seconds=1)
    assert found.valid_at(FROM)
    assert found.valid_at(UNTIL)
    assert not found.valid_at(FROM - second)
    assert not found.valid_at(UNTIL + second)


@pytest.mark.parametrize("may", [True, False])
def test_revocation_list_counts_only_of_who_may_sign_lists(may: bool) -> None:
    usage = dict.fromkeys(
        ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment",
         "key_agreement", "encipher_only", "decipher_only"), False,
    )  # fmt: skip
    issuer = (
        pyca.CertificateBuilder()
        .subject_name(name_of("Authority"))
        .issuer_name(name_of("Authority"))
        .public_key(key("ark").public_key())
        .serial_number(1)
        .not_valid_before(FROM)
        .not_valid_after(UNTIL)
        .add_extension(pyca.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(pyca.KeyUsage(**usage, key_cert_sign=True, crl_sign=may), critical=True)
        .sign(key("ark"), hashes.SHA384())
    )
    signed = load_crl(crl(issuer="Authority", signer="ark"))
    assert signed.signed_by(load_certificate(issuer.public_bytes(Encoding.DER))) is may
