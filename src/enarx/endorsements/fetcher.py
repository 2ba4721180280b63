"""Polite, bounded HTTPS: one body of one address, or an error that says why not.

A vendor's service that is overloaded is not helped by clients that try harder. So: requests to
one host keep a distance, ``Retry-After`` is honoured, waits double and are jittered, and all of
it ends at a deadline that covers the whole command. Redirects stay on the host; bodies are
bounded and must come unencoded.

Sources: RFC 9110, sections 10.2.3 (Retry-After) and 15 (status codes).
"""

from __future__ import annotations

import random
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final, NoReturn
from urllib.parse import urljoin, urlsplit

import httpx

from enarx import __version__
from enarx.endorsements.patience import Clock, Patience, SystemClock
from enarx.endorsements.sources import is_loopback
from enarx.endorsements.watchdog import Watchdog
from enarx.errors import (
    HostError,
    LimitError,
    ProtocolError,
    RefusedError,
    UnreachableError,
    UsageError,
)

_AGAIN: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_NOT_THERE: Final = frozenset({404, 410})

_random: Final = random.SystemRandom()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A whole answer. Header names are in lower case."""

    body: bytes
    headers: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Again:
    """An attempt that failed in a way that may pass: why, and how long the host asks to wait."""

    reason: str
    wait: float = 0.0


class Fetcher:
    """Fetches bodies. Close it when done, or use it as a context manager.

    Args:
        patience: how long to wait for what.
        clock: time; tests pass their own.
        jitter: gives numbers from 0 to 1 that nobody can foresee.
        ca_file: PEM certificates to trust for TLS besides the system's.

    Raises:
        UsageError: ``ca_file`` cannot be read.
    """

    def __init__(
        self,
        *,
        patience: Patience | None = None,
        clock: Clock | None = None,
        jitter: Callable[[], float] = _random.random,
        ca_file: str | None = None,
    ) -> None:
        self.patience = patience or Patience()
        self.clock: Clock = clock or SystemClock()
        self._jitter = jitter
        self._next_start: dict[str, float] = {}
        self._lock = threading.Lock()
        self._client = httpx.Client(
            verify=_tls(ca_file),
            follow_redirects=False,
            # One connection a request: then the deadline's hold on it is sure.
            limits=httpx.Limits(max_keepalive_connections=0),
            headers={"user-agent": f"enarx/{__version__}", "accept-encoding": "identity"},
        )

    def __enter__(self) -> Fetcher:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def deadline(self) -> float:
        """The end of a command that starts now, on the monotonic clock."""
        return self.clock.monotonic() + self.patience.total

    def get(self, url: str, *, limit: int, deadline: float) -> Reply:
        """Fetch one body.

        Args:
            url: where it is.
            limit: most bytes it may have.
            deadline: when to give up, on the monotonic clock.

        Raises:
            RefusedError: it is not there (``endorsements.not-found``), or may not be had.
            UnreachableError: no good answer until the deadline (``endorsements.unreachable``).
            LimitError: it is larger than ``limit``.
            ProtocolError: a redirect to elsewhere, or an answer that is not HTTP.
            HostError: the server's TLS certificate is not valid (``endorsements.tls``).
        """
        started, attempts = self.clock.monotonic(), 0
        while True:
            attempts += 1
            self._keep_distance(url, deadline)
            result = self._follow(url, limit, deadline)
            if isinstance(result, Reply):
                return result
            wait = max(result.wait, self._back_off(attempts))
            if self.clock.monotonic() + wait >= deadline:
                spent = self.clock.monotonic() - started
                _give_up(url, attempts=attempts, spent=spent, last=result)
            self.clock.sleep(wait)

    def _back_off(self, attempts: int) -> float:
        doubled = self.patience.first_wait * 2.0 ** min(attempts - 1, 16)
        return min(doubled, self.patience.longest_wait) * (1 - self._jitter() / 2)

    def _keep_distance(self, url: str, deadline: float) -> None:
        """Wait until the host may be asked again; this machine's own is asked at any time."""
        host = urlsplit(url).hostname or ""
        if is_loopback(host):
            return
        with self._lock:
            now = self.clock.monotonic()
            start = max(now, self._next_start.get(host, now))
            # Only who really asks takes a turn: else those who give up would shut out the rest.
            if start < deadline:
                self._next_start[host] = start + self.patience.spacing
        if start >= deadline:
            _give_up(url, attempts=0, spent=0.0, last=_Again(reason="no time is left to ask"))
        if start > now:
            self.clock.sleep(start - now)

    def _follow(self, url: str, limit: int, deadline: float) -> Reply | _Again:
        for _ in range(self.patience.redirects + 1):
            result = self._attempt(url, limit, deadline)
            if not isinstance(result, str):
                return result
            url = _same_host(url, result)
        raise ProtocolError(
            f"{_shown(url)} redirects more than {self.patience.redirects} times",
            hint="give the address where the service really is",
            code="endorsements.redirect",
        )

    def _attempt(self, url: str, limit: int, deadline: float) -> Reply | _Again | str:
        """One request: a reply, a reason to try again, or where it redirects to."""
        left = min(self.patience.attempt, deadline - self.clock.monotonic())
        if left <= 0:
            return _Again(reason="no time is left to ask")
        try:
            with Watchdog(left) as watchdog:
                return self._request(url, limit, watchdog, min(left, self.patience.connect))
        except httpx.TransportError as error:
            if watchdog.barked:
                return _Again(reason=f"no whole answer in {left:.0f} s")
            if _is_certificate_error(error):
                raise HostError(
                    f"{_shown(url)} does not prove with its TLS certificate who it is: {error}",
                    hint="for a mirror with a certificate of its own, name its CA with --ca",
                    code="endorsements.tls",
                ) from None
            if isinstance(error, httpx.UnsupportedProtocol | httpx.LocalProtocolError):
                raise UsageError(f"{_shown(url)} cannot be asked: {error}") from None
            return _Again(reason=str(error) or type(error).__name__)
        except httpx.InvalidURL as error:
            raise UsageError(f"{_shown(url)} is not an address: {error}") from None

    def _request(
        self, url: str, limit: int, watchdog: Watchdog, wait: float
    ) -> Reply | _Again | str:
        with self._client.stream(
            "GET", url, timeout=wait, extensions={"trace": watchdog.trace}
        ) as response:
            status = response.status_code
            if status in _REDIRECTS:
                return str(response.headers.get("location", ""))
            if status in _AGAIN:
                wait = _retry_after(response.headers.get("retry-after"), self.clock.now())
                return _Again(reason=f"HTTP status {status}", wait=wait)
            if status != 200:
                _refused(url, status)
            if response.headers.get("content-encoding", "identity") != "identity":
                raise ProtocolError(
                    f"{_shown(url)} sends an encoding that was not asked for",
                    code="endorsements.encoding",
                )
            return Reply(
                body=_bounded(url, response, limit),
                headers={name.lower(): value for name, value in response.headers.items()},
            )


