"""`enarx run` with a host up: what goes in, what comes out, and with which exit code."""

from __future__ import annotations

import hashlib
import os
import shlex
import subprocess
import threading
from pathlib import Path

import pytest

from .command import COMMAND, SECONDS, enarx, example, last_json, on, start
from .processes import mentioning

TRAPS = {
    "panic": "unreachable",
    "unreachable": "unreachable",
    "memory": "out of bounds",
    "stack": "stack",
    "signature": "signature",
}


def test_arguments_environment_and_name_reach_the_workload(host: str, tmp_path: Path) -> None:
    config = tmp_path / "Enarx.toml"
    config.write_text('args = ["of", "config"]\n[env]\nLANG = "C"\n[[files]]\nkind = "null"\n'
                      '[[files]]\nkind = "stdout"\n')  # fmt: skip
    done = enarx("run", *on(host), "--config", config, example("hello"))
    assert done.stdout.decode().splitlines() == [
        "Hello from a Keep!", "arg 0: hello.wasm", "arg 1: of", "arg 2: config", "env LANG=C",
    ]  # fmt: skip
    done = enarx("run", *on(host), "--config", config, example("hello"), "--", "--json", "ünï")
    assert done.stdout.decode().splitlines()[2:4] == ["arg 1: --json", "arg 2: ünï"]
    assert done.returncode == 0


def test_our_own_environment_does_not_reach_the_workload(host: str) -> None:
    done = enarx("run", *on(host), example("hello"), env={"SECRET_OF_THE_SHELL": "x"})
    assert b"env " not in done.stdout


@pytest.mark.parametrize("code", [0, 1, 42, 125, 255])
def test_exit_code_is_the_workloads(host: str, code: int) -> None:
    done = enarx("run", *on(host), example("exit"), "--", str(code))
    assert (done.returncode, done.stdout, done.stderr) == (code, b"", b"")


def test_stdout_and_stderr_stay_apart(host: str) -> None:
    done = enarx("run", *on(host), example("stderr"), "--", "3")
    assert done.stdout == b"out 1\nout 2\nout 3\n"
    assert done.stderr == b"err 1\nerr 2\nerr 3\n"


def test_any_bytes_pass_unchanged_in_both_directions(host: str) -> None:
    data = os.urandom(5 << 20) + bytes(range(256)) * 16
    done = enarx("run", *on(host), example("cat"), stdin=data)
    assert done.returncode == 0
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(data).digest()


def test_stdin_from_a_file(host: str) -> None:
    csv = example("patients").parent / "patients.csv"
    piped = enarx("run", *on(host), example("patients"), stdin=csv.read_bytes())
    named = enarx("run", *on(host), example("patients"), "--stdin", csv)
    assert piped.stdout == named.stdout
    assert piped.stdout.strip()


def test_output_comes_while_input_is_still_open(host: str) -> None:
    process = start("run", *on(host), example("slow"), "--", "1")
    assert process.stdin is not None
    assert process.stdout is not None
    watchdog = threading.Timer(60, process.kill)
    watchdog.start()
    try:
        for line in (b"one\n", b"two\n"):
            process.stdin.write(line)
            process.stdin.flush()
            assert process.stdout.readline() == line
        process.stdin.close()
        assert process.wait(60) == 0
    finally:
        watchdog.cancel()
        process.kill()


def test_stalled_reader_holds_the_workload_back(host: str) -> None:
    """Output is not collected somewhere: endless input stops moving when nobody reads."""
    process = start("run", *on(host), example("cat"))
    assert process.stdin is not None
    os.set_blocking(process.stdin.fileno(), False)
    accepted = 0
    try:
        # Nothing moves for five seconds: held back. Before that it may only be slow.
        while accepted < 256 << 20 and _writable(process.stdin.fileno(), 5.0):
            accepted += os.write(process.stdin.fileno(), bytes(65536))
    finally:
        process.kill()
        process.wait()
    assert accepted < 64 << 20


def _writable(descriptor: int, seconds: float) -> bool:
    import select

    return bool(select.select([], [descriptor], [], seconds)[1])


@pytest.mark.parametrize("kind", TRAPS)
def test_trap_ends_with_134_and_says_where(host: str, kind: str) -> None:
    done = enarx("run", *on(host), example("trap"), "--", kind)
    assert done.returncode == 134
    assert done.stdout == b"about to trap\n"
    message = done.stderr.decode()
    assert "trapped" in message
    assert TRAPS[kind] in message
    assert f"by_{kind}" in message
    assert "Traceback" not in message


def test_reader_that_goes_away_ends_the_command_quietly(host: str) -> None:
    process = start("run", *on(host), example("slow"), "--", "5", "100000")
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == b"line 1\n"
    process.stdout.close()
    try:
        assert process.wait(60) == 141
        assert process.stderr.read() == b""
    finally:
        process.kill()


