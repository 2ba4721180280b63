"""Which distribution packages an image is made of: name, version and SHA-256 of each.

`packages.toml` beside this module is the lock. What is wanted is written here; `relock`
asks the distribution for the versions it has now.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from enarx.errors import ConfigError
from enarx.wire import limits

LOCK: Final = Path(__file__).with_name("packages.toml")
LOCK_MAX: Final = 64 * limits.KIB
"""Bytes of a lock file; ours has 4 KB."""
PACKAGE_MAX: Final = 256 * limits.MIB
"""Bytes of one package; the kernel's has 34 MB."""

KERNEL: Final = "kernel"
FIRMWARE: Final = "firmware"
RUNTIME: Final = "runtime"
TOOL: Final = "tool"
BASE, BACKPORTS, NEXT = "bookworm", "bookworm-backports", "trixie"
KERNEL_META: Final = "linux-image-cloud-amd64"
"""Depends on the current kernel's package, whose name has the version in it."""

WANTED: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "libc6": (RUNTIME, BASE),
        "libexpat1": (RUNTIME, BASE),
        "libffi8": (RUNTIME, BASE),
        "libgcc-s1": (RUNTIME, BASE),
        "libpython3.11-minimal": (RUNTIME, BASE),
        "libpython3.11-stdlib": (RUNTIME, BASE),
        "libssl3": (RUNTIME, BASE),
        "python3.11-minimal": (RUNTIME, BASE),
        "zlib1g": (RUNTIME, BASE),
        "liblz4-1": (TOOL, BASE),
        "liblzma5": (TOOL, BASE),
        "libzstd1": (TOOL, BASE),
        "zstd": (TOOL, BASE),
        KERNEL_META: (KERNEL, BACKPORTS),
        # Bookworm's own firmware measures the kernel as another hash than that of its file.
        "ovmf": (FIRMWARE, NEXT),
    }
)
"""Role and suite by package. Tools run during the build and are not in the image."""

_NAME = re.compile(r"[a-z0-9][a-z0-9+.\-]{1,100}")
_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+~:\-]{0,100}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """One pinned package. size: of the file, in bytes; sha256: of the file."""

    name: str
    version: str
    role: str
    suite: str
    size: int
    sha256: bytes


def read_lock(path: Path = LOCK) -> tuple[Package, ...]:
    """The packages of a lock file, in its order.

    Raises:
        ConfigError: it cannot be read or is not a lock file (`image.lock`).
    """
    try:
        with path.open("rb") as file:
            text = file.read(LOCK_MAX + 1)
        if len(text) > LOCK_MAX:
            raise _broken(path, f"is larger than {LOCK_MAX} bytes")
        entries = tomllib.loads(text.decode()).get("package", [])
        return tuple(_package(entry) for entry in entries)
    except OSError as error:
        raise _broken(path, error.strerror or str(error)) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _broken(path, str(error)) from None


def write_lock(packages: tuple[Package, ...]) -> str:
    """The text of a lock file."""
    lines = [
        "# What VM images are made of. Made by `enarx image lock`; every value is checked when",
        "# a package is taken. A change here changes every image and its reference values.",
    ]
    for package in packages:
        lines += [
            "",
            "[[package]]",
            f'name = "{package.name}"',
            f'version = "{package.version}"',
            f'role = "{package.role}"',
            f'suite = "{package.suite}"',
            f"size = {package.size}",
            f'sha256 = "{package.sha256.hex()}"',
        ]
    return "\n".join(lines) + "\n"


def only(packages: tuple[Package, ...], role: str) -> tuple[Package, ...]:
    """The packages of one role."""
    return tuple(package for package in packages if package.role == role)


def _package(entry: Mapping[str, Any]) -> Package:
    name, version, sha256 = entry["name"], entry["version"], entry["sha256"]
    for value, pattern in ((name, _NAME), (version, _VERSION), (sha256, _SHA256)):
        if not pattern.fullmatch(value):
            raise ValueError(f"{value!r} is not possible for {name!r}")
    if entry["role"] not in (KERNEL, FIRMWARE, RUNTIME, TOOL):
        raise ValueError(f"{name} has the unknown role {entry['role']!r}")
    if entry["suite"] not in (BASE, BACKPORTS, NEXT):
        raise ValueError(f"{name} is from the unknown suite {entry['suite']!r}")
    size = entry["size"]
    if not isinstance(size, int) or not 0 < size <= PACKAGE_MAX:
        raise ValueError(f"{name} has the size {size!r}, at most {PACKAGE_MAX}")
    return Package(
        name=name,
        version=version,
        role=entry["role"],
        suite=entry["suite"],
        size=size,
        sha256=bytes.fromhex(sha256),
    )


def _broken(path: Path, problem: str) -> ConfigError:
    return ConfigError(
        f"no usable lock of packages: {problem}",
        path=str(path),
        hint="make it anew with 'enarx image lock'",
        code="image.lock",
    )
