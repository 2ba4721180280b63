"""Whether to believe evidence: pure functions of evidence, endorsements, policy and time.

    verdict = Verifier().appraise(evidence, endorsements=..., policy=Policy.builtin("default"),
                                  at=now)
    verdict.require()

Names are loaded when they are first used: parsing a policy loads no X.509 code.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from enarx.verifier.appraisal import Parsed, Technology, Verifier, appraise, judge, parse
    from enarx.verifier.endorsements import DcapCollateral, Endorsements
    from enarx.verifier.keep import KeepAppraisal, KeepRequest, appraise_keep
    from enarx.verifier.policy import Policy
    from enarx.verifier.references import Expectations, ReferenceValues
    from enarx.verifier.roles import endorsements_from
    from enarx.verifier.rules import AllOf, AnyOf, Check, ForType
    from enarx.verifier.trace import Claim, Failure, Link, Tier, Trace
    from enarx.verifier.verdict import Verdict
    from enarx.verifier.verified import RootOfTrust, Verified

__all__ = [
    "AllOf",
    "AnyOf",
    "Check",
    "Claim",
    "DcapCollateral",
    "Endorsements",
    "Expectations",
    "Failure",
    "ForType",
    "KeepAppraisal",
    "KeepRequest",
    "Link",
    "Parsed",
    "Policy",
    "ReferenceValues",
    "RootOfTrust",
    "Technology",
    "Tier",
    "Trace",
    "Verdict",
    "Verified",
    "Verifier",
    "appraise",
    "appraise_keep",
    "endorsements_from",
    "judge",
    "parse",
]

_HOME = {
    **dict.fromkeys(
        ("Parsed", "Technology", "Verifier", "appraise", "judge", "parse"), "appraisal"
    ),
    **dict.fromkeys(("DcapCollateral", "Endorsements"), "endorsements"),
    **dict.fromkeys(("KeepAppraisal", "KeepRequest", "appraise_keep"), "keep"),
    "endorsements_from": "roles",
    "Policy": "policy",
    **dict.fromkeys(("Expectations", "ReferenceValues"), "references"),
    **dict.fromkeys(("AllOf", "AnyOf", "Check", "ForType"), "rules"),
    **dict.fromkeys(("Claim", "Failure", "Link", "Tier", "Trace"), "trace"),
    "Verdict": "verdict",
    **dict.fromkeys(("RootOfTrust", "Verified"), "verified"),
}


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'enarx.verifier' has no attribute {name!r}")
    return getattr(import_module(f"enarx.verifier.{home}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
