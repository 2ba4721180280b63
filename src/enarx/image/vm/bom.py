"""The bill of materials: every package and wheel of an image, with version, licence and hash.

CycloneDX 1.5, JSON. It has no date and no serial number, so that the same image has the
same bill.
"""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterable, Mapping
from urllib.parse import quote

import msgspec

from enarx import __version__
from enarx.image.payload import DISTRIBUTIONS
from enarx.image.vm import lock
from enarx.image.vm.deb import Content
from enarx.image.vm.lock import Package
from enarx.wire.attestation import Manifest

_TYPES = {lock.KERNEL: "operating-system", lock.FIRMWARE: "firmware"}
_LICENCE = re.compile(r"^License: *([^\n]{1,100})$", re.MULTILINE)


def bill(
    packages: Iterable[tuple[Package, Content]], payload: Manifest, *, payload_digest: bytes
) -> bytes:
    """The bill of an image that has these packages and this payload."""
    components = [_package(package, content) for package, content in packages]
    components += [_wheel(name, payload) for name in DISTRIBUTIONS]
    components.append(
        {
            "type": "application",
            "name": "enarx",
            "version": __version__,
            "licenses": [{"expression": "Apache-2.0"}],
            "purl": f"pkg:pypi/enarx@{__version__}",
            "hashes": [{"alg": "SHA-256", "content": payload_digest.hex()}],
            "description": "the payload; its hash is the digest of the payload's manifest",
        }
    )
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "components": components,
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def _package(package: Package, content: Content) -> Mapping[str, object]:
    version = quote(package.version, safe="")
    return {
        "type": _TYPES.get(package.role, "library"),
        "name": package.name,
        "version": package.version,
        "licenses": _licences(content),
        "purl": f"pkg:deb/debian/{package.name}@{version}?distro={package.suite}",
        "hashes": [{"alg": "SHA-256", "content": package.sha256.hex()}],
        # A tool made the image and is not in it.
        "scope": "excluded" if package.role == lock.TOOL else "required",
    }


def _licences(content: Content) -> list[Mapping[str, object]]:
    """Short names out of the package's copyright file, where it has the machine's format."""
    names = set()
    for path, data in content.files.items():
        if path.startswith("/usr/share/doc/") and path.endswith("/copyright"):
            names |= set(_LICENCE.findall(data.decode(errors="replace")))
    return [{"license": {"name": name.strip()}} for name in sorted(names)] or [
        {"license": {"name": "see the package's copyright file"}}
    ]


def _wheel(name: str, payload: Manifest) -> Mapping[str, object]:
    metadata = importlib.metadata.metadata(name)
    version = metadata["Version"]
    named = (metadata[key] for key in ("License-Expression", "License") if key in metadata)
    licence = next(named, None) or "see its metadata"
    files = [file for file in payload.files if file.path.split("/")[0].startswith(name)]
    return {
        "type": "library",
        "name": name,
        "version": version,
        "licenses": [{"license": {"name": licence.splitlines()[0][:100]}}],
        "purl": f"pkg:pypi/{name}@{version}",
        "scope": "required",
        "components": [
            {
                "type": "file",
                "name": file.path,
                "hashes": [{"alg": "SHA-256", "content": file.sha256.hex()}],
            }
            for file in files
        ],
    }
