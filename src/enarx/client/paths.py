"""Where the tenant's own files are: identity, registry of Keeps, cache.

``ENARX_HOME`` puts all of them under one directory; without it they are where the
platform keeps such files (XDG on Linux, Library on macOS, AppData on Windows).
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from enarx.errors import HostError

_APP = "enarx"
PRIVATE_DIRECTORY = 0o700
PRIVATE_FILE = 0o600


def config_dir() -> Path:
    """The directory of the owner's identity."""
    if home := os.environ.get("ENARX_HOME"):
        return Path(home)
    import platformdirs

    return Path(platformdirs.user_config_dir(_APP, appauthor=False, roaming=False))


def state_dir() -> Path:
    """The directory of what the client remembers: its deployed Keeps."""
    if home := os.environ.get("ENARX_HOME"):
        return Path(home) / "state"
    import platformdirs

    return Path(platformdirs.user_state_dir(_APP, appauthor=False, roaming=False))


def cache_dir() -> Path:
    """The directory of what can be computed again: hashes of this installation's files."""
    if home := os.environ.get("ENARX_HOME"):
        return Path(home) / "cache"
    import platformdirs

    return Path(platformdirs.user_cache_dir(_APP, appauthor=False))


def make_private(directory: Path) -> Path:
    """Make a directory that only its owner may enter, or raise HostError that says why not."""
    try:
        directory.mkdir(mode=PRIVATE_DIRECTORY, parents=True, exist_ok=True)
    except OSError as error:
        raise HostError(
            f"cannot make the directory {directory}: {error.strerror}",
            hint="set ENARX_HOME to a directory you may write to",
            code="client.directory",
        ) from None
    return directory


def write_private(path: Path, content: bytes, *, replace: bool) -> bool:
    """Write a file of mode 0600 in one step: readers see all of it or nothing.

    Args:
        path: where it goes; its directory exists.
        content: all of it.
        replace: overwrite what is there; otherwise keep it.

    Returns:
        False when a file was there already and was kept.

    Raises:
        HostError: it cannot be written (permission, disk full).
    """
    temporary = ""
    try:
        # mkstemp makes it 0600.
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            os.replace(temporary, path)
            temporary = ""
        else:
            try:
                os.link(temporary, path)
            except FileExistsError:
                return False
        return True
    except OSError as error:
        raise HostError(
            f"cannot write {path}: {error.strerror}",
            hint="set ENARX_HOME to a directory you may write to, on a disk with space",
            code="client.write",
        ) from None
    finally:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
