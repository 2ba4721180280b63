"""The parts of the image builder: lock, packages, archive, description."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import lzma
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from enarx.errors import EnarxError
from enarx.image.vm import fetch, layout, lock, newc
from enarx.image.vm.build import describe
from enarx.image.vm.deb import read_deb
from enarx.image.vm.layout import FileEntry, Image

PACKAGES = lock.read_lock()


def make_deb(path: Path, files: dict[str, bytes], links: dict[str, str] | None = None) -> Path:
    data = io.BytesIO()
    with lzma.open(data, "wb") as packed, tarfile.open(fileobj=packed, mode="w|") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo("." + name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        for name, target in (links or {}).items():
            entry = tarfile.TarInfo("." + name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            archive.addfile(entry)
    members = [(b"debian-binary", b"2.0\n"), (b"data.tar.xz", data.getvalue())]
    out = b"!<arch>\n"
    for name, content in members:
        out += name.ljust(16) + b"0".ljust(12) + b"0".ljust(6) * 2 + b"100644".ljust(8)
        out += str(len(content)).encode().ljust(10) + b"`\n" + content + b"\n" * (len(content) % 2)
    path.write_bytes(out)
    return path


def refusal(code: str) -> object:
    class _Check:
        def __enter__(self) -> None:
            self.raises = pytest.raises(EnarxError)
            self.info = self.raises.__enter__()

        def __exit__(self, *error: object) -> bool:
            handled = self.raises.__exit__(*error)  # type: ignore[arg-type]
            assert self.info.value.code == code
            assert self.info.value.message
            return bool(handled)

    return _Check()


def test_the_committed_lock_names_everything_that_is_wanted() -> None:
    names = {package.name for package in PACKAGES}
    wanted = set(lock.WANTED) - {lock.KERNEL_META}
    assert wanted <= names
    (kernel,) = lock.only(PACKAGES, lock.KERNEL)
    assert kernel.name.startswith("linux-image-")


def test_a_lock_that_was_written_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "packages.toml"
    path.write_text(lock.write_lock(PACKAGES))
    assert lock.read_lock(path) == PACKAGES


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('name = "', 'name = "../'),
        ("sha256 = ", "sha1 = "),
        ("size = ", "size = -"),
        ('role = "', 'role = "evil-'),
        ("[[package]]", "[[package"),
    ],
)
def test_a_damaged_lock_is_refused(tmp_path: Path, old: str, new: str) -> None:
    path = tmp_path / "packages.toml"
    path.write_text(lock.write_lock(PACKAGES).replace(old, new, 1))
    with refusal("image.lock"):
        lock.read_lock(path)


def test_a_cached_package_needs_no_network(tmp_path: Path) -> None:
    content = b"a package"
    digest = hashlib.sha256(content).digest()
    package = dataclasses.replace(PACKAGES[0], size=len(content), sha256=digest)
    (tmp_path / f"{digest.hex()}.deb").write_bytes(content)
    found = fetch.fetch([package], cache=tmp_path, mirror="http://nowhere.invalid", say=pytest.fail)
    assert found[package.name].read_bytes() == content


def test_files_and_links_of_a_package_are_read(tmp_path: Path) -> None:
    path = make_deb(tmp_path / "a.deb", {"/lib/x.so.1.2": b"code"}, {"/lib/x.so.1": "x.so.1.2"})
    content = read_deb(path)
    assert content.read("/lib/x.so.1") == b"code"
    with pytest.raises(KeyError):
        content.read("/lib/y")


def test_a_link_that_points_to_itself_ends(tmp_path: Path) -> None:
    content = read_deb(make_deb(tmp_path / "a.deb", {}, {"/a": "a"}))
    with pytest.raises(KeyError):
        content.read("/a")


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "other"])
def test_a_damaged_package_is_refused(tmp_path: Path, damage: str) -> None:
    path = make_deb(tmp_path / "a.deb", {"/a": bytes(range(256)) * 64})
    data = bytearray(path.read_bytes())
    if damage == "cut":
        del data[200:]
    elif damage == "flip":
        data[len(data) // 2] ^= 1
    else:
        data = bytearray(b"" if damage == "empty" else b"no package")
    path.write_bytes(data)
    with refusal("parse.deb"):
        read_deb(path)


def test_the_archive_does_not_depend_on_the_order_of_files() -> None:
    entries = [newc.Entry(path=f"/d/{name}", data=name.encode()) for name in "cab"]
    assert newc.archive(entries) == newc.archive(reversed(entries))


@pytest.mark.skipif(shutil.which("cpio") is None, reason="cpio is not installed")
def test_cpio_reads_the_archive(tmp_path: Path) -> None:
    entries = [
        newc.Entry(path="/usr/bin/one", data=b"1", executable=True),
        newc.Entry(path="/usr/two", data=b"22"),
        newc.Entry(path="/lib", target="usr/lib"),
    ]
    subprocess.run(
        ["cpio", "-id", "--quiet"],
        input=newc.archive(entries, directories=["/proc"]),
        cwd=tmp_path,
        check=True,
    )
    assert (tmp_path / "usr/bin/one").read_bytes() == b"1"
    assert (tmp_path / "usr/bin/one").stat().st_mode & 0o777 == 0o555
    assert (tmp_path / "usr/two").stat().st_mtime == 0
    assert (tmp_path / "lib").readlink() == Path("usr/lib")
    assert (tmp_path / "proc").is_dir()


def make_image(directory: Path) -> None:
    files = {}
    for name in layout.FILES:
        (directory / name).write_bytes(name.encode())
        files[name] = FileEntry(size=len(name), sha256=hashlib.sha256(name.encode()).hexdigest())
    image = Image(
        format=layout.FORMAT,
        version=1,
        enarx="1",
        kernel="k",
        command_line="c",
        payload="0" * 64,
        runtime="1" * 64,
        lock="2" * 64,
        files=files,
    )
    (directory / layout.DESCRIPTION).write_bytes(describe(image))


def test_an_image_whose_file_was_changed_is_refused_by_its_name(tmp_path: Path) -> None:
    make_image(tmp_path)
    layout.load_image(tmp_path, check=True)
    (tmp_path / layout.INITRD).write_bytes(b"initrd, changed")
    with refusal("image.file"):
        layout.load_image(tmp_path, check=True)


def test_no_image_is_a_clear_refusal(tmp_path: Path) -> None:
    with refusal("image.missing"):
        layout.load_image(tmp_path, check=False)
