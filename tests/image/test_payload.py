"""The payload: our own code and the pinned dependencies, by what their RECORDs list."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from enarx.errors import HostError, UsageError
from enarx.image import payload as module
from enarx.image.manifest import Disk, digest, measure
from enarx.image.payload import find_payload

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a Keep's payload is Linux's")


def _names() -> set[str]:
    return {source.path for source in find_payload()}


def test_it_holds_the_keep_and_nothing_of_the_other_rooms() -> None:
    names = _names()
    assert {"enarx/__init__.py", "enarx/errors.py", "enarx/keep/__init__.py"} <= names
    rooms = {name.split("/")[1] for name in names if name.startswith("enarx/")}
    assert rooms == {"__init__.py", "errors.py", "wire", "evidence", "keep"}


def test_it_holds_every_pinned_distribution() -> None:
    pinned = {
        line.partition("==")[0]
        for line in Path("requirements/payload.in").read_text().splitlines()
        if "==" in line
    }
    assert pinned == set(module.DISTRIBUTIONS)
    tops = {name.partition("/")[0].partition(".")[0] for name in _names()}
    assert {"cbor2", "cffi", "cryptography", "h11", "msgspec", "pycparser", "wasmtime"} <= tops


def test_it_holds_python_and_shared_objects_only() -> None:
    assert all(name.endswith(".py") or ".so" in name for name in _names())
    assert "wasmtime/linux-x86_64/_libwasmtime.so" in _names()


def test_paths_are_relative_sorted_and_unique() -> None:
    names = [source.path for source in find_payload()]
    assert names == sorted(set(names))
    assert not any(os.path.isabs(name) or ".." in Path(name).parts for name in names)


def _tree(directory: Path) -> Path:
    keep = directory / "enarx" / "keep"
    keep.mkdir(parents=True)
    (keep / "__init__.py").write_text("")
    (keep / "__pycache__").mkdir()
    (keep / "__pycache__" / "x.cpython-311.pyc").write_bytes(b"")
    (keep / "notes.txt").write_text("not code")
    (directory / "lib.so.1.2").write_bytes(b"")
    return directory


def test_a_directory_takes_the_place_of_what_is_installed(tmp_path: Path) -> None:
    names = [source.path for source in find_payload(_tree(tmp_path))]
    assert names == ["enarx/keep/__init__.py", "lib.so.1.2"]


def test_a_directory_without_a_payload_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        find_payload(tmp_path)
    assert caught.value.code == "image.payload"


def test_the_digest_depends_on_content_and_names_only(tmp_path: Path) -> None:
    one, other = _tree(tmp_path / "one"), _tree(tmp_path / "other")
    (other / "enarx" / "keep" / "__init__.py").chmod(0o755)
    os.utime(other / "lib.so.1.2", (0, 0))
    digests = [digest(measure("payload", find_payload(tree), Disk())) for tree in (one, other)]
    assert digests[0] == digests[1]
    (other / "lib.so.1.2").rename(other / "lib.so.1.3")
    assert digest(measure("payload", find_payload(other), Disk())) != digests[0]


def test_a_distribution_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DISTRIBUTIONS", ("no-such-distribution",))
    with pytest.raises(HostError, match="no-such-distribution") as caught:
        find_payload()
    assert caught.value.code == "image.distribution"


def test_two_versions_of_one_distribution_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in ("1.0", "2.0"):
        (tmp_path / f"twice-{version}.dist-info").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setattr(module, "DISTRIBUTIONS", ("twice",))
    with pytest.raises(HostError, match="several versions"):
        find_payload()


def test_a_record_cannot_name_files_outside_its_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "evil-1.0.dist-info"
    info.mkdir()
    (info / "RECORD").write_text(
        "../outside.py,,\n/etc/absolute.py,,\nevil/../../outside.py,,\nevil/__init__.py,,\n"
        "evil/__pycache__/a.py,,\nevil/data.txt,,\n\n"
    )
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setattr(module, "DISTRIBUTIONS", ("evil",))
    found = [source.path for source in find_payload() if not source.path.startswith("enarx/")]
    assert found == ["evil/__init__.py"]


def test_a_listed_file_that_is_missing_is_an_error_that_names_it(tmp_path: Path) -> None:
    sources = find_payload(_tree(tmp_path))
    (tmp_path / "lib.so.1.2").unlink()
    with pytest.raises(HostError, match=r"lib\.so\.1\.2") as caught:
        measure("payload", sources, Disk())
    assert caught.value.code == "image.unreadable"


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_elsewhere_it_says_what_to_do_instead(
    monkeypatch: pytest.MonkeyPatch, platform: str
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    with pytest.raises(UsageError, match="enarx measure --json") as caught:
        find_payload()
    assert caught.value.code == "image.platform"
