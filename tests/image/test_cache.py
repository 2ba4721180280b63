"""The tenant's cache of file hashes: never believed for a file that changed."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from enarx.errors import HostError
from enarx.image import cache as module
from enarx.image.cache import FILE_NAME, Cache
from enarx.image.installation import measure_installation
from enarx.image.manifest import Disk

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="nothing is measured elsewhere")


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that counts as settled at once."""
    monkeypatch.setattr(module, "SETTLED_NS", -1)
    path = tmp_path / "file"
    path.write_bytes(b"content")
    return path


def _fill(directory: Path, path: Path) -> None:
    cache = Cache.load(directory)
    cache.measured(str(path))
    cache.save()


def test_it_measures_as_the_disk_does(tmp_path: Path) -> None:
    expected = measure_installation(Disk())
    for _ in range(2):
        cache = Cache.load(tmp_path)
        assert measure_installation(cache) == expected
        cache.save()


def test_a_file_that_did_not_change_is_not_read_again(
    tmp_path: Path, measured: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fill(tmp_path, measured)
    monkeypatch.setattr(Disk, "measured", None)
    assert Cache.load(tmp_path).measured(str(measured)).size == 7


@pytest.mark.parametrize("change", ["content", "same-size", "same-times", "replaced"])
def test_a_file_that_changed_is_read_again(tmp_path: Path, measured: Path, change: str) -> None:
    _fill(tmp_path, measured)
    before = measured.stat()
    if change == "replaced":
        other = tmp_path / "other"
        other.write_bytes(b"CONTENT")
        os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
        other.replace(measured)
    else:
        measured.write_bytes(b"longer content" if change == "content" else b"CONTENT")
    if change == "same-times":
        os.utime(measured, ns=(before.st_atime_ns, before.st_mtime_ns))
    found = Cache.load(tmp_path).measured(str(measured))
    assert found == Disk().measured(str(measured))


def test_a_file_that_changed_just_now_is_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    cache = Cache.load(tmp_path)
    cache.measured(str(path))
    cache.save()
    assert not (tmp_path / FILE_NAME).exists()


@pytest.mark.parametrize("content", [b"", b"garbage", b"\x92\x02\x80", bytes(1000)])
def test_a_damaged_cache_is_passed_over(tmp_path: Path, measured: Path, content: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    assert Cache.load(tmp_path).measured(str(measured)) == Disk().measured(str(measured))


def test_a_cache_that_others_can_write_is_passed_over(tmp_path: Path, measured: Path) -> None:
    _fill(tmp_path, measured)
    path = tmp_path / FILE_NAME
    forged = path.read_bytes().replace(Disk().measured(str(measured)).sha256, b"F" * 32)
    path.write_bytes(forged)
    assert Cache.load(tmp_path).measured(str(measured)).sha256 == b"F" * 32, "it is the user's own"
    path.chmod(0o666)
    assert Cache.load(tmp_path).measured(str(measured)) == Disk().measured(str(measured))


def test_a_cache_that_cannot_be_written_is_no_error(measured: Path) -> None:
    cache = Cache.load(Path("/proc/nowhere"))
    cache.measured(str(measured))
    cache.save()


def test_the_cache_is_private(tmp_path: Path, measured: Path) -> None:
    directory = tmp_path / "new" / "enarx"
    _fill(directory, measured)
    assert directory.stat().st_mode & 0o777 == 0o700
    assert (directory / FILE_NAME).stat().st_mode & 0o777 == 0o600


def test_a_file_that_is_gone_is_an_error(tmp_path: Path, measured: Path) -> None:
    _fill(tmp_path, measured)
    measured.unlink()
    with pytest.raises(HostError):
        Cache.load(tmp_path).measured(str(measured))
