"""What an SNP report and its chain must be, one rule at a time, on a chip that tests made."""

from __future__ import annotations

import base64
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from tests.verifier.snp_factory import (
    AT,
    FROM,
    SIMULATED,
    UNTIL,
    Made,
    Snp,
    chip,
    crl,
    resign,
    vlek,
)

from enarx.errors import UsageError
from enarx.evidence.snp import (
    Product,
    key_word,
    pack_certificate_table,
    pack_signature,
    pack_tcb,
)
from enarx.verifier import Endorsements, Failure, Policy, Tier, Verdict, Verifier
from enarx.verifier.roots import SIMULATED_ROOT_NAME

P384_ORDER = int(
    "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973",
    16,
)


def outcome(verdict: Verdict, name: str) -> Tier:
    return next(link.outcome for link in verdict.trace if link.name == name)


@pytest.mark.parametrize("product", list(Product))
@pytest.mark.parametrize("version", [3, 5])
def test_every_product_and_version_is_verified(product: Product, version: int) -> None:
    verdict = chip(product).with_report(version=version).appraise()
    assert verdict.tier is Tier.AFFIRMING
    assert verdict.simulated
    assert not verdict.genuine


def test_version_2_takes_its_product_from_the_certificate() -> None:
    made = chip(Product.MILAN).with_report(version=2, cpuid_family=0, cpuid_model=0)
    assert made.appraise().tier is Tier.AFFIRMING
    assert made.appraise().verified.product == "Milan"  # type: ignore[union-attr]


@pytest.mark.parametrize("version", [0, 1, 4, 6, 2**32 - 1])
def test_other_versions_are_refused(version: int) -> None:
    assert chip().with_report(version=version).appraise().failure is Failure.STRUCTURE


@pytest.mark.parametrize(("family", "model"), [(0x17, 1), (0x19, 0x60), (0x1A, 0x50), (0x1B, 0)])
def test_unknown_product_is_never_guessed(family: int, model: int) -> None:
    made = chip().with_report(cpuid_family=family, cpuid_model=model)
    assert made.appraise().failure is Failure.STRUCTURE


@pytest.mark.parametrize("model", [0x10, 0x11, 0x1F, 0xA0, 0xAF])
def test_bergamo_and_siena_are_of_the_genoa_line(model: int) -> None:
    assert chip().with_report(cpuid_model=model).appraise().tier is Tier.AFFIRMING


def test_other_signature_algorithms_are_refused() -> None:
    assert chip().with_report(signature_algo=2).appraise().failure is Failure.STRUCTURE


def test_report_with_debug_policy_is_contraindicated() -> None:
    verdict = chip().with_report(policy=0x30000 | 1 << 19).appraise()
    assert verdict.failure is Failure.DEBUG
    assert verdict.tier is Tier.CONTRAINDICATED


def test_policy_without_its_reserved_bit_is_no_policy() -> None:
    assert chip().with_report(policy=0x10000).appraise().failure is Failure.STRUCTURE


def test_report_of_another_chip_is_a_broken_binding() -> None:
    made = chip().with_report(chip_id=b"\x77" * 64)
    assert made.appraise().failure is Failure.BINDING


def test_turin_chip_id_is_8_bytes_and_zeros() -> None:
    made = chip(Product.TURIN)
    assert made.appraise().tier is Tier.AFFIRMING
    longer = made.with_report(chip_id=made.report.chip_id[:8].ljust(63, b"\0") + b"\1")
    assert longer.appraise().failure is Failure.BINDING


def test_masked_chip_id_cannot_be_bound_to_a_vcek() -> None:
    made = chip().with_report(chip_id=bytes(64), key_word=key_word(masked=True))
    assert made.appraise().failure is Failure.BINDING


@pytest.mark.parametrize("component", ["bl", "tee", "snp", "ucode"])
@pytest.mark.parametrize("step", [-1, 1])
def test_certificate_of_another_tcb_does_not_fit(component: str, step: int) -> None:
    made = chip(tcb={"bl": 10, "tee": 1, "snp": 23, "ucode": 84})
    other = dict(made.tcb)
    other[component] += step
    endorsements = made.but(tcb=other).endorsements()
    assert made.appraise(endorsements=endorsements).failure is Failure.TCB_MISMATCH


def test_reported_tcb_counts_and_current_tcb_does_not() -> None:
    newer = pack_tcb({"bl": 10, "tee": 0, "snp": 24, "ucode": 90}, Product.GENOA)
    made = chip(tcbs=("reported_tcb",)).with_report(current_tcb=newer)
    verdict = made.appraise()
    assert verdict.tier is Tier.AFFIRMING
    assert "reported_tcb_differs_from_current_tcb" in verdict.verified.findings  # type: ignore[union-attr]


