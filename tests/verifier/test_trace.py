"""How links add up to a tier, a cause, a trust vector and a verdict that cannot be overlooked."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.verifier.snp_factory import chip

from enarx.errors import VerificationError
from enarx.verifier import Claim, Failure, Link, Policy, Tier, Trace
from enarx.verifier.cache import Cache
from enarx.verifier.trace import cause, trust_vector, worst

LINKS = st.builds(
    Link,
    name=st.just("x"),
    subject=st.just("x"),
    outcome=st.sampled_from(Tier),
    claim=st.sampled_from(Claim),
    failure=st.sampled_from(Failure),
)


def test_the_worst_tier_decides() -> None:
    assert worst([]) is Tier.NONE
    assert worst([Tier.AFFIRMING, Tier.NONE]) is Tier.AFFIRMING
    assert worst([Tier.AFFIRMING, Tier.WARNING]) is Tier.WARNING
    assert worst([Tier.CONTRAINDICATED, Tier.AFFIRMING]) is Tier.CONTRAINDICATED


def test_the_cause_comes_before_what_follows_from_it() -> None:
    assert cause([]) is None
    assert cause([Failure.SIGNATURE, Failure.BINDING, Failure.CHAIN]) is Failure.CHAIN
    assert cause([Failure.SIGNATURE, Failure.BINDING]) is Failure.BINDING
    assert cause([Failure.TCB_STATUS, Failure.TIME]) is Failure.TIME
    assert cause([Failure.TCB_STATUS, Failure.DEBUG]) is Failure.DEBUG


def test_failed_check_is_recorded_with_cause_and_remedy_and_the_next_one_runs() -> None:
    trace = Trace()
    assert not trace.check(False, "a", "first", failure=Failure.TIME, remedy="wait")
    assert trace.check(True, "b", "second", failure=Failure.TIME, remedy="wait")
    first, second = trace.links
    assert (first.outcome, first.failure, first.remedy) == (
        Tier.CONTRAINDICATED,
        Failure.TIME,
        "wait",
    )
    assert (second.outcome, second.failure, second.remedy) == (Tier.AFFIRMING, None, "")
    assert not trace.sound


def test_a_note_speaks_neither_for_nor_against() -> None:
    trace = Trace()
    trace.note("n", "fact", found="something")
    assert trace.sound
    assert worst(link.outcome for link in trace.links) is Tier.NONE
    assert trust_vector(trace.links) == {}


@given(st.lists(LINKS))
def test_trust_vector_speaks_exactly_for_the_claims_that_were_checked(links: list[Link]) -> None:
    vector = trust_vector(links)
    assert set(vector) == {link.claim for link in links if link.outcome is not Tier.NONE}
    for claim, value in vector.items():
        tiers = [link.outcome for link in links if link.claim is claim]
        low = {Tier.AFFIRMING: 2, Tier.WARNING: 32, Tier.CONTRAINDICATED: 96}[worst(tiers)]
        assert low <= value < low + 30


def test_broken_cryptography_has_its_own_value() -> None:
    trace = Trace()
    trace.check(False, "s", "signature", failure=Failure.SIGNATURE, claim=Claim.HARDWARE)
    trace.check(False, "r", "root", failure=Failure.ROOT, claim=Claim.INSTANCE_IDENTITY)
    assert trust_vector(trace.links) == {Claim.INSTANCE_IDENTITY: 97, Claim.HARDWARE: 99}


def test_verdict_names_reason_and_remedy_when_required() -> None:
    verdict = chip().with_report(policy=0x30000 | 1 << 19).appraise()
    with pytest.raises(VerificationError) as caught:
        verdict.require()
    assert caught.value.code == "verification.debug"
    assert "debug mode is off: expected off, found on" in caught.value.message
    assert "launch without debug" in caught.value.hint


def test_warning_must_be_accepted_explicitly() -> None:
    policy = Policy.builtin("default").but(allow_simulated=True)
    verdict = chip().appraise(policy)
    assert verdict.tier is Tier.WARNING
    with pytest.raises(VerificationError):
        verdict.require()
    assert verdict.require(accept_warning=True) is verdict


@pytest.mark.parametrize("made", [chip(), chip().with_report(version=9)])
def test_verdict_has_no_truth_value(made: object) -> None:
    verdict = made.appraise()  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match="no truth value"):
        bool(verdict)


def test_cache_forgets_what_was_used_least() -> None:
    cache, made = Cache(entries=2), []

    def make(name: str) -> str:
        made.append(name)
        return name

    for name in ("a", "b", "a", "c", "a", "b"):
        assert cache.get_or_make(name, lambda name=name: make(name)) == name  # type: ignore[misc]
    assert made == ["a", "b", "c", "b"]
    assert len(cache) == 2


def test_cache_keeps_nothing_of_what_failed() -> None:
    cache = Cache(entries=2)

    def fail() -> str:
        raise VerificationError("no")

    for _ in range(2):
        with pytest.raises(VerificationError):
            cache.get_or_make("a", fail)
    assert len(cache) == 0


def test_links_carry_their_time() -> None:
    until = datetime(2030, 1, 1, tzinfo=UTC)
    trace = Trace()
    trace.check(True, "a", "a", failure=Failure.TIME, valid_until=until)
    assert trace.links[0].valid_until == until


def test_cache_holds_no_more_bytes_than_it_may() -> None:
    cache = Cache(key_bytes=1000)
    for number in range(10):
        cache.keep(("x", (bytes(399), bytes([number]))), number)
    assert len(cache) == 2
    assert cache.find(("x", (bytes(399), b"\x09"))) == 9
    cache.keep((bytes(1001),), "too large for all of it")
    assert len(cache) == 0
    cache.keep((b"small",), 1)
    assert cache.find((b"small",)) == 1
