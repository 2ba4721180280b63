"""Deployed workloads: found again, read and ended by their owner, and by nobody else."""

from __future__ import annotations

import json
import subprocess
import uuid
from pathlib import Path

import pytest

from enarx.client.identity import load_identity

from .command import enarx, example, on, start


@pytest.fixture
def kuuid(host: str) -> str:
    """A deployed program that prints a line each 100 ms, for ten minutes."""
    done = enarx("deploy", *on(host), example("slow"), "--", "100", "6000")
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().strip()


def stop(kuuid: str) -> None:
    assert enarx("keep", "stop", kuuid).returncode == 0


def test_deploy_prints_the_id_and_the_keep_is_listed_until_it_is_stopped(kuuid: str) -> None:
    assert str(uuid.UUID(kuuid)) == kuuid
    rows = json.loads(enarx("keep", "ls", "--json").stdout)
    (row,) = [row for row in rows if row["kuuid"] == kuuid]
    assert (row["state"], row["name"], row["backend"]) == ("running", "slow.wasm", "sim-sgx")
    stop(kuuid)
    assert kuuid not in enarx("keep", "ls").stdout.decode()


def test_logs_follow_from_the_first_line(kuuid: str) -> None:
    process = start("keep", "logs", "-f", kuuid, stdin=subprocess.DEVNULL)
    assert process.stdout is not None
    assert [process.stdout.readline() for _ in range(3)] == [b"line 1\n", b"line 2\n", b"line 3\n"]
    process.kill()
    process.wait()
    # Reading the logs is not what the Keep lives by.
    again = enarx("keep", "logs", kuuid)
    assert again.stdout.startswith(b"line 1\nline 2\nline 3\n")
    stop(kuuid)


def test_beginning_of_the_id_is_enough(kuuid: str) -> None:
    done = enarx("keep", "show", kuuid[:13], "--json")
    shown = json.loads(done.stdout)
    assert shown["kuuid"] == kuuid
    assert shown["keep_says"]["state"] == "running"
    assert shown["host_says"]["state"] == "running"
    assert shown["simulated"] is True
    stop(kuuid)


def test_follow_ends_with_the_workloads_exit_code(host: str) -> None:
    kuuid = enarx("deploy", *on(host), example("exit"), "--", "3").stdout.decode().strip()
    done = enarx("keep", "logs", "-f", kuuid)
    assert done.returncode == 3
    stop(kuuid)


def test_stdout_and_stderr_stay_apart_in_the_logs(host: str) -> None:
    kuuid = enarx("deploy", *on(host), example("stderr"), "--", "2").stdout.decode().strip()
    done = enarx("keep", "logs", "-f", kuuid)
    assert (done.stdout, done.stderr) == (b"out 1\nout 2\n", b"err 1\nerr 2\n")
    stop(kuuid)


def test_another_owner_cannot_read_the_logs(kuuid: str, owner_home: Path, tmp_path: Path) -> None:
    other = {"ENARX_HOME": str(tmp_path)}
    unknown = enarx("keep", "logs", kuuid, env=other)
    assert unknown.returncode == 125
    # Nor with the entry of its owner, nor with one that is made out to oneself: then the
    # Keep's TLS asks for the owner's key.
    registry = tmp_path / "state" / "keeps"
    registry.mkdir(parents=True)
    entry = json.loads((owner_home / "state" / "keeps" / f"{kuuid}.json").read_text())
    for owner in (entry["owner"], load_identity(tmp_path / "owner.pem").digest.hex()):
        (registry / f"{kuuid}.json").write_text(json.dumps(entry | {"owner": owner}))
        for command in ("logs", "stop"):
            refused = enarx("keep", command, kuuid, env=other)
            assert refused.returncode == 125, refused.stdout
            assert refused.stdout == b""
            assert b"Traceback" not in refused.stderr
    assert b"line 1" in enarx("keep", "logs", kuuid).stdout
    stop(kuuid)


def test_module_that_cannot_start_is_no_deployment(host: str, tmp_path: Path) -> None:
    import wasmtime

    module = tmp_path / "app.wasm"
    module.write_bytes(wasmtime.wat2wasm('(module (memory (export "memory") 1))'))
    before = enarx("keep", "ls").stdout
    done = enarx("deploy", *on(host), module)
    assert done.returncode == 125
    assert "_start" in done.stderr.decode()
    assert enarx("keep", "ls").stdout == before


def test_unknown_and_ambiguous_ids_are_errors(kuuid: str) -> None:
    for command in ("show", "logs", "stop"):
        done = enarx("keep", command, "ffffffff-0000")
        assert done.returncode == 125
        assert "keep ls" in done.stderr.decode()
    stop(kuuid)


def test_stop_of_a_keep_whose_host_is_gone_needs_a_word_more(owner_home: Path) -> None:
    from enarx.testing import host as private_host

    with private_host() as address:
        done = enarx("deploy", *on(address), example("slow"), "--", "100", "6000")
        kuuid = done.stdout.decode().strip()
    shown = enarx("keep", "show", kuuid)
    assert shown.returncode == 0
    assert "unreachable" in shown.stdout.decode()
    listed = json.loads(enarx("keep", "ls", "--json").stdout)
    assert [row["state"] for row in listed if row["kuuid"] == kuuid] == ["unknown"]
    assert enarx("keep", "stop", kuuid).returncode == 125
    assert enarx("keep", "stop", "--forget", kuuid).returncode == 0
    assert kuuid not in enarx("keep", "ls").stdout.decode()
