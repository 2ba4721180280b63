"""ID blocks: the guest's owner signed what may be launched, and that is what was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from tests.verifier.snp_factory import Snp, chip, key

from enarx.errors import ParseError, UsageError
from enarx.evidence.snp import key_word, pack_signature
from enarx.evidence.snp_id import IdAuth, IdBlock, key_digest, pack_key, unpack_key
from enarx.verifier import Failure, Tier, Verdict

VECTOR = Path(__file__).resolve().parents[3] / "shared/vectors/sev/snp-id-block-virtee"


def packed(name: str) -> bytes:
    numbers = key(name).public_key().public_numbers()
    return pack_key(numbers.x, numbers.y)


def sign(name: str, data: bytes) -> bytes:
    signature = key(name).sign(data, ec.ECDSA(hashes.SHA384()))
    return pack_signature(*utils.decode_dss_signature(signature))


BLOCK = IdBlock(measurement=b"\x02" * 48, version=1, policy=0x30000)
AUTH = IdAuth(
    id_key_algo=1,
    author_key_algo=1,
    id_block_signature=sign("id", BLOCK.pack()),
    id_key=packed("id"),
    id_key_signature=sign("author", packed("id")),
    author_key=packed("author"),
)


def launched(*, author: bool = True, **changes: Any) -> Snp:
    return chip().with_report(
        id_key_digest=key_digest(AUTH.id_key),
        author_key_digest=key_digest(AUTH.author_key) if author else bytes(48),
        key_word=key_word(author_key=author),
        **changes,
    )


def judged(made: Snp, block: IdBlock = BLOCK, auth: IdAuth = AUTH) -> Verdict:
    extra = (("id_block", block.pack()), ("id_auth", auth.pack()))
    return made.appraise(endorsements=made.endorsements(extra=extra))


@pytest.mark.parametrize("author", [True, False])
def test_id_block_of_the_launch_is_affirmed(author: bool) -> None:
    assert judged(launched(author=author)).tier is Tier.AFFIRMING


@pytest.mark.parametrize(
    ("changes", "failure"),
    [
        ({"id_key_digest": bytes(48)}, Failure.BINDING),
        ({"author_key_digest": bytes(48)}, Failure.BINDING),
        ({"measurement": b"\x07" * 48}, Failure.BINDING),
        ({"guest_svn": 1}, Failure.BINDING),
        ({"family_id": b"\x01" * 16}, Failure.BINDING),
        ({"image_id": b"\x01" * 16}, Failure.BINDING),
        ({"policy": 0x30001}, Failure.BINDING),
    ],
)
def test_report_of_another_launch_does_not_fit(changes: dict[str, Any], failure: Failure) -> None:
    made = launched()
    verdict = judged(made.but(report=replace(made.report, **changes)))
    assert verdict.failure is failure


@pytest.mark.parametrize(
    "auth",
    [
        replace(AUTH, id_block_signature=sign("other", BLOCK.pack())),
        replace(AUTH, id_key_signature=sign("other", AUTH.id_key)),
        replace(AUTH, id_key_algo=2),
        replace(AUTH, id_block_signature=bytes(512)),
        replace(AUTH, id_block_signature=b"\xff" * 512),
    ],
)
def test_signature_of_another_key_is_refused(auth: IdAuth) -> None:
    assert judged(launched(), auth=auth).failure is Failure.SIGNATURE


def test_key_that_is_no_point_is_refused() -> None:
    auth = replace(AUTH, id_key=pack_key(1, 1))
    assert judged(launched(), auth=auth).tier is Tier.CONTRAINDICATED


@pytest.mark.parametrize(
    "extra",
    [
        (("id_block", BLOCK.pack()),),
        (("id_auth", AUTH.pack()),),
        (("id_block", BLOCK.pack()[:-1]), ("id_auth", AUTH.pack())),
        (("id_block", BLOCK.pack()), ("id_auth", AUTH.pack() + b"\0")),
    ],
)
def test_half_of_it_or_another_length_is_refused(extra: Any) -> None:
    made = launched()
    verdict = made.appraise(endorsements=made.endorsements(extra=extra))
    assert verdict.failure is Failure.BINDING


def test_keys_have_one_encoding() -> None:
    packed_key = packed("id")
    numbers = key("id").public_key().public_numbers()
    assert unpack_key(packed_key) == (numbers.x, numbers.y)
    for position in (0, 4 + 48, 4 + 72 + 48, 148, 1027):
        changed = bytearray(packed_key)
        changed[position] ^= 1
        with pytest.raises(ParseError):
            unpack_key(bytes(changed))
    with pytest.raises(UsageError):
        pack_key(1 << 384, 0)


@pytest.mark.skipif(not VECTOR.exists(), reason=f"no sample in {VECTOR}")
def test_page_made_by_others_is_read_and_verified() -> None:
    block_bytes = (VECTOR / "id_block.bin").read_bytes()
    auth_bytes = (VECTOR / "id_auth.bin").read_bytes()
    block, auth = IdBlock.parse(block_bytes), IdAuth.parse(auth_bytes)
    assert (block.pack(), auth.pack()) == (block_bytes, auth_bytes)
    made = chip().with_report(
        measurement=block.measurement,
        policy=block.policy,
        id_key_digest=key_digest(auth.id_key),
        author_key_digest=key_digest(auth.author_key),
        key_word=key_word(author_key=True),
    )
    assert judged(made, block, auth).tier is Tier.AFFIRMING
