"""What policies accept, how they compose, and that none of them is empty."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.verifier.snp_factory import AT, Snp, chip, crl, vlek

from enarx.errors import ConfigError, EnarxError, PolicyError
from enarx.evidence.snp import PLATFORM_BITS, POLICY_BITS, Product, pack_tcb
from enarx.verifier import (
    AllOf,
    AnyOf,
    Check,
    Failure,
    Policy,
    ReferenceValues,
    Tier,
    Trace,
    Verdict,
    Verified,
    judge,
    policy_file,
)
from enarx.verifier.platform_rules import (
    Advisories,
    CollateralRequired,
    TcbStatus,
)
from enarx.verifier.policy_file import read_references
from enarx.verifier.rules import (
    Instances,
    NoDebug,
    Vmpl,
)

LISTED = chip(crls=(crl(),))


def toml(text: str, **more: Any) -> Policy:
    return Policy.from_toml(f"version = 1\nallow_simulated = true\n{text}", **more)


def judged(text: str, made: Snp = LISTED, **more: Any) -> Verdict:
    return made.appraise(toml(text), **more)


# The built-in ones


def test_genuine_asks_no_more_than_that_all_is_genuine() -> None:
    made = chip(Product.MILAN).with_report(vmpl=3, platform_info=0)
    assert made.appraise().tier is Tier.AFFIRMING


@pytest.mark.parametrize(
    ("changes", "failure"),
    [
        ({"vmpl": 1}, Failure.POLICY),
        ({"policy": 0x30000 | 1 << 18}, Failure.POLICY),
        ({"policy": 0x30000 | 1 << 19}, Failure.DEBUG),
        ({"platform_info": 0x05}, Failure.POLICY),
    ],
)
def test_default_asks_more(changes: dict[str, int], failure: Failure) -> None:
    policy = Policy.builtin("default").but(allow_simulated=True)
    assert LISTED.appraise(policy).tier is Tier.AFFIRMING
    verdict = LISTED.with_report(**changes).appraise(policy)
    assert (verdict.tier, verdict.failure) == (Tier.CONTRAINDICATED, failure)


def test_default_never_affirms_milan() -> None:
    policy = Policy.builtin("default").but(allow_simulated=True)
    made = chip(Product.MILAN, tcb={"bl": 4, "tee": 0, "snp": 24, "ucode": 219}, crls=(crl(),))
    verdict = made.appraise(policy)
    assert verdict.tier is Tier.WARNING
    assert verdict.failure is None
    with pytest.raises(EnarxError):
        verdict.require()
    assert verdict.require(accept_warning=True) is verdict


@pytest.mark.parametrize("which", ["current_tcb", "committed_tcb", "launch_tcb"])
def test_default_compares_every_tcb_with_the_minimum(which: str) -> None:
    policy = Policy.builtin("default").but(allow_simulated=True)
    old = pack_tcb({"bl": 9, "tee": 0, "snp": 20, "ucode": 72}, Product.GENOA)
    others = tuple(name for name in LISTED.tcbs if name != which)
    made = LISTED.but(tcbs=others).with_report(**{which: old})
    verdict = made.appraise(policy)
    assert verdict.failure is Failure.TCB_STATUS
    assert any("update" in link.remedy for link in verdict.failed)


@pytest.mark.parametrize("which", ["reported_tcb", "committed_tcb"])
def test_no_tcb_is_above_the_one_that_runs(which: str) -> None:
    policy = Policy.builtin("default").but(allow_simulated=True)
    newer = {"bl": 10, "tee": 0, "snp": 24, "ucode": 84}
    others = tuple(name for name in LISTED.tcbs if name != which)
    made = LISTED.but(tcbs=others).with_report(**{which: pack_tcb(newer, Product.GENOA)})
    endorsements = LISTED.but(tcb=newer).endorsements() if which == "reported_tcb" else None
    verdict = made.appraise(policy, endorsements=endorsements)
    assert verdict.failure is Failure.TCB_STATUS
    assert {link.name for link in verdict.failed} == {f"snp.tcb_order.{which[:-4]}"}


def test_bergamo_and_siena_count_their_microcode_on_their_own() -> None:
    policy = Policy.builtin("default").but(allow_simulated=True)
    made = chip(tcb={"bl": 10, "tee": 0, "snp": 23, "ucode": 0x19}, crls=(crl(),))
    assert made.appraise(policy).failure is Failure.TCB_STATUS
    assert made.with_report(cpuid_model=0xA0).appraise(policy).tier is Tier.AFFIRMING


def test_secrets_are_not_released_without_revocation_lists() -> None:
    policy = Policy.builtin("default").but(allow_simulated=True)
    assert chip().appraise(policy, context="monitoring").tier is Tier.WARNING
    assert chip().appraise(policy, context="release-secrets").tier is Tier.CONTRAINDICATED
    assert LISTED.appraise(policy, context="release-secrets").tier is Tier.AFFIRMING


def test_development_affirms_simulated_silicon_and_says_so() -> None:
    verdict = chip().appraise(Policy.builtin("development"))
    assert verdict.tier is Tier.AFFIRMING
    assert verdict.simulated
    assert any(link.name == "root.simulated" for link in verdict.trace)


def test_unknown_context_is_an_error() -> None:
    with pytest.raises(PolicyError) as caught:
        chip().appraise(context="monitorign")
    assert caught.value.code == "policy.context"


def test_unknown_builtin_is_an_error() -> None:
    with pytest.raises(PolicyError):
        Policy.builtin("lenient")


# Composition


class Holds:
    """A rule of a user's own: any callable of this shape."""

    def __init__(self, *, holds: bool) -> None:
        self.holds = holds

    def __call__(self, subject: Verified, trace: Trace, /) -> None:
        trace.check(self.holds, "own.rule", "own rule", failure=Failure.POLICY)


