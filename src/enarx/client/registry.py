"""The Keeps this owner deployed: where they are, and the certificate that was attested.

One JSON file a Keep in the user's state directory. The certificate is the pin: a session
with a deployed Keep goes to exactly the certificate whose verdict was affirming when the
workload was sent, and to no other.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from enarx.client.paths import make_private, state_dir, write_private
from enarx.errors import ConfigError, UsageError
from enarx.wire import limits
from enarx.wire.fields import Limits

ENTRY_BYTES: Final = 256 * 1024
"""Most bytes of one entry; the certificate with its evidence is most of it."""
ENTRIES: Final = limits.KEEPS
"""Most Keeps that are remembered: as many as one host lists."""

_Short = Annotated[str, Meta(max_length=limits.TEXT)]


class DeployedKeep(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One Keep that a workload was left in.

    Attributes:
        kuuid: its name.
        host: endpoint of its keep manager.
        address: endpoint of the Keep itself.
        backend: its back end.
        certificate: its certificate, DER: the pin (base64 in the file).
        owner: SHA-256 of the owner's certificate, hex.
        name: the workload's name.
        module: SHA-256 of the module, hex.
        policy: name of the policy that was met.
        simulated: it ran on simulated silicon, which protects nothing from its host.
        created: when, in seconds since the epoch.
        limits: what its workload may use.
    """

    kuuid: uuid.UUID
    host: _Short
    address: _Short
    backend: _Short
    certificate: bytes
    owner: _Short
    name: _Short
    module: _Short
    policy: _Short
    simulated: bool
    created: int
    limits: Limits

    @property
    def created_text(self) -> str:
        """When it was made: UTC, ISO 8601."""
        return datetime.fromtimestamp(self.created, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


class Registry:
    """The deployed Keeps of one user.

    Args:
        directory: where the files are; below the user's state directory when None.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory or state_dir() / "keeps"

    def add(self, keep: DeployedKeep) -> None:
        """Remember a Keep. Raises HostError when it cannot be written."""
        make_private(self._directory)
        write_private(self._path(keep.kuuid), msgspec.json.encode(keep), replace=True)

    def remove(self, kuuid: uuid.UUID) -> None:
        """Forget a Keep; nothing happens when it is not known."""
        self._path(kuuid).unlink(missing_ok=True)

    def all(self) -> list[DeployedKeep]:
        """All of them, oldest first. Raises ConfigError for a damaged entry."""
        if not self._directory.is_dir():
            return []
        paths = sorted(self._directory.glob("*.json"))[:ENTRIES]
        return sorted(map(_read, paths), key=lambda keep: (keep.created, keep.kuuid))

    def get(self, kuuid: str) -> DeployedKeep:
        """The Keep of this name, or of the only name that begins so.

        Raises:
            UsageError: none or several.
        """
        matches = [keep for keep in self.all() if str(keep.kuuid).startswith(kuuid.lower())]
        if len(matches) == 1 and kuuid:
            return matches[0]
        if matches:
            raise UsageError(
                f"{kuuid!r} is the beginning of {len(matches)} Keeps' names",
                hint="give more of it; `enarx keep ls` lists them",
                code="usage.keep",
            )
        raise UsageError(
            f"no Keep {kuuid!r} was deployed by this user",
            hint="`enarx keep ls` lists those there are; logs are their owner's alone",
            code="usage.keep",
        )

    def _path(self, kuuid: uuid.UUID) -> Path:
        return self._directory / f"{kuuid}.json"


def _read(path: Path) -> DeployedKeep:
    try:
        with path.open("rb") as file:
            content = file.read(ENTRY_BYTES + 1)
        if len(content) > ENTRY_BYTES:
            raise msgspec.DecodeError(f"more than {ENTRY_BYTES} bytes")
        return msgspec.json.decode(content, type=DeployedKeep)
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigError(
            f"this entry of a deployed Keep is damaged: {error}",
            path=str(path),
            hint="move the file away; the Keep itself goes on",
            code="registry.damaged",
        ) from None
