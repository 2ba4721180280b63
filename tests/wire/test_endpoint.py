"""Addresses as people write them."""

from __future__ import annotations

import pytest

from enarx.errors import UsageError
from enarx.wire.endpoint import Endpoint, parse_listen

PIN = "ab" * 32


@pytest.mark.parametrize(
    "text",
    [
        "unix:/run/x.sock",
        "https://example.org:9443",
        f"https://example.org:1#sha256={PIN}",
        "https://[::1]:9443",
    ],
)
def test_addresses_are_read_and_written_back(text: str) -> None:
    assert str(Endpoint.parse(text)) == text


def test_port_has_a_default() -> None:
    assert Endpoint.parse("https://example.org").port == 9443


def test_tcp_port_is_at_the_given_host() -> None:
    endpoint = Endpoint.parse("tcp:7000", host="example.org")
    assert (endpoint.host, endpoint.port) == ("example.org", 7000)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "example.org",
        "http://example.org",
        "https://",
        "https://x:0",
        "https://x:70000",
        "https://x:y",
        "https://x/path",
        "https://u@x",
        "https://x?q",
        "https://x#sha256=12",
        "unix:",
        "unix:/" + "x" * 200,
        "tcp:1",
        "tcp:x",
    ],
)
def test_other_addresses_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        Endpoint.parse(text)


def test_listen_addresses() -> None:
    assert parse_listen("127.0.0.1:0") == ("127.0.0.1", 0)
    assert parse_listen("[::]:9443") == ("::", 9443)
    for text in ("9443", "host:1", "127.0.0.1:70000", "127.0.0.1:", ":1"):
        with pytest.raises(UsageError):
            parse_listen(text)