def test_turin_components_stand_in_another_order() -> None:
    made = chip(Product.TURIN)
    genoa_order = pack_tcb({"bl": 1, "tee": 1, "snp": 4, "ucode": 81}, Product.GENOA)
    swapped = made.but(tcbs=()).with_report(reported_tcb=genoa_order)
    assert swapped.appraise().failure is Failure.TCB_MISMATCH


def test_vlek_report_carries_no_chip_id() -> None:
    assert vlek().appraise().tier is Tier.AFFIRMING


def test_vlek_does_not_speak_for_a_report_that_a_vcek_signed() -> None:
    made = vlek().with_report(key_word=key_word(signing_key=0))
    assert made.appraise().failure is Failure.BINDING


def test_vcek_does_not_speak_for_a_report_that_a_vlek_signed() -> None:
    made = chip().with_report(key_word=key_word(signing_key=1))
    assert made.appraise().failure is Failure.BINDING


def test_unsigned_report_is_not_believed() -> None:
    made = chip().with_report(key_word=key_word(signing_key=7))
    assert made.appraise().failure is Failure.SIGNATURE


@pytest.mark.parametrize("number", range(2, 7))
def test_reserved_signing_keys_are_refused(number: int) -> None:
    made = chip().with_report(key_word=key_word(signing_key=number))
    assert made.appraise().tier is Tier.CONTRAINDICATED


def test_vlek_intermediate_does_not_sign_vceks() -> None:
    made = chip()
    wrong = "SEV-VLEK-Genoa"
    made = made.but(ask=replace(made.ask, subject=wrong), leaf=replace(made.leaf, issuer=wrong))
    assert made.appraise().failure is Failure.CHAIN


def test_chain_of_one_product_does_not_speak_for_another() -> None:
    made = chip()
    milan = "SEV-Milan"
    made = made.but(ask=replace(made.ask, subject=milan), leaf=replace(made.leaf, issuer=milan))
    assert made.appraise().failure is Failure.CHAIN


def test_certificate_of_another_product_is_a_broken_binding() -> None:
    made = chip(Product.MILAN)
    made = made.but(report=replace(made.report, cpuid_model=0x11))
    assert made.appraise().failure is Failure.BINDING


@pytest.mark.parametrize("who", ["ark", "ask", "leaf"])
def test_both_ends_of_a_validity_belong_to_it(who: str) -> None:
    start, end = AT - timedelta(hours=1), AT + timedelta(hours=1)
    made = chip()
    made = made.but(**{who: replace(getattr(made, who), start=start, end=end)})
    second = timedelta(seconds=1)
    assert made.appraise(at=start).tier is Tier.AFFIRMING
    assert made.appraise(at=end).tier is Tier.AFFIRMING
    assert made.appraise(at=start - second).failure is Failure.TIME
    assert made.appraise(at=end + second).failure is Failure.TIME


def test_valid_until_is_the_first_end() -> None:
    made = chip(crls=(crl(end=AT + timedelta(days=1)),))
    assert chip().appraise().valid_until == UNTIL
    assert made.appraise().valid_until == AT + timedelta(days=1)


def test_certificates_come_in_any_order() -> None:
    made = chip()
    leaf, ask, ark = made.endorsements().certificates
    for order in ((ark, ask, leaf), (ask, leaf, ark), (ark, leaf, ask, ask)):
        assert made.appraise(endorsements=Endorsements(certificates=order)).tier is Tier.AFFIRMING


def test_of_many_leaves_the_one_that_fits_is_taken() -> None:
    made = chip()
    others = (
        chip(tcb=made.tcb | {"ucode": 83}).leaf_der(),
        chip(hwid=b"\x66" * 64).leaf_der(),
        vlek(Product.GENOA).leaf_der(),
        vlek(Product.GENOA).ask.der(),
    )
    endorsements = made.endorsements()
    more = Endorsements(certificates=(*others, *endorsements.certificates))
    assert made.appraise(endorsements=more).tier is Tier.AFFIRMING


def test_missing_intermediate_breaks_the_chain() -> None:
    made = chip()
    leaf, _, ark = made.endorsements().certificates
    verdict = made.appraise(endorsements=Endorsements(certificates=(leaf, ark)))
    assert verdict.failure is Failure.CHAIN
    assert "SEV-Genoa" in next(link.found for link in verdict.trace if link.name == "snp.chain")