def tier_of(*checks: Check) -> Tier:
    policy = Policy(name="own", checks=checks, allow_simulated=True)
    return chip().appraise(policy).tier


def test_own_rules_are_callables() -> None:
    assert tier_of(Holds(holds=True)) is Tier.AFFIRMING
    assert tier_of(Holds(holds=False)) is Tier.CONTRAINDICATED


def test_all_of_needs_all_and_any_of_needs_one() -> None:
    yes, no = Holds(holds=True), Holds(holds=False)
    assert tier_of(AllOf((yes, yes))) is Tier.AFFIRMING
    assert tier_of(AllOf((yes, no))) is Tier.CONTRAINDICATED
    assert tier_of(AnyOf((no, yes))) is Tier.AFFIRMING
    assert tier_of(AnyOf((no, no))) is Tier.CONTRAINDICATED
    assert tier_of(AnyOf((AllOf((yes, no)), AllOf((yes, yes))))) is Tier.AFFIRMING


def test_any_of_nothing_that_applies_is_not_met() -> None:
    assert tier_of(AnyOf((CollateralRequired(),))) is Tier.CONTRAINDICATED


def test_rule_that_misses_its_fact_fails() -> None:
    assert tier_of(Instances(accepted=(bytes(64),))) is Tier.CONTRAINDICATED
    without_chip = vlek().appraise(
        Policy(name="own", checks=(Instances(accepted=(b"",)),), allow_simulated=True)
    )
    assert without_chip.tier is Tier.CONTRAINDICATED


# Files


