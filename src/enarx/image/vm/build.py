"""Builds an image, and builds it again to compare.

1. Packages, as locked. 2. Files of the runtime. 3. The payload, as installed here. 4. Byte
code of both, by the VM's own Python. 5. Archive, compressed. 6. The description.

Sources are in the image because they are what the payload's and the runtime's digests are
made of. The byte code beside them is what runs: it spares a slow machine two seconds, and is
part of what is measured, since the archive is measured as a whole. Whoever rebuilds the
image compiles it again and gets the same bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from enarx import __version__
from enarx.errors import HostError, UsageError
from enarx.image.manifest import Measured, Source, digest, manifest
from enarx.image.payload import find_payload
from enarx.image.vm import bom, layout, lock, newc, tree
from enarx.image.vm.deb import Content, read_deb
from enarx.image.vm.fetch import fetch
from enarx.image.vm.layout import FileEntry, Image
from enarx.image.vm.lock import Package
from enarx.image.vm.newc import Entry
from enarx.image.vm.tools import BYTECODE, Tools, tools
from enarx.wire.attestation import Manifest, Manifests
from enarx.wire.codec import pack
from enarx.wire.silicon import LaunchRecord

FIRST: Final = "/init"
RECORD: Final = "/launch.cbor"
SUBSTRATE: Final = "vm"
_PATH: Final = (tree.STANDARD, tree.EXTENSIONS, tree.PAYLOAD)
_FIRST_MODULE: Final = "enarx.keep.machine.first"
_FIRST_PROGRAM: Final = (
    f"#!{tree.INTERPRETER} -ISBXpycache_prefix={BYTECODE}\n"
    "import sys\n"
    f"sys.path[:] = {list(_PATH)!r}\n"
    f"from {_FIRST_MODULE} import main\n"
    "main()\n"
)
_FOREIGN = re.compile(r"\.cpython-(?!311-)[0-9]+-.*\.so$")
_DIRECTORIES: Final = ("/dev", "/proc", "/sys", "/run", "/tmp")  # noqa: S108 - mount points


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """An image in memory: its description, and its files by name."""

    image: Image
    files: dict[str, bytes]
    manifests: Manifests


def build(
    packages: tuple[Package, ...],
    *,
    cache: Path,
    mirror: str = "",
    kernel: Path | None = None,
    say: Callable[[str], None],
) -> Built:
    """Build the image of this installation.

    Args:
        packages: of the lock.
        cache: directory of fetched packages.
        mirror: see `fetch.fetch`.
        kernel: a kernel to boot instead of the locked package's; it must have its modules
            built in.
        say: told what is being done.

    Raises:
        HostError, VerificationError: see `fetch.fetch`; and a file is missing or unreadable.
        UsageError: the wheels installed here are for another Python (`image.python`).
    """
    # 1.
    paths = fetch(packages, cache=cache, mirror=mirror, say=say)
    say("reading packages")
    contents = {package.name: _read(package, paths[package.name]) for package in packages}
    by_role = {
        role: [contents[package.name] for package in lock.only(packages, role)]
        for role in (lock.KERNEL, lock.FIRMWARE, lock.RUNTIME, lock.TOOL)
    }
    # 2. and 3.
    runtime = tree.runtime_entries(by_role[lock.RUNTIME])
    payload = _payload_entries()
    manifests = Manifests(
        payload=_manifest("payload", payload, strip=tree.PAYLOAD + "/"),
        runtime=_manifest("runtime", runtime),
    )
    system = tree.kernel(*by_role[lock.KERNEL])
    record = LaunchRecord(
        backend=SUBSTRATE, payload=digest(manifests.payload), runtime=digest(manifests.runtime)
    )
    others = [
        Entry(path=FIRST, data=_FIRST_PROGRAM.encode(), executable=True),
        Entry(path=RECORD, data=pack(record)),
        # The kernel's loader of programs, and Debian's of libraries, look there.
        Entry(path="/lib", target="usr/lib"),
    ]
    if kernel is None:
        others += [
            Entry(path=f"{tree.MODULES}/{number:02}-{name}.ko", data=data)
            for number, (name, data) in enumerate(system.modules)
        ]
    # 4. and 5.
    with tools(runtime, by_role[lock.TOOL]) as programs:
        initrd = _initrd(programs, [*runtime, *payload], others, say)
    # 6.
    firmware = _firmware(by_role[lock.FIRMWARE])
    files = {
        layout.KERNEL: system.image if kernel is None else _read_kernel(kernel),
        layout.INITRD: initrd,
        **firmware,
        layout.BOM: bom.bill(
            [(package, contents[package.name]) for package in packages],
            manifests.payload,
            payload_digest=record.payload,
        ),
    }
    image = Image(
        format=layout.FORMAT,
        version=1,
        enarx=__version__,
        kernel=system.release if kernel is None else f"given: {kernel.name}",
        command_line=layout.COMMAND_LINE,
        payload=record.payload.hex(),
        runtime=record.runtime.hex(),
        lock=hashlib.sha256(lock.write_lock(packages).encode()).hexdigest(),
        files={name: _describe(data) for name, data in files.items()},
    )
    return Built(image=image, files=files, manifests=manifests)


def save(built: Built, directory: Path) -> None:
    """Write an image; its description comes last, so that half an image is none.

    Raises:
        HostError: it cannot be written (`image.write`).
    """
    description = directory / layout.DESCRIPTION
    try:
        directory.mkdir(parents=True, exist_ok=True)
        description.unlink(missing_ok=True)
        for name, data in built.files.items():
            _replace(directory / name, data)
        _replace(description, describe(built.image))
    except OSError as error:
        raise HostError(
            f"cannot write the image to {directory}: {error.strerror}",
            hint="choose a directory on a disk with 60 MB of space: --out DIR",
            code="image.write",
        ) from None


def describe(image: Image) -> bytes:
    """The description's file."""
    return msgspec.json.format(msgspec.json.encode(image, order="sorted"), indent=2) + b"\n"