def test_intermediate_that_is_no_authority_signs_nothing() -> None:
    made = chip()
    made = made.but(ask=replace(made.ask, authority=False))
    assert made.appraise().failure is Failure.CHAIN


def test_leaf_cannot_be_an_authority_for_another_leaf() -> None:
    made = chip()
    between = Made("SEV-Genoa", "SEV-Genoa-2", "ask", "sub", authority=True)
    ask = replace(made.ask, subject="SEV-Genoa-2")
    leaf = replace(made.leaf, signer="sub")
    made = made.but(leaf=leaf)
    certificates = (made.leaf_der(), between.der(), ask.der(), made.ark.der())
    verdict = made.appraise(endorsements=Endorsements(certificates=certificates))
    assert verdict.failure is Failure.CHAIN  # path length 0 allows no authority below


def test_root_that_is_neither_pinned_nor_simulated_is_refused() -> None:
    fake = "ARK-Genoa"
    made = chip()
    made = made.but(
        ark=replace(made.ark, subject=fake, issuer=fake), ask=replace(made.ask, issuer=fake)
    )
    verdict = made.appraise()
    assert verdict.failure is Failure.ROOT
    assert not verdict.genuine
    assert not verdict.simulated


@pytest.mark.parametrize("name", ["genuine", "default"])
def test_simulated_silicon_is_refused_unless_the_policy_allows_it(name: str) -> None:
    verdict = chip(crls=(crl(),)).appraise(Policy.builtin(name))
    assert verdict.failure is Failure.SIMULATED
    assert verdict.simulated
    allowed = Policy.builtin(name).but(allow_simulated=True)
    assert chip(crls=(crl(),)).appraise(allowed).tier is Tier.AFFIRMING


def test_simulated_roots_can_be_pinned() -> None:
    root = chip().appraise().verified.root  # type: ignore[union-attr]
    assert root is not None
    mine = Policy(
        name="mine",
        checks=SIMULATED.checks,
        allow_simulated=True,
        simulated_roots=(root.spki_sha256,),
    )
    other = Policy(
        name="other", checks=SIMULATED.checks, allow_simulated=True, simulated_roots=(bytes(32),)
    )
    assert chip().appraise(mine).tier is Tier.AFFIRMING
    assert chip().appraise(other).failure is Failure.SIMULATED


def test_every_check_is_reported_though_the_first_failed() -> None:
    made = chip().with_report(policy=0x30000 | 1 << 19, chip_id=b"\x77" * 64, version=9)
    names = {link.name for link in made.appraise(at=UNTIL + timedelta(days=1)).failed}
    assert names >= {"snp.report.version", "snp.binding.chip", "snp.certificate.dates", "snp.debug"}


# Revocation


def test_revocation_list_that_lists_nothing_of_ours_is_good() -> None:
    verdict = chip(crls=(crl(revoked=(99,)),)).appraise()
    assert verdict.tier is Tier.AFFIRMING
    assert verdict.verified.revocation_checked  # type: ignore[union-attr]


def test_revoked_intermediate_is_not_believed() -> None:
    verdict = chip(crls=(crl(revoked=(11,)),)).appraise()
    assert verdict.failure is Failure.REVOKED
    assert not verdict.genuine


def test_revocation_speaks_only_about_certificates_of_its_issuer() -> None:
    # The leaf has serial 1, and the root's list names a serial 1 that the root gave.
    assert chip(crls=(crl(revoked=(1,)),)).appraise().tier is Tier.AFFIRMING


def test_revocation_list_of_another_issuer_is_refused() -> None:
    verdict = chip(crls=(crl(issuer="ARK-Milan"),)).appraise()
    assert verdict.failure is Failure.COLLATERAL
    assert not verdict.verified.revocation_checked  # type: ignore[union-attr]


def test_list_of_another_issuer_beside_ours_is_ignored() -> None:
    assert chip(crls=(crl(issuer="ARK-Milan"), crl())).appraise().tier is Tier.AFFIRMING


def test_revocation_list_that_another_key_signed_is_refused() -> None:
    assert chip(crls=(crl(signer="ask"),)).appraise().failure is Failure.COLLATERAL


