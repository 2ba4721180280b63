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
    from enarx.verifier.ear import Ear, VerifierId, ear_of
    from enarx.verifier.ear_cwt import read_cwt, write_cwt
    from enarx.verifier.ear_jwt import read_jwt, write_jwt
    from enarx.verifier.ear_keys import load_key
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
    "Ear",
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
    "VerifierId",
    "appraise",
    "appraise_keep",
    "ear_of",
    "endorsements_from",
    "judge",
    "load_key",
    "parse",
    "read_cwt",
    "read_jwt",
    "write_cwt",
    "write_jwt",
]

_HOME = {
    **dict.fromkeys(
        ("Parsed", "Technology", "Verifier", "appraise", "judge", "parse"), "appraisal"
    ),
    **dict.fromkeys(("DcapCollateral", "Endorsements"), "endorsements"),
    **dict.fromkeys(("KeepAppraisal", "KeepRequest", "appraise_keep"), "keep"),
    "endorsements_from": "roles",
    **dict.fromkeys(("Ear", "VerifierId", "ear_of"), "ear"),
    **dict.fromkeys(("read_cwt", "write_cwt"), "ear_cwt"),
    **dict.fromkeys(("read_jwt", "write_jwt"), "ear_jwt"),
    "load_key": "ear_keys",
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
