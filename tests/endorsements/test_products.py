"""Every product and kind of key from end to end, with a vendor root of the test's own.

The table of pinned roots is the one thing that is replaced: then a whole service, revocation
included, can be played for products whose genuine lists are not at hand.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.endorsements import vendors as v
from tests.verifier import snp_factory as factory
from tests.verifier.snp_factory import AT, Snp

from enarx.endorsements import bundle, pcs
from enarx.endorsements.cache import Cache
from enarx.endorsements.checks import check
from enarx.endorsements.collector import Collector
from enarx.endorsements.fetcher import Fetcher
from enarx.endorsements.found import State
from enarx.endorsements.needs import needs_of, reference_of_leaf
from enarx.endorsements.patience import Patience
from enarx.endorsements.references import Item, PckCrl, QeIdentityOf, RootCrl, TcbInfoOf
from enarx.endorsements.sources import configured_sources
from enarx.errors import EnarxError
from enarx.evidence.snp import Product
from enarx.verifier import Policy, appraise, roots


@pytest.fixture
def server() -> Iterator[v.Vendors]:
    with v.running() as vendors:
        yield vendors


def pin(monkeypatch: pytest.MonkeyPatch, machine: Snp) -> Snp:
    """The machine under a root named as AMD's, which is pinned."""
    name = f"ARK-{machine.product}"
    machine = machine.but(
        ark=replace(machine.ark, subject=name, issuer=name),
        ask=replace(machine.ask, issuer=name),
    )
    spki = x509.load_der_x509_certificate(machine.ark.der()).public_key()
    from cryptography.hazmat.primitives.serialization import PublicFormat

    digest = hashlib.sha256(spki.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    pinned = {digest.digest(): roots.PinnedRoot(name=name, vendor="AMD", kinds=("snp",), source="")}
    monkeypatch.setattr(roots, "PINNED_ROOTS", pinned)
    return machine


def publish(server: v.Vendors, machine: Snp, *, revoked: tuple[int, ...] = ()) -> None:
    product = machine.product
    kind = "vlek" if machine.csp_id else "vcek"
    pem = b"".join(
        x509.load_der_x509_certificate(one.der()).public_bytes(Encoding.PEM)
        for one in (machine.ask, machine.ark)
    )
    server.pages[f"/{kind}/v1/{product}/cert_chain"] = v.Page(pem)
    server.pages[f"/{kind}/v1/{product}/crl"] = v.Page(
        factory.crl(issuer=f"ARK-{product}", revoked=revoked)
    )
    if kind == "vcek":
        chip = machine.hwid or b""
        tcb = machine.tcb
        fmc = f"fmcSPL={tcb['fmc']:02d}&" if "fmc" in tcb else ""
        query = (
            f"{fmc}blSPL={tcb['bl']:02d}&teeSPL={tcb['tee']:02d}"
            f"&snpSPL={tcb['snp']:02d}&ucodeSPL={tcb['ucode']:02d}"
        )
        server.pages[f"/vcek/v1/{product}/{chip.hex()}?{query}"] = v.Page(machine.leaf_der())


def collector(
    server: v.Vendors, directory: Path, *, days: int = 0, offline: bool = False
) -> Collector:
    clock = v.FakeClock(AT + timedelta(days=days))
    return Collector(
        cache=Cache(directory),
        sources=configured_sources(kds=server.url, pcs=server.url, environ={}),
        fetcher=None if offline else Fetcher(clock=clock, patience=Patience()),
        clock=clock,
    )


@pytest.mark.parametrize("product", list(Product))
def test_each_product_is_fetched_and_verifies(
    server: v.Vendors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, product: Product
) -> None:
    machine = pin(monkeypatch, factory.chip(product))
    publish(server, machine)
    found = collector(server, tmp_path).collect(needs_of(machine.evidence()))
    assert [one.state for one in found.found] == [State.FRESH] * 3
    verdict = appraise(
        machine.evidence(),
        policy=Policy.builtin("genuine"),
        endorsements=bundle.endorsements_of(found.items),
        at=AT,
    )
    verdict.require()
    assert verdict.verified is not None
    assert verdict.verified.revocation_checked


def test_report_without_product_is_found_among_the_later_one(
    server: v.Vendors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = pin(monkeypatch, factory.chip(Product.GENOA))
    machine = machine.with_report(version=2, cpuid_family=0, cpuid_model=0)
    publish(server, machine)
    found = collector(server, tmp_path).collect(needs_of(machine.evidence()))
    assert found.count(State.FRESH) == 3
    assert server.asked["/vcek/v1/Milan/cert_chain"] == 1


def test_revoked_is_told_from_stale_and_missing(
    server: v.Vendors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = pin(monkeypatch, factory.chip())
    publish(server, machine, revoked=(machine.ask.serial,))
    found = collector(server, tmp_path).collect(needs_of(machine.evidence()))
    # What is revoked is the verifier's to judge; it is handed on.
    assert found.count(State.FRESH) == 3
    stored = {one.name: one.state for one in collector(server, tmp_path).stored()}
    assert stored["amd/Genoa/vcek-chain"] is State.REVOKED
    assert stored["amd/Genoa/vcek-crl"] is State.FRESH
    verdict = appraise(
        machine.evidence(),
        policy=Policy.builtin("genuine"),
        endorsements=bundle.endorsements_of(found.items),
        at=AT,
    )
    assert verdict.failure == "revoked"


def test_certificate_that_ran_out_is_fetched_anew(
    server: v.Vendors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = pin(monkeypatch, factory.chip())
    longer = {"end": AT + timedelta(days=900)}
    machine = machine.but(ark=replace(machine.ark, **longer), ask=replace(machine.ask, **longer))
    publish(server, machine)
    needs = needs_of(machine.evidence())
    collector(server, tmp_path).collect(needs)
    stale = collector(server, tmp_path, days=30, offline=True).collect(needs)
    assert {one.name.split("/")[2]: one.state for one in stale.found} == {
        "vcek-chain": State.FRESH,
        "vcek-crl": State.STALE,
        "vcek": State.STALE,
    }
    publish(server, machine.but(leaf=replace(machine.leaf, **longer)))
    again = collector(server, tmp_path, days=30).collect(needs)
    assert again.found[2].state is State.FRESH


def test_vlek_comes_with_the_evidence_and_is_checked(
    server: v.Vendors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = pin(monkeypatch, factory.vlek())
    publish(server, machine)
    one = collector(server, tmp_path)
    found = one.collect(needs_of(machine.evidence()))
    leaf = machine.leaf_der()
    item = Item(name=reference_of_leaf(leaf).name, body=leaf)
    assert [each.state for each in one.add([item])] == [State.FRESH]
    assert one.get(item.reference).state is State.FRESH
    other = Item(name=item.name, body=machine.but(tcb=machine.tcb | {"snp": 9}).leaf_der())
    assert one.add([other])[0].state is State.MISSING
    data = bundle.write_bundle([*found.items, item])
    appraise(
        machine.evidence(),
        policy=Policy.builtin("genuine"),
        endorsements=bundle.load_bundle(data, evidence=machine.evidence()),
        at=AT,
    ).require()


@pytest.mark.parametrize(
    "spoil",
    [
        {"ask": {"subject": "SEV-VLEK-Genoa"}},
        {"ask": {"authority": False}},
        {"ask": {"signer": "other"}},
        {"ark": {"key": "other", "signer": "other"}},
        {"ark": {"signer": "other"}},
    ],
    ids=["role", "authority", "unsigned", "root", "not self-signed"],
)
def test_chain_that_is_not_the_vendors_is_not_kept(
    server: v.Vendors,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    spoil: dict[str, dict[str, object]],
) -> None:
    machine = pin(monkeypatch, factory.chip())
    bad = machine.but(
        **{which: replace(getattr(machine, which), **change) for which, change in spoil.items()}
    )
    publish(server, bad)
    found = collector(server, tmp_path).collect(needs_of(machine.evidence()))
    assert {one.state for one in found.found} == {State.MISSING}
    assert not tmp_path.exists() or list(Cache(tmp_path).entries()) == []


def test_simulated_root_is_never_kept_as_a_vendors(server: v.Vendors, tmp_path: Path) -> None:
    machine = factory.chip()
    publish(server, machine)
    found = collector(server, tmp_path).collect(needs_of(machine.evidence()))
    assert found.count(State.MISSING) == 3


def test_masked_chip_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    masked = factory.chip().with_report(chip_id=bytes(64))
    needs = needs_of(masked.evidence())
    assert "does not name its chip" in needs.absent[0]
    assert len(needs.options[0]) == 2


class TestHostileBytes:
    @settings(max_examples=200, deadline=None)
    @given(st.binary(max_size=300), st.dictionaries(st.sampled_from(
        ["tcb-info-issuer-chain", "sgx-pck-crl-issuer-chain"]), st.text(max_size=50)))  # fmt: skip
    def test_of_a_service_only_raise_our_errors(self, body: bytes, headers: dict[str, str]) -> None:
        for reference in (
            TcbInfoOf(tee="sgx", fmspc=bytes(6)),
            QeIdentityOf(tee="tdx"),
            PckCrl(authority="platform"),
        ):
            with pytest.raises(EnarxError):
                check(pcs.read(reference, body, headers))

    @settings(max_examples=200, deadline=None)
    @given(st.binary(max_size=300), st.binary(max_size=100), st.binary(max_size=70))
    def test_in_an_item_only_raise_our_errors(
        self, body: bytes, chain: bytes, signature: bytes
    ) -> None:
        for name in (
            RootCrl().name,
            "intel/sgx/qe-identity",
            "intel/pck-crl/platform",
            "amd/Milan/vcek-chain",
            "amd/Milan/vcek-crl",
            f"amd/Milan/vcek/{'0' * 128}/1-2-3-4",
            "nothing",
        ):
            with pytest.raises(EnarxError):
                check(Item(name=name, body=body, chain=chain, signature=signature), [body])

    @settings(max_examples=300, deadline=None)
    @given(st.binary(max_size=400))
    def test_as_a_bundle_only_raise_our_errors(self, data: bytes) -> None:
        for head in (b"", bytes.fromhex("a2656974656d73"), b"\xa2\x67entries"):
            with pytest.raises(EnarxError):
                bundle.load_bundle(head + data)
