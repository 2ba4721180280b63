"""The trust report: root first, on one screen, and nothing a stranger wrote reaches a terminal."""

from __future__ import annotations

import io
import json
import uuid
from types import SimpleNamespace
from typing import Any, cast

import pytest

from enarx.client.attestation import Attestation
from enarx.client.report import Report
from enarx.client.report_stages import stage_of
from enarx.client.text import paint, speaks_unicode, wants_colour
from enarx.errors import VerificationError
from enarx.verifier.trace import Claim, Failure, Link, Tier, worst
from enarx.wire.endpoint import Endpoint
from enarx.wire.session import Exit, Killed, Trap

ALL_LEVELS = (
    "own-uid", "mount-namespace", "empty-root", "pid-namespace", "net-namespace",
    "ipc-namespace", "uts-namespace", "no-capabilities", "no-new-privs", "not-dumpable",
    "landlock", "seccomp",
)  # fmt: skip


def link(name: str, *, outcome: Tier = Tier.AFFIRMING, **more: Any) -> Link:
    failure = None if outcome is Tier.AFFIRMING else Failure.MEASUREMENT
    return Link(
        name=name, subject=f"subject of {name}", outcome=outcome, claim=Claim.HARDWARE,
        failure=failure, **more,
    )  # fmt: skip


GOOD = (
    link("root.simulated", found="SIMULATED ROOT - NOT HARDWARE"),
    link("sgx.pck.chain", found="a <- b <- c"),
    link("sgx.quote.signature"),
    link("keep.payload", found="ab" * 32),
    link("keep.runtime", found="cd" * 32),
    link("keep.nonce"),
    link("keep.key"),
)


def report(
    *links: Link,
    simulated: bool = True,
    sandbox: tuple[str, ...] = ALL_LEVELS,
    host: str = "unix:/run/enarx/manager.sock",
    differences: tuple[str, ...] = (),
    used: bool = True,
    **more: Any,
) -> Report:
    tier = worst(each.outcome for each in links)
    attestation = SimpleNamespace(
        verdict=SimpleNamespace(
            tier=tier, genuine=True, simulated=simulated, failure=None, policy="development",
            trace=links, valid_until=None, trust_vector={},
        ),
        claims=SimpleNamespace(sandbox=sandbox, payload=bytes(32), runtime=bytes(32)),
        keep=SimpleNamespace(
            kuuid=uuid.UUID(int=1), backend="sim-sgx", used=used,
            client=SimpleNamespace(endpoint=Endpoint.parse(host)),
        ),
        asked=SimpleNamespace(
            expected=SimpleNamespace(payload=bytes(32), runtime=bytes(32), origin="here")
        ),
        differences=differences,
    )  # fmt: skip
    return Report.of(cast(Attestation, attestation), **more)


def test_first_line_on_simulated_silicon_says_that_it_protects_nothing() -> None:
    first = report(*GOOD).text().splitlines()[0]
    assert first == "SIMULATED SILICON: this protects nothing from the owner of this machine."
    elsewhere = report(*GOOD, host="https://h.example:9443").text().splitlines()[0]
    assert elsewhere.endswith("the owner of the machine h.example.")


def test_workload_is_called_protected_on_genuine_silicon_alone() -> None:
    assert "✗ workload from host    NOT protected" in report(*GOOD).text()
    genuine = report(*GOOD, simulated=False).text()
    assert "✓ workload from host" in genuine
    assert "SIMULATED" not in genuine.splitlines()[0]
    refused = report(*GOOD, link("sgx.debug", outcome=Tier.CONTRAINDICATED), simulated=False)
    assert "✗ workload from host    NOT protected" in refused.text()


def test_root_comes_first_and_links_of_one_thing_are_together() -> None:
    lines = report(*reversed(GOOD)).text().splitlines()
    labels = [line.split("  ")[1][2:].strip() for line in lines[2:8]]
    assert labels[:2] == ["root of trust", "signing key"]
    assert "code" in labels


def test_failed_link_stands_alone_with_both_sides_and_what_to_do() -> None:
    bad = link(
        "keep.runtime", outcome=Tier.CONTRAINDICATED, expected="aa" * 32, found="bb" * 32,
        remedy="compare `enarx measure` on both sides",
    )  # fmt: skip
    text = report(*GOOD, bad, used=False, differences=("runtime: libc differs",)).text()
    assert "CONTRAINDICATED" in text
    assert "✗ code" in text
    assert f"expected {'aa' * 32}, found {'bb' * 32}" in text
    assert "→ compare `enarx measure` on both sides" in text
    assert "runtime: libc differs" in text
    assert "nothing was sent" in text


def test_differences_stand_below_the_code_they_are_about() -> None:
    bad = link("keep.runtime", outcome=Tier.CONTRAINDICATED)
    lines = report(*GOOD, bad, differences=("runtime: libc differs",)).text().splitlines()
    code = next(n for n, line in enumerate(lines) if "✗ code" in line)
    request = next(n for n, line in enumerate(lines) if "your request" in line)
    assert any("libc differs" in line for line in lines[code:request])


