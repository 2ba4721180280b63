"""Manifests: what counts, what is bounded, and how a difference is named."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from enarx.errors import HostError, LimitError
from enarx.image import manifest
from enarx.image.manifest import Disk, Measured, Source, differences, digest, measure
from enarx.wire.attestation import File, Manifest
from enarx.wire.codec import pack


def _manifest(**files: bytes) -> Manifest:
    listed = tuple(
        File(path=path, size=len(content), sha256=hashlib.sha256(content).digest())
        for path, content in sorted(files.items())
    )
    return Manifest(component="payload", files=listed)


def test_the_digest_is_the_hash_of_the_one_encoding() -> None:
    some = _manifest(a=b"1", b=b"2")
    assert digest(some) == hashlib.sha256(pack(some)).digest()


def test_files_are_listed_by_path_whatever_order_they_come_in(tmp_path: Path) -> None:
    sources = []
    for name in ("b", "a", "c"):
        (tmp_path / name).write_text(name)
        sources.append(Source(path=name, origin=str(tmp_path / name)))
    one = measure("payload", sources, Disk())
    assert one == measure("payload", reversed(sources), Disk())
    assert [file.path for file in one.files] == ["a", "b", "c"]


def test_component_names_keep_digests_apart() -> None:
    files = _manifest(a=b"1").files
    assert digest(Manifest(component="payload", files=files)) != digest(
        Manifest(component="runtime", files=files)
    )


def test_differences_are_named_file_by_file() -> None:
    found = differences(
        _manifest(same=b"1", gone=b"2", changed=b"3"), _manifest(same=b"1", changed=b"4", new=b"5")
    )
    assert [line.split()[0] for line in found] == ["changed", "gone", "new"]
    assert hashlib.sha256(b"3").hexdigest() in found[0]
    assert hashlib.sha256(b"4").hexdigest() in found[0]
    assert found[1:] == ("gone is missing", "new is not expected")


def test_equal_manifests_do_not_differ() -> None:
    assert differences(_manifest(a=b"1"), _manifest(a=b"1")) == ()


def test_many_differences_are_counted() -> None:
    many = {f"f{number:03}": b"" for number in range(100)}
    found = differences(_manifest(**many), _manifest())
    assert len(found) == manifest.NAMED_DIFFERENCES + 1
    assert found[-1] == "and 92 more files"


def test_what_is_not_a_regular_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for origin in (tmp_path, Path("/dev/zero")):
        with pytest.raises(HostError) as caught:
            Disk().measured(str(origin))
        assert caught.value.code == "image.unreadable"


def test_a_file_beyond_the_limit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifest, "FILE_MAX", 10)
    (tmp_path / "large").write_bytes(bytes(11))
    with pytest.raises(LimitError):
        Disk().measured(str(tmp_path / "large"))


def test_a_component_beyond_the_limit_is_refused() -> None:
    large = Measured(size=manifest.TOTAL_MAX, sha256=bytes(32))
    sources = [(Source(path=name, origin=name), large) for name in ("a", "b")]
    with pytest.raises(LimitError) as caught:
        manifest.manifest("payload", sources)
    assert caught.value.code == "limit.component"


@pytest.mark.parametrize("path", ["", "x" * 1025, "a\nb", "a\udcff"])
def test_a_path_that_no_manifest_can_hold_is_refused(path: str) -> None:
    found = Measured(size=0, sha256=bytes(32))
    with pytest.raises(HostError) as caught:
        manifest.manifest("payload", [(Source(path=path, origin="x"), found)])
    assert caught.value.code == "image.path"