@pytest.mark.parametrize(
    ("rule", "made", "tier"),
    [
        ("[snp]\nproducts = ['Genoa']", LISTED, Tier.AFFIRMING),
        ("[snp]\nproducts = ['Turin']", LISTED, Tier.CONTRAINDICATED),
        ("[snp]\nproducts_warn = ['Genoa']", LISTED, Tier.WARNING),
        ("[snp]\nminimum_tcb.Genoa = { snp = 23 }", LISTED, Tier.AFFIRMING),
        ("[snp]\nminimum_tcb.Genoa = { snp = 24 }", LISTED, Tier.CONTRAINDICATED),
        ("[snp]\nminimum_tcb.Milan = { snp = 24 }", LISTED, Tier.AFFIRMING),
        ("[snp]\nvmpl = [0]", LISTED.with_report(vmpl=1), Tier.CONTRAINDICATED),
        ("[snp]\nvmpl = [0, 1]", LISTED.with_report(vmpl=1), Tier.AFFIRMING),
        ("[snp]\nrequired = ['alias_check_complete']", LISTED, Tier.AFFIRMING),
        ("[snp]\nrequired = ['single_socket_required']", LISTED, Tier.CONTRAINDICATED),
        ("[snp]\nforbidden = ['smt_allowed']", LISTED, Tier.CONTRAINDICATED),
        (f"[snp]\nmeasurements = ['{'02' * 48}']", LISTED, Tier.AFFIRMING),
        (f"[snp]\nmeasurements = ['{'03' * 48}']", LISTED, Tier.CONTRAINDICATED),
        (f"[snp]\nhost_data = ['{'03' * 32}']", LISTED, Tier.AFFIRMING),
        (f"[snp]\nhost_data = ['{'04' * 32}']", LISTED, Tier.CONTRAINDICATED),
        (f"[snp]\nregisters.family_id = ['{'00' * 16}']", LISTED, Tier.AFFIRMING),
        (f"[snp]\nregisters.nonsense = ['{'00' * 16}']", LISTED, Tier.CONTRAINDICATED),
        (f"instances = ['{bytes(range(64)).hex()}']", LISTED, Tier.AFFIRMING),
        (f"instances = ['{'05' * 64}']", LISTED, Tier.CONTRAINDICATED),
        (f"instances = ['{bytes(range(1, 9)).hex()}']", chip(Product.TURIN), Tier.AFFIRMING),
        ("types = ['snp']", LISTED, Tier.AFFIRMING),
        ("types = ['sgx', 'tdx']", LISTED, Tier.CONTRAINDICATED),
        ("revocation = 'require'", LISTED, Tier.AFFIRMING),
        ("revocation = 'require'", chip(), Tier.CONTRAINDICATED),
        ("revocation = 'warn'", chip(), Tier.WARNING),
        ("max_age = '11d'", LISTED, Tier.AFFIRMING),
        ("max_age = '9d'", LISTED, Tier.CONTRAINDICATED),
        ("[keep]\nsandbox = ['seccomp']", LISTED, Tier.CONTRAINDICATED),
        ("[[any]]\nsnp.vmpl = [3]\n[[any]]\nsnp.vmpl = [0]", LISTED, Tier.AFFIRMING),
        ("[[any]]\nsnp.vmpl = [3]\n[[any]]\ntypes = ['tdx']", LISTED, Tier.CONTRAINDICATED),
        ("[[all]]\nsnp.vmpl = [0]\n[[all]]\ntypes = ['snp']", LISTED, Tier.AFFIRMING),
        ("[sgx]\ntcb_status = ['UpToDate']", LISTED, Tier.CONTRAINDICATED),
    ],
)
def test_rule_of_a_file(rule: str, made: Snp, tier: Tier) -> None:
    assert judged(rule, made).tier is tier


def test_context_adds_its_rules() -> None:
    text = "[snp]\nvmpl = [0]\n[context.release-secrets]\nrevocation = 'require'"
    assert judged(text, chip()).tier is Tier.AFFIRMING
    assert judged(text, chip(), context="release-secrets").tier is Tier.CONTRAINDICATED


def test_base_holds_as_well() -> None:
    assert judged("base = 'default'").tier is Tier.AFFIRMING
    made = LISTED.with_report(vmpl=1)
    assert judged("base = 'default'\n[snp]\nvmpl = [0, 1]", made).tier is Tier.CONTRAINDICATED


def test_debug_is_refused_without_being_named() -> None:
    debug = LISTED.with_report(policy=0x30000 | 1 << 19)
    assert judged("[snp]\nvmpl = [0]", debug).failure is Failure.DEBUG
    assert judged("unsafe_allow_debug = true\n[snp]\nvmpl = [0]", debug).tier is Tier.AFFIRMING


def test_simulated_silicon_must_be_allowed() -> None:
    policy = Policy.from_toml("version = 1\n[snp]\nvmpl = [0]")
    assert LISTED.appraise(policy).failure is Failure.SIMULATED


@pytest.mark.parametrize("text", ["", "# nothing", "version = 1", "version = 1\ntitle = 'x'"])
def test_empty_policy_is_an_error(text: str) -> None:
    with pytest.raises(PolicyError) as caught:
        Policy.from_toml(text)
    assert caught.value.code == "policy.empty"


