"""Talk to a keep manager: requests over a few kept connections, every answer bounded."""

from __future__ import annotations

import asyncio
from typing import TypeVar

from enarx.client.bounds import Timeouts
from enarx.client.identity import Identity
from enarx.client.tls import open_host
from enarx.wire import limits
from enarx.wire.codec import Message
from enarx.wire.endpoint import Endpoint
from enarx.wire.http_client import Connection
from enarx.wire.manager import HostStatus, Tenant

T = TypeVar("T")

_REUSE_SECONDS = limits.HTTP_IDLE_SECONDS / 2
"""Connections idle for longer may be closed by the server at any moment: not used again."""
_KEPT = 8
"""Idle connections to keep: more Keeps at once than this are rare in one client."""


class Manager:
    """One keep manager, as one owner sees it."""

    def __init__(self, endpoint: Endpoint, identity: Identity, timeouts: Timeouts) -> None:
        self.endpoint = endpoint
        self._identity = identity
        self._timeouts = timeouts
        self._idle: list[tuple[float, Connection]] = []
        self._introduced = bool(endpoint.path)

    async def call(
        self,
        method: str,
        path: str,
        message: Message | None,
        kind: type[T],
        *,
        limit: int = limits.MESSAGE,
        timeout: float | None = None,
    ) -> T:
        """One request. Raises what the manager refused with, or why it cannot be asked."""
        connection = await self._take()
        try:
            answer = await connection.call(
                method,
                path,
                message,
                kind,
                limit=limit,
                timeout=self._timeouts.manager if timeout is None else timeout,
            )
        except BaseException:
            # What is still on its way would be taken for the next answer.
            await connection.close()
            raise
        await self._give_back(connection)
        return answer

    async def close(self) -> None:
        """Drop all connections."""
        while self._idle:
            await self._idle.pop()[1].close()

    async def _take(self) -> Connection:
        now = asyncio.get_running_loop().time()
        while self._idle:
            since, connection = self._idle.pop()
            if now - since < _REUSE_SECONDS:
                return connection
            await connection.close()
        if not self._introduced:
            await self._introduce()
        return await open_host(self.endpoint, self._identity, timeout=self._timeouts.connect)

    async def _introduce(self) -> None:
        """Show the host the owner's certificate, so that its TLS accepts it from then on.

        A self-signed certificate cannot be used in a handshake before the other side has it.
        """
        connection = await open_host(self.endpoint, None, timeout=self._timeouts.connect)
        try:
            tenant = Tenant(certificate=self._identity.certificate)
            await connection.call(
                "POST", "/v1/tenant", tenant, HostStatus, timeout=self._timeouts.manager
            )
        finally:
            await connection.close()
        self._introduced = True

    async def _give_back(self, connection: Connection) -> None:
        if len(self._idle) < _KEPT:
            self._idle.append((asyncio.get_running_loop().time(), connection))
        else:
            await connection.close()
