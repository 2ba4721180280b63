"""The ten steps for code that is not asynchronous: the objects of `agent`, one call each.

An event loop runs in a thread of its own, so that streams go on between two calls, and so
that this also works where another event loop runs (notebooks).
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from enarx.client.agent import AsyncClient, AsyncKeep
from enarx.client.attestation import Attestation as AsyncAttestation
from enarx.client.bounds import DEFAULT, Timeouts
from enarx.client.config import Config
from enarx.client.identity import Identity
from enarx.client.module import Module
from enarx.client.portal import Portal
from enarx.client.session import Run as AsyncRun
from enarx.client.session import Session as AsyncSession
from enarx.client.simple import checked_workload
from enarx.client.start import Where, choose_policy, open_client
from enarx.errors import UsageError
from enarx.wire.fields import Limits
from enarx.wire.manager import Contract, HostStatus, KeepStatus
from enarx.wire.session import Ended, Event, KeepReport, Workload

if TYPE_CHECKING:
    from enarx.client.appraisal import Expected
    from enarx.verifier.policy import Policy
    from enarx.verifier.verdict import Verdict


class Client:
    """One owner's dealings with one host. Use it as a context manager.

        with enarx.Client() as client:
            with client.create(backend="sim-sgx") as keep:
                attestation = keep.attest()
                with attestation.session().run(enarx.workload("hello.wasm")) as run:
                    for event in run:
                        ...

    Args:
        host: endpoint of a keep manager; the one on this machine, or a private one, when None.
        identity: the owner; the user's own when None.
        timeouts: how long to wait for what.
    """

    def __init__(
        self,
        host: str | None = None,
        *,
        identity: Identity | None = None,
        timeouts: Timeouts = DEFAULT,
    ) -> None:
        self._opening = (host, identity, timeouts)
        self._stack = contextlib.AsyncExitStack()
        self._portal: Portal | None = None
        self._client: AsyncClient | None = None
        self._where = Where.NAMED

    def __enter__(self) -> Self:
        host, identity, timeouts = self._opening
        self._portal = Portal()
        try:
            opened = open_client(host, identity=identity, timeouts=timeouts)
            self._client, self._where = self._portal.call(self._stack.enter_async_context(opened))
        except BaseException:
            self._portal.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        portal, _ = self._opened()
        try:
            portal.call(self._stack.aclose())
        finally:
            portal.close()

    def host(self) -> HostStatus:
        """What the host says of itself."""
        portal, client = self._opened()
        return portal.call(client.host())

    def contracts(self) -> tuple[Contract, ...]:
        """The back ends the host knows of, with what it lacks for each."""
        portal, client = self._opened()
        return portal.call(client.contracts())

    def create(self, *, backend: str | None = None, limits: Limits | None = None) -> Keep:
        """1. Ask for a Keep; see `AsyncClient.create`."""
        portal, client = self._opened()
        keep = portal.call(client.create(backend=backend, limits=limits))
        return Keep(portal, keep, self._where)

    def keeps(self) -> tuple[KeepStatus, ...]:
        """What the host says of this owner's Keeps, oldest first."""
        portal, client = self._opened()
        return portal.call(client.keeps())

    def end(self, kuuid: uuid.UUID) -> KeepStatus:
        """Let the host end a Keep, whatever it does."""
        portal, client = self._opened()
        return portal.call(client.end(kuuid))

    def _opened(self) -> tuple[Portal, AsyncClient]:
        if self._portal is None or self._client is None:
            raise UsageError(
                "this client is not open",
                hint="use it as a context manager: with enarx.Client() as client",
                code="usage.closed",
            )
        return self._portal, self._client


class Keep:
    """A Keep that was asked for and is not believed yet; see `AsyncKeep`."""

    def __init__(self, portal: Portal, keep: AsyncKeep, where: Where) -> None:
        self._portal, self._keep, self._where = portal, keep, where

    @property
    def kuuid(self) -> uuid.UUID:
        """Its name."""
        return self._keep.kuuid

    @property
    def backend(self) -> str:
        """Its back end."""
        return self._keep.backend

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._portal.call(self._keep.__aexit__(kind, error, traceback))

    def attest(
        self, *, policy: Policy | None = None, expected: Expected | None = None
    ) -> Attestation:
        """3. to 8. Have the Keep made, get its evidence and verify it.

        Without a policy it is `default`, or `development` on simulated silicon of this
        user's own machine when no host was named.
        """
        chosen = choose_policy(policy, where=self._where, backend=self._keep.backend)
        return Attestation(
            self._portal, self._portal.call(self._keep.attest(policy=chosen, expected=expected))
        )