def test_policy_without_rules_is_an_error() -> None:
    with pytest.raises(PolicyError):
        Policy.from_toml("version = 1\nallow_simulated = true")
    with pytest.raises(PolicyError):
        Policy(name="empty", checks=())


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("version = 1\nbase = 'defualt'", 2, 1),
        ("version = 1\nbsae = 'default'", 2, 1),
        ("version = 1\n\n[snp]\nvmpll = [0]", 4, 1),
        ("version = 1\n[snp]\n  vmpl = [4]", 3, 3),
        ("version = 1\n[snp]\nminimum_tcb.Genoa = { snq = 3 }", 3, 23),
        ("version = 1\n[snp]\nminimum_tcb.Geona = { snp = 3 }", 3, 13),
        ("version = 1\n[snp]\nproducts = 'Genoa'", 3, 1),
        ("version = 1\n[snp]\nproducts = []", 3, 1),
        ("version = 1\n[snp]\nmeasurements = ['zz']", 3, 1),
        ("version = 1\n[snp]\nmeasurements = ['00']", 3, 1),
        ("version = 1\n[tdx]\ntcb_status = ['Fine']", 3, 1),
        ("version = 1\n[tdx]\nvmpl = [0]", 3, 1),
        ("version = 1\n[snp]\nrequired = ['alias_check']", 3, 1),
        ("version = 1\n[snp]", 2, 1),
        ("version = 1\n[[any]]", 2, 1),
        ("version = 1\n[[any]]\nsnpp.vmpl = [0]", 3, 1),
        ("version = 1\n[context.monitoring]\nmaxage = '1d'", 3, 1),
        ("version = 1\nmax_age = '1 day'", 2, 1),
        ("version = 1\nrevocation = true", 2, 1),
        ("version = 2\nbase = 'default'", 1, 1),
        ("version = 1\nbase = 'default'\nallow_simulated = 'yes'", 3, 1),
        ("version = 1\nbase = 'default'\nunsafe_allow_debug = true", 3, 1),
        ("version = 1\nx = = 1", 2, 5),
    ],
)
def test_mistake_is_named_with_its_place(text: str, line: int, column: int) -> None:
    with pytest.raises(ConfigError) as caught:
        Policy.from_toml(text, name="policy.toml")
    assert (caught.value.line, caught.value.column) == (line, column)
    assert str(caught.value).startswith(f"policy.toml:{line}:{column}: ")


def test_rules_nest_only_so_deep() -> None:
    text = "version = 1\n" + "".join(
        f"[[{'.'.join(['any'] * depth)}]]\ntypes = ['snp']\n" for depth in range(1, 12)
    )
    with pytest.raises(ConfigError, match="deeper"):
        Policy.from_toml(text)


def test_contradiction_is_an_error() -> None:
    with pytest.raises(PolicyError) as caught:
        Policy.from_toml(f"version = 1\nbase = 'default'\nsimulated_roots = ['{'00' * 32}']")
    assert caught.value.code == "policy.contradiction"


def test_reference_values_from_a_file() -> None:
    text = f"measurements = ['{'02' * 48}']\n[registers]\nfamily_id = ['{'00' * 16}']"
    references = read_references(text, name="refs.toml")
    assert references.measurements == (b"\x02" * 48,)
    assert LISTED.appraise(references=references).tier is Tier.AFFIRMING
    wrong = ReferenceValues(measurements=(b"\x09" * 48,))
    assert LISTED.appraise(references=wrong).failure is Failure.MEASUREMENT


@pytest.mark.parametrize("text", ["", "measurement = ['00']", "measurements = ['00']"])
def test_reference_file_with_a_mistake_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        read_references(text, name="refs.toml")


# Rules on facts that only other technologies have


def intel(**changes: Any) -> Verdict:
    """A verdict on facts as SGX evidence gives them."""
    from enarx.verifier.appraisal import judge

    verified = chip().appraise().verified
    assert verified is not None
    fields = {name: getattr(verified, name) for name in verified.__struct_fields__}
    checks: tuple[Check, ...] = changes.pop("checks")
    seen = Verified(**(fields | {"kind": "sgx", "debug": False} | changes))
    return judge(seen, policy=Policy(name="own", checks=checks, allow_simulated=True))


