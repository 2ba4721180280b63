"""Who this Keep is: a fresh key, evidence over it, and a one-use certificate (step 6)."""

from __future__ import annotations

import datetime
import hashlib
import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from enarx.evidence import cmw, ratls
from enarx.evidence.claims import Claims, report_data
from enarx.wire import limits
from enarx.wire.attestation import InitData
from enarx.wire.silicon import LaunchRecord, ReportReply

_NO_CHECK_TIME = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME (openssl/x509_vfy.h)."""
_QUOTES = ("sgx", "tdx")
"""Technologies for which interoperable RA-TLS defines its extension."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """The Keep's key and its certificate (DER)."""

    key: ec.EllipticCurvePrivateKey
    certificate: bytes

    @classmethod
    def make(
        cls,
        *,
        init: InitData,
        init_digest: bytes,
        record: LaunchRecord,
        levels: tuple[str, ...],
        get_report: Callable[[bytes], ReportReply],
    ) -> Identity:
        """Make a key, get evidence over the claims that hold it, and certify it.

        Args:
            init, init_digest: the init data, and the SHA-256 of their encoding.
            record: what the silicon says it launched.
            levels: of the sandbox, those in force.
            get_report: evidence over 64 bytes.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        claims = Claims(
            key_digest=hashlib.sha256(public).digest(),
            nonce=init.nonce,
            init_data=init_digest,
            payload=record.payload,
            runtime=record.runtime,
            sandbox=levels,
        ).pack()
        report = get_report(report_data(claims))
        return cls(key=key, certificate=_certify(key, init.kuuid, claims, report))

    def tls_context(self, *, owner: bytes, own_files: str | None) -> ssl.SSLContext:
        """TLS 1.3, for whoever shows the certificate `owner` (DER) and nobody else.

        Args:
            own_files: a directory in memory, for the moment OpenSSL takes to read the key;
                None to use an anonymous file by way of /proc.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.num_tickets = 0
        context.sslobject_class = _TellingWhy
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=owner)
        # The owner's certificate is compared as a whole, later; the host's clock, which is
        # what there is here, has no say in it.
        context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME
        pem = ssl.DER_cert_to_PEM_cert(self.certificate).encode() + self.key.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )
        _load(context, pem, own_files)
        return context


_WORTH_TELLING = frozenset(
    {
        "CERTIFICATE_VERIFY_FAILED",
        "PEER_DID_NOT_RETURN_A_CERTIFICATE",
        "UNSUPPORTED_PROTOCOL",
    }
)
"""OpenSSL's reasons that a client can do something about."""


class _TellingWhy(ssl.SSLObject):
    """A handshake that tells a client that is not the owner why it failed.

    asyncio closes at the error and drops OpenSSL's alert, which is waiting to be sent. It
    sends what waits when more is wanted from the other side; so that is what it hears first.
    """

    _failure: ssl.SSLError | None = None

    def do_handshake(self) -> None:
        if self._failure is not None:
            raise self._failure
        try:
            super().do_handshake()
        except ssl.SSLError as failure:
            if failure.reason not in _WORTH_TELLING:
                raise
            self._failure = failure
            raise ssl.SSLWantReadError from failure


def _certify(
    key: ec.EllipticCurvePrivateKey, kuuid: bytes, claims: bytes, report: ReportReply
) -> bytes:
    message = cmw.KeepMessage(media_type=report.media_type, evidence=report.evidence, claims=claims)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"enarx keep {kuuid.hex()}")])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(seconds=limits.CLOCK_SKEW_SECONDS))
        .not_valid_after(now + datetime.timedelta(seconds=limits.CERTIFICATE_SECONDS))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(_extension(cmw.CMW_OID, message.pack()), critical=False)
    )
    if message.kind in _QUOTES:
        value = ratls.pack_ratls(report.evidence, claims)
        builder = builder.add_extension(_extension(ratls.RATLS_OID, value), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def _extension(oid: str, value: bytes) -> x509.UnrecognizedExtension:
    return x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value)


def _load(context: ssl.SSLContext, pem: bytes, own_files: str | None) -> None:
    """Give key and certificate to OpenSSL, which takes them only out of a file."""
    if own_files is None:
        with open(os.memfd_create("identity"), "wb", buffering=0) as file:
            file.write(pem)
            context.load_cert_chain(f"/proc/self/fd/{file.fileno()}")
        return
    path = f"{own_files}/identity.pem"
    with open(path, "xb") as file:
        file.write(pem)
    try:
        context.load_cert_chain(path)
    finally:
        os.unlink(path)
