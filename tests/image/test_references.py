"""Files of reference values: written, read, and refused when they contradict themselves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from enarx.errors import ConfigError, HostError
from enarx.image.installation import Installation
from enarx.image.references import load_references, references_of, save_references
from enarx.wire.attestation import File, Manifest, Manifests


def _installation() -> Installation:
    file = File(path="enarx/errors.py", size=3, sha256=b"s" * 32)
    return Installation.of(
        Manifests(
            payload=Manifest(component="payload", files=(file,)),
            runtime=Manifest(component="runtime", files=(file,)),
        )
    )


@pytest.fixture(params=[False, True], ids=["digests", "with-manifests"])
def saved(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "refs.json"
    save_references(references_of(_installation(), manifests=request.param), path)
    return path


def test_what_was_written_is_read(saved: Path) -> None:
    found, own = load_references(saved), _installation()
    assert found.payload_digest == own.payload_digest
    assert found.runtime_digest == own.runtime_digest
    for backend, measurement in own.measurements().items():
        assert found.measurement(backend) == measurement
    assert found.measurement("sgx") is None
    assert found.payload_manifest() in (None, own.payload)
    assert found.runtime_manifest() in (None, own.runtime)


def test_it_is_json_with_hex_that_other_programs_read(saved: Path) -> None:
    content = json.loads(saved.read_text())
    assert content["format"] == "enarx-reference-values"
    assert content["payload"] == _installation().payload_digest.hex()
    assert set(content["measurements"]) == {"sim-sgx", "sim-snp", "sim-tdx"}


def _change(path: Path, **changes: Any) -> None:
    content = json.loads(path.read_text())
    content.update(changes)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "other"},
        {"version": 2},
        {"payload": "00"},
        {"payload": "00" * 32},
        {"runtime": "11" * 32},
        {"measurements": {"sim-sgx": "22" * 32}},
        {"measurements": []},
        {"payload_files": [{"path": "x", "size": 1, "sha256": "33" * 32}]},
        {"unknown": 1},
    ],
)
def test_what_contradicts_itself_is_refused(saved: Path, changes: dict[str, Any]) -> None:
    _change(saved, **changes)
    with pytest.raises(ConfigError) as caught:
        load_references(saved)
    assert caught.value.code == "references.file"
    assert str(saved) in str(caught.value)


def test_a_measurement_of_a_newer_back_end_is_no_harm(saved: Path) -> None:
    content = json.loads(saved.read_text())
    _change(saved, measurements=content["measurements"] | {"sim-new": "ab" * 48})
    assert load_references(saved).measurement("sim-new") == bytes.fromhex("ab" * 48)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"{}"])
def test_what_is_no_such_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "refs.json"
    path.write_bytes(content)
    with pytest.raises(ConfigError):
        load_references(path)


def test_a_file_that_is_not_there_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_references(tmp_path / "none")


def test_a_file_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(HostError):
        save_references(references_of(_installation()), tmp_path / "none" / "refs.json")
