"""What the DCAP verifier says when one thing is wrong, with a vendor of our own."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from tests.verifier.dcap_factory import (
    DOMAIN,
    DOMAIN_15,
    ENCLAVE,
    ISSUED,
    MODULE,
    NEXT_UPDATE,
    NOT_AFTER,
    NOW,
    PCK,
    PCK_CA,
    PLATFORM,
    QE_REPORT,
    TCB_SIGNER,
    Vendor,
    certificate,
    crl,
    isv_level,
    pem,
    qe_identity,
    signed,
    stamp,
    tcb_info,
    text,
)

from enarx.evidence.quote import Quote
from enarx.verifier import (
    DcapCollateral,
    Endorsements,
    Failure,
    Policy,
    Tier,
    Verdict,
    Verifier,
)
from enarx.verifier.roots import SIMULATED_ROOT_NAME

ALLOWED = Policy.builtin("genuine").but(allow_simulated=True)
ONE_SECOND = timedelta(seconds=1)
SGX, TDX = Vendor("sgx"), Vendor("tdx")


def judge(
    vendor: Vendor,
    quote: Quote | None = None,
    collateral: DcapCollateral | None = None,
    **more: Any,
) -> Verdict:
    given: dict[str, Any] = {"policy": ALLOWED, "at": NOW}
    given["endorsements"] = Endorsements(dcap=collateral or vendor.collateral())
    return Verifier().appraise((quote or vendor.quote()).pack(), **given | more)


def names(verdict: Verdict) -> set[str]:
    return {link.name for link in verdict.failed}


@pytest.mark.parametrize("vendor", [SGX, TDX], ids=["sgx", "tdx"])
def test_simulated_root_takes_the_same_path_and_the_policy_decides(vendor: Vendor) -> None:
    allowed = judge(vendor)
    assert allowed.tier is Tier.AFFIRMING, names(allowed)
    assert allowed.simulated
    assert not allowed.genuine
    assert allowed.fields["tcb_status"] == "UpToDate"

    refused = judge(vendor, policy=Policy.builtin("genuine"))
    assert refused.tier is Tier.CONTRAINDICATED
    assert refused.failure is Failure.SIMULATED


@pytest.mark.parametrize(
    "name",
    [
        "Intel SGX Root CA",
        "simulated root - not hardware",
        f"{SIMULATED_ROOT_NAME} ",
        f"X {SIMULATED_ROOT_NAME}",
    ],
)
def test_root_that_is_neither_pinned_nor_named_simulated_is_refused(name: str) -> None:
    verdict = judge(Vendor("sgx", root=name))
    assert verdict.failure is Failure.ROOT
    assert not verdict.simulated


def test_simulated_name_below_another_root_makes_nothing_simulated() -> None:
    vendor = Vendor("sgx", root="Some Root")
    ca = certificate(SIMULATED_ROOT_NAME, issuer="Some Root", authority=True)
    pck = certificate(PCK, issuer=SIMULATED_ROOT_NAME, extension=PLATFORM)
    verdict = judge(vendor, vendor.quote(chain=(pck, ca, vendor.root)))
    assert {"sgx.root", "sgx.pck.chain"} <= names(verdict)
    assert not verdict.simulated


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (2, 1, 0), (1, 0, 2)])
def test_chain_may_come_in_any_order(order: tuple[int, int, int]) -> None:
    chain = (SGX.pck, SGX.ca, SGX.root)
    verdict = judge(SGX, SGX.quote(chain=tuple(chain[index] for index in order)))
    assert verdict.tier is Tier.AFFIRMING


def test_chain_that_the_quote_lacks_may_be_supplied() -> None:
    short = SGX.quote(chain=(SGX.pck,))
    assert judge(SGX, short).failure is Failure.CHAIN
    der = [one.public_bytes(Encoding.DER) for one in (SGX.ca, SGX.root)]
    endorsements = Endorsements(dcap=SGX.collateral(), certificates=tuple(der))
    assert judge(SGX, short, endorsements=endorsements).tier is Tier.AFFIRMING


@pytest.mark.parametrize(
    "chain",
    [
        (SGX.pck, SGX.root),
        (SGX.pck, SGX.ca),
        (SGX.ca, SGX.root),
        (certificate(PCK, issuer=SIMULATED_ROOT_NAME, extension=PLATFORM), SGX.root),
        (SGX.pck, certificate(PCK_CA, issuer=SIMULATED_ROOT_NAME), SGX.root),
        (
            certificate(PCK, issuer=PCK_CA, extension=PLATFORM, authority=True),
            SGX.ca,
            SGX.root,
        ),
        (
            certificate(PCK, issuer=PCK_CA, extension=PLATFORM, signer="other"),
            SGX.ca,
            SGX.root,
        ),
        (certificate(PCK, issuer=PCK_CA), SGX.ca, SGX.root),
        (certificate("Other", issuer=PCK_CA, extension=PLATFORM, holder=PCK), SGX.ca, SGX.root),
        (
            certificate(PCK, issuer="Other CA", extension=PLATFORM),
            certificate("Other CA", issuer=SIMULATED_ROOT_NAME, authority=True),
            SGX.root,
        ),
    ],
    ids=[
        "no-ca",
        "no-root",
        "no-pck",
        "pck-right-under-root",
        "ca-is-no-authority",
        "pck-is-authority",
        "pck-signed-by-another",
        "pck-without-sgx-extension",
        "pck-by-another-name",
        "ca-by-another-name",
    ],
)
def test_chain_that_is_not_three_certificates_in_their_roles_is_refused(chain: Any) -> None:
    assert judge(SGX, SGX.quote(chain=chain)).failure is Failure.CHAIN


def test_certification_data_without_chain_is_named_as_such() -> None:
    quote = SGX.quote()
    signature = dataclasses.replace(
        quote.signature, certification_type=3, certification_data=bytes(404)
    )
    verdict = judge(SGX, dataclasses.replace(quote, signature=signature))
    assert verdict.failure is Failure.STRUCTURE
    assert "type 3" in next(one.found for one in verdict.failed if one.name == "sgx.pck.chain")


def test_report_of_the_quoting_enclave_by_another_key_is_refused() -> None:
    assert judge(SGX, SGX.quote(pck_holder="other")).failure is Failure.SIGNATURE


def test_quote_by_another_key_than_the_one_vouched_for_is_refused() -> None:
    quote = SGX.quote()
    signature = dataclasses.replace(quote.signature, signature=signed("other", quote.signed_bytes))
    verdict = judge(SGX, dataclasses.replace(quote, signature=signature))
    assert names(verdict) == {"sgx.quote.signature"}


def test_authentication_data_is_bound() -> None:
    quote = SGX.quote()
    signature = dataclasses.replace(quote.signature, authentication_data=b"other")
    verdict = judge(SGX, dataclasses.replace(quote, signature=signature))
    assert verdict.failure is Failure.BINDING
    assert names(verdict) == {"sgx.qe.binding"}


@pytest.mark.parametrize(
    "change",
    [
        {"mr_signer": b"x" * 32},
        {"isv_prod_id": 3},
        {"misc_select": b"\1\0\0\0"},
        {"attributes": b"\x11\0\0\0\0\0\0\1" + bytes(8)},
    ],
)
def test_quoting_enclave_must_be_the_one_of_the_identity(change: dict[str, Any]) -> None:
    quote = SGX.quote(qe_report=dataclasses.replace(QE_REPORT, **change))
    verdict = judge(SGX, quote)
    assert names(verdict) == {"sgx.qe.identity"}
    assert verdict.failure is Failure.BINDING


def test_attributes_outside_the_mask_do_not_matter() -> None:
    attributes = b"\x15" + bytes(7) + bytes(range(8))
    quote = SGX.quote(qe_report=dataclasses.replace(QE_REPORT, attributes=attributes))
    assert judge(SGX, quote).tier is Tier.AFFIRMING


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"tcb_info": tcb_info("sgx", fmspc="00906ED50000")}, "sgx.tcb_info.platform"),
        ({"tcb_info": tcb_info("sgx", pceId="0001")}, "sgx.tcb_info.platform"),
        ({"tcb_info": tcb_info("tdx")}, "sgx.tcb_info.platform"),
        ({"qe_identity": qe_identity("tdx")}, "sgx.qe_identity.id"),
        ({"tcb_info": tcb_info("sgx", version=2)}, "sgx.tcb_info.signature"),
        ({"qe_identity": qe_identity("sgx", version=1)}, "sgx.qe_identity.signature"),
        ({"tcb_info_signature": bytes(64)}, "sgx.tcb_info.signature"),
        ({"tcb_info_signature": b"\xff" * 64}, "sgx.tcb_info.signature"),
        ({"tcb_info_signature": b""}, "sgx.tcb_info.signature"),
        ({"qe_identity_signature": signed("other", b"x")}, "sgx.qe_identity.signature"),
        ({"tcb_info_issuer_chain": b""}, "sgx.tcb_info.signature"),
        ({"tcb_info_issuer_chain": b"no certificates"}, "sgx.tcb_info.signature"),
        ({"tcb_info_issuer_chain": pem(SGX.signer)}, "sgx.tcb_info.signature"),
        ({"tcb_info_issuer_chain": pem(SGX.ca, SGX.root)}, "sgx.tcb_info.signature"),
        ({"tcb_info": b"", "tcb_info_signature": b""}, "sgx.tcb_info.signature"),
        ({"qe_identity": b"", "qe_identity_signature": b""}, "sgx.qe_identity.signature"),
        ({"root_ca_crl": crl(PCK_CA)}, "sgx.crl.signature"),
        ({"pck_crl": crl(SIMULATED_ROOT_NAME)}, "sgx.crl.signature"),
        ({"pck_crl": crl(PCK_CA, signer="other")}, "sgx.crl.signature"),
        ({"pck_crl": b"\x30\x00"}, "sgx.crl.signature"),
        ({"pck_crl_issuer_chain": pem(SGX.signer, SGX.root)}, "sgx.crl.issuer"),
        ({"pck_crl_issuer_chain": pem(SGX.ca)}, "sgx.crl.issuer"),
        ({"pck_crl_issuer_chain": b"nothing"}, "sgx.crl.issuer"),
    ],
)
def test_bad_collateral_is_named(changes: dict[str, Any], name: str) -> None:
    verdict = judge(SGX, collateral=SGX.collateral(**changes))
    assert verdict.failure is Failure.COLLATERAL
    assert name in names(verdict)
    assert not verdict.genuine


def test_version_two_of_the_tcb_info_is_refused_with_the_way_out() -> None:
    verdict = judge(SGX, collateral=SGX.collateral(tcb_info=tcb_info("sgx", version=2)))
    link = next(one for one in verdict.failed if one.name == "sgx.tcb_info.signature")
    assert "version 2, expected 3" in link.found


def test_collateral_of_another_root_is_refused_however_well_signed() -> None:
    # Both are whole and well signed, but an attacker's TCB info must not speak for this chip.
    other = Vendor("sgx", root="Attacker Root")
    changes = {
        "tcb_info_issuer_chain": pem(other.signer, other.root),
        "qe_identity_issuer_chain": pem(other.signer, other.root),
    }
    verdict = judge(SGX, collateral=SGX.collateral(**changes))
    assert {"sgx.tcb_info.signature", "sgx.qe_identity.signature"} <= names(verdict)
    assert verdict.failure is Failure.COLLATERAL


@pytest.mark.parametrize(
    ("name", "extension"), [(TCB_SIGNER, PLATFORM), ("Intel SGX Something", None)]
)
def test_certificate_of_another_role_cannot_sign_collateral(name: str, extension: Any) -> None:
    rogue = certificate(name, issuer=SIMULATED_ROOT_NAME, extension=extension)
    document = text(tcb_info("sgx"))
    changes = {
        "tcb_info": document,
        "tcb_info_signature": signed(name, document),
        "tcb_info_issuer_chain": pem(rogue, SGX.root),
    }
    verdict = judge(SGX, collateral=SGX.collateral(**changes))
    assert names(verdict) == {"sgx.tcb_info.signature"}


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document.replace(b'"version":3', b'"version": 3'),
        lambda document: document + b" ",
        lambda document: document.replace(b"UpToDate", b"UptoDate"),
    ],
    ids=["blank-inside", "blank-behind", "status"],
)
def test_signature_is_over_the_exact_text(change: Any) -> None:
    document = text(tcb_info("sgx"))
    changes = {
        "tcb_info": change(document),
        "tcb_info_signature": signed(TCB_SIGNER, document),
    }
    verdict = judge(SGX, collateral=SGX.collateral(**changes))
    assert verdict.failure is Failure.COLLATERAL


def test_reordered_members_are_as_good_when_they_are_what_was_signed() -> None:
    reordered = dict(reversed(tcb_info("tdx").items()))
    assert judge(TDX, collateral=TDX.collateral(tcb_info=reordered)).tier is Tier.AFFIRMING


def test_duplicate_member_is_refused_although_signed() -> None:
    document = text(tcb_info("sgx"))[:-1] + b',"fmspc":"00906ED50000"}'
    verdict = judge(SGX, collateral=SGX.collateral(tcb_info=document))
    link = next(one for one in verdict.failed if one.name == "sgx.tcb_info.signature")
    assert verdict.failure is Failure.COLLATERAL
    assert "twice" in link.found


@pytest.mark.parametrize(
    "document",
    [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"tcbLevels":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
        b"{" + b" " * (2 << 20) + b"}",
        b'{"version":3,"x":NaN}',
        b"\xff\xfe{}",
        b'{"version":1e999}',
        b'{"version":' + b"9" * 10_000 + b"}",
    ],
    ids=["open", "open-objects", "deep", "large", "nan", "utf-16", "infinite", "long-number"],
)
def test_hostile_json_is_refused_although_signed(document: bytes) -> None:
    verdict = judge(SGX, collateral=SGX.collateral(tcb_info=document))
    assert verdict.failure is Failure.COLLATERAL


def test_revoked_platform_is_refused() -> None:
    collateral = SGX.collateral(pck_crl=crl(PCK_CA, SGX.pck))
    assert judge(SGX, collateral=collateral).failure is Failure.REVOKED


@pytest.mark.parametrize("revoked", [SGX.ca, SGX.signer], ids=["ca", "tcb-signer"])
def test_revoked_authority_or_signer_is_refused(revoked: Any) -> None:
    collateral = SGX.collateral(root_ca_crl=crl(SIMULATED_ROOT_NAME, revoked))
    assert judge(SGX, collateral=collateral).failure is Failure.REVOKED


def test_serial_number_on_another_authoritys_list_means_nothing() -> None:
    same_serial = certificate("Other", issuer="x", serial=SGX.pck.serial_number)
    collateral = SGX.collateral(root_ca_crl=crl(SIMULATED_ROOT_NAME, same_serial))
    assert judge(SGX, collateral=collateral).tier is Tier.AFFIRMING


def test_missing_lists_are_a_finding_that_a_policy_may_refuse() -> None:
    collateral = SGX.collateral(root_ca_crl=b"", pck_crl=b"", pck_crl_issuer_chain=b"")
    verdict = judge(SGX, collateral=collateral)
    assert verdict.tier is Tier.AFFIRMING
    assert verdict.verified is not None
    assert verdict.verified.findings == ("no_crl",)
    assert not verdict.verified.revocation_checked
    assert judge(SGX).verified.revocation_checked  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("at", "tier"),
    [
        (ISSUED - ONE_SECOND, Tier.CONTRAINDICATED),
        (ISSUED, Tier.AFFIRMING),
        (NEXT_UPDATE - ONE_SECOND, Tier.AFFIRMING),
        (NEXT_UPDATE, Tier.CONTRAINDICATED),
    ],
    ids=["before-issue", "at-issue", "last-second", "at-next-update"],
)
def test_collateral_counts_from_its_issue_up_to_its_next_update(at: Any, tier: Tier) -> None:
    verdict = judge(SGX, at=at)
    assert verdict.tier is tier
    assert verdict.failure is (None if tier is Tier.AFFIRMING else Failure.TIME)
    assert verdict.fields["tcb_status"] == "UpToDate"


@pytest.mark.parametrize("part", ["tcb_info", "qe_identity"])
def test_each_part_of_the_collateral_has_its_own_dates(part: str) -> None:
    make = {"tcb_info": tcb_info, "qe_identity": qe_identity}[part]
    document = make("sgx", nextUpdate=stamp(NOW))
    verdict = judge(SGX, collateral=SGX.collateral(**{part: document}))
    assert names(verdict) == {f"sgx.{part}.dates"}
    assert verdict.valid_until == NOW


@pytest.mark.parametrize("which", ["pck", "ca", "signer", "root"])
def test_certificates_are_valid_through_their_last_second(which: str) -> None:
    vendor = Vendor("sgx")
    subject = getattr(vendor, which)
    issuers = {"pck": PCK_CA}
    renewed = certificate(
        subject.subject.rfc4514_string().removeprefix("CN="),
        issuer=issuers.get(which, SIMULATED_ROOT_NAME),
        authority=which in ("ca", "root"),
        extension=PLATFORM if which == "pck" else None,
        not_after=NOW,
    )
    setattr(vendor, which, renewed)
    assert judge(vendor, at=NOW).tier is Tier.AFFIRMING
    late = judge(vendor, at=NOW + ONE_SECOND)
    assert late.failure is Failure.TIME
    assert names(late) == {"sgx.certificate.dates"}


def test_clock_before_the_first_certificate_is_a_matter_of_time() -> None:
    assert judge(SGX, at=NOW - timedelta(days=4000)).failure is Failure.TIME


def test_verdict_is_valid_until_the_first_part_runs_out() -> None:
    assert judge(SGX).valid_until == NEXT_UPDATE
    assert judge(SGX, endorsements=Endorsements()).valid_until == NOT_AFTER


def test_dates_are_compared_again_however_much_is_remembered() -> None:
    verifier, quote = Verifier(), SGX.quote().pack()
    endorsements = Endorsements(dcap=SGX.collateral())
    given = {"policy": ALLOWED, "endorsements": endorsements}
    tiers = [verifier.appraise(quote, at=at, **given).tier for at in (NOW, NEXT_UPDATE, NOW)]
    assert tiers == [Tier.AFFIRMING, Tier.CONTRAINDICATED, Tier.AFFIRMING]


def test_platforms_and_collateral_are_never_mixed_up_by_what_is_remembered() -> None:
    verifier = Verifier(cache_entries=64)
    good, behind = SGX.collateral(), SGX.collateral(tcb_info=tcb_info("sgx", tcbLevels=[]))
    revoked = SGX.collateral(pck_crl=crl(PCK_CA, SGX.pck))
    quote = SGX.quote().pack()
    statuses = [
        verifier.appraise(
            quote, policy=ALLOWED, at=NOW, endorsements=Endorsements(dcap=collateral)
        ).failure
        for collateral in (good, behind, revoked, good, revoked, behind)
    ]
    assert statuses == [
        None,
        Failure.TCB_STATUS,
        Failure.REVOKED,
        None,
        Failure.REVOKED,
        Failure.TCB_STATUS,
    ]


def test_debug_enclave_and_debug_domain_are_refused() -> None:
    enclave = dataclasses.replace(ENCLAVE, attributes=b"\x07" + bytes(15))
    assert judge(SGX, SGX.quote(enclave)).failure is Failure.DEBUG
    domain = dataclasses.replace(DOMAIN, td_attributes=b"\x01" + bytes(7))
    assert judge(TDX, TDX.quote(domain)).failure is Failure.DEBUG


@pytest.mark.parametrize("version", [3, 4, 5])
def test_sgx_quotes_of_all_versions(version: int) -> None:
    assert judge(SGX, SGX.quote(version=version)).tier is Tier.AFFIRMING


@pytest.mark.parametrize(
    ("body", "version"), [(DOMAIN, 4), (DOMAIN, 5), (DOMAIN_15, 5)], ids=["4", "5", "5-td15"]
)
def test_tdx_quotes_of_all_versions(body: Any, version: int) -> None:
    assert judge(TDX, TDX.quote(body, version=version)).tier is Tier.AFFIRMING


@pytest.mark.parametrize(
    ("word", "service_td", "finding"),
    [
        (0, bytes(48), "sept_ve_disable_clear"),
        (1 << 28 | 1 << 29, bytes(48), "migratable"),
        (1 << 28 | 1 << 30, bytes(48), "pks_enabled"),
        (1 << 28, b"s" * 48, "service_td_bound"),
    ],
)
def test_findings_do_not_fail_a_domain_but_are_told(
    word: int, service_td: bytes, finding: str
) -> None:
    body = dataclasses.replace(
        DOMAIN_15, td_attributes=word.to_bytes(8, "little"), mr_service_td=service_td
    )
    verdict = judge(TDX, TDX.quote(body))
    assert verdict.tier is Tier.AFFIRMING
    assert verdict.verified is not None
    assert finding in verdict.verified.findings
    assert f"tdx.finding.{finding}" in {link.name for link in verdict.trace}


def test_migratable_domain_is_refused_by_default() -> None:
    body = dataclasses.replace(DOMAIN, td_attributes=(1 << 28 | 1 << 29).to_bytes(8, "little"))
    development = Policy.builtin("development")
    assert judge(TDX, TDX.quote(body), policy=development).failure is Failure.POLICY
    assert judge(TDX, policy=development).tier is Tier.AFFIRMING


def test_module_that_is_behind_is_named_with_its_remedy() -> None:
    levels = [isv_level(11, "UpToDate"), isv_level(2, "OutOfDate", "INTEL-SA-1")]
    identities = [{"id": "TDX_01", **MODULE, "tcbLevels": levels}]
    collateral = TDX.collateral(tcb_info=tcb_info("tdx", tdxModuleIdentities=identities))
    svn = bytes([6, 1, 3]) + bytes(13)
    quote = TDX.quote(dataclasses.replace(DOMAIN, tee_tcb_svn=svn))
    verdict = judge(TDX, quote, collateral)

    assert verdict.failure is Failure.TCB_STATUS
    assert verdict.fields["tcb_status"] == "OutOfDate"
    assert verdict.fields["advisory_ids"] == ["INTEL-SA-1"]
    link = next(one for one in verdict.failed if one.name == "tdx.tcb_status")
    assert link.remedy == "TDX module ISV SVN is 6, needs 11: update the SEAM loader"


@pytest.mark.parametrize(
    "change", [{"mrsigner": "11" * 48}, {"attributes": "01" + "00" * 7}, {"id": "TDX_02"}]
)
def test_module_must_be_one_that_the_tcb_info_names(change: dict[str, str]) -> None:
    identity = {"id": "TDX_01", **MODULE, "tcbLevels": [isv_level(1, "UpToDate")]} | change
    collateral = TDX.collateral(tcb_info=tcb_info("tdx", tdxModuleIdentities=[identity]))
    verdict = judge(TDX, collateral=collateral)
    assert "tdx.module.identity" in names(verdict)
    assert verdict.tier is Tier.CONTRAINDICATED


def test_quote_of_the_other_technology_is_not_read() -> None:
    from enarx.errors import ParseError

    with pytest.raises(ParseError):
        Verifier().appraise(SGX.quote().pack(), kind="tdx", policy=ALLOWED, at=NOW)


def test_empty_collateral_is_as_none() -> None:
    verdict = judge(SGX, collateral=DcapCollateral())
    assert verdict.verified is not None
    assert verdict.verified.findings == ("no_collateral",)
    assert "tcb_status" not in verdict.fields


def test_collateral_without_documents_still_revokes() -> None:
    collateral = DcapCollateral(root_ca_crl=crl(SIMULATED_ROOT_NAME), pck_crl=crl(PCK_CA, SGX.pck))
    assert judge(SGX, collateral=collateral).failure is Failure.REVOKED


def test_lists_may_come_by_themselves() -> None:
    lists = (crl(SIMULATED_ROOT_NAME), crl(PCK_CA, SGX.pck))
    assert judge(SGX, endorsements=Endorsements(crls=lists)).failure is Failure.REVOKED
    good = judge(SGX, endorsements=Endorsements(crls=(lists[0], crl(PCK_CA))))
    assert good.tier is Tier.AFFIRMING
    assert good.verified is not None
    assert good.verified.revocation_checked


@pytest.mark.parametrize(
    "listed", [crl(PCK_CA, SGX.pck), crl(SIMULATED_ROOT_NAME, SGX.ca)], ids=["pck", "root"]
)
def test_list_beside_those_of_the_collateral_revokes_as_well(listed: bytes) -> None:
    endorsements = Endorsements(dcap=SGX.collateral(), crls=(listed,))
    assert judge(SGX, endorsements=endorsements).failure is Failure.REVOKED


@pytest.mark.parametrize(
    "second",
    [crl(PCK_CA, signer="other"), crl(PCK_CA)[:-1], crl(PCK_CA, next_update=NOW - ONE_SECOND)],
    ids=["forged", "cut", "stale"],
)
def test_bad_list_beside_those_of_the_collateral_is_refused(second: bytes) -> None:
    endorsements = Endorsements(dcap=SGX.collateral(), crls=(second,))
    assert judge(SGX, endorsements=endorsements).tier is Tier.CONTRAINDICATED


@pytest.mark.parametrize("first", [True, False], ids=["first", "last"])
def test_lists_of_other_authorities_do_no_harm_beside_ours(first: bool) -> None:
    ours = (crl(SIMULATED_ROOT_NAME), crl(PCK_CA))
    other = (crl("Intel SGX PCK Processor CA"),)
    lists = other + ours if first else ours + other
    verdict = judge(SGX, endorsements=Endorsements(crls=lists))
    assert verdict.tier is Tier.AFFIRMING
    assert verdict.verified is not None
    assert verdict.verified.revocation_checked
    assert judge(SGX, endorsements=Endorsements(crls=other)).failure is Failure.COLLATERAL


def test_event_log_beside_an_enclave_fits_nothing() -> None:
    endorsements = Endorsements(dcap=SGX.collateral(), event_log=b"[]")
    assert judge(SGX, endorsements=endorsements).failure is Failure.BINDING


def test_input_of_another_technology_fits_no_domain() -> None:
    endorsements = Endorsements(dcap=TDX.collateral(), extra=(("id_block", b"block"),))
    assert judge(TDX, endorsements=endorsements).failure is Failure.BINDING
