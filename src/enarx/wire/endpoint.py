"""Where somebody listens, as text: `unix:PATH`, `https://HOST:PORT[#sha256=HEX]`, `tcp:PORT`."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from enarx.errors import UsageError

DEFAULT_PORT = 9443
_FORMS = "unix:/PATH or https://HOST:PORT"
_SOCKET_PATH = 107
"""Longest path of a Unix socket on Linux: sizeof(sun_path) less the closing zero."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A place to connect to: a Unix socket's path, or host and port over TLS.

    pin: SHA-256 of the DER certificate that the server must show; None: ask the certificate
        authorities that this machine trusts.
    """

    path: str = ""
    host: str = ""
    port: int = 0
    pin: bytes | None = None

    @classmethod
    def parse(cls, text: str, *, host: str = "") -> Endpoint:
        """Read an endpoint; `host` is who `tcp:PORT` speaks of. Raises UsageError."""
        scheme, _, rest = text.partition(":")
        if scheme == "unix":
            return cls(path=_unix_path(rest, text))
        if scheme == "tcp" and host and rest.isascii() and rest.isdigit():
            return cls(host=host, port=_port(int(rest), text))
        if scheme == "https":
            return _https(text)
        raise UsageError(
            f"{text!r} is not an address of a host", hint=f"Write {_FORMS}.", code="usage.address"
        )

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        pin = f"#sha256={self.pin.hex()}" if self.pin else ""
        return f"https://{host}:{self.port}{pin}"


def _unix_path(path: str, text: str) -> str:
    path = path.removeprefix("//")
    if not path or "\0" in path or len(path.encode()) > _SOCKET_PATH:
        raise UsageError(
            f"{text!r} does not name a Unix socket of at most {_SOCKET_PATH} bytes",
            code="usage.address",
        )
    return path


def _https(text: str) -> Endpoint:
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError as error:
        raise UsageError(f"{text!r} is not a URL: {error}", code="usage.address") from None
    if not url.hostname or url.path not in ("", "/") or url.query or url.username is not None:
        raise UsageError(
            f"{text!r} must name a host and a port and nothing more",
            hint=f"Write {_FORMS}.",
            code="usage.address",
        )
    pin = None
    if url.fragment:
        match = re.fullmatch(r"sha256=([0-9a-fA-F]{64})", url.fragment)
        if not match:
            raise UsageError(
                f"{text!r}: what follows # must be sha256= and 64 hexadecimal digits",
                hint="Copy the URL that `enarx host up` printed.",
                code="usage.address",
            )
        pin = bytes.fromhex(match[1])
    port = DEFAULT_PORT if port is None else port
    return Endpoint(host=url.hostname, port=_port(port, text), pin=pin)


def parse_listen(text: str) -> tuple[str, int]:
    """`ADDR:PORT` to listen on; port 0 lets the system choose. Raises UsageError."""
    address, colon, port = text.rpartition(":")
    try:
        ipaddress.ip_address(address.strip("[]"))
        number = int(port)
    except ValueError:
        number = -1
    if not colon or not 0 <= number <= 65535:
        raise UsageError(
            f"{text!r} is not an address to listen on",
            hint="Write an IP address and a port, such as 127.0.0.1:9443.",
            code="usage.address",
        )
    return address.strip("[]"), number


def _port(port: int, text: str) -> int:
    if not 1 <= port <= 65535:
        raise UsageError(f"{text!r}: port {port} is not between 1 and 65535", code="usage.address")
    return port
