"""Real SGX and TDX evidence, as the verifier takes it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from enarx.verifier import Endorsements, Policy, Verdict, Verifier, endorsements_from

VECTORS = Path(__file__).resolve().parents[3] / "shared" / "vectors"
GENUINE = Policy.builtin("genuine")
_EVIDENCE_ROLES = {"ra-tls": "certificate"}


@dataclass(frozen=True)
class Sample:
    """One directory of real evidence with its expected values."""

    path: Path
    expected: dict[str, Any]

    @property
    def at(self) -> datetime:
        return datetime.fromisoformat(self.expected["verify_at"])

    @property
    def role(self) -> str:
        """Which of the files is the evidence."""
        return _EVIDENCE_ROLES.get(self.expected["tee"], "quote")

    def read(self, role: str) -> bytes:
        return (self.path / self.expected["files"][role]).read_bytes()

    @property
    def evidence(self) -> bytes:
        return self.read(self.role)

    @property
    def quote(self) -> bytes:
        """The quote without what stands behind it."""
        return self.read("quote")[: self.expected["fields"]["quote_len"]]

    def endorsements(self) -> Endorsements:
        roles = [role for role in self.expected["files"] if role not in (self.role, "quote")]
        return endorsements_from((role, self.read(role)) for role in roles)

    def appraise(self, policy: Policy = GENUINE, **more: Any) -> Verdict:
        given = {"endorsements": self.endorsements(), "at": self.at} | more
        verifier = given.pop("verifier", None) or Verifier()
        return verifier.appraise(given.pop("evidence", self.evidence), policy=policy, **given)


def samples(*tees: str, passing: bool = False) -> list[Any]:
    """Pytest parameters, one a sample; a single skipped one where the samples are not there."""
    found = [
        Sample(path.parent, json.loads(path.read_text()))
        for tee in tees
        for path in sorted((VECTORS / tee).glob("*/expected.json"))
    ]
    if not found:
        skip = pytest.mark.skip(reason=f"no samples in {VECTORS}")
        return [pytest.param(None, marks=skip, id="no-samples")]
    return [
        pytest.param(sample, id=sample.path.name)
        for sample in found
        if not passing or sample.expected["verdict"] == "pass"
    ]
