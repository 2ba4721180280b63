"""TLS towards hosts and Keeps: version 1.3 only, to exactly the certificate that was meant.

The owner's certificate authenticates the client in both cases. A peer's certificate is
compared after the handshake, in which it proved that it has the key, and before the first
byte of a request is sent.
"""

from __future__ import annotations

import hashlib
import hmac
import ssl

from enarx.client.identity import Identity
from enarx.errors import ProtocolError, VerificationError
from enarx.wire.endpoint import Endpoint
from enarx.wire.http_client import Connection


def _context(identity: Identity | None, *, authorities: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    if authorities:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    else:
        # The certificate itself is compared instead: no authority, no name.
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if identity is not None:
        identity.present(context)
    return context


async def open_host(endpoint: Endpoint, identity: Identity | None, *, timeout: float) -> Connection:
    """Connect to a keep manager: plainly over a Unix socket, otherwise over TLS.

    Args:
        endpoint: where it listens.
        identity: whose certificate to present; None for who introduces itself first.
        timeout: for connection and handshake, in seconds.

    Raises:
        ProtocolError: its certificate is not the pinned one, or TLS failed.
        UnreachableError: nobody answers.
    """
    if endpoint.path:
        return await Connection.open(endpoint, timeout=timeout)
    context = _context(identity, authorities=endpoint.pin is None)
    connection = await Connection.open(endpoint, tls=context, timeout=timeout)
    if endpoint.pin is None:
        return connection
    found = hashlib.sha256(connection.peer_certificate or b"").digest()
    if not hmac.compare_digest(found, endpoint.pin):
        await connection.close()
        raise ProtocolError(
            f"the host at {endpoint.host}:{endpoint.port} has another certificate than was "
            f"pinned: expected sha256 {endpoint.pin.hex()}, found {found.hex()}",
            hint="copy the URL that `enarx host up` prints; if it did not change, somebody "
            "else answers there",
            code="host.pin",
        )
    return connection


async def open_keep(
    endpoint: Endpoint, identity: Identity, *, certificate: bytes, timeout: float
) -> Connection:
    """Connect to the Keep that has exactly this certificate (DER), and to no other.

    Raises:
        VerificationError: somebody with another certificate answers (code `keep.certificate`).
        UnreachableError: nobody answers.
    """
    context = _context(identity, authorities=False)
    connection = await Connection.open(endpoint, tls=context, timeout=timeout)
    if not hmac.compare_digest(connection.peer_certificate or b"", certificate):
        await connection.close()
        raise VerificationError(
            "who answers for the Keep does not have the certificate that was attested: "
            "nothing was sent",
            hint="the host put something between you and the Keep; do not use this host",
            code="keep.certificate",
        )
    return connection
