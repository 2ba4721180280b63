"""The mirror: what a fleet gets from it, and how little it asks the vendor."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.endorsements import vendors as v

from enarx.endorsements.cache import Cache
from enarx.endorsements.collector import Collector
from enarx.endorsements.fetcher import Fetcher
from enarx.endorsements.found import State
from enarx.endorsements.mirror import Mirror, run_mirror
from enarx.endorsements.needs import needs_of
from enarx.endorsements.patience import Patience
from enarx.endorsements.sources import configured_sources
from enarx.errors import HostError, UsageError
from enarx.wire.http import serve

pytestmark = v.needs_vectors


@pytest.fixture
def vendor() -> Iterator[v.Vendors]:
    with v.running() as vendors:
        yield vendors


def collector(url: str, directory: Path, at: datetime) -> Collector:
    clock = v.FakeClock(at)
    return Collector(
        cache=Cache(directory),
        sources=configured_sources(kds=url, pcs=url, environ={}),
        fetcher=Fetcher(clock=clock, patience=Patience(), jitter=lambda: 0.0),
        clock=clock,
    )


def with_mirror(upstream: Collector, work: Callable[[str], Any]) -> Any:
    """Run ``work`` in a thread against a mirror at the address it is given."""

    async def main() -> Any:
        listener = socket.create_server(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        server = await serve(Mirror(upstream), listener)
        try:
            async with asyncio.timeout(30):
                return await asyncio.to_thread(work, url)
        finally:
            server.close()
            await server.wait_closed()

    return asyncio.run(main())


@pytest.mark.parametrize("sample", [v.MILAN, v.SGX, v.TDX], ids=["milan", "sgx", "tdx"])
def test_client_gets_from_it_what_the_vendor_has(
    vendor: v.Vendors, tmp_path: Path, sample: Path
) -> None:
    vendor.publish_snp(v.MILAN, "Milan")
    if sample is not v.MILAN:
        vendor.publish_dcap(sample, sample.parent.name, "processor")
        vendor.publish_dcap(sample, sample.parent.name, "platform")
    evidence = next(sample.glob("*.bin")) if sample is v.MILAN else sample / "quote.bin"
    evidence = sample / "report.bin" if sample is v.MILAN else evidence
    needs = needs_of(evidence.read_bytes())
    direct = collector(vendor.url, tmp_path / "direct", v.when(sample)).collect(needs)
    asked = vendor.total
    upstream = collector(vendor.url, tmp_path / "mirror", v.when(sample))

    def work(url: str) -> Any:
        return [
            collector(url, tmp_path / f"client{number}", v.when(sample)).collect(needs)
            for number in range(3)
        ]

    for found in with_mirror(upstream, work):
        assert found.count(State.FRESH) == len(direct.found)
        assert found.items == direct.items
    assert vendor.total == 2 * asked


def test_many_at_once_make_one_request(vendor: v.Vendors, tmp_path: Path) -> None:
    vendor.publish_snp(v.MILAN, "Milan")
    path = "/vcek/v1/Milan/cert_chain"

    def work(url: str) -> list[int]:
        with ThreadPoolExecutor(16) as pool:
            return list(
                pool.map(lambda _: httpx.get(url + path, timeout=30).status_code, range(48))
            )

    statuses = with_mirror(collector(vendor.url, tmp_path, v.when(v.MILAN)), work)
    assert statuses == [200] * 48
    assert vendor.asked[path] == 1


def test_intel_libraries_find_the_root_list_where_they_look(
    vendor: v.Vendors, tmp_path: Path
) -> None:
    vendor.publish_dcap(v.TDX, "tdx", "platform")

    def work(url: str) -> list[bytes]:
        paths = ("/sgx/certification/v4/rootcacrl", "/IntelSGXRootCA.der")
        return [httpx.get(url + path, timeout=30).content for path in paths]

    first, second = with_mirror(collector(vendor.url, tmp_path, v.when(v.TDX)), work)
    assert first == second
    assert first.startswith(b"\x30")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/", 404),
        ("/vcek/v1/Rome/cert_chain", 404),
        ("/vcek/v1/Milan/../cert_chain", 404),
        (f"/vcek/v1/Milan/{'0' * 128}", 404),
        (f"/vcek/v1/Milan/{'0' * 128}?blSPL=1&teeSPL=0&snpSPL=8&ucodeSPL=999", 404),
        (f"/vcek/v1/Milan/{'0' * 126}?blSPL=1&teeSPL=0&snpSPL=8&ucodeSPL=9", 404),
        ("/sgx/certification/v4/tcb", 404),
        ("/sgx/certification/v4/tcb?fmspc=zz", 404),
        ("/sgx/certification/v4/pckcrl?ca=other", 404),
        ("/vcek/v1/Milan/cert_chain", 404),
        ("/tdx/certification/v4/qe/identity", 503),
    ],
)
def test_what_is_not_there_is_said_as_the_vendor_says_it(
    vendor: v.Vendors, tmp_path: Path, path: str, status: int
) -> None:
    vendor.faults["/tdx/certification/v4/qe/identity"] = [v.status(503)]
    upstream = collector(vendor.url, tmp_path, v.when(v.MILAN))
    reply = with_mirror(upstream, lambda url: httpx.get(url + path, timeout=30))
    assert reply.status_code == status
    assert ("retry-after" in reply.headers) is (status == 503)


def test_only_get_is_answered(vendor: v.Vendors, tmp_path: Path) -> None:
    upstream = collector(vendor.url, tmp_path, v.when(v.MILAN))
    reply = with_mirror(upstream, lambda url: httpx.post(f"{url}/vcek/v1/Milan/crl", content=b"x"))
    assert reply.status_code == 405


def test_stale_is_served_and_said(vendor: v.Vendors, tmp_path: Path) -> None:
    vendor.publish_snp(v.MILAN, "Milan")
    late = v.when(v.TDX)
    upstream = collector(vendor.url, tmp_path, late)
    reply = with_mirror(upstream, lambda url: httpx.get(f"{url}/vcek/v1/Milan/crl", timeout=30))
    assert reply.status_code == 200
    assert "stale" in reply.headers["warning"]


@pytest.mark.parametrize(
    ("listen", "error"),
    [("", UsageError), ("1234", UsageError), (":80", UsageError), ("127.0.0.1:99999", UsageError),
     ("0.0.0.0:0", UsageError), ("127.0.0.1:x", UsageError)],
)  # fmt: skip
def test_listens_only_where_it_may(
    vendor: v.Vendors, tmp_path: Path, listen: str, error: type[Exception]
) -> None:
    upstream = collector(vendor.url, tmp_path, v.when(v.MILAN))
    with pytest.raises(error):
        run(run_mirror(upstream, listen, ready=lambda _: None))


def test_port_that_is_taken_is_said(vendor: v.Vendors, tmp_path: Path) -> None:
    upstream = collector(vendor.url, tmp_path, v.when(v.MILAN))
    with pytest.raises(HostError):
        run(run_mirror(upstream, v.host_of(vendor.url), ready=lambda _: None))


def run(work: Awaitable[int]) -> int:
    async def main() -> int:
        async with asyncio.timeout(10):
            return await work

    return asyncio.run(main())
