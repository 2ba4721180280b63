"""`enarx measure`: digests and measurements side by side, and as a file for programs."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from enarx.cli.measure import command
from enarx.errors import UsageError
from enarx.image.installation import measure_installation
from enarx.image.launch import BACKENDS
from enarx.image.manifest import Disk
from enarx.image.references import parse_references

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="nothing is measured elsewhere")


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENARX_HOME", str(tmp_path))


def _measure(*arguments: str) -> Result:
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 0, result.output
    return result


def test_the_payload_is_the_same_on_every_back_end() -> None:
    rows = [line.split() for line in _measure().output.splitlines() if line.startswith("sim-")]
    assert [row[0] for row in rows] == list(BACKENDS)
    assert len({row[1] for row in rows}) == 1
    assert len({row[2] for row in rows}) == 1
    assert len({row[-1] for row in rows}) == len(BACKENDS)


def test_it_prints_what_the_library_computes() -> None:
    found = measure_installation(Disk())
    output = _measure().output
    assert found.payload_digest.hex() in output
    assert found.runtime_digest.hex() in output
    for measurement in found.measurements().values():
        assert measurement.hex() in output


def test_json_is_a_file_of_reference_values() -> None:
    references = parse_references(_measure("--json").stdout_bytes, path=Path("stdout"))
    assert references.payload_digest == measure_installation(Disk()).payload_digest
    assert references.payload_manifest() is None


def test_json_with_the_manifest_lists_every_file() -> None:
    output = _measure("--json", "--manifest").stdout_bytes
    references = parse_references(output, path=Path("stdout"))
    assert references.payload_manifest() == measure_installation(Disk()).payload


def test_the_manifest_names_every_file() -> None:
    output = _measure("--manifest").output
    assert " enarx/errors.py\n" in output
    assert "/libc.so.6\n" in output


def test_one_back_end_alone() -> None:
    content = json.loads(_measure("--json", "--backend", "sim-tdx").output)
    assert list(content["measurements"]) == ["sim-tdx"]


def test_an_unknown_back_end_is_refused() -> None:
    result = CliRunner().invoke(command, ["--backend", "sgx2"])
    assert isinstance(result.exception, UsageError)
    assert "sim-sgx" in str(result.exception)


def test_help_has_examples() -> None:
    assert "enarx measure --json > refs.json" in _measure("--help").output
