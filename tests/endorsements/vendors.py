"""A server that behaves like AMD's KDS and Intel's PCS, over real sockets, with faults on demand.

Its addresses are written here by hand from the vendors' documents, not taken from the code
under test. It publishes what genuine samples came with.
"""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

VECTORS = Path(__file__).resolve().parents[2] / "../shared/vectors"
needs_vectors = pytest.mark.skipif(not VECTORS.is_dir(), reason="no ../shared/vectors here")

MILAN = VECTORS / "snp/milan-v2-idblock-crl-enarx"
GENOA = VECTORS / "snp/genoa-v5-vcek-oak"
TURIN = VECTORS / "snp/turin-v5-vcek-microsoft"
VLEK = VECTORS / "snp/milan-v3-vlek-aws-trustee"
SGX = VECTORS / "sgx/v3-sw-hardening-automata"
TDX = VECTORS / "tdx/v5-td15-up-to-date-google"


def when(sample: Path) -> datetime:
    """The time at which a sample is to be verified."""
    return datetime.fromisoformat(json.loads((sample / "expected.json").read_text())["verify_at"])


@dataclass(frozen=True)
class Page:
    """What is published at one address."""

    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    status: int = 200


Fault = Callable[[BaseHTTPRequestHandler, Page], None]


class Vendors:
    """Pages by path and query, and faults that come first: one a request, the last for ever."""

    def __init__(self) -> None:
        self.pages: dict[str, Page] = {}
        self.faults: dict[str, list[Fault]] = {}
        self.asked: defaultdict[str, int] = defaultdict(int)
        self.times: list[float] = []
        self.url = ""
        self._lock = threading.Lock()

    @property
    def total(self) -> int:
        return sum(self.asked.values())

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        with self._lock:
            self.asked[handler.path] += 1
            self.times.append(time.monotonic())
            faults = self.faults.get(handler.path) or self.faults.get("*") or []
            fault = faults.pop(0) if len(faults) > 1 else (faults[0] if faults else send)
        fault(handler, self.pages.get(handler.path, Page(b"not found", status=404)))

    def publish_snp(self, sample: Path, product: str) -> None:
        """VCEK, chain and, where the sample has one, revocation list."""
        vcek = (sample / "vcek.der").read_bytes()
        self.pages[vcek_path(sample, product)] = Page(vcek)
        self.pages[f"/vcek/v1/{product}/cert_chain"] = Page((sample / "chain.pem").read_bytes())
        for crl in sample.glob("*.crl.der"):
            self.pages[f"/vcek/v1/{product}/crl"] = Page(crl.read_bytes())

    def publish_dcap(self, sample: Path, tee: str, authority: str) -> str:
        """Collateral; gives the FMSPC."""
        part = json.loads((sample / "collateral.json").read_text())
        fmspc = json.loads(part["tcb_info"])["fmspc"].lower()
        base = f"/{tee}/certification/v4"
        self.pages[f"{base}/tcb?fmspc={fmspc}"] = Page(
            ('{"tcbInfo":' + part["tcb_info"] + ',"signature":"' + part["tcb_info_signature"]
             + '"}').encode(),
            {"TCB-Info-Issuer-Chain": quote(part["tcb_info_issuer_chain"])},
        )  # fmt: skip
        self.pages[f"{base}/qe/identity"] = Page(
            ('{"enclaveIdentity":' + part["qe_identity"] + ',"signature":"'
             + part["qe_identity_signature"] + '"}').encode(),
            {"SGX-Enclave-Identity-Issuer-Chain": quote(part["qe_identity_issuer_chain"])},
        )  # fmt: skip
        self.pages[f"/sgx/certification/v4/pckcrl?ca={authority}&encoding=der"] = Page(
            bytes.fromhex(part["pck_crl"]),
            {"SGX-PCK-CRL-Issuer-Chain": quote(part["pck_crl_issuer_chain"])},
        )
        # A PCCS sends this one as hex.
        self.pages["/sgx/certification/v4/rootcacrl"] = Page(part["root_ca_crl"].encode())
        return str(fmspc)


