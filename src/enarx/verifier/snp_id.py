"""Is this the ID block the guest was launched with, and whose keys signed it?

1. The report's digests are those of the keys in the ID authentication page.
2. The ID key signed the ID block; the author key, where there is one, signed the ID key.
3. What the ID block allows is what was launched.

Without roles ``id_block`` and ``id_auth`` nothing is checked: the report's digests alone are
reference values like others (registers ``id_key_digest`` and ``author_key_digest``).

Source: AMD 56860, section 8.17.5.
"""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

from enarx.errors import ParseError
from enarx.evidence.snp import ECDSA_P384_SHA384, Report, unpack_signature
from enarx.evidence.snp_id import IdAuth, IdBlock, key_digest, unpack_key
from enarx.verifier.endorsements import Endorsements
from enarx.verifier.trace import Claim, Failure, Trace

SOURCE: Final = "AMD 56860, section 8.17.5"
_DEPTH: Final = 4


def check_id_block(report: Report, endorsements: Endorsements, trace: Trace) -> None:
    """Add links if an ID block, an ID authentication page or both were supplied."""
    block_bytes, auth_bytes = endorsements.role("id_block"), endorsements.role("id_auth")
    if block_bytes is None and auth_bytes is None:
        return
    try:
        block, auth = IdBlock.parse(block_bytes or b""), IdAuth.parse(auth_bytes or b"")
    except ParseError as error:
        _link(trace, "form", "ID block and ID authentication page", error.message)
        return
    _check_digests(report, auth, trace)  # 1.
    _check_signatures(report, block, auth, trace)  # 2.
    _check_block(report, block, trace)  # 3.


def _check_digests(report: Report, auth: IdAuth, trace: Trace) -> None:
    same = key_digest(auth.id_key) == report.id_key_digest
    _link(trace, "id_key", "ID key is the one in the report", "" if same else "another key")
    if report.author_key_enabled:
        same = key_digest(auth.author_key) == report.author_key_digest
        problem = "" if same else "another key"
    else:
        problem = "" if not any(report.author_key_digest) else "a digest without a key"
    _link(trace, "author_key", "author key is the one in the report", problem)


def _check_signatures(report: Report, block: IdBlock, auth: IdAuth, trace: Trace) -> None:
    problem = _signature_problem(
        auth.id_key, auth.id_key_algo, auth.id_block_signature, block.pack()
    )
    _link(trace, "block_signature", "ID key signed the ID block", problem, Failure.SIGNATURE)
    if report.author_key_enabled:
        problem = _signature_problem(
            auth.author_key, auth.author_key_algo, auth.id_key_signature, auth.id_key
        )
        subject = "author key signed the ID key"
        _link(trace, "key_signature", subject, problem, Failure.SIGNATURE)


def _signature_problem(key: bytes, algorithm: int, signature: bytes, signed: bytes) -> str:
    if algorithm != ECDSA_P384_SHA384:
        return f"unknown algorithm {algorithm}"
    try:
        x, y = unpack_key(key)
        public = ec.EllipticCurvePublicNumbers(x, y, ec.SECP384R1()).public_key()
        r, s = unpack_signature(signature)
        encoded = utils.encode_dss_signature(r, s)
        public.verify(encoded, signed, ec.ECDSA(hashes.SHA384()))
    except ParseError as error:
        return error.message
    except (InvalidSignature, ValueError):
        return "does not verify"
    return ""


def _check_block(report: Report, block: IdBlock, trace: Trace) -> None:
    names = ("measurement", "family_id", "image_id", "guest_svn", "policy")
    differing = [name for name in names if getattr(block, name) != getattr(report, name)]
    problem = f"differs in {', '.join(differing)}" if differing else ""
    _link(trace, "launched", "what was launched is what the ID block allows", problem)


def _link(
    trace: Trace, name: str, subject: str, problem: str, failure: Failure = Failure.BINDING
) -> None:
    trace.check(
        not problem,
        f"snp.id.{name}",
        subject,
        failure=failure,
        claim=Claim.EXECUTABLES,
        expected="so",
        found=problem or "so",
        source=SOURCE,
        remedy="supply the ID block and page this guest was launched with",
        depth=_DEPTH,
    )