def _bounded(url: str, response: httpx.Response, limit: int) -> bytes:
    declared = response.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared[:18]) > limit:
        _oversize(url, limit)
    body = bytearray()
    for piece in response.iter_raw():
        body += piece
        if len(body) > limit:
            _oversize(url, limit)
    return bytes(body)


def _oversize(url: str, limit: int) -> NoReturn:
    raise LimitError(
        f"{_shown(url)} sends more than {limit} bytes",
        hint="no endorsement of a vendor is that large: check the address",
        code="endorsements.size",
    )


def _tls(ca_file: str | None) -> ssl.SSLContext:
    context = httpx.create_ssl_context()
    # Beside the well-known authorities those of this machine, which may have one of a company.
    context.load_default_certs()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_file is not None:
        try:
            context.load_verify_locations(cafile=ca_file)
        except (OSError, ssl.SSLError) as error:
            raise UsageError(
                f"cannot read the CA certificates in {ca_file}: {error}",
                hint="expected PEM certificates",
                code="endorsements.ca",
            ) from None
    return context


def _same_host(url: str, location: str) -> str:
    try:
        target = urljoin(url, location)
        old, new = urlsplit(url), urlsplit(target)
        same = location != "" and (old.scheme, old.netloc) == (new.scheme, new.netloc)
    except ValueError:  # brackets that are no address
        same, target = False, location
    if not same:
        raise ProtocolError(
            f"{_shown(url)} redirects to {_shown(target)}",
            hint="redirects are followed on the same host only; give the real address",
            code="endorsements.redirect",
        )
    return target


def _retry_after(value: str | None, now: datetime) -> float:
    """Seconds that the host asks to wait; 0 where it does not say, or not in a known form."""
    if value is None:
        return 0.0
    if value.isascii() and value.isdecimal() and len(value) <= 9:
        return float(value)
    try:
        until = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return 0.0
    if until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    return max(0.0, (until - now).total_seconds())


def _refused(url: str, status: int) -> NoReturn:
    if status in _NOT_THERE:
        raise RefusedError(
            f"{_shown(url)} is not there (HTTP status {status})",
            hint="check product, chip id and TCB, or that the mirror has this vendor's paths",
            code="endorsements.not-found",
        )
    raise RefusedError(
        f"{_shown(url)} was refused (HTTP status {status})",
        hint="the service does not give this to you; asking again would not help",
        code="endorsements.refused",
    )


def _give_up(url: str, *, attempts: int, spent: float, last: _Again) -> NoReturn:
    asked = f", and asks to wait {last.wait:.0f} s" if last.wait else ""
    raise UnreachableError(
        f"{_shown(url)} gave no good answer in {attempts} attempts over {spent:.0f} s: "
        f"{last.reason}{asked}",
        hint="try again later, raise --timeout, or use a mirror or a bundle",
        code="endorsements.unreachable",
    )


def _is_certificate_error(error: BaseException) -> bool:
    return any(isinstance(one, ssl.SSLCertVerificationError) for one in _causes(error))


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__


def _shown(url: str) -> str:
    """An address for a message; a stranger may have written it."""
    return "".join(sign for sign in url[:200] if sign.isprintable())
