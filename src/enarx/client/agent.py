"""The tenant's agent: the ten steps of a Keep, each an object that the next needs.

     1. `AsyncClient.create`: the client asks the keep manager for a Keep: a back end (one
        of its contracts), a fresh nonce, the owner's certificate, limits.
     2. The manager starts a keep loader for it.
     3. `AsyncKeep.attest`: the client asks the Keep for its evidence; the manager
     4. passes it on unread.
     5. The loader makes the Keep: payload, and init data of which the silicon measures the
        digest: version, kuuid, back end, nonce, owner, limits.
     6. The app loader in the Keep makes a key, gets evidence over its claims (key, nonce,
        init data, payload, runtime, sandbox), and a one-use certificate that carries it.
     7. It listens.
     8. The client verifies: certificate and evidence to a verdict. `Attestation.session`
        gives a session for an affirming verdict, or one its caller explicitly accepts, and
        for no other; only a session can send, over TLS 1.3 to exactly that certificate.
     9. `Session.run` or `Session.deploy`: the Keep takes one workload, from its owner, once.
    10. It runs; its output and its end come back over the same session.

Nothing that a host says is believed: what it tells of a Keep is compared with what was
asked for, and what the evidence says decides.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import uuid
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from enarx.client.attestation import Attestation
from enarx.client.bounds import DEFAULT, Timeouts
from enarx.client.identity import Identity, load_identity
from enarx.client.manager import Manager
from enarx.errors import EnarxError, HostError, ProtocolError, UsageError
from enarx.wire import limits
from enarx.wire.attestation import (
    ActivateRequest,
    ActivateResponse,
    AttestRequest,
    AttestResponse,
    Manifests,
    init_data,
)
from enarx.wire.endpoint import Endpoint
from enarx.wire.fields import Limits
from enarx.wire.manager import Contract, ContractList, CreateKeep, HostStatus, KeepList, KeepStatus

if TYPE_CHECKING:
    from enarx.client.appraisal import Appraiser, Expected
    from enarx.verifier.policy import Policy

NONCE_BYTES: Final = 32
TPM_BACKENDS: Final = ("tpm",)
"""Back ends whose evidence is a TPM's."""
DEFAULT_SIMULATED: Final = "sim-sgx"


class AsyncClient:
    """One owner's dealings with one host. Use it as an async context manager.

    Args:
        host: where its keep manager listens: `unix:PATH` or `https://HOST:PORT[#sha256=HEX]`.
        identity: the owner; the user's own when None.
        timeouts: how long to wait for what.
    """

    def __init__(
        self,
        host: str | Endpoint,
        *,
        identity: Identity | None = None,
        timeouts: Timeouts = DEFAULT,
    ) -> None:
        self.endpoint = host if isinstance(host, Endpoint) else Endpoint.parse(host)
        self.identity = identity or load_identity()
        self.timeouts = timeouts
        self._manager = Manager(self.endpoint, self.identity, timeouts)
        self._appraiser: asyncio.Task[Appraiser] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._manager.close()
        if self._appraiser is not None:
            # Its thread cannot be stopped, and nobody waits for what comes of it.
            self._appraiser.cancel()

    async def host(self) -> HostStatus:
        """What the host says of itself."""
        return await self._manager.call("GET", "/v1/host", None, HostStatus)

    async def contracts(self) -> tuple[Contract, ...]:
        """The back ends the host knows of, with what it lacks for each."""
        answer = await self._manager.call("GET", "/v1/contracts", None, ContractList)
        return answer.contracts

    async def create(
        self, *, backend: str | None = None, limits: Limits | None = None
    ) -> AsyncKeep:
        """1. Ask for a Keep.

        Args:
            backend: which; a real one that the host has, otherwise `sim-sgx`, when None.
            limits: what its workload may use.

        Raises:
            UsageError: no such back end here; it lists those there are.
            HostError: the host lacks what that back end needs.
        """
        self._prepare()
        backend = _choose(await self.contracts(), backend)
        limits = limits or Limits()
        nonce = os.urandom(NONCE_BYTES)
        request = CreateKeep(
            backend=backend, nonce=nonce, owner=self.identity.certificate, limits=limits
        )
        status = await self._manager.call("POST", "/v1/keeps", request, KeepStatus)
        if status.backend != backend or status.owner != self.identity.digest:
            raise ProtocolError(
                "the host answered with a Keep that was not asked for: "
                f"back end {status.backend} for owner {status.owner.hex()}",
                hint="do not use this host",
                code="host.other-keep",
            )
        return AsyncKeep(self, self._manager, status=status, nonce=nonce, limits=limits)

    async def appraiser(self) -> Appraiser:
        """What verifies: it measures this installation once and remembers validated chains."""
        return await asyncio.shield(self._prepare())

    def _prepare(self) -> asyncio.Task[Appraiser]:
        """Begin to load the verifier, in a thread: it is ready when the evidence comes."""
        if self._appraiser is None:
            self._appraiser = asyncio.create_task(asyncio.to_thread(_load_appraiser))
        return self._appraiser

    async def keeps(self) -> tuple[KeepStatus, ...]:
        """What the host says of this owner's Keeps, oldest first."""
        return (await self._manager.call("GET", "/v1/keeps", None, KeepList)).keeps

    async def keep(self, kuuid: uuid.UUID) -> KeepStatus:
        """What the host says of one Keep."""
        return await self._manager.call("GET", f"/v1/keeps/{kuuid}", None, KeepStatus)

    async def end(self, kuuid: uuid.UUID) -> KeepStatus:
        """Let the host end a Keep, whatever it does."""
        return await self._manager.call(
            "DELETE", f"/v1/keeps/{kuuid}", None, KeepStatus, timeout=self.timeouts.end
        )