def vcek_path(sample: Path, product: str) -> str:
    """The address of a sample's VCEK, put together from the report by hand."""
    report = (sample / "report.bin").read_bytes()
    chip, tcb = report[0x1A0:0x1E0], report[0x180:0x188]
    if product == "Turin":
        names = {"fmcSPL": tcb[0], "blSPL": tcb[1], "teeSPL": tcb[2], "snpSPL": tcb[3]}
        chip = chip[:8]
    else:
        names = {"blSPL": tcb[0], "teeSPL": tcb[1], "snpSPL": tcb[6]}
    query = "&".join(f"{name}={value:02d}" for name, value in names.items())
    return f"/vcek/v1/{product}/{chip.hex()}?{query}&ucodeSPL={tcb[7]:02d}"


@contextmanager
def running(*, tls: ssl.SSLContext | None = None) -> Iterator[Vendors]:
    """Run a server on a port of its own."""
    vendors = Vendors()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            vendors.answer(self)

        def log_message(self, *_: Any) -> None:
            return

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: Any) -> None:
            return  # a client that went away is what many tests are about

    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    scheme = "http" if tls is None else "https"
    vendors.url = f"{scheme}://127.0.0.1:{server.server_address[1]}"
    try:
        yield vendors
    finally:
        server.shutdown()
        server.server_close()


# Faults.

FAULT_SECONDS = 20.0
"""How long slow ones last: far longer than any client in a test waits."""


def send(handler: BaseHTTPRequestHandler, page: Page) -> None:
    """No fault: the page."""
    handler.send_response(page.status)
    for name, value in page.headers.items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(page.body)))
    handler.end_headers()
    handler.wfile.write(page.body)


def status(code: int, **headers: str) -> Fault:
    """Another status."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler, _: send(handler, Page(b"no", named, code))


def body(content: bytes) -> Fault:
    """Another body, with the right headers."""
    return lambda handler, page: send(handler, Page(content, page.headers))


def cut(handler: BaseHTTPRequestHandler, page: Page) -> None:
    """The connection ends in the middle of the body."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(page.body)))
    handler.end_headers()
    handler.wfile.write(page.body[: len(page.body) // 2])
    handler.wfile.flush()
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True


def garbage(handler: BaseHTTPRequestHandler, _: Page) -> None:
    """Not HTTP."""
    handler.wfile.write(b"\0\xff" * 40 + b"\r\n\r\n")
    handler.close_connection = True


def hang(handler: BaseHTTPRequestHandler, _: Page) -> None:
    """Nothing, for longer than anybody waits."""
    time.sleep(FAULT_SECONDS)
    handler.close_connection = True


def drip_head(handler: BaseHTTPRequestHandler, _: Page) -> None:
    """A head that never ends, a byte at a time."""
    try:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        for _ in range(int(FAULT_SECONDS * 20)):
            handler.wfile.write(b"a")
            handler.wfile.flush()
            time.sleep(0.05)
    except OSError:
        handler.close_connection = True


def drip_body(handler: BaseHTTPRequestHandler, _: Page) -> None:
    """A body that comes a byte at a time."""
    try:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        for _ in range(int(FAULT_SECONDS * 20)):
            handler.wfile.write(b"a")
            handler.wfile.flush()
            time.sleep(0.05)
    except OSError:
        handler.close_connection = True


def endless(handler: BaseHTTPRequestHandler, _: Page) -> None:
    """A body without a length that does not end."""
    handler.send_response(200)
    handler.send_header("Connection", "close")
    handler.end_headers()
    try:
        for _ in range(2000):
            handler.wfile.write(b"a" * 65536)
    except OSError:
        handler.close_connection = True


def der_of(pem: bytes) -> list[bytes]:
    """Certificates of a PEM text."""
    return [one.public_bytes(Encoding.DER) for one in x509.load_pem_x509_certificates(pem)]


class FakeClock:
    """Time that passes only when somebody sleeps."""

    def __init__(self, now: datetime) -> None:
        self._start = now
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return 1000.0 + sum(self.slept)

    def now(self) -> datetime:
        return self._start + timedelta(seconds=sum(self.slept))

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


def host_of(url: str) -> str:
    """Address and port."""
    return urlsplit(url).netloc
