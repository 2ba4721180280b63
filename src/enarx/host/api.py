"""The manager's HTTP API (`wire.manager`): who asks, what for, and whether they may."""

from __future__ import annotations

import logging
import os
import re
import ssl
import time
import uuid
from collections.abc import Awaitable, Callable

import enarx
from enarx.errors import EnarxError, HostError, RefusedError, UsageError
from enarx.host import limits
from enarx.host.keeps import Keeps
from enarx.host.registry import Keep
from enarx.host.siliconprocess import SiliconProcess
from enarx.host.tenants import Tenants
from enarx.wire import http
from enarx.wire.codec import unpack
from enarx.wire.limits import ATTESTATION, KEEPS, MANIFEST, MESSAGE
from enarx.wire.manager import (
    ContractList,
    CreateKeep,
    HostStatus,
    KeepList,
    Tenant,
)

log = logging.getLogger("enarx.host")

_KEEP_PATH = re.compile(r"/v1/keeps/([0-9a-f-]{36})(/attest|/activate|/manifests)?")


class Api:
    """One host's API. `tls` is None while it does not listen on TCP."""

    def __init__(
        self,
        keeps: Keeps,
        *,
        silicon: SiliconProcess,
        tenants: Tenants,
        launcher: str,
        address: str,
        tls: ssl.SSLContext | None,
    ) -> None:
        self._keeps, self._silicon, self._tenants = keeps, silicon, tenants
        self._launcher, self._address, self._tls = launcher, address, tls
        self._started = int(time.time())

    def status(self) -> HostStatus:
        """What this host says of itself."""
        return HostStatus(
            version=enarx.__version__,
            pid=os.getpid(),
            launcher=self._launcher,
            silicon="running" if self._silicon.running else self._silicon.trouble,
            keeps=len(self._keeps.registry.living()),
            started=self._started,
            address=self._address,
        )

    async def handle(self, request: http.Request) -> http.Response:
        """Answer one request; what is refused is raised as an EnarxError."""
        try:
            return await self._handle(request)
        except EnarxError:
            raise
        except Exception:
            # One request must not take the host with it, and its peer deserves an answer.
            log.exception("%s %s failed", request.method, request.path)
            raise HostError(
                "the host failed on this request", hint="Its log tells why.", code="host.failed"
            ) from None

    async def _handle(self, request: http.Request) -> http.Response:
        if (request.method, request.path) == ("POST", "/v1/tenant") and self._tls is not None:
            tenant = unpack(await request.read(MESSAGE), Tenant)
            self._tenants.introduce(tenant.certificate, self._tls)
            return http.reply(self.status())
        principal = self._tenants.principal(request.peer)
        match request.method, request.path:
            case "GET", "/v1/host":
                return http.reply(self.status())
            case "GET", "/v1/contracts":
                return http.reply(ContractList(contracts=self._keeps.contracts()))
            case "GET", "/v1/keeps":
                mine = self._keeps.registry.of(principal)[:KEEPS]
                return http.reply(KeepList(keeps=tuple(keep.refresh() for keep in mine)))
            case "POST", "/v1/keeps":
                asked = unpack(await request.read(MESSAGE), CreateKeep)
                return http.reply(await self._keeps.create(asked, principal), status=201)
        return await self._handle_keep(request, principal)

    async def _handle_keep(self, request: http.Request, principal: str) -> http.Response:
        match = _KEEP_PATH.fullmatch(request.path)
        if match is None:
            raise _no_path(request)
        answer = _KEEP_ROUTES.get((request.method, match[2] or ""))
        if answer is None:
            raise _no_path(request)
        try:
            kuuid = uuid.UUID(match[1]).bytes
        except ValueError:
            raise RefusedError(f"{match[1]!r} is no kuuid", code="keep.unknown") from None
        return await answer(self._keeps, self._keeps.registry.get(kuuid, principal), request)


async def _show(_keeps: Keeps, keep: Keep, _request: http.Request) -> http.Response:
    return http.reply(keep.refresh())


async def _end(keeps: Keeps, keep: Keep, _request: http.Request) -> http.Response:
    return http.reply(await keeps.end(keep))


async def _attest(keeps: Keeps, keep: Keep, request: http.Request) -> http.Response:
    """3. and 4. The manager reads neither what is asked nor what is answered."""
    answer = await keeps.ask(
        keep, "POST", "/v1/keep/attest", await request.read(MESSAGE),
        limit=ATTESTATION, timeout=limits.ATTEST_SECONDS,
    )  # fmt: skip
    return http.Response(body=answer)


async def _activate(keeps: Keeps, keep: Keep, request: http.Request) -> http.Response:
    """3. and 4. once more, of a Keep with a TPM; unread, as before."""
    answer = await keeps.ask(
        keep, "POST", "/v1/keep/activate", await request.read(MESSAGE),
        limit=MESSAGE, timeout=limits.ATTEST_SECONDS,
    )  # fmt: skip
    return http.Response(body=answer)


async def _manifests(keeps: Keeps, keep: Keep, _request: http.Request) -> http.Response:
    answer = await keeps.ask(
        keep, "GET", "/v1/keep/manifests", limit=MANIFEST, timeout=limits.SILICON_SECONDS
    )
    return http.Response(body=answer)


_KEEP_ROUTES: dict[
    tuple[str, str], Callable[[Keeps, Keep, http.Request], Awaitable[http.Response]]
] = {
    ("GET", ""): _show,
    ("DELETE", ""): _end,
    ("POST", "/attest"): _attest,
    ("POST", "/activate"): _activate,
    ("GET", "/manifests"): _manifests,
}


def _no_path(request: http.Request) -> UsageError:
    return UsageError(
        f"this host has no {request.method} {request.path[:100]}",
        hint="Client and host may be of different versions of enarx.",
        code="protocol.path",
    )