class AsyncKeep:
    """A Keep that was asked for and is not believed yet.

    As a context manager it ends the Keep on an error, and when there was no session with it.

    Attributes:
        kuuid: its name.
        backend: its back end.
        limits: what its workload may use.
        client: who asked for it.
        used: there was a session with it.
    """

    def __init__(
        self, client: AsyncClient, manager: Manager, *, status: KeepStatus, nonce: bytes,
        limits: Limits,
    ) -> None:  # fmt: skip
        self.kuuid = uuid.UUID(bytes=status.kuuid)
        self.backend = status.backend
        self.limits = limits
        self.client = client
        self.used = False
        self._manager, self._nonce = manager, nonce

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # A Keep that was used ends with its workload, or is meant to go on. Others would end
        # by themselves when their certificate expires; saying so is only faster.
        if kind is not None or not self.used:
            with contextlib.suppress(EnarxError):
                await self.client.end(self.kuuid)

    async def attest(
        self, *, policy: Policy | None = None, expected: Expected | None = None
    ) -> Attestation:
        """3. to 8. Have the Keep made, get its evidence and verify it.

        Args:
            policy: what is accepted; the built-in `default` when None.
            expected: payload and runtime that must run there; those of this machine's own
                installation when None.

        Raises:
            ProtocolError, RefusedError, HostError: there is no evidence to verify.
        """
        # 3. and 4.
        response = await self._manager.call(
            "POST",
            f"/v1/keeps/{self.kuuid}/attest",
            AttestRequest(nonce=self._nonce),
            AttestResponse,
            limit=limits.ATTESTATION,
            timeout=self.client.timeouts.attest,
        )
        response = await self._activated(response)
        # 5. What the silicon must have measured, computed from what was asked for.
        data = init_data(
            kuuid=self.kuuid.bytes,
            backend=self.backend,
            nonce=self._nonce,
            owner=self.client.identity.digest,
            limits=self.limits,
        )
        # 8.
        appraiser = await self.client.appraiser()
        asked = appraiser.asked(
            backend=self.backend,
            nonce=self._nonce,
            init_data=data,
            expected=expected,
            policy=policy,
        )
        appraisal = appraiser.appraise(response, asked)
        differing = await appraiser.explain(appraisal, asked.expected, self._manifests)
        return Attestation(
            keep=self, response=response, appraisal=appraisal, asked=asked, differences=differing
        )

    async def _activated(self, response: AttestResponse) -> AttestResponse:
        """3. and 4. once more, where the silicon is a TPM."""
        if self.backend not in TPM_BACKENDS:
            return response
        from enarx.client.activation import activate

        return await activate(response, nonce=self._nonce, ask=self._activate)

    async def _activate(self, request: ActivateRequest) -> ActivateResponse:
        return await self._manager.call(
            "POST",
            f"/v1/keeps/{self.kuuid}/activate",
            request,
            ActivateResponse,
            timeout=self.client.timeouts.attest,
        )

    async def _manifests(self) -> Manifests:
        """What the silicon says it launched: untrusted until its digest is in evidence."""
        return await self._manager.call(
            "GET", f"/v1/keeps/{self.kuuid}/manifests", None, Manifests, limit=limits.MANIFEST
        )


def _load_appraiser() -> Appraiser:
    from enarx.client.appraisal import Appraiser

    return Appraiser()


def _choose(contracts: tuple[Contract, ...], backend: str | None) -> str:
    """The back end to ask for, if this host offers it."""
    known = {contract.backend: contract for contract in contracts}
    if backend is None:
        real = [c.backend for c in contracts if not c.missing and not c.simulated]
        backend = real[0] if real else DEFAULT_SIMULATED
    contract = known.get(backend)
    if contract is None:
        offered = [name for name, each in known.items() if not each.missing]
        raise UsageError(
            f"this host has no back end {backend!r}",
            hint=f"it has: {', '.join(offered) or 'none'}",
            code="usage.backend",
        )
    if contract.missing:
        raise HostError(
            f"this host cannot run {backend}: {'; '.join(contract.missing)}",
            hint="`enarx platform info` on the host says more",
            code="host.backend",
        )
    return backend