def test_revocation_list_is_in_date_at_both_ends_and_not_beyond() -> None:
    made = chip(crls=(crl(start=FROM + timedelta(days=1), end=UNTIL - timedelta(days=1)),))
    second = timedelta(seconds=1)
    assert made.appraise(at=FROM + timedelta(days=1)).tier is Tier.AFFIRMING
    assert made.appraise(at=UNTIL - timedelta(days=1)).tier is Tier.AFFIRMING
    assert made.appraise(at=FROM + timedelta(days=1) - second).failure is Failure.TIME
    stale = made.appraise(at=UNTIL - timedelta(days=1) + second)
    assert stale.failure is Failure.TIME
    assert not stale.verified.revocation_checked  # type: ignore[union-attr]


def test_stale_missing_and_revoked_are_different_verdicts() -> None:
    policy = Policy.builtin("default").but(allow_simulated=True)
    missing = chip().appraise(policy)
    stale = chip(crls=(crl(end=AT - timedelta(days=1)),)).appraise(policy)
    revoked = chip(crls=(crl(revoked=(11,)),)).appraise(policy)
    assert missing.tier is Tier.WARNING
    assert (stale.tier, stale.failure) == (Tier.CONTRAINDICATED, Failure.TIME)
    assert (revoked.tier, revoked.failure) == (Tier.CONTRAINDICATED, Failure.REVOKED)


def test_damaged_revocation_list_is_refused() -> None:
    assert chip(crls=(crl()[:-9],)).appraise().failure is Failure.CHAIN


# Signature encodings


@pytest.mark.parametrize("position", [48, 71, 72 + 48, 143, 144, 511])
def test_bytes_that_must_be_zero_make_another_encoding(position: int) -> None:
    evidence = bytearray(chip().evidence())
    evidence[0x2A0 + position] = 1
    assert chip().appraise(evidence=bytes(evidence)).failure is Failure.SIGNATURE


@pytest.mark.parametrize(
    ("r", "s"), [(0, 1), (1, 0), (0, 0), (P384_ORDER, 1), (1, P384_ORDER), (2**384 - 1, 1)]
)
def test_components_out_of_range_are_refused(r: int, s: int) -> None:
    evidence = chip().evidence()
    field = b"".join(one.to_bytes(72, "little") for one in (r, s)).ljust(512, b"\0")
    verdict = chip().appraise(evidence=evidence[:0x2A0] + field)
    assert verdict.failure is Failure.SIGNATURE


def test_high_s_is_a_signature_as_the_standard_says() -> None:
    evidence = chip().evidence()
    r = int.from_bytes(evidence[0x2A0 : 0x2A0 + 72], "little")
    s = int.from_bytes(evidence[0x2A0 + 72 : 0x2A0 + 144], "little")
    other = evidence[:0x2A0] + pack_signature(r, P384_ORDER - s)
    assert chip().appraise(evidence=other).tier is Tier.AFFIRMING


def test_signature_of_another_key_is_refused() -> None:
    assert chip(signer="somebody").appraise().failure is Failure.SIGNATURE


def test_leaf_with_another_curve_is_refused() -> None:
    made = chip()
    made = made.but(leaf=replace(made.leaf, curve=ec.SECP256R1()))
    assert made.appraise().failure is Failure.STRUCTURE


# Certificates that are not what they seem


def test_certificate_with_an_extension_twice_is_refused() -> None:
    made = chip()
    # An unused number under AMD's arc becomes a second product name.
    extra = {"1.3.6.1.4.1.3704.1.77": b"\x16\x05Milan"}
    doubled = made.but(leaf=replace(made.leaf, extensions=extra))
    oid = bytes.fromhex("2b060104019c7801")
    leaf = resign(doubled.leaf_der(), "ask", oid + b"\x4d", oid + b"\x02")
    endorsements = Endorsements(certificates=(leaf, made.ask.der(), made.ark.der()))
    verdict = made.appraise(endorsements=endorsements)
    assert verdict.failure is Failure.CHAIN
    assert any("duplicate" in link.found.lower() for link in verdict.failed)


def test_unreadable_certificate_beside_good_ones_is_not_passed_over() -> None:
    made = chip()
    certificates = (*made.endorsements().certificates, b"\x30\x03\x02\x01\x01")
    verdict = made.appraise(endorsements=Endorsements(certificates=certificates))
    assert verdict.failure is Failure.CHAIN


def test_changed_certificate_that_is_not_needed_is_not_passed_over() -> None:
    made = chip()
    spare = replace(made.ask, subject="SEV-VLEK-Genoa")
    changed = replace(spare, signer="somebody")
    certificates = made.endorsements().certificates
    good = Endorsements(certificates=(*certificates, spare.der()))
    bad = Endorsements(certificates=(*certificates, changed.der()))
    assert made.appraise(endorsements=good).tier is Tier.AFFIRMING
    assert made.appraise(endorsements=bad).failure is Failure.CHAIN


