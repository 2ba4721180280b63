"""Every parser that a stranger's bytes reach, with inputs to start from.

A new parser gets a line here; `tools/fuzz.py` does the rest.
"""

from __future__ import annotations

import datetime
import functools
import importlib
import pkgutil
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cbor2
import msgspec

import enarx.wire
from enarx.client.config import Config
from enarx.client.module import Module
from enarx.endorsements import load_bundle, write_bundle
from enarx.evidence import cmw, der, eventlog, pck, quote, ratls, snp, snp_id
from enarx.evidence.claims import Claims
from enarx.silicon import chip, intel, keys
from enarx.verifier import Tier, appraise, endorsements_from, tcb_info, x509
from enarx.verifier.crl import load_crl
from enarx.verifier.detect import kind_of
from enarx.verifier.endorsements import DcapCollateral
from enarx.verifier.policy import Policy
from enarx.verifier.policy_file import read_references
from enarx.wire import cbor
from enarx.wire.codec import Message, unpack
from enarx.wire.endpoint import Endpoint, parse_listen
from enarx.wire.framing import FrameReader

ROOT = Path(__file__).resolve().parent.parent
CONFIG = b"""args = ["a"]
env = { FOO = "bar" }
[[files]]
kind = "stdin"
"""
POLICY = b"""version = 1
base = "development"
max_age = "1h"
[[any]]
types = ["sgx"]
[[any]]
[any.tdx]
tcb_status = ["UpToDate"]
[any.tdx.minimum_tcb.any]
tee = 3
"""
REFERENCES = (
    b'measurements = ["' + b"ab" * 32 + b'"]\nregisters = { rtmr0 = ["' + b"cd" * 48 + b'"] }'
)
# A TCG event log: one SHA-1 header event that announces SHA-256, then one event.
EVENT_LOG = (
    bytes(4)
    + (3).to_bytes(4, "little")
    + bytes(20)
    + (33).to_bytes(4, "little")
    + b"Spec ID Event03\0"
    + bytes(4)
    + b"\x00\x02\x00\x02"
    + b"\x01\x00\x00\x00"
    + b"\x0b\x00\x20\x00"
    + b"\x00"
    + (4).to_bytes(4, "little")
    + (8).to_bytes(4, "little")
    + (1).to_bytes(4, "little")
    + b"\x0b\x00"
    + bytes(32)
    + (4).to_bytes(4, "little")
    + b"test"
)


class Target(NamedTuple):
    """A parser, by name, with valid or nearly valid inputs."""

    name: str
    parse: Callable[[bytes], object]
    seeds: list[bytes]


def as_text(parse: Callable[[str], object]) -> Callable[[bytes], object]:
    """A parser of text, fed with bytes; what is not UTF-8 never reaches it."""
    return lambda data: parse(data.decode("utf-8", errors="replace"))


