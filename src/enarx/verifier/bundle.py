"""Endorsements in one file, with which verification needs no network.

A deterministic CBOR map ``{"enarx-bundle": 1, "entries": [[role, bytes], ...]}`` with the role
names of :mod:`enarx.verifier.roles`. A bundle is as untrusted as anything else that is
supplied: its parts carry their vendors' signatures, and it carries none.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from enarx.errors import ParseError, UsageError
from enarx.evidence import cbor
from enarx.verifier.endorsements import Endorsements

BUNDLE_VERSION: Final = 1

MAX_BUNDLE_BYTES: Final = 4 * 1024 * 1024
"""Collateral of one platform is under 200 KiB."""


def roles_of(endorsements: Endorsements) -> tuple[tuple[str, bytes], ...]:
    """Endorsements as named inputs; the inverse of ``endorsements_from``."""
    roles = [("chain", one) for one in endorsements.certificates]
    roles += [("crl", one) for one in endorsements.crls]
    for role in ("cert_table", "event_log", "ccel"):
        data: bytes = getattr(endorsements, role)
        if data:
            roles.append((role, data))
    if endorsements.dcap is not None:
        roles.append(("collateral", endorsements.dcap.to_json()))
    return (*roles, *endorsements.extra)


def pack_bundle(roles: Iterable[tuple[str, bytes]]) -> bytes:
    """Write a bundle.

    Raises:
        UsageError: it gets larger than a bundle may be.
    """
    data = cbor.encode(
        {"enarx-bundle": BUNDLE_VERSION, "entries": [[role, one] for role, one in roles]}
    )
    if len(data) > MAX_BUNDLE_BYTES:
        raise UsageError(
            f"bundle takes {len(data)} bytes, more than {MAX_BUNDLE_BYTES}",
            hint="make one bundle a platform",
            code="bundle.size",
        )
    return data


def unpack_bundle(data: bytes) -> tuple[tuple[str, bytes], ...]:
    """Read a bundle as (role, bytes) pairs.

    Raises:
        ParseError: not a bundle, or one of another version.
    """
    value = cbor.decode(data, what="bundle", limit=MAX_BUNDLE_BYTES)
    if not isinstance(value, dict) or set(value) != {"enarx-bundle", "entries"}:
        raise ParseError("file is not an endorsement bundle", offset=0, code="bundle.form")
    if value["enarx-bundle"] != BUNDLE_VERSION:
        raise ParseError(
            f"bundle has version {value['enarx-bundle']!r}, expected {BUNDLE_VERSION}",
            code="bundle.version",
        )
    entries = value["entries"]
    if not isinstance(entries, list) or not all(_is_entry(one) for one in entries):
        raise ParseError("bundle entries are not all [role, bytes]", code="bundle.form")
    return tuple((role, one) for role, one in entries)


def _is_entry(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and isinstance(value[0], str)
        and isinstance(value[1], bytes)
    )
