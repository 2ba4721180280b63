"""The command as a whole: help, versions, errors as text, exit codes."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from enarx import __version__
from enarx.cli import main as cli_main
from enarx.cli.main import _COMMANDS, cli, run_command
from enarx.cli.values import duration, read_secrets, size
from enarx.errors import HostError, UsageError


def loaded_by(code: str) -> set[str]:
    """Top-level packages, and our own rooms, that this code loads."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\nprint(*sys.modules)"],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    names = done.stdout.splitlines()[-1].split()
    return {".".join(name.split(".")[: 2 if name.startswith("enarx") else 1]) for name in names}


HEAVY = {"cryptography", "wasmtime", "httpx", "rich", "dbus_fast"}
OF_THE_HOST = {"enarx.host", "enarx.keep", "enarx.silicon", "enarx.endorsements"}


def test_help_lists_all_commands_without_loading_them() -> None:
    done = CliRunner().invoke(cli, ["--help"])
    for name in _COMMANDS:
        assert name in done.output
    assert "enarx run hello.wasm" in done.output
    code = "from enarx.cli.main import run_command\nrun_command(['--help'])"
    assert not loaded_by(code) & (HEAVY | OF_THE_HOST | {"asyncio", "enarx.wire"})


def test_run_loads_only_what_it_needs() -> None:
    assert not loaded_by("import enarx.cli.run") & (HEAVY | OF_THE_HOST)
    assert not loaded_by("import enarx.client.appraisal, enarx.client.sync") & (
        (HEAVY | OF_THE_HOST) - {"cryptography"}
    )


@pytest.mark.parametrize("name", _COMMANDS)
def test_every_command_has_help_with_examples(name: str) -> None:
    done = CliRunner().invoke(cli, [name, "--help"])
    assert done.exit_code == 0, done.output
    assert f"enarx {name}" in done.output


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["--version"]) == 0
    assert capsys.readouterr().out == f"enarx {__version__}\n"


@pytest.mark.parametrize(
    "arguments", [["frobnicate"], ["run"], ["run", "--nope", "x"], ["keep", "x"]]
)
def test_wrong_usage_is_125_and_text(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(arguments) == 125
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Usage: enarx" in captured.err


def raising(error: BaseException) -> click.Command:
    @click.command()
    def command() -> None:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (HostError("no room", hint="make some"), 125, "enarx: no room\n  make some\n"),
        (HostError("bad \x1b[31m text"), 125, "enarx: bad \\x1b[31m text\n"),
        (KeyboardInterrupt(), 130, "\n"),
        (click.Abort(), 130, ""),
        (BrokenPipeError(), 141, ""),
        (OSError(28, "No space left on device"), 125, "enarx: No space left on device\n"),
    ],
)
def test_errors_become_text_and_an_exit_code(
    error: BaseException, code: int, text: str, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(cli_main, "cli", raising(error))
    monkeypatch.setattr(cli_main, "_silence_stdout", lambda: None)
    assert run_command([]) == code
    assert capfd.readouterr().err == text


def test_mistake_of_our_own_is_no_traceback_unless_asked_for(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli_main, "cli", raising(KeyError("oops")))
    assert run_command([]) == 125
    shown = capfd.readouterr().err
    assert "KeyError: 'oops'" in shown
    assert "Traceback" not in shown
    monkeypatch.setenv("ENARX_TRACEBACK", "1")
    with pytest.raises(KeyError):
        run_command([])


CONTEXT = click.Context(click.Command("x"))
OPTION = click.Option(["--x"])


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", 1), ("64K", 65536), ("64m", 64 << 20), ("1GiB", 1 << 30), ("2 MB", 2 << 20)],
)
def test_sizes(text: str, value: int) -> None:
    assert size(CONTEXT, OPTION, text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [("500ms", 500), ("10", 10_000), ("1.5s", 1500), ("2m", 120_000), ("1h", 3_600_000)],
)
def test_durations(text: str, value: int) -> None:
    assert duration(CONTEXT, OPTION, text) == value


@pytest.mark.parametrize("text", ["", "0", "-1", "x", "1X", "1e9", "99999999999999G", "٣"])
def test_what_is_no_size_or_duration(text: str) -> None:
    with pytest.raises(click.BadParameter):
        size(CONTEXT, OPTION, text)
    with pytest.raises(click.BadParameter):
        duration(CONTEXT, OPTION, text)


def test_secrets_are_read_and_bounded(tmp_path: object) -> None:
    from pathlib import Path

    directory = Path(str(tmp_path))
    (directory / "a").write_bytes(b"\0binary\xff")
    assert read_secrets((f"A={directory}/a",)) == {"A": b"\0binary\xff"}
    (directory / "big").write_bytes(bytes((1 << 20) + 1))
    for wrong in (
        ("A",), ("=x",), ("A B=x",), ("1A=x",), (f"A={directory}/a", f"A={directory}/a"),
        (f"A={directory}/none",), (f"A={directory}/big",), (f"../x={directory}/a",),
    ):  # fmt: skip
        with pytest.raises(UsageError) as caught:
            read_secrets(wrong)
        assert caught.value.code == "usage.secret"