def test_secret_is_a_variable_and_a_file_in_the_guest(host: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("open sesame")
    done = enarx(
        "run", *on(host), "--secret", f"FOO={secret}", example("secrets"), "--", "/run/secrets/FOO"
    )
    assert done.stdout == b"FOO=open sesame\nopen sesame"
    assert done.returncode == 0


def test_memory_limit_is_felt_inside(host: str) -> None:
    done = enarx("run", *on(host), "--memory", "64M", example("membomb"))
    assert done.returncode == 1
    refused = int(done.stdout.split()[2])
    assert 32 <= refused <= 64


def test_wall_time_limit_ends_it_with_125(host: str) -> None:
    done = enarx("run", *on(host), "--wall-time", "500ms", example("spin"))
    assert done.returncode == 125
    assert done.stdout == b"spinning\n"
    assert "--wall-time" in done.stderr.decode()


def test_cpu_time_limit_ends_it_with_125(host: str) -> None:
    done = enarx("run", *on(host), "--cpu-time", "1s", example("spin"))
    assert done.returncode == 125
    assert "--cpu-time" in done.stderr.decode()


def test_sleeping_costs_no_processor_time(host: str) -> None:
    done = enarx("run", *on(host), "--cpu-time", "1s", example("slow"), "--", "300", "5")
    assert done.returncode == 0


@pytest.mark.parametrize("backend", ["sim-sgx", "sim-snp", "sim-tdx"])
def test_every_back_end_runs_it(host: str, backend: str) -> None:
    done = enarx("run", *on(host)[:-1], "--json", "--backend", backend, example("hello"))
    report = last_json(done.stderr)
    assert done.returncode == 0
    assert report["keep"]["backend"] == backend
    assert report["verdict"]["tier"] == "affirming"
    assert report["verdict"]["simulated"] is True


def test_payload_is_the_same_on_all_back_ends(host: str) -> None:
    payloads = {
        last_json(
            enarx("run", *on(host)[:-1], "--json", "--backend", name, example("hello")).stderr
        )["keep"]["payload"]
        for name in ("sim-sgx", "sim-snp", "sim-tdx")
    }
    assert len(payloads) == 1


def test_report_says_first_that_simulated_silicon_protects_nothing(host: str) -> None:
    done = enarx("run", *on(host)[:-1], example("hello"), env={"PYTHONIOENCODING": "utf-8"})
    lines = done.stderr.decode().splitlines()
    assert lines[0] == "SIMULATED SILICON: this protects nothing from the owner of this machine."
    assert any("✓ root of trust" in line for line in lines)
    assert any("✗ workload from host" in line for line in lines)
    assert len(lines) <= 24
    assert "\x1b" not in done.stderr.decode()


def test_report_is_ascii_where_the_terminal_is(host: str) -> None:
    done = enarx("run", *on(host)[:-1], example("hello"), env={"PYTHONIOENCODING": "ascii"})
    text = done.stderr.decode("ascii")
    assert "[ok] root of trust" in text
    assert "[NO] workload from host" in text


def test_named_host_with_simulated_silicon_is_refused(host: str) -> None:
    done = enarx("run", "--host", host, "--json", example("hello"))
    report = last_json(done.stderr)
    assert done.returncode == 125
    assert done.stdout == b""
    assert report["error"]["code"] == "verification.simulated"
    assert report["verdict"]["failure"] == "simulated"
    assert report["workload"] is None


def test_policy_file_that_allows_it_by_name_is_enough(host: str, tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text('version = 1\nbase = "development"\nallow_simulated = true\n')
    done = enarx("run", "--host", host, "--policy", policy, "-q", example("hello"))
    assert done.returncode == 0, done.stderr.decode()


def test_reference_values_from_a_file(host: str, tmp_path: Path) -> None:
    references = tmp_path / "references.json"
    references.write_bytes(enarx("measure", "--json").stdout)
    done = enarx("run", *on(host), "--refs", references, example("hello"))
    assert done.returncode == 0, done.stderr.decode()
    other = references.read_text()
    import json

    content = json.loads(other)
    content["payload"] = "00" * 32
    content["measurements"] = {}
    content.pop("payload_files", None)
    references.write_text(json.dumps(content))
    done = enarx("run", "--host", host, "--policy", "development", "--json",
                 "--refs", references, example("hello"))  # fmt: skip
    assert done.returncode == 125
    assert last_json(done.stderr)["error"]["code"] == "verification.measurement"


def test_private_host_runs_it_and_leaves_nothing_behind(tmp_path: Path) -> None:
    done = enarx("run", example("hello"), env={"TMPDIR": str(tmp_path)})
    if b"this machine's owner" in done.stderr:
        pytest.skip("a host runs on this machine")
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.startswith(b"Hello from a Keep!")
    assert list(tmp_path.iterdir()) == []
    assert mentioning(f"{tmp_path}/") == []


@pytest.mark.parametrize(
    ("redirection", "code", "output"),
    [("<&-", 0, "Hello"), (">&-", 125, ""), ("2>&-", 0, "Hello"), ("<&- >&- 2>&-", 125, "")],
)
def test_closed_standard_streams(host: str, redirection: str, code: int, output: str) -> None:
    """No socket of ours may take their place."""
    command = " ".join(map(shlex.quote, [*COMMAND, "run", *on(host), str(example("hello"))]))
    done = subprocess.run(
        ["sh", "-c", f"{command} {redirection}"], capture_output=True, timeout=SECONDS, check=False
    )
    assert done.returncode == code, done.stderr
    assert done.stdout.decode().startswith(output)
    assert b"Traceback" not in done.stderr


def test_errors_are_json_too_where_json_was_asked_for() -> None:
    done = enarx("run", "--json", "none.wasm")
    assert done.returncode == 125
    assert last_json(done.stderr)["error"]["code"] == "module.missing"
