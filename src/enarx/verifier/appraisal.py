"""Bytes to verdict, in steps that cannot be taken in another order.

1. :func:`parse`: bytes to :class:`Parsed` evidence (``ParseError`` if they have no such form).
2. :meth:`Verifier.verify`: parsed evidence and endorsements to :class:`Verified` evidence:
   signatures, chains, bindings, dates; every check becomes a link.
3. :func:`judge`: verified evidence, policy, reference values and expectations to a ``Verdict``.

:meth:`Verifier.appraise` takes all three. All are pure functions of their arguments: no
I/O, no clock. A ``Verifier`` only remembers what it already validated.

Source: RFC 9334, section 8 (appraisal of evidence).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from importlib import import_module
from types import MappingProxyType
from typing import Any, Final, Protocol, cast

import msgspec

from enarx.errors import ParseError, UsageError
from enarx.verifier import detect
from enarx.verifier.cache import DEFAULT_ENTRIES, Cache
from enarx.verifier.endorsements import NO_ENDORSEMENTS, Endorsements
from enarx.verifier.expected import check_expectations, check_references, check_root, pin_root
from enarx.verifier.policy import Policy
from enarx.verifier.references import (
    NO_EXPECTATIONS,
    NO_REFERENCES,
    Expectations,
    ReferenceValues,
)
from enarx.verifier.trace import Trace
from enarx.verifier.verdict import Verdict, conclude
from enarx.verifier.verified import Verified

MAX_EVIDENCE_BYTES: Final = 1024 * 1024
"""The largest evidence known (CCA tokens, quotes with chains, RA-TLS) is under 32 KiB."""

TECHNOLOGIES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "snp": "enarx.verifier.snp",
        "sgx": "enarx.verifier.sgx",
        "tdx": "enarx.verifier.tdx",
        "ra-tls": "enarx.verifier.ratls",
        "tpm": "enarx.verifier.tpm",
        "azure-vtpm": "enarx.verifier.azure_vtpm",
        "eventlog": "enarx.verifier.eventlog",
        "ear": "enarx.verifier.ear_verify",
    }
)
"""Where each technology is: a module with ``TECHNOLOGY``, loaded when it is first needed."""


class Technology(Protocol):
    """What a technology adds: how its evidence is read and verified."""

    @property
    def kind(self) -> str:
        """Its name, as in ``--type``."""

    def parse(self, evidence: bytes) -> object:
        """Parse evidence into the technology's own type.

        Raises:
            ParseError: the bytes do not have the form.
        """

    def verify(
        self, evidence: Any, *, endorsements: Endorsements, at: datetime, cache: Cache
    ) -> Verified:
        """Run every check that needs no policy. Bad evidence gives bad links, not exceptions."""


class Parsed(msgspec.Struct, frozen=True, kw_only=True):
    """Evidence that was read, and nothing more: do not believe it."""

    kind: str
    evidence: object


def technology(kind: str) -> Technology:
    """The technology of this name.

    Raises:
        UsageError: there is none.
    """
    module = TECHNOLOGIES.get(kind)
    if module is None:
        raise UsageError(
            f"unknown evidence type {kind!r}",
            hint=f"known types: {', '.join(sorted(TECHNOLOGIES))}",
            code="verify.type",
        )
    return cast(Technology, import_module(module).TECHNOLOGY)


def parse(evidence: bytes, *, kind: str | None = None) -> Parsed:
    """Step 1: read evidence.

    Args:
        evidence: the bytes as the attester gave them.
        kind: its type; detected from the bytes when ``None``.

    Raises:
        ParseError: the bytes are not evidence of that type, or of no type known.
        UsageError: no such type.
    """
    if len(evidence) > MAX_EVIDENCE_BYTES:
        raise ParseError(
            f"evidence is {len(evidence)} bytes, more than {MAX_EVIDENCE_BYTES}",
            hint="pass the evidence itself, without what came with it",
            code="verify.size",
        )
    kind = kind or detect.kind_of(evidence)
    return Parsed(kind=kind, evidence=technology(kind).parse(evidence))


def judge(
    verified: Verified,
    *,
    policy: Policy,
    references: ReferenceValues = NO_REFERENCES,
    expectations: Expectations = NO_EXPECTATIONS,
    context: str | None = None,
) -> Verdict:
    """Step 3: apply a policy, reference values and expectations to verified evidence.

    Args:
        context: what the verdict is for (``"release-secrets"``, ``"monitoring"``): the rules
            the policy has for it apply as well.

    Raises:
        PolicyError: the policy has no such context.
    """
    verified = pin_root(verified, policy)
    trace = Trace()
    check_root(verified, trace, policy)
    trace.extend(verified.links)
    check_expectations(verified, trace, expectations)
    check_references(verified, trace, references)
    for check in policy.checks_for(context):
        check(verified, trace)
    return conclude(verified, links=trace.links, policy=policy.name)


class Verifier:
    """Verifies and appraises; remembers validated chains and collateral between calls.

    Holds no state that could change a verdict: with an empty cache every verdict is the
    same, only slower. Safe to share between threads.

    Args:
        cache_entries: how many chains and collateral sets to remember at most.
    """

    __slots__ = ("_cache",)

    def __init__(self, *, cache_entries: int = DEFAULT_ENTRIES) -> None:
        self._cache = Cache(entries=cache_entries)

    def verify(
        self, parsed: Parsed, *, endorsements: Endorsements = NO_ENDORSEMENTS, at: datetime
    ) -> Verified:
        """Step 2: signatures, chains, bindings and dates.

        Args:
            at: the time to judge at; must be aware.

        Raises:
            UsageError: ``at`` has no time zone.
        """
        if at.utcoffset() != timedelta(0):
            raise UsageError(
                f"the time of appraisal {at.isoformat()} is not in UTC",
                hint="pass an aware datetime in UTC",
                code="verify.time",
            )
        return technology(parsed.kind).verify(
            parsed.evidence, endorsements=endorsements, at=at, cache=self._cache
        )

    def appraise(
        self,
        evidence: bytes,
        *,
        policy: Policy,
        at: datetime,
        kind: str | None = None,
        endorsements: Endorsements = NO_ENDORSEMENTS,
        references: ReferenceValues = NO_REFERENCES,
        expectations: Expectations = NO_EXPECTATIONS,
        context: str | None = None,
    ) -> Verdict:
        """All three steps: evidence to verdict.

        Raises:
            ParseError: the bytes are not evidence.
            UsageError: unknown type, or ``at`` is not in UTC.
            PolicyError: the policy has no such context.
        """
        verified = self.verify(parse(evidence, kind=kind), endorsements=endorsements, at=at)
        return judge(
            verified,
            policy=policy,
            references=references,
            expectations=expectations,
            context=context,
        )


def appraise(
    evidence: bytes,
    *,
    policy: Policy,
    at: datetime,
    kind: str | None = None,
    endorsements: Endorsements = NO_ENDORSEMENTS,
    references: ReferenceValues = NO_REFERENCES,
    expectations: Expectations = NO_EXPECTATIONS,
    context: str | None = None,
) -> Verdict:
    """Appraise once, remembering nothing: :meth:`Verifier.appraise` of a new verifier."""
    return Verifier(cache_entries=1).appraise(
        evidence,
        policy=policy,
        at=at,
        kind=kind,
        endorsements=endorsements,
        references=references,
        expectations=expectations,
        context=context,
    )
