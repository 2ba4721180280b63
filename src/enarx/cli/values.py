"""Values on the command line: sizes, durations, secrets."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import click

from enarx.errors import UsageError
from enarx.wire import limits

_SIZE: Final = re.compile(r"(\d{1,12})\s*([KMG])?(?:i?B)?", re.IGNORECASE | re.ASCII)
_SIZES: Final = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_DURATION: Final = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)\s*(ms|s|m|h|d)?", re.IGNORECASE | re.ASCII)
_DURATIONS: Final = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_SECRET_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,255}")
MOST_BYTES: Final = 1 << 44
MOST_MILLISECONDS: Final = 366 * 24 * 3600 * 1000
SECRETS: Final = 256
"""Bounds of `enarx.wire.fields` and `enarx.wire.session.Workload`."""


def size(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """Click callback: `64M`, `1GiB`, `65536` to bytes."""
    if value is None:
        return None
    match = _SIZE.fullmatch(value.strip())
    found = int(match[1]) * _SIZES[(match[2] or "").upper()] if match else 0
    if not 1 <= found <= MOST_BYTES:
        raise click.BadParameter(f"{value!r} is not a size, such as 64M or 1G")
    return found


def duration(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """Click callback: `500ms`, `10s`, `5m` (seconds without a unit) to milliseconds."""
    if value is None:
        return None
    match = _DURATION.fullmatch(value.strip())
    found = int(float(match[1]) * _DURATIONS[(match[2] or "s").lower()]) if match else 0
    if not 1 <= found <= MOST_MILLISECONDS:
        raise click.BadParameter(f"{value!r} is not a duration, such as 500ms, 10s or 5m")
    return found


def read_secrets(given: tuple[str, ...]) -> dict[str, bytes]:
    """Read the files of `NAME=FILE` arguments.

    Raises:
        UsageError: not of that form, named twice, unreadable or too large.
    """
    secrets: dict[str, bytes] = {}
    total = 0
    for text in given:
        name, equals, path = text.partition("=")
        if not equals or not path or not _SECRET_NAME.fullmatch(name):
            # The text is not repeated: somebody may have written a secret instead of a file.
            raise UsageError(
                "--secret must be NAME=FILE, with a NAME of letters, digits, _, . and -",
                hint="the secret itself is in the file, never on the command line",
                code="usage.secret",
            )
        if name in secrets:
            raise UsageError(f"--secret {name} is given twice", code="usage.secret")
        secrets[name] = _read_secret(name, Path(path))
        total += len(secrets[name])
    if total > limits.SECRETS or len(secrets) > SECRETS:
        raise UsageError(
            f"{len(secrets)} secrets with {total} bytes; at most {SECRETS} with "
            f"{limits.SECRETS} bytes are taken",
            code="usage.secret",
        )
    return secrets


def _read_secret(name: str, path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(limits.SECRETS + 1)
    except OSError as error:
        raise UsageError(
            f"--secret {name}: cannot read {path}: {error.strerror}", code="usage.secret"
        ) from None
