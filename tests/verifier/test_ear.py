"""Attestation results: what is refused, what is read, and that a verdict survives the way."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from enarx.errors import EnarxError, ParseError, UsageError, VerificationError
from enarx.verifier import Endorsements, Policy, appraise
from enarx.verifier.ear import (
    APPRAISAL_EXTENSION,
    PROFILE,
    Appraisal,
    Ear,
    VerifierId,
    ear_of,
    tier_of_value,
)
from enarx.verifier.ear_cwt import read_cwt, write_cwt
from enarx.verifier.ear_jwt import read_jwt, write_jwt
from enarx.verifier.ear_keys import from_base64url, load_key, sign, to_base64url
from enarx.verifier.trace import Claim, Failure, Link, Tier
from enarx.verifier.verdict import Verdict

VECTORS = Path(__file__).resolve().parents[2] / "../shared/vectors/ear"
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
KEY = ec.generate_private_key(ec.SECP256R1())
KEY_384 = ec.generate_private_key(ec.SECP384R1())
WHO = VerifierId(build="enarx 0.1.0", developer="https://example.org")
EAR = Ear(
    profile=PROFILE,
    verifier=WHO,
    appraisals={"snp": Appraisal(status=Tier.AFFIRMING, trust_vector={Claim.HARDWARE: 2})},
    issued=NOW,
    expires=NOW + timedelta(minutes=5),
)
FORMS = [
    pytest.param(write_jwt, read_jwt, id="jwt"),
    pytest.param(write_cwt, read_cwt, id="cwt"),
]


def link(name: str, outcome: Tier, failure: Failure | None = None) -> Link:
    return Link(name=name, subject=name, outcome=outcome, claim=Claim.HARDWARE, failure=failure)


def verdict(*links: Link, tier: Tier, failure: Failure | None = None) -> Verdict:
    return Verdict(
        kind="snp",
        tier=tier,
        failure=failure,
        genuine=True,
        simulated=False,
        trace=links,
        policy="default",
        at=NOW,
        valid_until=NOW + timedelta(days=1),
        verified=None,
        _describe=dict,
    )


def signed_json(header: dict[str, Any] | str, claims: dict[str, Any] | str) -> str:
    parts = [part if isinstance(part, str) else json.dumps(part) for part in (header, claims)]
    body = ".".join(to_base64url(part.encode()) for part in parts)
    return f"{body}.{to_base64url(sign(KEY, body.encode()))}"


def claims(**changes: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "eat_profile": PROFILE,
        "iat": int(NOW.timestamp()),
        "ear.verifier-id": {"build": "b", "developer": "d"},
        "submods": {"x": {"ear.status": "affirming"}},
    }
    return {name: value for name, value in (base | changes).items() if value is not None}


HEADER = {"alg": "ES256", "typ": "JWT"}


class TestTokensOfOthers:
    @pytest.mark.skipif(not VECTORS.is_dir(), reason="no ../shared/vectors/ear")
    @pytest.mark.parametrize(
        "sample", sorted(VECTORS.iterdir()) if VECTORS.is_dir() else [], ids=lambda path: path.name
    )
    def test_are_verified_or_refused_as_expected(self, sample: Path) -> None:
        expected = json.loads((sample / "expected.json").read_text())
        token = (sample / expected["files"]["token"]).read_bytes()
        key = load_key((sample / expected["files"]["key"]).read_bytes())
        at = datetime.fromisoformat(expected["verify_at"])
        if expected["verdict"] == "pass":
            read = read_jwt(token, key, at=at)
            assert read.claims == expected["fields"]["claims"]
            assert read.header == expected["fields"]["header"]
            read.ear.require()
        else:
            with pytest.raises(EnarxError) as error:
                read_jwt(token, key, at=at)
            assert error.value.code == f"ear.{expected['failure']}"

    @pytest.mark.skipif(not VECTORS.is_dir(), reason="no ../shared/vectors/ear")
    def test_no_bit_of_a_genuine_token_can_be_changed(self) -> None:
        sample = VECTORS / "veraison-extensions"
        token = (sample / "token.jwt").read_text().strip()
        key = load_key((sample / "key.jwk.json").read_bytes())
        whole = [from_base64url(part, what="part") for part in token.split(".")]
        for number, part in enumerate(whole):
            for position in range(len(part) * 8):
                flipped = bytearray(part)
                flipped[position // 8] ^= 1 << position % 8
                parts = [*whole[:number], bytes(flipped), *whole[number + 1 :]]
                with pytest.raises(EnarxError):
                    read_jwt(".".join(map(to_base64url, parts)), key, at=NOW)


class TestVerdictAsToken:
    @pytest.mark.parametrize(("write", "read"), FORMS)
    @pytest.mark.parametrize("key", [KEY, KEY_384], ids=["ES256", "ES384"])
    def test_verdict_survives(self, write: Any, read: Any, key: Any) -> None:
        result = verdict(
            link("snp.signature", Tier.AFFIRMING),
            link("snp.tcb", Tier.CONTRAINDICATED, Failure.TCB_STATUS),
            tier=Tier.CONTRAINDICATED,
            failure=Failure.TCB_STATUS,
        )
        ear = ear_of(
            result, verifier=WHO, issued=NOW, lifetime=timedelta(hours=1), raw_evidence=b"\0\xff"
        )
        token = read(write(ear, key), key.public_key(), at=NOW)
        assert token.ear == ear
        assert token.ear.expires == NOW + timedelta(hours=1)
        appraisal = token.ear.appraisals["snp"]
        assert appraisal.tier is Tier.CONTRAINDICATED
        assert appraisal.trust_vector == {Claim.HARDWARE: 96}
        assert appraisal.policy_id == "default"
        assert appraisal.extensions[APPRAISAL_EXTENSION] == {
            "failed": ["snp.tcb"],
            "failure": "tcb_status",
            "genuine": True,
            "simulated": False,
        }
        with pytest.raises(VerificationError) as error:
            token.ear.require(accept_warning=True)
        assert error.value.code == "verification.contraindicated"

    def test_token_never_outlives_what_the_verdict_rests_on(self) -> None:
        result = verdict(link("a", Tier.AFFIRMING), tier=Tier.AFFIRMING)
        ear = ear_of(result, verifier=WHO, issued=NOW, lifetime=timedelta(days=30))
        assert ear.expires == result.valid_until

    def test_nonce_is_echoed(self) -> None:
        result = verdict(link("a", Tier.AFFIRMING), tier=Tier.AFFIRMING)
        ear = ear_of(result, verifier=WHO, issued=NOW, nonce=b"01234567")
        assert read_cwt(write_cwt(ear, KEY), KEY.public_key(), at=NOW).ear.nonce == (b"01234567",)
        read = read_jwt(write_jwt(ear, KEY), KEY.public_key(), at=NOW)
        assert read.ear.nonce == (to_base64url(b"01234567"),)

    def test_cwt_has_the_numbers_of_the_draft(self) -> None:
        tagged = cbor2.loads(write_cwt(EAR, KEY, key_id=b"k"))
        assert tagged.tag == 18
        protected, unprotected, payload, signature = tagged.value
        assert (cbor2.loads(protected), unprotected) == ({1: -7}, {4: b"k"})
        assert len(signature) == 64
        assert cbor2.loads(payload) == {
            265: PROFILE,
            6: int(NOW.timestamp()),
            4: int(NOW.timestamp()) + 300,
            1004: {0: "https://example.org", 1: "enarx 0.1.0"},
            266: {"snp": {1000: 2, 1001: {4: 2}}},
        }

    def test_tokens_have_no_truth_value(self) -> None:
        with pytest.raises(TypeError):
            bool(EAR)


class TestTier:
    @pytest.mark.parametrize(
        ("value", "tier"),
        [
            (-128, "contraindicated"), (-97, "contraindicated"), (-96, "warning"),
            (-33, "warning"), (-32, "affirming"), (-2, "affirming"), (-1, "none"), (0, "none"),
            (1, "none"), (2, "affirming"), (31, "affirming"), (32, "warning"), (95, "warning"),
            (96, "contraindicated"), (127, "contraindicated"),
        ],
    )  # fmt: skip
    def test_of_every_boundary_value(self, value: int, tier: str) -> None:
        assert tier_of_value(value) == tier

    def test_status_is_never_better_than_the_vector(self) -> None:
        lying = Appraisal(status=Tier.AFFIRMING, trust_vector={Claim.EXECUTABLES: 96})
        assert lying.tier is Tier.CONTRAINDICATED

    def test_one_attester_without_verdict_leaves_the_whole_without(self) -> None:
        ear = replace(EAR, appraisals=EAR.appraisals | {"other": Appraisal(status=Tier.NONE)})
        assert ear.tier is Tier.NONE
        with pytest.raises(VerificationError):
            ear.require(accept_warning=True)


class TestTime:
    @pytest.mark.parametrize(("write", "read"), FORMS)
    def test_expired_from_exactly_its_second_on(self, write: Any, read: Any) -> None:
        token = write(EAR, KEY)
        end = NOW + timedelta(minutes=5)
        read(token, KEY.public_key(), at=end - timedelta(seconds=1))
        with pytest.raises(VerificationError) as error:
            read(token, KEY.public_key(), at=end)
        assert error.value.code == "ear.time"
        read(token, KEY.public_key(), at=end, leeway=timedelta(seconds=1))

    @pytest.mark.parametrize("name", ["issued", "not_before"])
    def test_not_valid_before_its_time(self, name: str) -> None:
        later = NOW + timedelta(seconds=10)
        token = write_jwt(replace(EAR, **{name: later}), KEY)
        with pytest.raises(VerificationError) as error:
            read_jwt(token, KEY.public_key(), at=NOW)
        assert error.value.code == "ear.time"
        read_jwt(token, KEY.public_key(), at=later)

    def test_time_without_zone_is_a_mistake_of_the_caller(self) -> None:
        with pytest.raises(UsageError):
            read_jwt(write_jwt(EAR, KEY), KEY.public_key(), at=datetime(2026, 1, 1))


class TestAlgorithm:
    @pytest.mark.parametrize("alg", ["none", "None", "HS256", "ES384", "RS256", "es256", None, 1])
    def test_of_the_header_must_be_that_of_the_key(self, alg: object) -> None:
        token = signed_json({"alg": alg}, claims())
        with pytest.raises(VerificationError) as error:
            read_jwt(token, KEY.public_key(), at=NOW)
        assert error.value.code == "ear.signature"

    def test_public_key_is_never_a_secret_for_hmac(self) -> None:
        import hashlib
        import hmac

        pem = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        parts = [to_base64url(json.dumps(part).encode()) for part in ({"alg": "HS256"}, claims())]
        body = ".".join(parts)
        mac = hmac.new(pem, body.encode(), hashlib.sha256).digest()
        with pytest.raises(VerificationError):
            read_jwt(f"{body}.{to_base64url(mac)}", load_key(pem), at=NOW)

    def test_key_in_the_header_is_not_used(self) -> None:
        other = ec.generate_private_key(ec.SECP256R1())
        with pytest.raises(VerificationError):
            read_jwt(write_jwt(EAR, other), KEY.public_key(), at=NOW)

    @pytest.mark.parametrize("raw", [bytes(64), b"\xff" * 64, bytes(63), bytes(65), b""])
    def test_impossible_signatures_are_refused(self, raw: bytes) -> None:
        body = write_jwt(EAR, KEY).rpartition(".")[0]
        with pytest.raises(VerificationError) as error:
            read_jwt(f"{body}.{to_base64url(raw)}", KEY.public_key(), at=NOW)
        assert error.value.code == "ear.signature"

    @pytest.mark.parametrize(
        ("protected", "unprotected"),
        [
            ({}, {1: -7}),
            ({1: -35}, {}),
            ({1: 5}, {}),
            ({1: -7}, {1: -7}),
            ({1: -7, 2: [99], 99: 0}, {}),
            ({1: -7}, {2: [1]}),
            ({1: -7, 2: "1"}, {}),
        ],
        ids=["unprotected", "other", "hmac", "twice", "crit", "crit-unprotected", "crit-form"],
    )
    def test_of_a_cwt_is_protected_and_that_of_the_key(
        self, protected: Any, unprotected: Any
    ) -> None:
        _, _, payload, _ = cbor2.loads(write_cwt(EAR, KEY)).value
        head = cbor2.dumps(protected)
        signature = sign(KEY, cbor2.dumps(["Signature1", head, b"", payload]))
        token = cbor2.dumps(cbor2.CBORTag(18, [head, unprotected, payload, signature]))
        with pytest.raises(VerificationError) as error:
            read_cwt(token, KEY.public_key(), at=NOW)
        assert error.value.code == "ear.signature"


class TestForm:
    def test_critical_header_is_refused(self) -> None:
        token = signed_json(HEADER | {"crit": ["b64"], "b64": False}, claims())
        with pytest.raises(VerificationError):
            read_jwt(token, KEY.public_key(), at=NOW)

    @pytest.mark.parametrize(
        ("header", "body"),
        [
            ('{"alg":"ES256","alg":"ES256"}', json.dumps(claims())),
            ('{"alg":"ES256"}', '{"iat":1,"iat":1}'),
            ('{"alg":"ES256"}', "[]"),
            ('{"alg":"ES256"}', '{"a":' + "[" * 100 + "]" * 100 + "}"),
            ('{"alg":"ES256"}', '{"a":NaN}'),
            ("[]", "{}"),
        ],
        ids=["header twice", "claim twice", "array", "deep", "nan", "no header"],
    )
    def test_loose_json_is_refused(self, header: str, body: str) -> None:
        with pytest.raises(ParseError):
            read_jwt(signed_json(header, body), KEY.public_key(), at=NOW)

    @pytest.mark.parametrize(
        "spoil",
        [
            lambda token: token + ".",
            lambda token: "." + token,
            lambda token: token.replace(".", ".\n", 1),
            lambda token: token[:-1] + "+",
            lambda token: token + "=",
            lambda token: token[:-1] + chr(ord(token[-1]) + 1) if token[-1] in "AQgw" else "x.y",
            lambda token: token.rpartition(".")[0],
            lambda token: "",
            lambda token: "é" + token,
        ],
    )
    def test_loose_encoding_is_refused(self, spoil: Any) -> None:
        with pytest.raises(ParseError):
            read_jwt(spoil(write_jwt(EAR, KEY)).encode(), KEY.public_key(), at=NOW)

    def test_complete_padding_is_read(self) -> None:
        token = write_jwt(EAR, KEY)
        assert read_jwt(token + "==", KEY.public_key(), at=NOW).ear == EAR

    def test_oversize_is_refused_before_it_is_read(self) -> None:
        for read, token in ((read_jwt, "a" * 3_000_000), (read_cwt, b"\0" * 3_000_000)):
            with pytest.raises(ParseError):
                read(token, KEY.public_key(), at=NOW)  # type: ignore[operator]

    @pytest.mark.parametrize(
        "changes",
        [
            {"eat_profile": None},
            {"eat_profile": 1},
            {"ear.verifier-id": None},
            {"ear.verifier-id": {"build": "b"}},
            {"submods": None},
            {"submods": {}},
            {"submods": {"x": "nested token"}},
            {"submods": {"x": {}}},
            {"submods": {"x": {"ear.status": "Affirming"}}},
            {"submods": {"x": {"ear.status": 2}}},
            {"submods": {"x": {"ear.status": "none", "ear.trustworthiness-vector": {}}}},
            {
                "submods": {
                    "x": {"ear.status": "none", "ear.trustworthiness-vector": {"hardware": 128}}
                }
            },
            {
                "submods": {
                    "x": {"ear.status": "none", "ear.trustworthiness-vector": {"hardware": True}}
                }
            },
            {"iat": 1.5},
            {"iat": -1},
            {"exp": "soon"},
            {"exp": 10**30},
            {"ear.raw-evidence": 7},
            {"eat_nonce": "short"},
            {"eat_nonce": []},
        ],
    )
    def test_claims_must_have_their_types(self, changes: dict[str, Any]) -> None:
        with pytest.raises(ParseError) as error:
            read_jwt(signed_json(HEADER, claims(**changes)), KEY.public_key(), at=NOW)
        assert error.value.code == "ear.schema"

    def test_unknown_claims_are_kept_and_ignored(self) -> None:
        token = read_jwt(signed_json(HEADER, claims(sub="x")), KEY.public_key(), at=NOW)
        assert token.ear.extensions == {"sub": "x"}

    @pytest.mark.parametrize(
        "value",
        [
            b"",
            cbor2.dumps([b"", {}, None, b""]),
            cbor2.dumps([b"", {}, b""]),
            cbor2.dumps(cbor2.CBORTag(17, [b"", {}, b"", b""])),
            bytes.fromhex("d2845ff6"),
            write_cwt(EAR, KEY) + b"\0",
        ],
    )
    def test_what_is_no_sign1_is_refused(self, value: bytes) -> None:
        with pytest.raises(EnarxError):
            read_cwt(value, KEY.public_key(), at=NOW)

    @pytest.mark.parametrize("tags", [(), (18,), (18, 61)])
    def test_cwt_tags_may_be_there_or_not(self, tags: tuple[int, ...]) -> None:
        item = cbor2.loads(write_cwt(EAR, KEY)).value
        for tag in tags:
            item = cbor2.CBORTag(tag, item)
        assert read_cwt(cbor2.dumps(item), KEY.public_key(), at=NOW).ear == EAR

    @settings(max_examples=300, deadline=None)
    @given(st.binary(max_size=400))
    def test_random_bytes_only_raise_our_errors(self, data: bytes) -> None:
        for read in (read_jwt, read_cwt):
            with pytest.raises(EnarxError):
                read(data, KEY.public_key(), at=NOW)

    @settings(max_examples=300, deadline=None)
    @given(st.binary(max_size=200))
    def test_random_signed_claims_only_raise_our_errors(self, payload: bytes) -> None:
        head = cbor2.dumps({1: -7})
        signature = sign(KEY, cbor2.dumps(["Signature1", head, b"", payload]))
        with pytest.raises(EnarxError):
            read_cwt(cbor2.dumps([head, {}, payload, signature]), KEY.public_key(), at=NOW)


class TestKey:
    def test_pem_and_jwk_are_read(self) -> None:
        for key, curve in ((KEY, "P-256"), (KEY_384, "P-384")):
            public = key.public_key()
            point = public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)[1:]
            half = len(point) // 2
            jwk = {
                "kty": "EC",
                "crv": curve,
                "x": to_base64url(point[:half]),
                "y": to_base64url(point[half:]),
            }
            pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
            assert load_key(json.dumps(jwk).encode()) == public == load_key(pem)

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"{}",
            b'{"kty":"oct","k":"AAAA"}',
            b'{"kty":"EC","crv":"P-521","x":"","y":""}',
            b'{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}',
            json.dumps({"kty": "EC", "crv": "P-256", "x": "A" * 43, "y": "A" * 43}).encode(),
            json.dumps({"kty": "EC", "d": "AA", "crv": "P-256"}).encode(),
            b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
            b"{" * 20_000,
        ],
    )
    def test_anything_else_is_refused(self, data: bytes) -> None:
        with pytest.raises(ParseError):
            load_key(data)


class TestAsEvidence:
    @pytest.mark.skipif(not VECTORS.is_dir(), reason="no ../shared/vectors/ear")
    @pytest.mark.parametrize(
        "sample", sorted(VECTORS.iterdir()) if VECTORS.is_dir() else [], ids=lambda path: path.name
    )
    def test_tokens_of_others_get_the_expected_verdict(self, sample: Path) -> None:
        expected = json.loads((sample / "expected.json").read_text())
        key = (sample / expected["files"]["key"]).read_bytes()

        def judge() -> Verdict:
            return appraise(
                (sample / expected["files"]["token"]).read_bytes(),
                kind="ear",
                endorsements=Endorsements(extra=(("key", key),)),
                policy=Policy.builtin("genuine"),
                at=datetime.fromisoformat(expected["verify_at"]),
            )

        if expected["failure"] == "structure":
            with pytest.raises(ParseError):
                judge()
            return
        found = judge()
        assert found.tier == ("affirming" if expected["verdict"] == "pass" else "contraindicated")
        assert found.genuine is (expected["crypto_verdict"] == "pass")
        assert found.failure == expected["failure"]
        assert found.fields == expected["fields"]

    @pytest.mark.parametrize("write", [write_jwt, write_cwt], ids=["jwt", "cwt"])
    @pytest.mark.parametrize(
        ("appraisal", "tier"),
        [
            (Appraisal(status=Tier.AFFIRMING), Tier.AFFIRMING),
            (Appraisal(status=Tier.WARNING), Tier.WARNING),
            (Appraisal(status=Tier.CONTRAINDICATED), Tier.CONTRAINDICATED),
            (Appraisal(status=Tier.NONE), Tier.CONTRAINDICATED),
            (
                Appraisal(status=Tier.AFFIRMING, trust_vector={Claim.EXECUTABLES: 33}),
                Tier.WARNING,
            ),
            (
                Appraisal(status=Tier.NONE, trust_vector={Claim.EXECUTABLES: 2}),
                Tier.CONTRAINDICATED,
            ),
        ],
    )
    def test_what_it_says_decides(self, write: Any, appraisal: Appraisal, tier: Tier) -> None:
        found = self.judged(write(replace(EAR, appraisals={"x": appraisal}), KEY))
        assert found.tier is tier
        assert found.genuine

    def test_without_the_right_key_nothing_is_believed(self) -> None:
        token = write_jwt(EAR, ec.generate_private_key(ec.SECP256R1()))
        assert self.judged(token).failure is Failure.SIGNATURE
        no_key = appraise(
            token.encode(), policy=Policy.builtin("genuine"), at=NOW, endorsements=Endorsements()
        )
        assert (no_key.failure, no_key.genuine) == (Failure.COLLATERAL, False)

    @pytest.mark.parametrize("write", [write_jwt, write_cwt])
    def test_about_simulated_silicon_is_simulated_itself(self, write: Any) -> None:
        simulated = replace(verdict(tier=Tier.AFFIRMING), simulated=True, genuine=False)
        token = write(ear_of(simulated, verifier=WHO, issued=NOW), KEY)
        found = self.judged(token)
        assert (found.failure, found.genuine) == (Failure.SIMULATED, False)
        allowed = Policy.builtin("genuine").but(allow_simulated=True)
        found = self.judged(token, policy=allowed)
        assert (found.tier, found.simulated, found.genuine) == (Tier.AFFIRMING, True, False)

    def test_late_is_told_from_malformed(self) -> None:
        late = self.judged(write_jwt(EAR, KEY), at=NOW + timedelta(hours=1))
        assert late.failure is Failure.TIME
        assert self.judged(signed_json(HEADER, {"iat": 1})).failure is Failure.SCHEMA

    def judged(
        self,
        token: str | bytes,
        *,
        at: datetime = NOW,
        policy: Policy = Policy.builtin("genuine"),  # noqa: B008 - frozen
    ) -> Verdict:
        pem = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return appraise(
            token.encode() if isinstance(token, str) else token,
            kind="ear",
            endorsements=Endorsements(extra=(("key", pem),)),
            policy=policy,
            at=at,
        )