def test_session_that_failed_is_not_called_good() -> None:
    assert "✗ session" in report(*GOOD, broken=True).text()
    assert "✓ session" in report(*GOOD).text()


def test_refusal_is_one_line() -> None:
    bad = link("keep.runtime", outcome=Tier.CONTRAINDICATED)
    refused = report(*GOOD, bad, used=False)
    assert refused.refused
    assert refused.refusal() == "nothing was sent: contraindicated under policy 'development'"


def test_warning_has_a_sign_of_its_own() -> None:
    text = report(*GOOD, link("snp.revocation", outcome=Tier.WARNING, found="no list")).text()
    assert "! revocation" in text


def test_missing_sandbox_levels_are_named() -> None:
    text = report(*GOOD, sandbox=ALL_LEVELS[:-2]).text()
    assert "10 of 12 levels; missing: Landlock, a system call filter" in text
    assert "12 of 12 levels, none missing" in report(*GOOD).text()


def test_user_namespace_stands_for_a_user_of_its_own() -> None:
    levels = ("user-namespace", *ALL_LEVELS[1:])
    assert "none missing" in report(*GOOD, sandbox=levels).text()


@pytest.mark.parametrize(
    ("ended", "words"),
    [
        (Exit(code=3), "ended with exit code 3 after 1.50 s"),
        (Trap(message="unreachable"), "trapped after 1.50 s"),
        (Killed(reason="limit.wall", detail="x"), "ended by the Keep after 1.50 s: limit.wall"),
    ],
)
def test_end_of_the_workload_is_told(ended: Any, words: str) -> None:
    assert words in report(*GOOD, ended=ended, seconds=1.5).text()


def test_it_fits_on_one_screen_however_many_links_fail() -> None:
    many = [link(f"sgx.tcb.{n}", outcome=Tier.CONTRAINDICATED) for n in range(200)]
    assert len(report(*GOOD, *many).text().splitlines()) <= 30


def test_ascii_form_has_no_other_signs() -> None:
    text = report(*GOOD, link("keep.nonce", found="ü")).text(unicode=False)
    assert text.isascii()
    assert "[ok] root of trust" in text
    assert "[NO] workload from host" in text


def test_control_characters_of_strangers_never_reach_the_terminal() -> None:
    nasty = "\x1b[2J\x1b]0;owned\x07\u202egnp.exe"
    bad = link("keep.nonce", outcome=Tier.CONTRAINDICATED, found=nasty, expected=nasty)
    text = report(*GOOD, bad, differences=(nasty,)).text()
    assert not {"\x1b", "\x07", "\u202e"} & set(text)


def test_colour_is_for_terminals_and_not_under_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert wants_colour(Terminal())
    assert not wants_colour(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not wants_colour(Terminal())
    assert paint("x", "red", on=True) == "\x1b[31mx\x1b[0m"


@pytest.mark.parametrize(("encoding", "yes"), [("utf-8", True), ("UTF8", True), ("ascii", False)])
def test_unicode_where_the_stream_has_it(encoding: str, yes: bool) -> None:
    assert speaks_unicode(io.TextIOWrapper(io.BytesIO(), encoding=encoding)) is yes


def test_json_line_is_one_line_with_every_link_and_the_error() -> None:
    error = VerificationError("no", hint="do", code="verification.debug")
    line = Report.json_line(report(*GOOD), error=error)
    assert "\n" not in line
    content = json.loads(line)
    assert [each["name"] for each in content["verdict"]["trace"]] == [g.name for g in GOOD]
    assert content["error"] == {"code": "verification.debug", "message": "no", "hint": "do"}
    assert json.loads(Report.json_line(None, error=None)) == {"error": None}


STAGES = {
    "root.simulated": "root of trust", "snp.root": "root of trust",
    "sgx.pck.chain": "signing key", "tdx.certificate.dates": "signing key",
    "snp.leaf.key": "signing key", "snp.intermediate.signature": "signing key",
    "sgx.crl.signature": "revocation", "snp.revocation": "revocation",
    "sgx.tcb_info.dates": "firmware level", "sgx.qe.binding": "firmware level",
    "snp.minimum_tcb.launch": "firmware level", "snp.product": "firmware level",
    "sgx.quote.signature": "evidence", "snp.report.signature": "evidence",
    "sgx.debug": "launched as", "snp.vmpl": "launched as",
    "snp.flag.migrate_ma_allowed": "launched as",
    "tpm.ek.chain": "signing key", "tpm.ak.attributes": "signing key",
    "tpm.activation": "signing key", "tpm.quote.pcr_digest": "evidence", "tpm.log": "evidence",
    "tdx.module.identity": "firmware level",
    "keep.payload": "code", "keep.measurement": "code", "reference.measurement": "code",
    "keep.nonce": "your request", "keep.host_data": "your request",
    "keep.certificate.dates": "the Keep's key", "keep.ratls": "the Keep's key",
    "keep.sandbox": "sandbox", "keep.unheard-of": "policy", "custom.rule": "policy",
}  # fmt: skip


@pytest.mark.parametrize("name", STAGES)
def test_each_kind_of_link_has_its_place(name: str) -> None:
    assert stage_of(link(name)).label == STAGES[name]
