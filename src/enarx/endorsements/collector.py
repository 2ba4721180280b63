"""Endorsements from the cache where they are fresh, from the vendor where they are not.

Certificates never change and are fetched once. Lists and documents are asked for again when
they are a day old, and used as they are for as long as they are in date if nobody answers.
Stale is not missing, and neither is revoked: each is told by its own name, and only the
verifier judges what it means.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

import msgspec
from cryptography.hazmat.primitives.serialization import Encoding

from enarx.endorsements import asking, limits
from enarx.endorsements.cache import Cache, Entry
from enarx.endorsements.checks import Validity, check
from enarx.endorsements.fetcher import Fetcher
from enarx.endorsements.found import Collection, Found, State
from enarx.endorsements.needs import Needs
from enarx.endorsements.patience import Clock
from enarx.endorsements.references import (
    AmdChain,
    AmdCrl,
    Item,
    PckCrl,
    Reference,
    RootCrl,
    Vcek,
    Vlek,
)
from enarx.endorsements.sources import Sources
from enarx.errors import EnarxError, HostError, ParseError, ProtocolError, RefusedError
from enarx.verifier.crl import load_crl
from enarx.verifier.x509 import load_certificate, load_certificates

QUIET_SECONDS: Final = 60.0
"""How long a mirror answers from memory that something could not be had, before it asks again."""

MAX_QUIET: Final = 10_000
"""Names of which that is remembered."""

IMPORTED: Final = "import"


class Collector:
    """Collects endorsements. Safe to share between threads.

    Args:
        cache: what was fetched before, and is kept for the next time.
        sources: where to ask.
        fetcher: asks; ``None`` to work offline.
        clock: time.
    """

    def __init__(
        self, *, cache: Cache, sources: Sources, fetcher: Fetcher | None, clock: Clock
    ) -> None:
        self._cache, self._sources, self._fetcher, self._clock = cache, sources, fetcher, clock
        self._quiet: dict[str, tuple[float, EnarxError]] = {}

    def collect(self, needs: Needs, *, deadline: float | None = None) -> Collection:
        """Everything that evidence needs.

        Of several options the first is taken that is there whole or has the chip's own
        certificate, else the one with most in it.

        Args:
            deadline: when to give up, on the clock's monotonic time; the fetcher's patience
                from now on when ``None``.
        """
        deadline = self.deadline() if deadline is None else deadline
        best: tuple[Found, ...] = ()
        for option in needs.options:
            found = tuple(self.get(reference, deadline=deadline) for reference in option)
            if all(one.item is not None for one in found) or _has_leaf(found):
                return Collection(found=found, absent=needs.absent)
            if not best or _there(found) > _there(best):
                best = found
        return Collection(found=best, absent=needs.absent)

    def deadline(self) -> float:
        """The end of a command that starts now."""
        return self._fetcher.deadline() if self._fetcher else self._clock.monotonic()

    def get(self, reference: Reference, *, deadline: float | None = None) -> Found:
        """One item: from the cache if it is fresh, else fetched, else what there is."""
        deadline = self.deadline() if deadline is None else deadline
        try:
            authorities = self._authorities(reference, deadline)
        except EnarxError as error:
            return Found(name=reference.name, state=State.MISSING, problem=error)
        kept = self._kept(reference, authorities)
        if kept is not None and not self._due(*kept):
            return self._found(*kept)
        try:
            item = self._fetch(reference, deadline)
            validity = check(item, authorities)
            self._refuse_older(item, validity, kept)
        except EnarxError as error:
            if kept is not None:
                return self._found(*kept, problem=error)
            return Found(name=reference.name, state=State.MISSING, problem=error)
        entry = Entry(
            item=item,
            fetched=int(self._clock.now().timestamp()),
            source=asking.source_of(reference, self._sources),
        )
        return self._found(entry, validity, problem=self._keep(entry))

    def add(self, items: Iterable[Item]) -> tuple[Found, ...]:
        """Verify items from elsewhere and keep them, unless what is kept is newer.

        Chains are taken first, because the rest hangs on them.
        """
        ordered = sorted(items, key=lambda one: not isinstance(one.reference, AmdChain))
        return tuple(self._add(item) for item in ordered)

    def _add(self, item: Item) -> Found:
        reference = item.reference
        try:
            authorities = self._authorities(reference, self._clock.monotonic())
            validity = check(item, authorities)
            self._refuse_older(item, validity, self._kept(reference, authorities))
        except EnarxError as error:
            return Found(name=item.name, state=State.MISSING, problem=error)
        entry = Entry(item=item, fetched=int(self._clock.now().timestamp()), source=IMPORTED)
        return self._found(entry, validity, problem=self._keep(entry))

    def _keep(self, entry: Entry) -> EnarxError | None:
        try:
            self._cache.put(entry)
        except HostError as error:
            return error  # what was fetched is good all the same
        return None

    def _found(
        self, entry: Entry, validity: Validity, *, problem: EnarxError | None = None
    ) -> Found:
        fresh = validity.holds(self._clock.now())
        return Found(
            name=entry.item.name,
            state=State.FRESH if fresh else State.STALE,
            item=entry.item,
            validity=validity,
            fetched=datetime.fromtimestamp(entry.fetched, UTC),
            problem=problem,
        )

    def _kept(
        self, reference: Reference, authorities: tuple[bytes, ...]
    ) -> tuple[Entry, Validity] | None:
        entry = self._cache.get(reference.name)
        if entry is None:
            return None
        try:
            return entry, check(entry.item, authorities)
        except EnarxError:
            return None  # not what it should be any more: as good as missing

    def _due(self, entry: Entry, validity: Validity) -> bool:
        now = self._clock.now()
        if not validity.holds(now):
            return True
        age = now.timestamp() - entry.fetched
        # A negative age: a clock was wrong, then or now.
        return validity.renewed and not 0 <= age < limits.REFRESH_SECONDS

    def _authorities(self, reference: Reference, deadline: float) -> tuple[bytes, ...]:
        """Certificates that AMD's items need over them; without them nothing is asked for."""
        match reference:
            case Vcek(product=product):
                chain = AmdChain(product=product, kind="vcek")
            case Vlek(product=product):
                chain = AmdChain(product=product, kind="vlek")
            case AmdCrl(product=product, kind=kind):
                chain = AmdChain(product=product, kind=kind)
            case _:
                return ()
        found = self.get(chain, deadline=deadline)
        if found.item is None:
            raise found.problem or ParseError(f"{chain.name} is not there")
        return load_certificates(found.item.body)

    def _fetch(self, reference: Reference, deadline: float) -> Item:
        if self._fetcher is None:
            raise RefusedError(
                f"{reference.name} is not to be asked for: offline",
                hint="fetch it where there is a network, and take it here as a bundle",
                code="endorsements.offline",
            )
        quiet = self._quiet.get(reference.name)
        if quiet is not None and self._clock.monotonic() < quiet[0]:
            raise quiet[1]
        try:
            return self._ask(self._fetcher, reference, deadline)
        except EnarxError as error:
            if len(self._quiet) >= MAX_QUIET:
                self._quiet.clear()
            self._quiet[reference.name] = (self._clock.monotonic() + QUIET_SECONDS, error)
            raise

    def _ask(self, fetcher: Fetcher, reference: Reference, deadline: float) -> Item:
        if isinstance(reference, RootCrl):
            chain = self._intel_root(deadline)
            return asking.ask_for_root_crl(fetcher, self._sources, chain, deadline=deadline)
        return asking.ask(fetcher, self._sources, reference, deadline=deadline)

    def _intel_root(self, deadline: float) -> bytes:
        """Intel's root certificate, PEM, out of a chain that ends in it."""
        found = [self.get(PckCrl(authority="platform"), deadline=deadline)]
        if found[0].item is None:
            found.append(self.get(PckCrl(authority="processor"), deadline=deadline))
        item = found[-1].item
        if item is None:
            raise found[-1].problem or ParseError("no chain of Intel is there")
        for der in load_certificates(item.chain):
            certificate = load_certificate(der)
            if certificate.self_issued:
                return certificate.parsed.public_bytes(Encoding.PEM)
        raise ParseError("the chain of the PCK revocation list has no root", code="crl.chain")

    def _refuse_older(
        self, item: Item, validity: Validity, kept: tuple[Entry, Validity] | None
    ) -> None:
        """Nobody may put back a list from before something was revoked."""
        if kept is None or not validity.renewed or validity.start >= kept[1].start:
            return
        raise ProtocolError(
            f"{item.name} is of {validity.start.isoformat()}, older than the one that is kept "
            f"({kept[1].start.isoformat()})",
            hint="the service or mirror is behind; the newer one is used",
            code="endorsements.older",
        )

    def stored(self) -> tuple[Found, ...]:
        """Everything in the cache, with what the lists in it say; asks nobody."""
        offline = Collector(
            cache=self._cache, sources=self._sources, fetcher=None, clock=self._clock
        )
        found = [offline.get(entry.item.reference) for entry in self._cache.entries()]
        revoked = _revoked(one.item for one in found if one.item is not None)
        return tuple(
            msgspec.structs.replace(one, state=State.REVOKED, problem=None)
            if one.name in revoked
            else msgspec.structs.replace(one, problem=one.problem if one.item is None else None)
            for one in sorted(found, key=lambda one: one.name)
        )


def _there(found: Iterable[Found]) -> int:
    return sum(one.item is not None for one in found)


def _has_leaf(found: Iterable[Found]) -> bool:
    return any(one.item is not None and isinstance(one.item.reference, Vcek) for one in found)


def _revoked(items: Iterable[Item]) -> set[str]:
    """Names of AMD's chains whose intermediate a list among the items revokes."""
    chains: list[tuple[str, AmdChain, bytes]] = []
    lists: list[tuple[AmdCrl, bytes]] = []
    for item in items:
        reference = item.reference
        if isinstance(reference, AmdChain):
            chains.append((item.name, reference, item.body))
        elif isinstance(reference, AmdCrl):
            lists.append((reference, item.body))
    return {
        name
        for name, chain, pem in chains
        for crl, der in lists
        if crl.product == chain.product
        and load_crl(der).lists(load_certificate(load_certificates(pem)[0]))
    }
