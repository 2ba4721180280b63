"""Who the tenant is: one P-256 key with a self-signed certificate, made at first use.

The certificate's SHA-256 is in the init data of every Keep made with it, so the Keep
talks to nobody else. The key never leaves this machine; whoever can read the file can
act as its owner. Key and certificate are one PEM file of mode 0600, written in one step.
"""

from __future__ import annotations

import hashlib
import os
import ssl
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from enarx.client.paths import config_dir, make_private, write_private
from enarx.errors import ConfigError

FILE_NAME = "owner.pem"
IDENTITY_BYTES = 64 * 1024
"""Most bytes of an identity file; ours has about 900."""

_NO_EXPIRY = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
"""RFC 5280, section 4.1.2.5: the date for certificates without a well-defined expiration."""
_BACKDATED = timedelta(days=1)
"""So that a Keep on a host whose clock is behind takes the certificate of a new user."""


@dataclass(frozen=True, kw_only=True)
class Identity:
    """An owner.

    Attributes:
        path: the PEM file with key and certificate.
        certificate: X.509, DER.
    """

    path: Path
    certificate: bytes

    @property
    def digest(self) -> bytes:
        """SHA-256 of the certificate (DER): the owner's name towards hosts and Keeps."""
        return hashlib.sha256(self.certificate).digest()

    def present(self, context: ssl.SSLContext) -> None:
        """Make a TLS context authenticate as this owner.

        Raises:
            ConfigError: key and certificate do not belong together.
        """
        try:
            context.load_cert_chain(self.path)
        except (ssl.SSLError, OSError) as error:
            raise _corrupted(self.path, str(error)) from None


def load_identity(path: Path | None = None) -> Identity:
    """The owner's identity, made now if there is none.

    Args:
        path: its file; the user's own (see `enarx.client.paths`) when None.

    Raises:
        ConfigError: the file is not an identity, or others can read it.
        HostError: it cannot be read or made.
    """
    path = path or config_dir() / FILE_NAME
    if not path.exists():
        make_private(path.parent)
        # Another process may make it at the same time: whoever is first wins, both read that.
        write_private(path, _new_identity(), replace=False)
    return _read(path)


def _read(path: Path) -> Identity:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode & 0o777
            content = file.read(IDENTITY_BYTES + 1)
    except OSError as error:
        raise ConfigError(
            f"cannot read the owner's identity: {error.strerror}",
            path=str(path),
            code="identity.unreadable",
        ) from None
    if sys.platform != "win32" and mode & 0o077:
        raise ConfigError(
            f"the owner's key has mode {mode:o}: others on this machine can read it",
            path=str(path),
            hint=f"if nobody did: chmod 600 {path}; otherwise move it away for a new one",
            code="identity.permissions",
        )
    identity = Identity(path=path, certificate=_certificate(path, content))
    # Loads the key and checks that it fits the certificate, before anything is asked of a host.
    identity.present(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    return identity


def _certificate(path: Path, content: bytes) -> bytes:
    if len(content) > IDENTITY_BYTES:
        raise _corrupted(path, f"more than {IDENTITY_BYTES} bytes")
    begin, end = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"
    start, stop = content.find(begin), content.find(end)
    if start < 0 or stop < start:
        raise _corrupted(path, "no certificate in it")
    try:
        return ssl.PEM_cert_to_DER_cert(content[start : stop + len(end)].decode("ascii"))
    except ValueError as error:
        raise _corrupted(path, str(error)) from None


def _corrupted(path: Path, reason: str) -> ConfigError:
    return ConfigError(
        f"the owner's identity is damaged ({reason})",
        path=str(path),
        hint="restore it from a backup, or move it away: the next command makes a new owner, "
        "who cannot reach the Keeps of the old one",
        code="identity.corrupted",
    )


def _new_identity() -> bytes:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "enarx owner")])
    usage = x509.KeyUsage(
        digital_signature=True, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, key_cert_sign=False, crl_sign=False,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - _BACKDATED)
        .not_valid_after(_NO_EXPIRY)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ) + certificate.public_bytes(serialization.Encoding.PEM)
