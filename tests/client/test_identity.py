"""The owner's key: made once, kept private, never guessed when damaged."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from enarx.client.identity import FILE_NAME, load_identity
from enarx.errors import ConfigError, HostError


def test_first_use_makes_a_p256_certificate_and_the_next_reads_the_same(tmp_path: Path) -> None:
    first = load_identity(tmp_path / "new" / FILE_NAME)
    second = load_identity(tmp_path / "new" / FILE_NAME)
    assert first == second
    assert first.digest == hashlib.sha256(first.certificate).digest()
    certificate = x509.load_der_x509_certificate(first.certificate)
    key = certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert key.curve.name == "secp256r1"
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_home_is_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENARX_HOME", str(tmp_path / "home"))
    assert load_identity().path == tmp_path / "home" / FILE_NAME


def test_file_and_directory_are_private_even_under_a_lax_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        path = load_identity(tmp_path / "new" / FILE_NAME).path
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert [entry.name for entry in path.parent.iterdir()] == [FILE_NAME]


def _load(path: Path, out: multiprocessing.SimpleQueue[bytes]) -> None:
    out.put(load_identity(path).digest)


def test_two_first_uses_at_once_agree_on_one_owner(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    out = context.SimpleQueue()
    path = tmp_path / FILE_NAME
    children = [context.Process(target=_load, args=(path, out)) for _ in range(6)]
    for child in children:
        child.start()
    digests = {out.get() for _ in children}
    for child in children:
        child.join(10)
    assert digests == {load_identity(path).digest}


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: b"\0" * 100,
        lambda content: content[: len(content) // 2],
        lambda content: content.replace(b"PRIVATE", b"PUBLIC"),
        lambda content: content + b"x" * 65536,
        lambda content: content.replace(b"CERTIFICATE-----\nMII", b"CERTIFICATE-----\n!!!"),
    ],
)
def test_damaged_file_is_refused_and_kept(damage: object, tmp_path: Path) -> None:
    path = load_identity(tmp_path / FILE_NAME).path
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    before = path.read_bytes()
    with pytest.raises(ConfigError) as caught:
        load_identity(path)
    assert caught.value.code == "identity.corrupted"
    assert path.read_bytes() == before


def test_key_of_another_owner_is_refused(tmp_path: Path) -> None:
    one = load_identity(tmp_path / "one.pem").path
    two = load_identity(tmp_path / "two.pem").path
    certificate = two.read_bytes().partition(b"-----BEGIN CERT")[2]
    one.write_bytes(
        one.read_bytes().partition(b"-----BEGIN CERT")[0] + b"-----BEGIN CERT" + certificate
    )
    with pytest.raises(ConfigError) as caught:
        load_identity(one)
    assert caught.value.code == "identity.corrupted"


def test_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = load_identity(tmp_path / FILE_NAME).path
    path.chmod(0o644)
    with pytest.raises(ConfigError) as caught:
        load_identity(path)
    assert caught.value.code == "identity.permissions"


def test_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HostError) as caught:
        load_identity(tmp_path / "file" / "sub" / FILE_NAME)
    assert str(tmp_path / "file") in str(caught.value)


def test_identity_authenticates_in_tls(tmp_path: Path) -> None:
    load_identity(tmp_path / FILE_NAME).present(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