def test_tcb_status_is_accepted_warned_or_refused() -> None:
    rule = TcbStatus(accepted=("UpToDate",), warned=("SWHardeningNeeded",))
    assert intel(checks=(rule,), tcb_status="UpToDate").tier is Tier.AFFIRMING
    assert intel(checks=(rule,), tcb_status="SWHardeningNeeded").tier is Tier.WARNING
    assert intel(checks=(rule,), tcb_status="OutOfDate").failure is Failure.TCB_STATUS
    assert intel(checks=(rule,), tcb_status="Splendid").failure is Failure.TCB_STATUS


def test_advisories_must_be_accepted_one_by_one() -> None:
    rule = Advisories(accepted=("INTEL-SA-00615",))
    seen = {"checks": (rule,), "tcb_status": "OutOfDate"}
    assert intel(**seen, advisories=("INTEL-SA-00615",)).tier is Tier.AFFIRMING
    verdict = intel(**seen, advisories=("INTEL-SA-00615", "INTEL-SA-00999"))
    assert verdict.failure is Failure.TCB_STATUS
    assert verdict.failed[0].found == "INTEL-SA-00999"


def test_missing_collateral_is_refused_where_it_is_required() -> None:
    rule = CollateralRequired()
    assert intel(checks=(rule,), tcb_status=None).failure is Failure.COLLATERAL


@pytest.mark.parametrize("name", ["genuine", "default", "development"])
@pytest.mark.parametrize("status", ["OutOfDate", "Revoked", "TDRelaunchAdvised", "NoMatchingLevel"])
def test_platform_that_is_behind_is_refused_by_every_builtin_policy(name: str, status: str) -> None:
    verdict = intel(checks=Policy.builtin(name).checks, tcb_status=status)
    assert Failure.TCB_STATUS in {link.failure for link in verdict.failed}


def test_debug_that_is_not_stated_is_refused() -> None:
    assert intel(checks=(NoDebug(),), debug=None).failure is Failure.DEBUG


def test_rule_of_another_technology_says_nothing() -> None:
    assert intel(checks=(Vmpl(), NoDebug())).tier is Tier.AFFIRMING


def test_age_counts_from_the_oldest_part() -> None:
    start = AT - timedelta(days=3)
    made = chip(crls=(crl(start=start),))
    assert made.appraise(toml("max_age = '3d'")).tier is Tier.AFFIRMING
    late = made.appraise(toml("max_age = '3d'"), at=AT + timedelta(seconds=1))
    assert late.failure is Failure.TIME


def test_maximum_age_without_anything_that_has_a_date_is_not_met() -> None:
    assert judged("max_age = '400d'", chip()).failure is Failure.TIME


def test_maximum_age_survives_dates_at_the_end_of_the_calendar() -> None:
    last = datetime(9999, 12, 31, tzinfo=UTC)
    made = chip(crls=(crl(start=last, end=last),))
    assert judged("max_age = '30d'", made).failure is Failure.TIME


def test_version_is_a_whole_number() -> None:
    for version in ("1.0", "true", "'1'"):
        with pytest.raises(ConfigError, match="version"):
            Policy.from_toml(f"version = {version}\nbase = 'default'")


def test_verdict_lasts_no_longer_than_its_maximum_age_allows() -> None:
    issued = AT - timedelta(days=10)
    verdict = judged("max_age = '11d'", chip(crls=(crl(),)))
    assert verdict.valid_until == issued + timedelta(days=11)


@pytest.mark.parametrize(
    ("minimum", "tier"),
    [
        ("minimum_tcb.Genoa = { snp = 200 }", Tier.CONTRAINDICATED),
        ("minimum_tcb.Genoa = { snp = 200 }\nminimum_tcb.Bergamo = { snp = 1 }", Tier.AFFIRMING),
        ("minimum_tcb.Milan = { snp = 200 }", Tier.AFFIRMING),
    ],
)
def test_minimum_of_a_line_holds_for_its_variants_without_one(minimum: str, tier: Tier) -> None:
    assert judged(f"[snp]\n{minimum}", chip().with_report(cpuid_model=0xA0)).tier is tier


def test_platforms_of_intel_are_named_by_fmspc_in_any_case() -> None:
    policy = Policy.from_toml("version = 1\n[tdx.minimum_tcb.B0C06F000000]\nsgx01 = 1")
    assert "b0c06f000000" in repr(policy)
    with pytest.raises(ConfigError, match="FMSPC"):
        Policy.from_toml("version = 1\n[tdx.minimum_tcb.Xeon]\nsgx01 = 1")


