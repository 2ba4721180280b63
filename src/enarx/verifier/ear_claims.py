"""How an EAR's claims are written in JSON and in CBOR: one reader and writer, two tables.

Source: draft-ietf-rats-ear, sections 3.3 (JSON) and 3.4 (CBOR); RFC 7519, section 4.1 and
RFC 8392, section 4 (times); RFC 9711, section 4.1 (nonce).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, NoReturn

from enarx.errors import ParseError, UsageError
from enarx.verifier.ear import APPRAISAL_EXTENSION, Appraisal, Ear, VerifierId
from enarx.verifier.ear_keys import from_base64url, to_base64url
from enarx.verifier.trace import Claim, Tier

MAX_APPRAISALS: Final = 64
"""Attesters of one composite device; known ones have two."""

MAX_TEXT: Final = 2048
"""Characters of a label, policy id, profile or verifier id; URIs are shorter."""

MAX_NONCES: Final = 8
MAX_NONCE: Final = 88
"""64 bytes, or their Base64 form."""

MIN_NONCE: Final = 8

MAX_TIME: Final = 253_402_300_799
"""The last second of the year 9999, the end of what a datetime can hold."""

Key = str | int


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """Names and types of one serialisation.

    Attributes:
        keys: claim to key.
        vector: claims of the trust vector to their keys.
        tiers: tiers to how they are written.
        read_bytes, write_bytes: byte strings, which JSON has to write as text.
        extensions: our own claims, where the form wants a number for them.
    """

    keys: Mapping[str, Key]
    vector: Mapping[Claim, Key]
    tiers: Mapping[Tier, Key]
    read_bytes: Callable[[Any], bytes]
    write_bytes: Callable[[bytes], Any]
    extensions: Mapping[str, Key]


def _json_bytes(value: Any) -> bytes:
    if not isinstance(value, str):
        _fail("a byte string is not text")
    return from_base64url(value, what="byte string")


def _cbor_bytes(value: Any) -> bytes:
    if not isinstance(value, bytes):
        _fail("a byte string has another type")
    return value


def _same(value: bytes) -> bytes:
    return value


_NUMBERS: Final[Mapping[str, int]] = {
    "ear.status": 1000,
    "ear.trustworthiness-vector": 1001,
    "ear.raw-evidence": 1002,
    "ear.appraisal-policy-id": 1003,
    "ear.verifier-id": 1004,
    "eat_profile": 265,
    "eat_nonce": 10,
    "submods": 266,
    "exp": 4,
    "nbf": 5,
    "iat": 6,
    "developer": 0,
    "build": 1,
}

JSON: Final = Form(
    keys={name: name for name in _NUMBERS},
    vector={claim: claim.value for claim in Claim},
    tiers={tier: tier.value for tier in Tier},
    read_bytes=_json_bytes,
    write_bytes=to_base64url,
    extensions={},
)
CBOR: Final = Form(
    keys=_NUMBERS,
    vector={claim: number for number, claim in enumerate(Claim)},
    tiers={
        Tier.NONE: 0,
        Tier.AFFIRMING: 2,
        Tier.WARNING: 32,
        Tier.CONTRAINDICATED: 96,
    },
    read_bytes=_cbor_bytes,
    write_bytes=_same,
    # Private use: below -65536 (RFC 8392, section 9.1.1).
    extensions={APPRAISAL_EXTENSION: -71000},
)


def write_claims(ear: Ear, form: Form) -> dict[Key, Any]:
    """The claims set of an EAR.

    Raises:
        UsageError: no attester, or a nonce of an impossible length.
    """
    if not ear.appraisals:
        raise UsageError("an EAR needs at least one appraisal", code="ear.empty")
    keys = form.keys
    claims: dict[Key, Any] = {
        keys["eat_profile"]: ear.profile,
        keys["ear.verifier-id"]: {
            keys["build"]: ear.verifier.build,
            keys["developer"]: ear.verifier.developer,
        },
        keys["submods"]: {
            label: _write_appraisal(one, form) for label, one in ear.appraisals.items()
        },
    }
    for name, time in (("iat", ear.issued), ("nbf", ear.not_before), ("exp", ear.expires)):
        if time is not None:
            claims[keys[name]] = int(time.timestamp())
    if ear.raw_evidence is not None:
        claims[keys["ear.raw-evidence"]] = form.write_bytes(ear.raw_evidence)
    if ear.nonce:
        nonces = [_write_nonce(one, form) for one in ear.nonce]
        claims[keys["eat_nonce"]] = nonces[0] if len(nonces) == 1 else nonces
    return claims | _write_extensions(ear.extensions, form)


def _write_appraisal(appraisal: Appraisal, form: Form) -> dict[Key, Any]:
    claims: dict[Key, Any] = {form.keys["ear.status"]: form.tiers[appraisal.status]}
    if appraisal.trust_vector:
        claims[form.keys["ear.trustworthiness-vector"]] = {
            form.vector[claim]: value for claim, value in appraisal.trust_vector.items()
        }
    if appraisal.policy_id is not None:
        claims[form.keys["ear.appraisal-policy-id"]] = appraisal.policy_id
    return claims | _write_extensions(appraisal.extensions, form)


def _write_extensions(extensions: Mapping[Key, Any], form: Form) -> dict[Key, Any]:
    return {
        form.extensions.get(name, name) if isinstance(name, str) else name: value
        for name, value in extensions.items()
    }


def _write_nonce(nonce: bytes | str, form: Form) -> Any:
    if not MIN_NONCE <= len(nonce) <= MAX_NONCE:
        raise UsageError(
            f"a nonce of {len(nonce)} bytes cannot be echoed",
            hint="8 to 64 bytes are allowed",
            code="ear.nonce",
        )
    return form.write_bytes(nonce) if isinstance(nonce, bytes) else nonce


def read_claims(claims: Mapping[Key, Any], form: Form) -> Ear:
    """Read a claims set; claims that are not known are kept as extensions, unread.

    Raises:
        ParseError: a claim is missing or has a wrong type or value (``ear.schema``).
    """
    rest = dict(claims)

    def take(name: str) -> Any:
        return rest.pop(form.keys[name], None)

    submods = _map(take("submods"), "submods")
    if not 1 <= len(submods) <= MAX_APPRAISALS:
        _fail(f"submods has {len(submods)} entries, expected 1 to {MAX_APPRAISALS}")
    verifier = _map(take("ear.verifier-id"), "ear.verifier-id")
    raw_evidence = take("ear.raw-evidence")
    return Ear(
        profile=_text(take("eat_profile"), "eat_profile"),
        verifier=VerifierId(
            build=_text(verifier.get(form.keys["build"]), "build of ear.verifier-id"),
            developer=_text(verifier.get(form.keys["developer"]), "developer of ear.verifier-id"),
        ),
        appraisals={
            _text(label, "label of a submod"): _read_appraisal(_map(one, "submod"), form)
            for label, one in submods.items()
        },
        issued=_time(take("iat"), "iat"),
        not_before=_time(take("nbf"), "nbf"),
        expires=_time(take("exp"), "exp"),
        nonce=_read_nonces(take("eat_nonce")),
        raw_evidence=None if raw_evidence is None else form.read_bytes(raw_evidence),
        extensions=_read_extensions(rest, form),
    )


def _read_appraisal(claims: Mapping[Key, Any], form: Form) -> Appraisal:
    rest = dict(claims)
    status = rest.pop(form.keys["ear.status"], None)
    tier = next((one for one, written in form.tiers.items() if _equal(written, status)), None)
    if tier is None:
        _fail(f"ear.status is {status!r}, which is no tier")
    vector = rest.pop(form.keys["ear.trustworthiness-vector"], None)
    policy = rest.pop(form.keys["ear.appraisal-policy-id"], None)
    return Appraisal(
        status=tier,
        trust_vector={} if vector is None else _read_vector(vector, form),
        policy_id=None if policy is None else _text(policy, "ear.appraisal-policy-id"),
        extensions=_read_extensions(rest, form),
    )


def _read_vector(value: Any, form: Form) -> dict[Claim, int]:
    raw = _map(value, "ear.trustworthiness-vector")
    vector: dict[Claim, int] = {}
    for claim, key in form.vector.items():
        if key not in raw:
            continue
        number = raw[key]
        if not _is_integer(number) or not -128 <= number <= 127:
            _fail(f"{claim} is {number!r}, expected an integer from -128 to 127")
        vector[claim] = number
    if not vector:
        _fail("ear.trustworthiness-vector makes no claim")
    return vector


def _read_extensions(rest: Mapping[Key, Any], form: Form) -> dict[Key, Any]:
    names = {number: name for name, number in form.extensions.items()}
    return {names.get(key, key): value for key, value in rest.items()}


def _read_nonces(value: Any) -> tuple[bytes | str, ...]:
    if value is None:
        return ()
    many = value if isinstance(value, list) else [value]
    if not 1 <= len(many) <= MAX_NONCES:
        _fail(f"eat_nonce has {len(many)} entries, expected 1 to {MAX_NONCES}")
    for one in many:
        if not isinstance(one, bytes | str) or not MIN_NONCE <= len(one) <= MAX_NONCE:
            _fail("eat_nonce is not 8 to 64 bytes")
    return tuple(many)


def _time(value: Any, name: str) -> datetime | None:
    if value is None:
        return None
    # The draft and EAT rule out the floating-point form.
    if not _is_integer(value) or not 0 <= value <= MAX_TIME:
        _fail(f"{name} is {value!r}, expected whole seconds since 1970")
    return datetime.fromtimestamp(value, UTC)


def _map(value: Any, name: str) -> dict[Any, Any]:
    if not isinstance(value, dict):
        _fail(f"{name} is missing" if value is None else f"{name} is not a map")
    return value


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        _fail(f"{name} is missing" if value is None else f"{name} is not text")
    if not 1 <= len(value) <= MAX_TEXT:
        _fail(f"{name} has {len(value)} characters, expected 1 to {MAX_TEXT}")
    return value


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _equal(written: Key, found: Any) -> bool:
    return type(written) is type(found) and written == found


def _fail(problem: str) -> NoReturn:
    raise ParseError(
        f"attestation result: {problem}",
        hint="expected the claims of draft-ietf-rats-ear",
        code="ear.schema",
    )