def test_more_certificates_than_the_limit_are_refused() -> None:
    made = chip()
    extra = tuple(replace(made.ask, subject=f"authority {number}").der() for number in range(70))
    certificates = (*made.endorsements().certificates, *extra)
    assert made.appraise(endorsements=Endorsements(certificates=certificates)).failure is (
        Failure.CHAIN
    )


def test_two_authorities_of_one_name_are_both_tried() -> None:
    made = chip()
    other = replace(made.ask, key="another")
    certificates = (other.der(), *made.endorsements().certificates)
    verdict = made.appraise(endorsements=Endorsements(certificates=certificates))
    assert verdict.tier is Tier.AFFIRMING


# The host's certificate table


def table(made: Snp, **replaced: bytes) -> bytes:
    leaf, ask, ark = made.endorsements().certificates
    entries = {"ark": ark, "ask": ask, "vcek": leaf} | replaced
    return pack_certificate_table(tuple(entries.items()))


def test_certificate_table_alone_is_enough() -> None:
    made = chip()
    assert made.appraise(endorsements=Endorsements(cert_table=table(made))).tier is Tier.AFFIRMING


def test_entries_of_the_hosts_own_in_the_table_are_left_alone() -> None:
    made = chip()
    entries = {"9f4116cd-c503-4f4a-8f6f-fb68882f4ce2": b"an endorsement of the cloud's own"}
    endorsements = Endorsements(cert_table=table(made, **entries))
    assert made.appraise(endorsements=endorsements).tier is Tier.AFFIRMING


def test_table_may_hold_a_list_in_pem_and_zeros_that_fill_a_page() -> None:
    made = chip()
    listed = b"-----BEGIN X509 CRL-----\n" + base64.encodebytes(crl())
    listed += b"-----END X509 CRL-----\n"
    endorsements = Endorsements(
        cert_table=table(made, crl=listed, ark=made.ark.der() + bytes(5), vcek=made.leaf_der())
    )
    verdict = made.appraise(endorsements=endorsements)
    assert verdict.tier is Tier.AFFIRMING
    assert verdict.verified is not None
    assert verdict.verified.revocation_checked
    spoilt = Endorsements(cert_table=table(made, ark=made.ark.der() + b"\0\1"))
    assert made.appraise(endorsements=spoilt).failure is Failure.CHAIN


def test_damaged_table_is_refused_though_good_certificates_stand_beside_it() -> None:
    made = chip()
    flipped = bytearray(table(made))
    flipped[-200] ^= 1
    endorsements = made.endorsements(cert_table=bytes(flipped))
    assert made.appraise(endorsements=endorsements).failure is Failure.CHAIN


def test_foreign_certificate_in_the_table_is_refused() -> None:
    made = chip()
    foreign = Made("Somebody", "Somebody", "s", "s", authority=True).der()
    endorsements = made.endorsements(cert_table=table(made, ark=foreign))
    assert made.appraise(endorsements=endorsements).failure is Failure.CHAIN


# Use of the interface


def test_time_without_utc_is_refused() -> None:
    with pytest.raises(UsageError):
        chip().appraise(at=AT.replace(tzinfo=None))


def test_verifier_remembers_no_more_than_it_was_told_to() -> None:
    verifier = Verifier(cache_entries=2)
    for number in range(5):
        made = chip().but(leaf=replace(Snp.leaf, serial=number + 1))
        verdict = verifier.appraise(
            made.evidence(), policy=SIMULATED, at=AT, endorsements=made.endorsements()
        )
        assert verdict.tier is Tier.AFFIRMING
    assert len(verifier._cache) == 2


def test_simulated_root_must_have_exactly_that_name() -> None:
    made = chip()
    name = SIMULATED_ROOT_NAME + " "
    made = made.but(
        ark=replace(made.ark, subject=name, issuer=name), ask=replace(made.ask, issuer=name)
    )
    assert made.appraise().failure in (Failure.ROOT, Failure.CHAIN)
    assert not made.appraise().simulated


@pytest.mark.parametrize(
    "more", [{"event_log": b"log"}, {"ccel": b"log"}, {"extra": (("pcrs", b"{}"),)}]
)
def test_input_that_nothing_compares_is_refused_not_passed_over(more: dict[str, object]) -> None:
    made = chip()
    verdict = made.appraise(endorsements=made.endorsements(**more))
    assert verdict.failure is Failure.BINDING
