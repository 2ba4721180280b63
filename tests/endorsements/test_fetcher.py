"""Fetching: polite to a service that is busy, bounded against one that is hostile."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from tests.endorsements import vendors as v

from enarx.endorsements.fetcher import Fetcher
from enarx.endorsements.patience import Patience
from enarx.errors import (
    EnarxError,
    HostError,
    LimitError,
    ProtocolError,
    RefusedError,
    UnreachableError,
)

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
REAL = Patience(total=0.6, attempt=0.3, connect=0.3, first_wait=0.05, longest_wait=0.1)
"""For tests in which real time passes: a second at most."""


@pytest.fixture
def server() -> Iterator[v.Vendors]:
    with v.running() as vendors:
        vendors.pages["/x"] = v.Page(b"content" * 100, {"Some-Header": "value"})
        yield vendors


@pytest.fixture
def clock() -> v.FakeClock:
    return v.FakeClock(NOW)


def get(
    server: v.Vendors,
    clock: v.FakeClock | None = None,
    *,
    path: str = "/x",
    limit: int = 1000,
    patience: Patience | None = None,
) -> bytes:
    with Fetcher(
        patience=patience or (Patience() if clock else REAL), clock=clock, jitter=lambda: 0.5
    ) as fetcher:
        return fetcher.get(server.url + path, limit=limit, deadline=fetcher.deadline()).body


class TestBusyService:
    def test_is_asked_again_after_what_it_says(self, server: v.Vendors, clock: v.FakeClock) -> None:
        server.faults["/x"] = [v.status(429, Retry_After="17"), v.send]
        assert get(server, clock) == b"content" * 100
        assert clock.slept == [17.0]

    def test_may_say_so_as_a_date(self, server: v.Vendors, clock: v.FakeClock) -> None:
        until = format_datetime(NOW + timedelta(seconds=40), usegmt=True)
        server.faults["/x"] = [v.status(503, Retry_After=until), v.send]
        get(server, clock)
        assert clock.slept == [40.0]

    @pytest.mark.parametrize("value", ["soon", "-5", "9" * 40, "1.5", "Wed, 99 Nov 2026", ""])
    def test_may_say_nonsense(self, server: v.Vendors, clock: v.FakeClock, value: str) -> None:
        server.faults["/x"] = [v.status(429, Retry_After=value), v.send]
        get(server, clock)
        assert clock.slept == [0.375]

    def test_waits_double_up_to_a_bound(self, server: v.Vendors, clock: v.FakeClock) -> None:
        server.faults["/x"] = [*[v.status(500)] * 4, v.send]
        get(server, clock, patience=Patience(longest_wait=2.0))
        assert clock.slept == [0.375, 0.75, 1.5, 1.5]

    def test_that_refuses_for_hours_is_left_alone_in_time(
        self, server: v.Vendors, clock: v.FakeClock
    ) -> None:
        server.faults["/x"] = [v.status(503)]
        with pytest.raises(UnreachableError) as error:
            get(server, clock)
        assert error.value.code == "endorsements.unreachable"
        assert sum(clock.slept) <= Patience().total
        assert server.total < 15

    def test_that_asks_for_an_hour_gets_no_second_request(
        self, server: v.Vendors, clock: v.FakeClock
    ) -> None:
        server.faults["/x"] = [v.status(429, Retry_After="3600")]
        with pytest.raises(UnreachableError, match="asks to wait 3600 s"):
            get(server, clock)
        assert (server.total, clock.slept) == (1, [])

    def test_requests_to_one_host_keep_a_distance(
        self, server: v.Vendors, clock: v.FakeClock
    ) -> None:
        # 127.1 is this machine, written so that it does not look like it.
        away = server.url.replace("127.0.0.1", "127.1")
        with Fetcher(clock=clock, patience=Patience(spacing=4.0)) as fetcher:
            for _ in range(3):
                fetcher.get(f"{away}/x", limit=1000, deadline=fetcher.deadline())
        assert clock.slept == [4.0, 4.0]


class TestRefusal:
    @pytest.mark.parametrize(
        ("status", "code"),
        [(404, "not-found"), (410, "not-found"), (401, "refused"), (403, "refused"),
         (400, "refused"), (204, "refused")],
    )  # fmt: skip
    def test_is_final(self, server: v.Vendors, clock: v.FakeClock, status: int, code: str) -> None:
        server.faults["/x"] = [v.status(status)]
        with pytest.raises(RefusedError) as error:
            get(server, clock)
        assert error.value.code == f"endorsements.{code}"
        assert server.total == 1


class TestBrokenAnswer:
    @pytest.mark.parametrize("fault", [v.cut, v.garbage])
    def test_is_asked_for_again(
        self, server: v.Vendors, clock: v.FakeClock, fault: v.Fault
    ) -> None:
        server.faults["/x"] = [fault, v.send]
        assert get(server, clock) == b"content" * 100
        assert server.total == 2

    @pytest.mark.parametrize("fault", [v.cut, v.garbage])
    def test_for_ever_is_an_error(
        self, server: v.Vendors, clock: v.FakeClock, fault: v.Fault
    ) -> None:
        server.faults["/x"] = [fault]
        with pytest.raises(UnreachableError):
            get(server, clock)

    def test_oversize_is_refused_by_its_length(self, server: v.Vendors, clock: v.FakeClock) -> None:
        with pytest.raises(LimitError) as error:
            get(server, clock, limit=699)
        assert error.value.code == "endorsements.size"
        assert get(server, clock, limit=700)

    def test_endless_is_refused_by_what_came(self, server: v.Vendors, clock: v.FakeClock) -> None:
        server.faults["/x"] = [v.endless]
        with pytest.raises(LimitError):
            get(server, clock, limit=200_000)

    def test_compressed_is_refused(self, server: v.Vendors, clock: v.FakeClock) -> None:
        server.pages["/x"] = v.Page(b"bomb", {"Content-Encoding": "gzip"})
        with pytest.raises(ProtocolError) as error:
            get(server, clock)
        assert error.value.code == "endorsements.encoding"


class TestSlowAnswer:
    @pytest.mark.parametrize("fault", [v.hang, v.drip_head, v.drip_body])
    def test_is_given_up_in_time(self, server: v.Vendors, fault: v.Fault) -> None:
        server.faults["/x"] = [fault]
        started = time.monotonic()
        with pytest.raises(UnreachableError):
            get(server, limit=1_000_000)
        # The patience is under a second, the machine may be busy, the fault lasts far longer.
        assert time.monotonic() - started < v.FAULT_SECONDS / 2

    def test_nobody_there_is_an_error(self) -> None:
        with Fetcher(patience=REAL) as fetcher, pytest.raises(UnreachableError):
            fetcher.get("http://127.0.0.1:9/x", limit=10, deadline=fetcher.deadline())


class TestRedirect:
    def test_on_the_same_host_is_followed(self, server: v.Vendors, clock: v.FakeClock) -> None:
        server.pages["/old"] = v.Page(b"", {"Location": "/x"}, 302)
        assert get(server, clock, path="/old") == b"content" * 100

    @pytest.mark.parametrize(
        "location",
        ["https://example.org/x", "http://127.0.0.1:9/x", "file:///etc/passwd", "//[", "",
         "http://127.0.0.1:99999999/x", "http://u:p@localhost/x"],
    )  # fmt: skip
    def test_to_elsewhere_is_refused(
        self, server: v.Vendors, clock: v.FakeClock, location: str
    ) -> None:
        server.pages["/old"] = v.Page(b"", {"Location": location}, 301)
        with pytest.raises(EnarxError) as error:
            get(server, clock, path="/old")
        assert error.value.code == "endorsements.redirect"
        assert server.total == 1

    def test_in_a_circle_ends(self, server: v.Vendors, clock: v.FakeClock) -> None:
        server.pages["/old"] = v.Page(b"", {"Location": "/old"}, 307)
        with pytest.raises(ProtocolError):
            get(server, clock, path="/old")
        assert server.total == Patience().redirects + 1

    def test_can_be_turned_off(self, server: v.Vendors, clock: v.FakeClock) -> None:
        server.pages["/old"] = v.Page(b"", {"Location": "/x"}, 302)
        with pytest.raises(ProtocolError):
            get(server, clock, path="/old", patience=Patience(redirects=0))


class TestTls:
    @pytest.fixture
    def files(self, tmp_path: Path) -> tuple[Path, Path]:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mirror")])
        import ipaddress

        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(datetime.now(UTC) - timedelta(hours=1))
            .not_valid_after(datetime.now(UTC) + timedelta(hours=1))
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
                critical=False,
            )
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(key, hashes.SHA256())
        )
        paths = tmp_path / "cert.pem", tmp_path / "key.pem"
        paths[0].write_bytes(certificate.public_bytes(Encoding.PEM))
        paths[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return paths

    def test_certificate_of_the_server_must_be_trusted(self, files: tuple[Path, Path]) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*files)
        with v.running(tls=context) as server:
            server.pages["/x"] = v.Page(b"over TLS")
            patience = Patience(total=30)
            with Fetcher(patience=patience) as fetcher, pytest.raises(HostError) as error:
                fetcher.get(f"{server.url}/x", limit=10, deadline=fetcher.deadline())
            assert error.value.code == "endorsements.tls"
            with Fetcher(patience=patience, ca_file=str(files[0])) as fetcher:
                reply = fetcher.get(f"{server.url}/x", limit=10, deadline=fetcher.deadline())
            assert reply.body == b"over TLS"

    def test_slow_answer_over_tls_is_given_up_in_time(self, files: tuple[Path, Path]) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*files)
        with v.running(tls=context) as server:
            server.faults["/x"] = [v.drip_head]
            started = time.monotonic()
            with (
                Fetcher(patience=REAL, ca_file=str(files[0])) as fetcher,
                pytest.raises(UnreachableError),
            ):
                fetcher.get(f"{server.url}/x", limit=10, deadline=fetcher.deadline())
            assert time.monotonic() - started < v.FAULT_SECONDS / 2


def test_those_who_give_up_take_no_turn_from_the_rest(
    server: v.Vendors, clock: v.FakeClock
) -> None:
    away = server.url.replace("127.0.0.1", "127.1")
    with Fetcher(clock=clock, patience=Patience(spacing=4.0)) as fetcher:
        fetcher.get(f"{away}/x", limit=1000, deadline=fetcher.deadline())
        for _ in range(50):
            with pytest.raises(UnreachableError):
                fetcher.get(f"{away}/x", limit=1000, deadline=clock.monotonic() + 1)
        fetcher.get(f"{away}/x", limit=1000, deadline=fetcher.deadline())
    assert clock.slept == [4.0]
