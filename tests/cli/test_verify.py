"""`enarx verify` as a person and as a program uses it: exit codes, JSON, the tree, errors."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.verifier.snp_factory import AT, Snp, chip, crl

from enarx.cli.main import run_command
from enarx.cli.verdict_view import printable

WHEN = AT.isoformat().replace("+00:00", "Z")


class Case:
    """Files of one made machine, and the command line over them."""

    def __init__(self, folder: Path, made: Snp) -> None:
        self.folder = folder
        self.report = self.file("report.bin", made.evidence())
        leaf, ask, ark = made.endorsements().certificates
        self.roles = [
            f"vcek={self.file('vcek.der', leaf)}",
            f"ask={self.file('ask.der', ask)}",
            f"ark={self.file('ark.der', ark)}",
            *(f"crl={self.file('crl.der', one)}" for one in made.crls),
        ]
        self.policy = self.file(
            "policy.toml",
            b"version = 1\ntitle = 'test'\nbase = 'genuine'\nallow_simulated = true\n",
        )

    def file(self, name: str, content: bytes) -> str:
        path = self.folder / name
        path.write_bytes(content)
        return str(path)

    def run(self, *more: str, roles: bool = True, evidence: str | None = None) -> int:
        given = [part for role in self.roles for part in ("--with", role)] if roles else []
        policy = [] if "--policy" in more else ["--policy", self.policy]
        at = [] if "--at" in more else ["--at", WHEN]
        return run_command(["verify", evidence or self.report, *given, *policy, *at, *more])


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path, chip(crls=(crl(),)))


def printed(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(capsys.readouterr().out)
    return value


def test_affirming_ends_with_0(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    assert case.run() == 0
    out = capsys.readouterr().out
    assert out.startswith("affirming: snp evidence, policy test")
    assert "SIMULATED" in out


def test_warning_ends_with_2(tmp_path: Path) -> None:
    case = Case(tmp_path, chip())
    policy = case.file(
        "warn.toml", b"version = 1\nallow_simulated = true\n[snp]\nproducts_warn = ['Genoa']"
    )
    assert case.run("--policy", policy) == 2


def test_contraindicated_ends_with_3(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    assert case.run("--policy", "genuine") == 3
    assert capsys.readouterr().out.startswith("contraindicated (simulated)")


@pytest.mark.parametrize("content", [b"", b"\x00", b"no evidence", bytes(1183)])
def test_what_is_no_evidence_ends_with_4(
    case: Case, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    evidence = case.file("noise.bin", content)
    assert case.run("--json", evidence=evidence) == 4
    captured = capsys.readouterr()
    value = json.loads(captured.out)
    assert (value["verdict"], value["genuine"], value["failure"]) == ("none", False, "structure")
    assert value["error"]["offset"] == 0
    assert "byte 0" in captured.err


def test_truncated_report_of_a_named_type_says_where(
    case: Case, capsys: pytest.CaptureFixture[str]
) -> None:
    evidence = case.file("short.bin", chip().evidence()[:1000])
    assert case.run("--type", "snp", evidence=evidence) == 4
    assert "(at byte 1000)" in capsys.readouterr().err


def test_json_has_all_of_the_verdict(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    assert case.run("--json") == 0
    value = printed(capsys)
    assert {
        "type": "snp",
        "verdict": "affirming",
        "genuine": False,
        "simulated": True,
        "failure": None,
        "policy": "test",
        "at": WHEN,
    }.items() <= value.items()
    assert value["fields"]["version"] == 3
    assert value["trust_vector"]["hardware"] == 2
    assert value["valid_until"] == "2026-06-11T12:00:00Z"
    assert {"name", "subject", "outcome", "expected", "found", "source"} <= value["trace"][0].keys()


def test_tree_has_the_root_first_and_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case = Case(tmp_path, chip().with_report(policy=0x30000 | 1 << 19))
    assert case.run("--explain") == 3
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("contraindicated (debug)")
    assert "SIMULATED" in lines[1]
    failed = next(number for number, line in enumerate(lines) if "✗" in line)
    assert "debug mode is off: expected off, found on" in lines[failed]
    assert "launch without debug" in lines[failed + 1]


def test_nonce_report_data_and_host_data_are_compared(
    case: Case, capsys: pytest.CaptureFixture[str]
) -> None:
    assert case.run("--report-data", "01" * 64, "--host-data", "03" * 32) == 0
    assert case.run("--nonce", "01" * 64) == 0
    capsys.readouterr()
    assert case.run("--nonce", "01" * 32, "--json") == 3
    assert printed(capsys)["failure"] == "binding"
    assert case.run("--host-data", "04" * 32, "--json") == 3
    assert printed(capsys)["failure"] == "init_data"


def test_reference_values_are_compared(case: Case) -> None:
    good = case.file("good.toml", f"measurements = ['{'02' * 48}']".encode())
    bad = case.file("bad.toml", f"measurements = ['{'05' * 48}']".encode())
    assert case.run("--refs", good) == 0
    assert case.run("--refs", bad) == 3


def test_bundle_is_enough_without_anything_else(case: Case) -> None:
    bundle = str(case.folder / "bundle.cbor")
    assert case.run("--bundle", bundle) == 0
    assert case.run("--with", f"bundle={bundle}", roles=False) == 0
    assert case.run(roles=False) == 3


def test_time_may_be_written_in_small_letters(case: Case) -> None:
    assert case.run("--at", WHEN.lower()) == 0


def test_dates_are_judged_at_the_time_given(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    assert case.run("--at", "2031-01-01T00:00:00+02:00", "--json") == 3
    value = printed(capsys)
    assert value["failure"] == "time"
    assert value["at"] == "2030-12-31T22:00:00Z"


def test_file_that_is_too_large_is_refused_without_being_read(
    case: Case, capsys: pytest.CaptureFixture[str]
) -> None:
    large = case.folder / "large.json"
    with large.open("wb") as file:
        file.truncate(100 * 1024 * 1024)
    assert case.run("--with", f"collateral={large}") == 4
    assert "more than" in capsys.readouterr().err
    assert case.run(evidence=str(large)) == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--with", "vcek"), "ROLE=FILE"),
        (("--with", "vcek=/nonexistent"), "cannot read"),
        (("--with", "nonsense=/dev/null"), "unknown role"),
        (("--at", "yesterday"), "not a time"),
        (("--at", "2026-01-01T00:00:00"), "time zone"),
        (("--at", "0001-01-01T00:00:00+01:00"), "not a time"),
        (("--at", "9999-12-31T23:59:59-01:00"), "not a time"),
        (("--nonce", "xyz"), "not hex"),
        (("--nonce", ""), "0 bytes"),
        (("--report-data", "00" * 65), "65 bytes"),
        (("--policy", "lenient"), "no policy"),
        (("--type", "sev"), "unknown evidence type"),
        (("--context", "shopping"), "no context"),
        (("--json", "--explain"), "exclude"),
    ],
)
def test_mistake_on_the_command_line_is_named(
    case: Case, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    assert case.run(*arguments) == 125
    captured = capsys.readouterr()
    assert message in captured.err
    assert "Traceback" not in captured.err


def test_mistake_in_a_policy_file_names_its_place(
    case: Case, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = case.file("wrong.toml", b"version = 1\n[snp]\nvmpll = [0]\n")
    assert case.run("--policy", policy) == 125
    assert f"{policy}:3:1: snp.vmpll: unknown key" in capsys.readouterr().err


@pytest.mark.parametrize("more", [(), ("--explain",), ("--json",)])
def test_terminal_that_knows_only_ascii_is_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...]
) -> None:
    case = Case(tmp_path, chip().with_report(chip_id=b"\x99" * 64))
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    assert case.run(*more) == 3
    sys.stdout.flush()
    assert b"certificate belongs to the chip" in written.getvalue()


def test_evidence_may_come_from_a_pipe(
    case: Case, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Stdin:
        buffer = io.BytesIO(Path(case.report).read_bytes())

    monkeypatch.setattr(sys, "stdin", Stdin())
    assert case.run(evidence="-") == 0
    assert capsys.readouterr().out.startswith("affirming")


def test_what_strangers_wrote_makes_no_line_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    forged = chip().but(ark=replace(chip().ark, subject="A\n+- ok", issuer="A\n+- ok"))
    case = Case(tmp_path, forged.but(ask=replace(chip().ask, issuer="A\n+- ok")))
    assert case.run("--explain") == 3
    assert not any(line.startswith("+- ok") for line in capsys.readouterr().out.splitlines())


def test_what_strangers_wrote_cannot_command_a_terminal() -> None:
    assert printable("a\x1b[2Jb\nc\x07\x9b") == "a\\x1b[2Jb\nc\\x07\\x9b"