class Attestation:
    """What the attestation of one Keep came to; see `enarx.client.attestation`."""

    def __init__(self, portal: Portal, attestation: AsyncAttestation) -> None:
        self._portal = portal
        self.details = attestation

    @property
    def verdict(self) -> Verdict:
        """What is to be thought of the Keep; it has no truth value."""
        return self.details.verdict

    def session(self, *, accept_warning: bool = False) -> Session:
        """8. The session, if the verdict allows it. Raises VerificationError."""
        return Session(self._portal, self.details.session(accept_warning=accept_warning))


class Session:
    """The attested session: the only thing that can send anything to the Keep."""

    def __init__(self, portal: Portal, session: AsyncSession) -> None:
        self._portal, self._session = portal, session

    @contextlib.contextmanager
    def run(self, workload: Workload, *, stdin: bytes | Iterable[bytes] = b"") -> Iterator[Run]:
        """9. Send the one workload of this Keep; it ends when this context does.

        Args:
            workload: module, configuration and secrets.
            stdin: what it reads: all of it, or pieces, taken as the Keep asks for them in a
                thread of their own, so that they may depend on what the workload wrote.
        """
        given = _whole(stdin) if isinstance(stdin, bytes) else _pieces(iter(stdin))
        context = self._session.run(workload, stdin=given)
        run = self._portal.call(context.__aenter__())
        try:
            yield Run(self._portal, run)
        except BaseException as error:
            self._portal.call(_leave(context, error))
            raise
        else:
            self._portal.call(_leave(context, None))

    def deploy(self, workload: Workload) -> KeepReport:
        """9. Send the one workload of this Keep, and leave it there to run."""
        return self._portal.call(self._session.deploy(workload))

    def status(self) -> KeepReport:
        """What the Keep says of itself."""
        return self._portal.call(self._session.status())

    def stop(self) -> KeepReport:
        """End the workload, and the Keep with it."""
        return self._portal.call(self._session.stop())

    def logs(self, *, follow: bool = False) -> Iterator[Event]:
        """What a deployed workload wrote, oldest first."""
        return _iterate(self._portal, self._session.logs(follow=follow))


class Run:
    """10. A workload that runs: iterate over it for its events, in order."""

    def __init__(self, portal: Portal, run: AsyncRun) -> None:
        self._portal, self._run = portal, run

    @property
    def ended(self) -> Ended | None:
        """How the workload ended, once it has."""
        return self._run.ended

    def __iter__(self) -> Iterator[Event]:
        return _iterate(self._portal, aiter(self._run))


def workload(
    module: str | Path | bytes,
    *,
    config: Config | None = None,
    secrets: dict[str, bytes] | None = None,
    detach: bool = False,
) -> Workload:
    """9. Module, configuration and secrets, checked, for `Session.run` or `Session.deploy`."""
    loaded = (
        Module.from_bytes(module, name="module.wasm")
        if isinstance(module, bytes)
        else Module.from_file(Path(module))
    )
    return checked_workload(loaded, config or Config(), secrets=secrets or {}, detach=detach)


def _iterate(portal: Portal, events: AsyncIterator[Event]) -> Iterator[Event]:
    async def following() -> Event | None:
        return await anext(events, None)

    while (event := portal.call(following())) is not None:
        yield event


async def _whole(data: bytes) -> AsyncIterator[bytes]:
    if data:
        yield data


async def _pieces(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
        if piece:
            yield piece


async def _leave(
    context: AbstractAsyncContextManager[AsyncRun], error: BaseException | None
) -> None:
    if error is None:
        await context.__aexit__(None, None, None)
        return
    # The context raises the same error again; the caller raises it in its own thread.
    with contextlib.suppress(type(error)):
        await context.__aexit__(type(error), error, error.__traceback__)
