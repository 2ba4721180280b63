"""Collecting endorsements: what is kept, what is asked for again, what is never believed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from tests.endorsements import vendors as v

from enarx.endorsements import bundle
from enarx.endorsements.cache import Cache
from enarx.endorsements.collector import Collector
from enarx.endorsements.fetcher import Fetcher
from enarx.endorsements.found import Collection, State
from enarx.endorsements.needs import needs_of
from enarx.endorsements.packing import bundle_of
from enarx.endorsements.patience import Patience
from enarx.endorsements.references import (
    AmdChain,
    AmdCrl,
    Item,
    PckCrl,
    QeIdentityOf,
    RootCrl,
    TcbInfoOf,
    Vcek,
    parse_name,
)
from enarx.endorsements.sources import configured_sources
from enarx.errors import EnarxError, ParseError, UsageError
from enarx.evidence.snp import Product
from enarx.verifier import Policy, appraise

pytestmark = v.needs_vectors

MILAN_CHAIN = "/vcek/v1/Milan/cert_chain"
FORGED = v.VECTORS / "snp/milan-v2-forged-vcek-trustee"
MILAN_CRL = "/vcek/v1/Milan/crl"


@pytest.fixture
def server() -> Iterator[v.Vendors]:
    with v.running() as vendors:
        yield vendors


def collector(
    server: v.Vendors, directory: Path, at: datetime, *, offline: bool = False
) -> tuple[Collector, v.FakeClock]:
    clock = v.FakeClock(at)
    fetcher = None if offline else Fetcher(clock=clock, patience=Patience(), jitter=lambda: 0.0)
    sources = configured_sources(kds=server.url, pcs=server.url, environ={})
    return (
        Collector(cache=Cache(directory), sources=sources, fetcher=fetcher, clock=clock),
        clock,
    )


def evidence(sample: Path) -> bytes:
    name = "report.bin" if (sample / "report.bin").exists() else "quote.bin"
    return (sample / name).read_bytes()


def collect(
    server: v.Vendors, directory: Path, sample: Path, *, offline: bool = False
) -> Collection:
    one, _ = collector(server, directory, v.when(sample), offline=offline)
    return one.collect(needs_of(evidence(sample)))


def problems(collection: Collection) -> dict[str, str]:
    return {
        one.name.rpartition("/")[2]: one.problem.code
        for one in collection.found
        if one.problem is not None
    }


class TestWhatIsFetched:
    def test_makes_snp_evidence_verify(self, server: v.Vendors, tmp_path: Path) -> None:
        server.publish_snp(v.MILAN, "Milan")
        found = collect(server, tmp_path, v.MILAN)
        assert found.count(State.FRESH) == 3
        verdict = appraise(
            evidence(v.MILAN),
            policy=Policy.builtin("genuine"),
            endorsements=bundle.endorsements_of(found.items),
            at=v.when(v.MILAN),
        )
        verdict.require()
        assert verdict.verified is not None
        assert verdict.verified.revocation_checked

    @pytest.mark.parametrize(
        ("sample", "tee", "authority"),
        [(v.TDX, "tdx", "platform"), (v.SGX, "sgx", "processor")],
        ids=["tdx", "sgx"],
    )
    def test_makes_quotes_verify(
        self, server: v.Vendors, tmp_path: Path, sample: Path, tee: str, authority: str
    ) -> None:
        server.publish_dcap(sample, tee, authority)
        server.publish_dcap(sample, tee, "platform")
        found = collect(server, tmp_path, sample)
        assert problems(found) == {}
        assert found.count(State.FRESH) == 4
        appraise(
            evidence(sample),
            policy=Policy.builtin("genuine"),
            endorsements=bundle.endorsements_of(found.items),
            at=v.when(sample),
        ).require()

    @pytest.mark.parametrize(
        ("sample", "product"), [(v.GENOA, "Genoa"), (v.TURIN, "Turin")], ids=["genoa", "turin"]
    )
    def test_is_asked_for_in_the_layout_of_the_product(
        self, server: v.Vendors, tmp_path: Path, sample: Path, product: str
    ) -> None:
        server.publish_snp(sample, product)
        found = collect(server, tmp_path, sample)
        # There is no revocation list in these samples.
        assert problems(found) == {"vcek-crl": "endorsements.not-found"}
        assert server.asked[v.vcek_path(sample, product)] == 1
        appraise(
            evidence(sample),
            policy=Policy.builtin("genuine"),
            endorsements=bundle.endorsements_of(found.items),
            at=v.when(sample),
        ).require()

    def test_report_that_does_not_say_its_product_is_tried(
        self, server: v.Vendors, tmp_path: Path
    ) -> None:
        report = evidence(v.MILAN)
        assert needs_of(report).options[1][0] == AmdChain(product=Product.GENOA, kind="vcek")
        assert len(needs_of(report, product=Product.GENOA).options) == 1
        server.publish_snp(v.MILAN, "Milan")
        collect(server, tmp_path, v.MILAN)
        assert not any("Genoa" in path for path in server.asked)

    def test_vlek_is_said_to_come_from_the_provider(
        self, server: v.Vendors, tmp_path: Path
    ) -> None:
        server.pages["/vlek/v1/Milan/cert_chain"] = v.Page((v.VLEK / "chain.pem").read_bytes())
        found = collect(server, tmp_path, v.VLEK)
        assert "cloud provider" in found.absent[0]
        assert [one.name for one in found.found] == ["amd/Milan/vlek-chain", "amd/Milan/vlek-crl"]
        assert not any("/vcek/" in path for path in server.asked)

    def test_certificate_alone_needs_its_chain(self, server: v.Vendors, tmp_path: Path) -> None:
        needs = needs_of((v.VECTORS / "snp/turin-vcek-chain-only-virtee/vcek.der").read_bytes())
        assert needs.options == (
            (
                AmdChain(product=Product.TURIN, kind="vcek"),
                AmdCrl(product=Product.TURIN, kind="vcek"),
            ),
        )

    def test_quote_in_a_certificate_is_found(self) -> None:
        samples = v.VECTORS / "ra-tls"
        for sample in samples.iterdir():
            files = json.loads((sample / "expected.json").read_text())["files"]
            raw = (sample / files.get("certificate", next(iter(files.values())))).read_bytes()
            assert needs_of(raw).kind == "sgx"


class TestCache:
    def test_certificates_are_fetched_once_for_ever(
        self, server: v.Vendors, tmp_path: Path
    ) -> None:
        server.publish_snp(v.GENOA, "Genoa")
        collect(server, tmp_path, v.GENOA)
        later, _ = collector(server, tmp_path, v.when(v.GENOA) + timedelta(days=900))
        found = later.collect(needs_of(evidence(v.GENOA)))
        assert server.asked[v.vcek_path(v.GENOA, "Genoa")] == 1
        assert server.asked["/vcek/v1/Genoa/cert_chain"] == 1
        assert found.count(State.FRESH) == 2

    def test_lists_are_asked_for_again_after_a_day(self, server: v.Vendors, tmp_path: Path) -> None:
        server.publish_snp(v.MILAN, "Milan")
        for hours, asked in ((0, 1), (23, 1), (25, 2), (26, 2)):
            one, _ = collector(server, tmp_path, v.when(v.MILAN) + timedelta(hours=hours))
            one.get(AmdCrl(product=Product.MILAN, kind="vcek"))
            assert server.asked[MILAN_CRL] == asked

    def test_list_in_date_is_used_when_nobody_answers(
        self, server: v.Vendors, tmp_path: Path
    ) -> None:
        server.publish_snp(v.MILAN, "Milan")
        collect(server, tmp_path, v.MILAN)
        server.faults["*"] = [v.status(503)]
        one, _ = collector(server, tmp_path, v.when(v.MILAN) + timedelta(days=2))
        found = one.collect(needs_of(evidence(v.MILAN)))
        assert found.count(State.FRESH) == 3
        assert problems(found) == {"vcek-crl": "endorsements.unreachable"}

    def test_stale_is_not_missing(self, server: v.Vendors, tmp_path: Path) -> None:
        server.publish_snp(v.MILAN, "Milan")
        collect(server, tmp_path, v.MILAN)
        later = v.when(v.MILAN) + timedelta(days=800)
        for offline, code in ((True, "offline"), (False, "unreachable")):
            server.faults["*"] = [v.status(503)]
            one, _ = collector(server, tmp_path, later, offline=offline)
            found = one.get(AmdCrl(product=Product.MILAN, kind="vcek"))
            assert found.state is State.STALE
            assert found.item is not None
            assert found.problem is not None
            assert found.problem.code == f"endorsements.{code}"
            other = one.get(AmdCrl(product=Product.TURIN, kind="vcek"))
            assert other.state is State.MISSING

    def test_stale_from_the_vendor_is_stale(self, server: v.Vendors, tmp_path: Path) -> None:
        server.publish_snp(v.MILAN, "Milan")
        one, _ = collector(server, tmp_path, v.when(v.MILAN) + timedelta(days=800))
        assert one.get(AmdCrl(product=Product.MILAN, kind="vcek")).state is State.STALE

    def test_older_list_never_replaces_a_newer_one(self, server: v.Vendors, tmp_path: Path) -> None:
        old = v.VECTORS / "tdx/v5-td15-service-td-automata"
        server.publish_dcap(v.TDX, "tdx", "platform")
        reference = QeIdentityOf(tee="tdx")
        one, _ = collector(server, tmp_path, v.when(v.TDX))
        newest = one.get(reference).item
        server.publish_dcap(old, "tdx", "platform")
        one, _ = collector(server, tmp_path, v.when(v.TDX) + timedelta(days=2))
        found = one.get(reference)
        assert found.item == newest
        assert found.problem is not None
        assert found.problem.code == "endorsements.older"

    def test_damaged_entry_is_fetched_again(self, server: v.Vendors, tmp_path: Path) -> None:
        server.publish_snp(v.MILAN, "Milan")
        before = collect(server, tmp_path, v.MILAN).items
        for number, path in enumerate(sorted(tmp_path.iterdir())):
            data = bytearray(path.read_bytes())
            if number == 0:
                data[len(data) // 2] ^= 1
            elif number == 1:
                del data[50:]
            else:
                data.clear()
            path.write_bytes(data)
        assert collect(server, tmp_path, v.MILAN).items == before
        assert server.asked[MILAN_CHAIN] == 2

    def test_entry_under_another_name_is_not_taken(self, server: v.Vendors, tmp_path: Path) -> None:
        server.publish_snp(v.MILAN, "Milan")
        collect(server, tmp_path, v.MILAN)
        first, second, _ = sorted(tmp_path.iterdir())
        second.write_bytes(first.read_bytes())
        assert collect(server, tmp_path, v.MILAN).count(State.FRESH) == 3

    def test_is_bounded(self, server: v.Vendors, tmp_path: Path) -> None:
        server.publish_snp(v.MILAN, "Milan")
        items = collect(server, tmp_path / "full", v.MILAN).items
        for cache in (Cache(tmp_path / "two", entries=2), Cache(tmp_path / "small", size=7000)):
            one = Collector(
                cache=cache,
                sources=configured_sources(kds=server.url, pcs=server.url, environ={}),
                fetcher=None,
                clock=v.FakeClock(v.when(v.MILAN)),
            )
            one.add(items)
            files = list(cache.directory.iterdir())
            assert 1 <= len(files) <= 2
            assert sum(path.stat().st_size for path in files) <= 7000 or len(files) == 2

    def test_that_cannot_be_written_does_not_lose_what_was_fetched(
        self, server: v.Vendors, tmp_path: Path
    ) -> None:
        server.publish_snp(v.MILAN, "Milan")
        (tmp_path / "file").write_bytes(b"")
        found = collect(server, tmp_path / "file", v.MILAN)
        assert found.count(State.FRESH) == 3
        assert set(problems(found).values()) == {"cache.write"}

    def test_says_what_it_holds(self, server: v.Vendors, tmp_path: Path) -> None:
        server.publish_snp(v.MILAN, "Milan")
        collect(server, tmp_path, v.MILAN)
        asked = server.total
        one, _ = collector(server, tmp_path, v.when(v.MILAN) + timedelta(days=800))
        states = {found.name.rpartition("-")[2]: found.state for found in one.stored()}
        assert states["chain"] is State.FRESH
        assert states["crl"] is State.STALE
        assert server.total == asked


class TestWhatIsNotBelieved:
    @pytest.mark.parametrize(
        ("path", "content"),
        [
            ("vcek", lambda: (v.GENOA / "vcek.der").read_bytes()),
            ("vcek", lambda: (v.VECTORS / "snp/milan-v2-vcek-virtee/vcek.der").read_bytes()),
            ("vcek", lambda: (FORGED / "vcek.der").read_bytes()),
            ("vcek", lambda: (v.MILAN / "vcek.der").read_bytes()[:-1]),
            ("vcek", lambda: b""),
            ("vcek", lambda: b"<html>maintenance</html>"),
            (MILAN_CHAIN, lambda: (v.GENOA / "chain.pem").read_bytes()),
            (MILAN_CHAIN, lambda: (v.VLEK / "chain.pem").read_bytes()),
            (MILAN_CHAIN, lambda: (v.MILAN / "chain.pem").read_bytes()[:3000]),
            (MILAN_CHAIN, lambda: (v.MILAN / "chain.pem").read_bytes() * 2),
            (MILAN_CHAIN, lambda: b"-----BEGIN CERTIFICATE-----\n" * 100),
            (MILAN_CRL, lambda: b"\x30\x80"),
            (MILAN_CRL, lambda: flipped((v.MILAN / "ark_milan.crl.der").read_bytes())),
            (MILAN_CRL, lambda: intel("root_ca_crl")),
        ],
    )  # fmt: skip
    def test_of_amd_is_not_kept(
        self, server: v.Vendors, tmp_path: Path, path: str, content: object
    ) -> None:
        server.publish_snp(v.MILAN, "Milan")
        path = v.vcek_path(v.MILAN, "Milan") if path == "vcek" else path
        server.faults[path] = [v.body(content())]  # type: ignore[operator]
        found = collect(server, tmp_path, v.MILAN)
        bad = [one for one in found.found if one.state is State.MISSING]
        assert bad
        assert all(one.problem and one.problem.code == "endorsements.wrong" for one in bad)
        # Once the service is right again, so is everything.
        del server.faults[path]
        assert collect(server, tmp_path, v.MILAN).count(State.FRESH) == 3

    @pytest.mark.parametrize("number", range(11))
    def test_of_intel_is_not_kept(self, server: v.Vendors, tmp_path: Path, number: int) -> None:
        fmspc = server.publish_dcap(v.TDX, "tdx", "platform")
        tcb = f"/tdx/certification/v4/tcb?fmspc={fmspc}"
        identity = "/tdx/certification/v4/qe/identity"
        crl = "/sgx/certification/v4/pckcrl?ca=platform&encoding=der"
        root = "/sgx/certification/v4/rootcacrl"
        page = server.pages
        chain = page[tcb].headers
        wrong = [
            (tcb, v.Page(page[tcb].body.replace(b"UpToDate", b"upToDate", 1), chain)),
            (tcb, v.Page(page[tcb].body, {})),
            (tcb, v.Page(page[tcb].body, page[crl].headers and {
                "TCB-Info-Issuer-Chain": page[crl].headers["SGX-PCK-CRL-Issuer-Chain"]})),
            (tcb, v.Page(page[tcb].body.replace(b'"signature":', b'"signature":"00","signature":'),
                         chain)),
            (tcb, v.Page(b"{}", chain)),
            (tcb, v.Page(page[identity].body, chain)),
            (identity, v.Page(page[identity].body[:-2], page[identity].headers)),
            (identity, v.Page(page[identity].body, {"SGX-Enclave-Identity-Issuer-Chain": "%zz"})),
            (crl, v.Page(flipped(page[crl].body), page[crl].headers)),
            (crl, v.Page(page[crl].body, {"SGX-PCK-CRL-Issuer-Chain": "x" * 20_000})),
            (root, v.Page(page[crl].body.hex().encode())),
        ]  # fmt: skip
        path, bad = wrong[number]
        page[path] = bad
        found = collect(server, tmp_path, v.TDX)
        missing = [one for one in found.found if one.state is State.MISSING]
        assert missing
        assert all(isinstance(one.problem, EnarxError) for one in missing)

    def test_without_its_chain_nothing_more_is_asked_for(
        self, server: v.Vendors, tmp_path: Path
    ) -> None:
        server.publish_snp(v.GENOA, "Genoa")
        del server.pages["/vcek/v1/Genoa/cert_chain"]
        found = collect(server, tmp_path, v.GENOA)
        assert set(problems(found).values()) == {"endorsements.not-found"}
        assert list(server.asked) == ["/vcek/v1/Genoa/cert_chain"]

    def test_other_platform_is_not_taken(self, server: v.Vendors, tmp_path: Path) -> None:
        fmspc = server.publish_dcap(v.TDX, "tdx", "platform")
        page = server.pages.pop(f"/tdx/certification/v4/tcb?fmspc={fmspc}")
        server.pages["/tdx/certification/v4/tcb?fmspc=00906ed50000"] = page
        one, _ = collector(server, tmp_path, v.when(v.TDX))
        found = one.get(TcbInfoOf(tee="tdx", fmspc=bytes.fromhex("00906ed50000")))
        assert found.problem is not None
        assert found.problem.code == "endorsements.wrong"

    def test_time_outs_of_all_requests_share_one_deadline(
        self, server: v.Vendors, tmp_path: Path
    ) -> None:
        server.faults["*"] = [v.status(503)]
        one, clock = collector(server, tmp_path, v.when(v.TDX))
        found = one.collect(needs_of(evidence(v.TDX)))
        assert found.count(State.MISSING) == 4
        assert sum(clock.slept) <= Patience().total

    def test_failure_is_remembered_for_a_minute(self, server: v.Vendors, tmp_path: Path) -> None:
        one, clock = collector(server, tmp_path, v.when(v.MILAN))
        reference = AmdChain(product=Product.MILAN, kind="vcek")
        for _ in range(3):
            one.get(reference)
        assert server.total == 1
        clock.sleep(61)
        server.publish_snp(v.MILAN, "Milan")
        assert one.get(reference).state is State.FRESH


def flipped(data: bytes) -> bytes:
    return data[:-20] + bytes((data[-20] ^ 1,)) + data[-19:]


def intel(part: str) -> bytes:
    return bytes.fromhex(json.loads((v.TDX / "collateral.json").read_text())[part])


class TestBundle:
    @pytest.fixture
    def items(self, server: v.Vendors, tmp_path: Path) -> tuple[Item, ...]:
        server.publish_snp(v.MILAN, "Milan")
        server.publish_snp(v.GENOA, "Genoa")
        server.publish_dcap(v.SGX, "sgx", "processor")
        server.publish_dcap(v.SGX, "sgx", "platform")
        server.publish_dcap(v.TDX, "tdx", "platform")
        found: dict[str, Item] = {}
        for sample in (v.MILAN, v.GENOA, v.SGX, v.TDX):
            for item in collect(server, tmp_path / sample.name, sample).items:
                found.setdefault(item.name, item)
        return tuple(found.values())

    def test_is_the_same_bytes_for_the_same_items(self, items: tuple[Item, ...]) -> None:
        data = bundle.write_bundle(items)
        assert bundle.write_bundle((*reversed(items), items[0])) == data
        assert set(bundle.read_bundle(data).items) == set(items)

    @pytest.mark.parametrize("sample", [v.MILAN, v.GENOA, v.TDX], ids=["milan", "genoa", "tdx"])
    def test_makes_each_evidence_verify_without_a_network(
        self, items: tuple[Item, ...], sample: Path
    ) -> None:
        data = bundle.write_bundle(items)
        endorsements = bundle.load_bundle(data, evidence=evidence(sample))
        appraise(
            evidence(sample),
            policy=Policy.builtin("genuine"),
            endorsements=endorsements,
            at=v.when(sample),
        ).require()

    def test_of_several_platforms_needs_the_evidence(self, items: tuple[Item, ...]) -> None:
        with pytest.raises(UsageError) as error:
            bundle.load_bundle(bundle.write_bundle(items))
        assert error.value.code == "bundle.several"
        amd = [item for item in items if item.name.startswith("amd/")]
        assert bundle.load_bundle(bundle.write_bundle(amd)).certificates

    def test_imported_is_as_good_as_fetched(
        self, server: v.Vendors, tmp_path: Path, items: tuple[Item, ...]
    ) -> None:
        read = bundle.read_bundle(bundle.write_bundle(items)).items
        one, _ = collector(server, tmp_path / "new", v.when(v.TDX), offline=True)
        assert all(found.item is not None for found in one.add(read))
        found = one.collect(needs_of(evidence(v.TDX)))
        assert found.count(State.FRESH) == 4

    def test_import_refuses_what_is_not_genuine(
        self, server: v.Vendors, tmp_path: Path, items: tuple[Item, ...]
    ) -> None:
        one, _ = collector(server, tmp_path / "new", v.when(v.TDX), offline=True)
        spoilt = [Item(name=item.name, body=flipped(item.body), chain=item.chain,
                       signature=item.signature) for item in items]  # fmt: skip
        found = one.add(spoilt)
        assert {each.state for each in found} == {State.MISSING}
        assert list(Cache(tmp_path / "new").entries()) == []

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"\x00",
            b"\xa0",
            bytes.fromhex("a26c656e6172782d62756e646c6502656974656d7380"),
            bytes.fromhex("a2656974656d73806c656e6172782d62756e646c6502"),
            bytes.fromhex("a2656974656d73f66c656e6172782d62756e646c6501"),
            bytes.fromhex("a2656974656d7381a06c656e6172782d62756e646c6501"),
            bytes.fromhex("a2656974656d73806c656e6172782d62756e646c65f5"),
            b"\xa2" * 4000,
        ],
    )
    def test_that_is_none_is_refused(self, data: bytes) -> None:
        with pytest.raises(ParseError):
            bundle.read_bundle(data)

    def test_cut_off_anywhere_is_refused(self, items: tuple[Item, ...]) -> None:
        data = bundle.write_bundle([item for item in items if item.name.endswith("root-crl")])
        assert bundle.read_bundle(data)
        for end in range(len(data)):
            with pytest.raises(ParseError):
                bundle.read_bundle(data[:end])
        with pytest.raises(ParseError):
            bundle.read_bundle(data + b"\0")

    def test_out_of_order_or_unknown_names_are_refused(self) -> None:
        from enarx.wire import cbor

        good = {"name": "intel/root-crl", "body": b""}
        for entries in (
            [good, good],
            [{"name": "intel/tdx/qe-identity", "body": b""}, good],
            [{"name": "intel/other", "body": b""}],
            [good | {"more": b""}],
        ):
            with pytest.raises(ParseError):
                bundle.read_bundle(cbor.encode({"enarx-bundle": 1, "items": entries}))

    @pytest.mark.parametrize("sample", [v.MILAN, v.GENOA, v.TDX], ids=["milan", "genoa", "tdx"])
    def test_of_one_verification_names_all_that_vendors_publish(
        self, items: tuple[Item, ...], sample: Path
    ) -> None:
        report = evidence(sample)
        endorsements = bundle.load_bundle(bundle.write_bundle(items), evidence=report)
        more = msgspec.structs.replace(endorsements, extra=(("csr", b"request"),))
        written = bundle.read_bundle(bundle_of(more, evidence=report))
        assert {item.name for item in written.items} <= {item.name for item in items}
        assert written.inputs == (("csr", b"request"),)
        again = bundle.load_bundle(bundle_of(more, evidence=report), evidence=report)
        assert set(again.certificates) == set(more.certificates)
        assert (again.crls, again.dcap, again.extra) == (more.crls, more.dcap, more.extra)

    def test_keeps_what_no_vendor_signed_as_it_came(self, items: tuple[Item, ...]) -> None:
        endorsements = bundle.load_bundle(bundle.write_bundle(items), evidence=evidence(v.TDX))
        assert endorsements.dcap is not None
        spoilt = msgspec.structs.replace(
            endorsements,
            dcap=msgspec.structs.replace(endorsements.dcap, tcb_info_signature=bytes(64)),
        )
        data = bundle_of(spoilt, evidence=evidence(v.TDX))
        assert bundle.read_bundle(data).items == ()
        assert bundle.load_bundle(data, evidence=evidence(v.TDX)) == spoilt

    @pytest.mark.parametrize(
        "inputs",
        [[["other", b""]], [["csr", "text"]], [["csr"]], [["csr", b""]] * 65, [["csr", b""]] * 2],
    )
    def test_with_inputs_of_another_form_is_refused(self, inputs: list[object]) -> None:
        from enarx.wire import cbor

        data = cbor.encode({"enarx-bundle": 1, "items": [], "inputs": inputs})
        with pytest.raises(ParseError):
            bundle.load_bundle(data)


class TestName:
    @pytest.mark.parametrize(
        "reference",
        [
            Vcek(product=Product.MILAN, chip=bytes(64), tcb=(3, 0, 8, 255)),
            Vcek(product=Product.TURIN, chip=bytes(8), tcb=(1, 3, 0, 8, 115)),
            AmdChain(product=Product.GENOA, kind="vlek"),
            AmdCrl(product=Product.TURIN, kind="vcek"),
            TcbInfoOf(tee="sgx", fmspc=bytes(6)),
            QeIdentityOf(tee="tdx"),
            PckCrl(authority="processor"),
            RootCrl(),
        ],
    )
    def test_is_read_back(self, reference: object) -> None:
        assert parse_name(reference.name) == reference  # type: ignore[attr-defined]

    @pytest.mark.parametrize(
        "name",
        [
            "",
            "amd/Rome/vcek-chain",
            "amd/Milan/vcek-chain/",
            "amd/Milan/vcek/00/1-2-3-4",
            f"amd/Milan/vcek/{'0' * 128}/01-2-3-4",
            f"amd/Milan/vcek/{'0' * 128}/1-2-3-256",
            f"amd/Milan/vcek/{'0' * 128}/1-2-3-4-5",
            f"amd/Turin/vcek/{'0' * 16}/1-2-3-4",
            "intel/sgx/tcb/00906ED50000",
            "intel/sgx/tcb/00906ed5000٠",
            "../../etc/passwd",
            "a" * 10_000,
        ],
    )
    def test_of_another_form_is_refused(self, name: str) -> None:
        with pytest.raises(ParseError):
            parse_name(name)


class TestSources:
    @pytest.mark.parametrize(
        "url",
        ["http://example.org", "ftp://127.0.0.1", "https://", "example.org", "https://a/?q",
         "https://u:p@a", "http://127.0.0.1.example.org", "http://0.0.0.0:1"],
    )  # fmt: skip
    def test_only_https_or_this_machine(self, url: str) -> None:
        for name in ("kds", "pcs"):
            with pytest.raises(UsageError):
                configured_sources(**{name: url}, environ={})  # type: ignore[arg-type]

    def test_environment_and_arguments(self) -> None:
        environ = {"ENARX_KDS_URL": "https://a/kds/", "ENARX_PCS_URL": "http://[::1]:8081"}
        found = configured_sources(environ=environ)
        assert (found.kds, found.pcs) == ("https://a/kds", "http://[::1]:8081")
        assert found.root_crl == "http://[::1]:8081/sgx/certification/v4/rootcacrl"
        assert configured_sources(kds="https://b", environ=environ).kds == "https://b"
        assert configured_sources(environ={}).root_crl.startswith("https://certificates.")


def test_times_are_utc() -> None:
    assert v.when(v.MILAN).astimezone(UTC).utcoffset() == timedelta(0)
