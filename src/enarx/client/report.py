"""The trust report: every link of the chain of trust, root first, and what it is worth.

For a person, on one screen: links that hold are put together by what they speak of, links
that fail stand alone with what to do about them. All links one by one are in `as_dict`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TextIO

from enarx.client.report_stages import CODE, SANDBOX_LEVELS, Stage, by_stage, short
from enarx.client.result import exit_code
from enarx.client.text import paint, printable, speaks_unicode, wants_colour
from enarx.errors import EnarxError
from enarx.verifier.trace import Link, Tier
from enarx.wire.session import Ended, Exit, Killed, Trap

if TYPE_CHECKING:
    from enarx.client.appraisal import Asked
    from enarx.client.attestation import Attestation


FAILURES: Final = 8
"""Failed links that are shown one by one; the rest is counted."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What is to be told of one attested Keep and its workload."""

    attestation: Attestation
    ended: Ended | None = None
    seconds: float = 0.0
    broken: bool = False

    @classmethod
    def of(
        cls,
        attestation: Attestation,
        *,
        ended: Ended | None = None,
        seconds: float = 0.0,
        broken: bool = False,
    ) -> Report:
        """The report on an attestation.

        Args:
            ended: how the workload ended; None where it was not sent or still runs.
            seconds: how long that took.
            broken: the session failed before the workload ended.
        """
        return cls(attestation=attestation, ended=ended, seconds=seconds, broken=broken)

    @property
    def refused(self) -> bool:
        """The verdict did not allow a session: nothing was sent."""
        return not self.attestation.keep.used

    def text_for(self, stream: TextIO | None) -> str:
        """The report as `stream` can show it."""
        return self.text(unicode=speaks_unicode(stream), colour=wants_colour(stream))

    def text(self, *, unicode: bool = True, colour: bool = False) -> str:
        """The report for a person."""
        page = _Page(unicode=unicode, colour=colour)
        self._head(page)
        for stage, links in by_stage(self.attestation.verdict.trace):
            page.stage(stage, links, asked=self.attestation.asked)
            if stage.label == CODE:
                for line in self.attestation.differences:
                    page.detail(line)
        self._sent(page)
        self._protected(page)
        return page.text()

    def _head(self, page: _Page) -> None:
        verdict = self.attestation.verdict
        if verdict.simulated:
            page.line(
                f"SIMULATED SILICON: this protects nothing from the owner of {self._machine()}.",
                "red",
            )
        keep = self.attestation.keep
        tier = verdict.tier.value.upper()
        colour = "green" if verdict.tier is Tier.AFFIRMING else "red"
        page.line(
            f"Keep {keep.kuuid} on {keep.backend}: {tier} under policy '{verdict.policy}'", colour
        )

    def _machine(self) -> str:
        endpoint = self.attestation.keep.client.endpoint
        return "this machine" if endpoint.path else f"the machine {endpoint.host}"

    def _sent(self, page: _Page) -> None:
        if self.refused:
            page.row("session", "none: nothing was sent", good=False)
            return
        if self.broken:
            page.row("session", "failed, as is said below", good=False)
            return
        page.row("session", "TLS 1.3 to exactly this key, for its owner alone", good=True)
        if self.ended is not None:
            page.row("workload", _outcome(self.ended, self.seconds), good=_went_well(self.ended))

    def _protected(self, page: _Page) -> None:
        """In plain words, what is protected from whom."""
        verdict = self.attestation.verdict
        affirmed = verdict.tier is Tier.AFFIRMING
        real = affirmed and verdict.genuine and not verdict.simulated
        levels = self.attestation.claims.sandbox if affirmed else ()
        missing = [what for names, what in SANDBOX_LEVELS if not set(names) & set(levels)]
        page.line("What is protected from whom", "bold")
        if affirmed:
            walls = "WebAssembly, in a process with the sandbox below"
            page.row("host from workload", walls, good=True)
            page.row("workload from others", "every workload has a Keep of its own", good=True)
        owner = (
            "memory is encrypted and the silicon vouches for the code: it cannot look inside"
            if real
            else "NOT protected: whoever owns the machine can see and change everything"
        )
        page.row("workload from host", owner, good=real)
        if affirmed:
            there = len(SANDBOX_LEVELS) - len(missing)
            page.row(
                "sandbox",
                f"{there} of {len(SANDBOX_LEVELS)} levels"
                + (f"; missing: {', '.join(missing)}" if missing else ", none missing"),
                good=not missing,
            )

    def refusal(self) -> str:
        """One line for below the report of a refusal: that nothing was sent, and why."""
        verdict = self.attestation.verdict
        cause = f" ({verdict.failure.value})" if verdict.failure else ""
        return f"nothing was sent: {verdict.tier.value}{cause} under policy '{verdict.policy}'"

    def as_dict(self) -> dict[str, Any]:
        """Everything, for programs; digests in hex."""
        attestation, verdict = self.attestation, self.attestation.verdict
        keep, asked = attestation.keep, attestation.asked
        return {
            "keep": {
                "kuuid": str(keep.kuuid),
                "backend": keep.backend,
                "host": str(keep.client.endpoint),
                "payload": attestation.claims.payload.hex(),
                "runtime": attestation.claims.runtime.hex(),
                "sandbox": list(attestation.claims.sandbox),
            },
            "expected": {
                "payload": asked.expected.payload.hex(),
                "runtime": asked.expected.runtime.hex(),
                "from": asked.expected.origin,
                "differences": list(attestation.differences),
            },
            "verdict": {
                "tier": verdict.tier.value,
                "genuine": verdict.genuine,
                "simulated": verdict.simulated,
                "failure": verdict.failure.value if verdict.failure else None,
                "policy": verdict.policy,
                "valid_until": _time(verdict.valid_until),
                "trust_vector": {str(k): v for k, v in verdict.trust_vector.items()},
                "trace": [_link_dict(link) for link in verdict.trace],
            },
            "workload": _ended_dict(self.ended, self.seconds),
        }

    @staticmethod
    def json_line(report: Report | None, *, error: EnarxError | None) -> str:
        """One line of JSON: the report, where there is one, and the error, where there is one."""
        content: dict[str, Any] = report.as_dict() if report else {}
        content["error"] = (
            {"code": error.code, "message": error.message, "hint": error.hint} if error else None
        )
        return json.dumps(content)