def test_advisories_are_not_met_by_leaving_out_what_names_them() -> None:
    policy = Policy.from_toml("version = 1\n[tdx]\nadvisories = ['INTEL-SA-00001']")
    unknown = Verified(
        kind="tdx", evidence=None, at=AT, links=(), genuine=True, root=None, debug=False,
        describe=dict,
    )  # fmt: skip
    assert judge(unknown, policy=policy).failure is Failure.COLLATERAL


# One technology's rules say nothing about the others


@pytest.mark.parametrize(
    "text",
    [
        "[[all]]\ntdx.tcb_status = ['UpToDate']",
        "[[any]]\nrevocation = 'require'\ntdx.tcb_status = ['UpToDate']",
        "[[any]]\nrevocation = 'require'\n[[any.all]]\ntdx.tcb_status = ['UpToDate']",
        "[[any]]\nrevocation = 'require'\ntdx.tcb_status = ['UpToDate']\n[[any]]\nsnp.vmpl = [1]",
    ],
)
def test_rules_for_one_technology_accept_no_other(text: str) -> None:
    assert judged(text).failure is Failure.POLICY


def test_alternative_for_this_technology_may_have_common_rules_beside_it() -> None:
    text = "[[any]]\nrevocation = 'require'\nsnp.vmpl = [0]\n[[any]]\ntdx.required = ['pks']"
    assert judged(text).tier is Tier.AFFIRMING


def test_reference_values_of_a_keep_are_not_passed_over_for_other_evidence() -> None:
    for text in ("payloads", "runtimes"):
        references = read_references(f"{text} = ['{'00' * 32}']", name="refs")
        assert LISTED.appraise(references=references).failure is Failure.MEASUREMENT


def test_policy_that_names_attestation_results_accepts_them_without_a_report() -> None:
    result = Verified(
        kind="ear", evidence=None, at=AT, links=(), genuine=True, root=None, has_report=False,
        describe=dict, product="EAR",
    )  # fmt: skip

    def tier(text: str) -> Tier:
        return judge(result, policy=Policy.from_toml(f"version = 1\n{text}")).tier

    assert tier("types = ['ear']") is Tier.AFFIRMING
    assert tier("[ear]\nproducts = ['EAR']") is Tier.AFFIRMING
    assert tier("types = ['snp']") is Tier.CONTRAINDICATED
    assert tier("base = 'default'\ntypes = ['ear']") is Tier.CONTRAINDICATED


def test_alternative_that_only_takes_notes_does_not_hold() -> None:
    def notes(subject: Verified, trace: Trace, /) -> None:
        trace.note("own.note", "a note")

    policy = Policy(name="own", checks=(AnyOf((notes,)),), allow_simulated=True)
    assert LISTED.appraise(policy).failure is Failure.POLICY


# What the documentation shows

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "policy.md").read_text()


def shown(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DOCUMENT, re.DOTALL)


@pytest.mark.parametrize("text", shown("toml"))
def test_policies_of_the_documentation_are_policies(text: str) -> None:
    assert Policy.from_toml(text.replace("<96 hex digits>", "00" * 48)).checks


@pytest.mark.parametrize("code", shown("python"))
def test_code_of_the_documentation_runs(code: str) -> None:
    names: dict[str, Any] = {}
    exec(code, names)
    assert isinstance(names["policy"], Policy)


def test_every_key_a_file_may_have_is_documented() -> None:
    keys = (
        policy_file._TOP,
        policy_file._RULES,
        policy_file._OF_TYPE,
        policy_file._SNP,
        policy_file._INTEL,
        policy_file._REFERENCE_KEYS,
        policy_file.TDX_FLAGS,
        policy_file.SGX_FLAGS,
        tuple(POLICY_BITS),
        tuple(PLATFORM_BITS),
    )
    forms = ("`{}", "`[{}", "`[[{}")
    missing = [
        key
        for group in keys
        for key in group
        if not any(form.format(key) in DOCUMENT for form in forms)
    ]
    assert not missing


def test_key_of_very_many_parts_is_refused_at_once() -> None:
    with pytest.raises(ConfigError, match="dots"):
        Policy.from_toml("version = 1\na" + ".a" * 100_000 + " = 1")
