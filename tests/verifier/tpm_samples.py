"""Real TPM evidence, as the verifier takes it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from enarx.verifier import (
    Endorsements,
    Expectations,
    Policy,
    Verdict,
    Verifier,
    endorsements_from,
)

VECTORS = Path(__file__).resolve().parents[3] / "shared" / "vectors"
GENUINE = Policy.builtin("genuine")
_EVIDENCE_ROLES = {"tpm": "quote", "azure-vtpm": "hcl_report", "eventlog": "event_log"}


@dataclass(frozen=True)
class Sample:
    """One directory of real evidence with its expected values."""

    path: Path
    expected: dict[str, Any]

    @property
    def at(self) -> datetime:
        return datetime.fromisoformat(self.expected["verify_at"])

    @property
    def kind(self) -> str:
        kind: str = self.expected["tee"]
        return kind

    @property
    def role(self) -> str:
        """Which of the files is the evidence."""
        return _EVIDENCE_ROLES[self.kind]

    def read(self, role: str) -> bytes:
        return (self.path / self.expected["files"][role]).read_bytes()

    @property
    def evidence(self) -> bytes:
        return self.read(self.role)

    @property
    def expectations(self) -> Expectations:
        """The nonce that the relying party asked with, where the sample has one."""
        nonce = self.expected["fields"].get("expected_nonce")
        return Expectations(nonce=bytes.fromhex(nonce) if nonce else None)

    def endorsements(self, *without: str, **replaced: bytes) -> Endorsements:
        """What goes with the evidence, some of it left out or replaced."""
        given = {role: self.read(role) for role in self.expected["files"] if role != self.role}
        if "pcrs" in self.expected["fields"]:
            given["pcrs"] = json.dumps(self.expected["fields"]["pcrs"]).encode()
        given |= replaced
        return endorsements_from(
            (role, data) for role, data in given.items() if role not in without
        )

    def appraise(self, policy: Policy = GENUINE, **more: Any) -> Verdict:
        given = {
            "endorsements": self.endorsements(),
            "at": self.at,
            "expectations": self.expectations,
            "kind": self.kind,
        } | more
        return Verifier().appraise(given.pop("evidence", self.evidence), policy=policy, **given)


def samples(*kinds: str, passing: bool = False) -> list[Any]:
    """Pytest parameters, one a sample; a single skipped one where the samples are not there."""
    found = [
        Sample(path.parent, json.loads(path.read_text()))
        for kind in kinds
        for path in sorted((VECTORS / kind).glob("*/expected.json"))
    ]
    if not found:
        skip = pytest.mark.skip(reason=f"no samples in {VECTORS}")
        return [pytest.param(None, marks=skip, id="no-samples")]
    return [
        pytest.param(sample, id=sample.path.name)
        for sample in found
        if not passing or sample.expected["verdict"] == "pass"
    ]
