"""Who may use this host: principals, and TLS for those who come from elsewhere.

Over a Unix socket a principal is a user id, which the kernel vouches for. Over TLS it is
the SHA-256 of the client's certificate, which is self-signed: the handshake proves that
the client has its key. TLS as Python has it accepts such a certificate only when it was
told of it before, so a tenant introduces itself first (`POST /v1/tenant`, without a client
certificate); the host remembers the certificate if its fingerprint is allowed. Being
remembered is not being allowed: that is asked again for every request.
"""

from __future__ import annotations

import hashlib
import os
import re
import ssl
from collections.abc import Iterable
from pathlib import Path

from enarx.errors import HostError, RefusedError, UsageError
from enarx.host import limits
from enarx.wire.http import Peer

_FINGERPRINT = re.compile(r"[0-9a-f]{64}")
_UID = re.compile(r"uid:([0-9]{1,10})")


class Tenants:
    """The principals that are allowed, as `uid:NUMBER` or `cert:HEX`."""

    def __init__(self, allowed: Iterable[str], *, anybody: bool) -> None:
        """`allowed` as the operator writes them: fingerprints, or `uid:NUMBER`."""
        own = {"uid:0", f"uid:{os.geteuid()}"}
        self._allowed = own | {_principal(text) for text in allowed}
        self._anybody = anybody
        self._known: set[bytes] = set()

    def principal(self, peer: Peer) -> str:
        """Who this peer is, allowed to use the host. Raises RefusedError."""
        if peer.certificate is not None:
            name = _of_certificate(peer.certificate)
        elif peer.uid is not None:
            name = f"uid:{peer.uid}"
        else:
            raise RefusedError(
                "this host asks for a client certificate",
                hint="Introduce yourself first: POST /v1/tenant with your certificate.",
                code="host.no-certificate",
            )
        self._check(name)
        return name

    def introduce(self, certificate: bytes, context: ssl.SSLContext) -> str:
        """Let TLS accept this certificate from now on, if its tenant is allowed."""
        name = _of_certificate(certificate)
        self._check(name)
        if certificate in self._known:
            return name
        if len(self._known) >= limits.TENANTS:
            raise RefusedError(
                f"this host remembers {limits.TENANTS} tenants and no more",
                hint="Its operator can start it again.",
                code="host.tenants",
            )
        try:
            context.load_verify_locations(cadata=certificate)
        except ssl.SSLError as error:
            raise UsageError(
                f"this is not one X.509 certificate in DER: {error.reason or error}",
                code="host.certificate",
            ) from None
        self._known.add(certificate)
        return name

    def _check(self, name: str) -> None:
        if self._anybody or name in self._allowed:
            return
        text = name.removeprefix("cert:")
        raise RefusedError(
            f"this host does not know the tenant {text}",
            hint=f"Its operator can allow it: enarx host up --tenant {text}",
            code="host.unknown-tenant",
        )


def _of_certificate(certificate: bytes) -> str:
    return f"cert:{hashlib.sha256(certificate).hexdigest()}"


def _principal(text: str) -> str:
    plain = text.strip().lower().removeprefix("sha256=").replace(":", "")
    if _FINGERPRINT.fullmatch(plain):
        return f"cert:{plain}"
    if match := _UID.fullmatch(text.strip()):
        return f"uid:{int(match[1])}"
    raise UsageError(
        f"{text!r} names no tenant",
        hint="Write the SHA-256 of its certificate, 64 hexadecimal digits, or uid:NUMBER.",
        code="usage.tenant",
    )


def server_context(path: Path, address: str) -> tuple[ssl.SSLContext, bytes]:
    """TLS 1.3 with the key in `path`, made now where there is none; and its fingerprint.

    The fingerprint is the SHA-256 of the certificate (DER), which clients pin.
    """
    try:
        if not path.exists():
            _write_private(path, _new_server(address))
        pem = path.read_text()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(path)
        certificate = pem[pem.index("-----BEGIN CERTIFICATE-----") :]
    except (OSError, ValueError) as error:
        raise HostError(
            f"the host's TLS key in {path} is not usable: {error}",
            hint="Move it away: `enarx host up` makes another, with another fingerprint.",
            code="host.tls-key",
        ) from None
    # Asked for, not demanded: who has none yet may introduce itself, and nothing else.
    context.verify_mode = ssl.CERT_OPTIONAL
    # A tenant's certificate is its own anchor, though it is no authority.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context, hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate)).digest()


def _new_server(address: str) -> bytes:
    """A P-256 key and a self-signed certificate, PEM."""
    import datetime
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "enarx keep manager")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=limits.SERVER_KEY_DAYS))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ) + certificate.public_bytes(serialization.Encoding.PEM)


def _write_private(path: Path, content: bytes) -> None:
    temporary = path.with_name(f"{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        os.fsync(file.fileno())
    temporary.replace(path)