class _Page:
    """Lines of a report."""

    def __init__(self, *, unicode: bool, colour: bool) -> None:
        self._unicode, self._colour = unicode, colour
        self._lines: list[str] = []

    def line(self, text: str, colour: str) -> None:
        self._lines.append(paint(printable(text), colour, on=self._colour))

    def row(self, label: str, text: str, *, good: bool, warning: bool = False) -> None:
        sign, colour = ("✓", "green") if good else ("!", "yellow") if warning else ("✗", "red")
        if not self._unicode:
            sign = {"✓": "[ok]", "!": "[!!]", "✗": "[NO]"}[sign]
        mark = paint(sign, colour, on=self._colour)
        self._lines.append(f"  {mark} {label:<20}  {printable(text)}")

    def detail(self, text: str) -> None:
        self._lines.append(f"      {printable(text)}")

    def stage(self, stage: Stage, links: Sequence[Link], *, asked: Asked) -> None:
        bad = [link for link in links if not link.ok]
        if not bad:
            self.row(stage.label, stage.holds(links, asked), good=True)
            return
        warning = all(link.outcome is Tier.WARNING for link in bad)
        self.row(
            stage.label, f"{len(bad)} of {len(links)} checks do not hold",
            good=False, warning=warning,
        )  # fmt: skip
        for link in bad[:FAILURES]:
            self.detail(_sentence(link))
            if link.remedy:
                self.detail(f"  {'→' if self._unicode else '->'} {link.remedy}")
        if len(bad) > FAILURES:
            self.detail(f"and {len(bad) - FAILURES} more")

    def text(self) -> str:
        text = "\n".join(self._lines)
        return text if self._unicode else text.encode("ascii", "replace").decode("ascii")


def _sentence(link: Link) -> str:
    expected, found = short(link.expected), short(link.found)
    if expected and found:
        return f"{link.subject}: expected {expected}, found {found}"
    return f"{link.subject}: {found or 'failed'}"


def _outcome(ended: Ended, seconds: float) -> str:
    if isinstance(ended, Exit):
        return f"ended with exit code {ended.code} after {seconds:.2f} s"
    if isinstance(ended, Trap):
        return f"trapped after {seconds:.2f} s"
    if isinstance(ended, Killed):
        return f"ended by the Keep after {seconds:.2f} s: {ended.reason}"
    return "could not be started"


def _went_well(ended: Ended) -> bool:
    return isinstance(ended, Exit)


def _ended_dict(ended: Ended | None, seconds: float) -> dict[str, Any] | None:
    if ended is None:
        return None
    return {
        "ended": type(ended).__name__.lower(),
        "exit_code": exit_code(ended),
        "seconds": round(seconds, 6),
        "frames": list(ended.frames) if isinstance(ended, Trap) else [],
    }


def _link_dict(link: Link) -> dict[str, Any]:
    return {
        "name": link.name,
        "subject": link.subject,
        "outcome": link.outcome.value,
        "failure": link.failure.value if link.failure else None,
        "expected": link.expected,
        "found": link.found,
        "claim": link.claim.value,
        "source": link.source,
        "remedy": link.remedy,
        "depth": link.depth,
        "valid_until": _time(link.valid_until),
    }


def _time(when: Any) -> str | None:
    return when.strftime("%Y-%m-%dT%H:%M:%SZ") if when is not None else None