def read_frames(data: bytes) -> None:
    """Reads a stream of frames in two pieces, as a network would cut it."""
    reader = FrameReader(limit=4096)
    for piece in (data[: len(data) // 2], data[len(data) // 2 :]):
        reader.feed(piece)
        while reader.next() is not None:
            pass


def quotes_pack_to_what_they_were(data: bytes) -> None:
    """Parses a quote; one that is accepted must be the same bytes when packed again."""
    parsed = quote.Quote.parse(data)
    if parsed.pack() != data:
        raise AssertionError("a quote that was parsed packs to other bytes")


def message_kinds() -> Iterator[type[Message]]:
    """Every message type of the wire."""
    for module in pkgutil.iter_modules(enarx.wire.__path__):
        importlib.import_module(f"enarx.wire.{module.name}")
    waiting: list[type[Message]] = [Message]
    while waiting:
        for kind in waiting.pop().__subclasses__():
            waiting.append(kind)
            if kind.__module__.startswith("enarx.wire"):
                yield kind


def some_value(dice: random.Random, depth: int = 0) -> Any:
    """A CBOR value of any kind, mostly small."""
    kinds = 5 if depth > 2 else 7
    match dice.randrange(kinds):
        case 0:
            return dice.choice([0, 1, -1, 23, 24, 2**32, 2**63, 2**64 - 1, -(2**63)])
        case 1:
            return dice.randbytes(dice.choice([0, 1, 16, 32, 64]))
        case 2:
            return dice.choice(["", "a", "sim-sgx", "ready", "\u0000", "x" * 300])
        case 3:
            return dice.choice([True, False, None])
        case 4:
            return dice.choice([0.5, float("inf")])
        case 5:
            return [some_value(dice, depth + 1) for _ in range(dice.randrange(4))]
        case _:
            keys = [dice.choice(["a", "kuuid", "type", "1"]) for _ in range(dice.randrange(4))]
            return {key: some_value(dice, depth + 1) for key in keys}


def nearly(kind: type[Message], dice: random.Random) -> bytes:
    """An encoded message with the right field names and whatever values."""
    tag = kind.__struct_config__.tag
    named = {kind.__struct_config__.tag_field or "type": tag} if tag is not None else {}
    fields = {field.encode_name: some_value(dice) for field in msgspec.structs.fields(kind)}
    return cbor.encode({**named, **fields})


class Simulated(NamedTuple):
    """A simulated machine's evidence and collateral, genuine in form."""

    sgx: bytes
    tdx: bytes
    snp: bytes
    pki: intel.IntelPki
    collateral: dict[str, str]

    @classmethod
    def make(cls) -> Simulated:
        """Of a machine made for this run."""
        chip_keys = keys.make_chip_keys()
        at = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
        pki = intel.IntelPki.issue(chip_keys, at=at)
        signer = chip.Chip(chip_keys, pki)

        def report(backend: str, size: int) -> bytes:
            launch = chip.Launch.new(backend=backend, measurement=b"m" * size, host_data=b"h" * 32)
            return signer.report(launch, b"r" * 64)[1]

        return cls(
            sgx=report("sim-sgx", 32),
            tdx=report("sim-tdx", 48),
            snp=report("sim-snp", 48),
            pki=pki,
            collateral=msgspec.json.decode(pki.collateral("tdx", at=at)),
        )


def wire_targets(dice: random.Random) -> Iterator[Target]:
    """What parties send each other."""
    yield Target("wire.cbor", cbor.decode, [cbor.encode(some_value(dice)) for _ in range(20)])
    frames = b"\xd8\x18\x41\x00\xd8\x18\x58\x18" + bytes(24)
    yield Target("wire.frames", read_frames, [frames])
    yield Target("wire.endpoint", as_text(Endpoint.parse), [b"https://[::1]:7000", b"unix:/a/b"])
    yield Target("wire.listen", as_text(parse_listen), [b"127.0.0.1:0", b"[::]:65535"])
    for kind in message_kinds():
        yield Target(
            f"message.{kind.__module__.removeprefix('enarx.wire.')}.{kind.__name__}",
            functools.partial(unpack, kind=kind),
            [nearly(kind, dice) for _ in range(10)],
        )


def evidence_targets(simulated: Simulated) -> Iterator[Target]:
    """What a TEE says, or what somebody says a TEE said."""
    quotes = [simulated.sgx, simulated.tdx]
    claims = cbor2.dumps({"pubkey-hash": cbor2.dumps([1, bytes(32)])})
    tagged = cbor2.dumps(cbor2.CBORTag(ratls.TAG_QUOTE_AND_CLAIMS, [simulated.sgx, claims]))
    kept = cmw.KeepMessage(
        media_type=cmw.MEDIA_TYPES["sgx"], evidence=simulated.sgx, claims=claims
    ).pack()
    yield Target("evidence.kind", kind_of, [*quotes, simulated.snp])
    yield Target("evidence.quote", quotes_pack_to_what_they_were, quotes)
    yield Target("evidence.snp", snp.Report.parse, [simulated.snp])
    table = snp.pack_certificate_table((("ark", b"A" * 30), ("vcek", b"B" * 40)))
    yield Target("evidence.certificates", snp.parse_certificate_table, [table])
    yield Target("evidence.id-block", snp_id.IdBlock.parse, [bytes(96)])
    yield Target("evidence.id-auth", snp_id.IdAuth.parse, [bytes(4096)])
    extension = x509.load_certificate(simulated.pki.pck).extensions[pck.PCK_EXTENSION_OID]
    yield Target("evidence.pck", pck.parse_pck_extension, [extension])
    yield Target("evidence.der", lambda data: der.read_any(data, 0), [simulated.pki.pck])
    yield Target("evidence.cmw", cmw.KeepMessage.parse, [kept])
    own = Claims(
        key_digest=bytes(32), nonce=b"n", init_data=bytes(32), payload=bytes(32), runtime=bytes(32)
    )
    yield Target("evidence.claims", Claims.parse, [own.pack()])
    yield Target("evidence.ratls", ratls.RatlsEvidence.parse, [tagged])
    yield Target("evidence.eventlog", eventlog.parse_event_log, [EVENT_LOG])


def verifier_targets(simulated: Simulated) -> Iterator[Target]:
    """Certificates, collateral and policies."""
    collateral = simulated.collateral
    info, identity = (collateral[name].encode() for name in ("tcb_info", "qe_identity"))
    whole = msgspec.json.encode(collateral)
    yield Target("verifier.certificate", x509.load_certificate, [simulated.pki.pck])
    yield Target("verifier.certificates", x509.load_certificates, [simulated.pki.pck_chain])
    yield Target("verifier.crl", load_crl, [bytes.fromhex(collateral["pck_crl"])])
    yield Target("verifier.collateral", DcapCollateral.from_json, [whole])
    yield Target("verifier.tcb-info", tcb_info.parse_tcb_info, [info])
    yield Target("verifier.qe-identity", tcb_info.parse_qe_identity, [identity])
    bundle = write_bundle((), inputs=[("chain", simulated.pki.pck), ("collateral", whole)])
    yield Target("endorsements.bundle", load_bundle, [bundle])
    yield from appraisal_targets(simulated)
    yield Target("verifier.policy", as_text(Policy.from_toml), [POLICY])
    references = functools.partial(read_references, name="fuzz")
    yield Target("verifier.references", as_text(references), [REFERENCES])


def appraisal_targets(simulated: Simulated) -> Iterator[Target]:
    """Whole appraisals: bad input must give a verdict, and never an affirming one."""
    at = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)
    policy = Policy.builtin("genuine")

    def appraised(evidence: bytes, role: str = "", data: bytes = b"") -> None:
        given = endorsements_from([(role, data)] if role else [])
        verdict = appraise(evidence, policy=policy, at=at, endorsements=given)
        if verdict.tier is Tier.AFFIRMING:
            raise AssertionError("evidence without a vendor's root was affirmed")

    for name, evidence in (("sgx", simulated.sgx), ("tdx", simulated.tdx), ("snp", simulated.snp)):
        yield Target(f"verifier.appraise-{name}", appraised, [evidence])
    for role in ("chain", "crl", "cert_table", "id_auth", "csr", "measurement_endorsement"):
        with_role = functools.partial(appraised, simulated.snp, role)
        yield Target(f"verifier.role-{role}", with_role, [simulated.pki.pck])


def client_targets() -> Iterator[Target]:
    """What a user is given and passes on."""
    modules = [path.read_bytes() for path in sorted((ROOT / "examples").rglob("exit.wasm"))]
    yield Target("client.config", as_text(Config.from_toml), [CONFIG])
    yield Target("client.module", functools.partial(Module.from_bytes, name="fuzz"), modules)


def targets(dice: random.Random) -> list[Target]:
    """The table."""
    simulated = Simulated.make()
    return [
        *wire_targets(dice),
        *evidence_targets(simulated),
        *verifier_targets(simulated),
        *client_targets(),
    ]