def differences(image: Image, built: Built) -> tuple[str, ...]:
    """What differs between an image and one that was built anew; empty where they are the same."""
    lines = []
    for name in ("enarx", "kernel", "command_line", "payload", "runtime", "lock"):
        there, here = getattr(image, name), getattr(built.image, name)
        if there != here:
            lines.append(f"{name}: the image has {there}, built here: {here}")
    for name in layout.FILES:
        there, here = image.files[name].sha256, built.image.files[name].sha256
        if there != here:
            lines.append(f"{name}: the image has SHA-256 {there}, built here: {here}")
    return tuple(lines)


def _read(package: Package, path: Path) -> Content:
    prefixes = tree.kernel_prefixes() if package.role == lock.KERNEL else ("/",)
    return read_deb(path, prefixes=prefixes)


def _payload_entries() -> list[Entry]:
    entries = []
    for source in find_payload():
        if _FOREIGN.search(source.path):
            raise UsageError(
                f"{source.path} is for another Python than 3.11, which VM Keeps have",
                hint="install enarx for Python 3.11, and build the image with that",
                code="image.python",
            )
        try:
            data = Path(source.origin).read_bytes()
        except OSError as error:
            raise HostError(
                f"cannot read {source.origin}: {error.strerror}", code="image.unreadable"
            ) from None
        entries.append(Entry(path=f"{tree.PAYLOAD}/{source.path}", data=data))
    return entries


def _manifest(component: str, entries: Iterable[Entry], *, strip: str = "") -> Manifest:
    ordered = sorted(entries, key=lambda entry: entry.path.removeprefix(strip))
    return manifest(
        component,
        (
            (
                Source(path=entry.path.removeprefix(strip), origin=entry.path),
                Measured(size=len(entry.data), sha256=hashlib.sha256(entry.data).digest()),
            )
            for entry in ordered
        ),
    )


def _initrd(
    programs: Tools, code: list[Entry], others: list[Entry], say: Callable[[str], None]
) -> bytes:
    say("compiling")
    bytecode = programs.compile(code, path=_PATH, first=_FIRST_MODULE)
    packed = newc.archive([*code, *bytecode, *others], directories=_DIRECTORIES)
    say(f"compressing {len(packed) / 1e6:.0f} MB")
    return programs.compress(packed)


def _firmware(packages: list[Content]) -> dict[str, bytes]:
    found = {}
    for name, path in (
        (layout.FIRMWARE, "/usr/share/OVMF/OVMF_CODE_4M.fd"),
        (layout.VARIABLES, "/usr/share/OVMF/OVMF_VARS_4M.fd"),
    ):
        for content in packages:
            with contextlib.suppress(KeyError):
                found[name] = content.read(path)
        if name not in found:
            raise HostError(f"no locked package has {path}", code="image.tree")
    return found


def _read_kernel(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise HostError(f"cannot read {path}: {error.strerror}", code="image.unreadable") from None


def _describe(data: bytes) -> FileEntry:
    return FileEntry(size=len(data), sha256=hashlib.sha256(data).hexdigest())


def _replace(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_bytes(data)
    temporary.replace(path)
