"""Which host to use, and under which policy, when the caller does not say all of it.

A host that is named, or a policy that is named, means what it says: simulated silicon is
refused unless that policy allows it. Where neither is named the host is this user's own
machine (the one that runs, otherwise a private one), and on simulated silicon the policy
is `development`, of which every report says first that it protects nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final

from enarx.client.agent import AsyncClient
from enarx.client.bounds import DEFAULT, Timeouts
from enarx.client.identity import Identity, load_identity
from enarx.client.image import MACHINE
from enarx.client.localhost import find_local_host
from enarx.errors import ConfigError, HostError
from enarx.wire.endpoint import Endpoint

if TYPE_CHECKING:
    from enarx.verifier.policy import Policy

POLICY_BYTES: Final = 1024 * 1024
"""Most bytes of a policy file: those that people write are a few KiB."""
_SIMULATED_PREFIX: Final = "sim-"


class Where(StrEnum):
    """What kind of host a client talks to."""

    NAMED = "named"
    LOCAL = "local"
    PRIVATE = "private"


@contextlib.asynccontextmanager
async def open_client(
    host: str | Endpoint | None = None,
    *,
    identity: Identity | None = None,
    timeouts: Timeouts = DEFAULT,
    private: bool = True,
) -> AsyncIterator[tuple[AsyncClient, Where]]:
    """A client of the named host, else of the one that runs here, else of a private one.

    Args:
        host: endpoint of a keep manager.
        identity: the owner; the user's own when None.
        timeouts: how long to wait for what.
        private: start a private host where none runs; otherwise raise HostError.
    """
    # First what may be wrong on this machine: no host is started for an owner who has no key.
    identity = identity or load_identity()
    async with contextlib.AsyncExitStack() as stack:
        where = Where.NAMED
        endpoint: str | Endpoint | None = host
        if endpoint is None:
            where, endpoint = Where.LOCAL, find_local_host()
        if endpoint is None and not private:
            raise HostError(
                "no host runs on this machine",
                hint="start one with `enarx host up`, or name one with --host",
                code="host.none",
            )
        if endpoint is None:
            from enarx.client.private_host import private_host

            where = Where.PRIVATE
            endpoint = await stack.enter_async_context(private_host(timeouts=timeouts))
        client = AsyncClient(endpoint, identity=identity, timeouts=timeouts)
        yield await stack.enter_async_context(client), where


def load_policy(name: str) -> Policy:
    """A built-in policy by name, or the policy in a file.

    Raises:
        PolicyError: there is neither, or the policy is unusable.
        ConfigError: the file is wrong; it says where.
    """
    from enarx.verifier.policy import BUILTIN, Policy

    if name in BUILTIN:
        return Policy.builtin(name)
    path = Path(name)
    if not path.exists():
        return Policy.builtin(name)
    try:
        with path.open("rb") as file:
            content = file.read(POLICY_BYTES + 1)
        if len(content) > POLICY_BYTES:
            raise ConfigError(f"more than {POLICY_BYTES} bytes", path=name, code="policy.size")
        text = content.decode()
    except OSError as error:
        raise ConfigError(
            f"cannot read the policy: {error.strerror}", path=name, code="policy.unreadable"
        ) from None
    except UnicodeDecodeError:
        raise ConfigError("not UTF-8 text", path=name, code="policy.syntax") from None
    return Policy.from_toml(text, name=name)


def choose_policy(given: Policy | None, *, where: Where, backend: str) -> Policy:
    """The policy to use: the given one, else by whose host it is and what was asked for."""
    from enarx.verifier.policy import Policy

    if given is not None:
        return given
    simulated = backend.startswith(_SIMULATED_PREFIX) or backend == MACHINE
    own = where is not Where.NAMED and simulated
    return Policy.builtin("development" if own else "default")
