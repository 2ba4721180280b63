"""A caching mirror for a fleet: the addresses of AMD's KDS and Intel's PCS, answered from here.

Machines ask this instead of the vendor (``ENARX_KDS_URL``, ``ENARX_PCS_URL``; Intel's own
libraries take it for a PCCS). What is not in the cache is fetched once, however many ask for it
at the same time. Who asks need not trust it: everything carries its vendor's signature.
"""

from __future__ import annotations

import asyncio
import math
import socket
import ssl
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from enarx.endorsements import kds, pcs
from enarx.endorsements.collector import QUIET_SECONDS, Collector
from enarx.endorsements.found import Found, State
from enarx.endorsements.references import AmdChain, AmdCrl, Reference, Vcek
from enarx.endorsements.sources import INTEL_ROOT_CRL, PCCS_ROOT_CRL_PATH, is_loopback
from enarx.errors import EnarxError, HostError, RefusedError, UsageError
from enarx.wire import problem
from enarx.wire.codec import pack
from enarx.wire.http import Request, Response, serve

FETCHES: Final = 8
"""Items that are fetched at the same time; more requests wait."""

MAX_PORT: Final = 65535

NO_HEADERS: Final[tuple[tuple[str, str], ...]] = ()
_ROOT_CRL_PATH: Final = urlsplit(INTEL_ROOT_CRL).path


class Mirror:
    """A handler for :func:`enarx.wire.http.serve`.

    Args:
        collector: finds what is asked for.
    """

    def __init__(self, collector: Collector) -> None:
        self._collector = collector
        self._running: dict[str, asyncio.Task[Found]] = {}
        self._slots = asyncio.Semaphore(FETCHES)

    async def __call__(self, request: Request) -> Response:
        """Answer one request as the vendor's service would."""
        if request.method != "GET":
            return _problem(405, RefusedError("only GET is answered here", code="mirror.method"))
        reference = kds.reference_of(request.path, request.query) or pcs.reference_of(
            PCCS_ROOT_CRL_PATH if request.path == _ROOT_CRL_PATH else request.path,
            request.query,
        )
        if reference is None:
            refusal = RefusedError("nothing is published at this address", code="mirror.path")
            return _problem(404, refusal)
        return _answer(reference, await self._find(reference))

    async def _find(self, reference: Reference) -> Found:
        """Look once for all who ask at the same time; one who goes away does not end it."""
        name = reference.name
        task = self._running.get(name)
        if task is None:
            task = asyncio.create_task(self._look(reference))
            self._running[name] = task
            task.add_done_callback(lambda _: self._running.pop(name, None))
        return await asyncio.shield(task)

    async def _look(self, reference: Reference) -> Found:
        async with self._slots:
            return await asyncio.to_thread(self._collector.get, reference)


def _answer(reference: Reference, found: Found) -> Response:
    if found.item is None:
        return _missing(found.problem or RefusedError("it is not there", code="mirror.missing"))
    kind, headers, body = (
        (kds.media_type(found.item), NO_HEADERS, found.item.body)
        if isinstance(reference, Vcek | AmdChain | AmdCrl)
        else pcs.write(found.item)
    )
    stale = (("Warning", '110 enarx "stale"'),) if found.state is State.STALE else ()
    return Response(body=body, media_type=kind, headers=(*headers, *stale))


def _missing(error: EnarxError) -> Response:
    if error.code == "endorsements.not-found":
        return _problem(404, error)
    wait = (("Retry-After", str(math.ceil(QUIET_SECONDS))),)
    return _problem(503, error, wait)


def _problem(status: int, error: EnarxError, headers: tuple[tuple[str, str], ...] = ()) -> Response:
    body = pack(problem.from_error(error))
    return Response(status=status, body=body, media_type=problem.MEDIA_TYPE, headers=headers)


async def run_mirror(
    collector: Collector,
    listen: str,
    *,
    tls: ssl.SSLContext | None = None,
    ready: Callable[[str], None],
) -> int:
    """Serve until cancelled.

    Args:
        listen: ``ADDR:PORT``; port 0 for any.
        tls: the server's certificate; without it only this machine may be listened on.
        ready: told the address once requests are answered.

    Raises:
        UsageError: not an address, or one for other machines without TLS.
        HostError: it cannot be listened on.
    """
    listener = _listen(listen, secure=tls is not None)
    host, port = listener.getsockname()[:2]
    server = await serve(Mirror(collector), listener, tls=tls)
    shown = f"[{host}]" if ":" in host else host
    ready(f"{'https' if tls else 'http'}://{shown}:{port}")
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        server.close()
        await server.wait_closed()
    return 0


def _listen(listen: str, *, secure: bool) -> socket.socket:
    host, colon, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isdecimal() or int(port[:6]) > MAX_PORT:
        raise UsageError(
            f"{listen!r} is not an address to listen on",
            hint="give ADDR:PORT, such as 127.0.0.1:8081 or [::1]:8081",
            code="mirror.listen",
        )
    if not secure and not is_loopback(host):
        raise UsageError(
            f"without TLS the mirror does not listen on {host}",
            hint="give --cert and --key, or put a TLS proxy in front of a loopback address",
            code="mirror.tls",
        )
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, int(port)), family=family)
    except OSError as error:
        raise HostError(
            f"cannot listen on {listen}: {error.strerror or error}", code="mirror.listen"
        ) from None
