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

import msgspec

import enarx.wire
from enarx.client.config import Config
from enarx.client.module import Module
from enarx.evidence import der, pck, quote, snp
from enarx.silicon import chip, intel, keys
from enarx.verifier import strictjson, tcb_info, x509
from enarx.verifier.detect import kind_of
from enarx.verifier.policy import Policy
from enarx.verifier.policy_file import read_references
from enarx.wire import cbor, limits
from enarx.wire.codec import Message, unpack
from enarx.wire.endpoint import Endpoint, parse_listen
from enarx.wire.framing import FrameReader

ROOT = Path(__file__).resolve().parent.parent
CONFIG = b"""args = ["a"]
env = { FOO = "bar" }
[[files]]
kind = "stdin"
"""
POLICY = b"""base = "default"
[tcb]
allow_simulated = true
"""


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


def evidence() -> Iterator[bytes]:
    """One genuine-looking piece of evidence per simulated back end."""
    chip_keys = keys.make_chip_keys()
    at = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    simulated = chip.Chip(chip_keys, intel.IntelPki.issue(chip_keys, at=at))
    for backend, size in (("sim-sgx", 32), ("sim-tdx", 48), ("sim-snp", 48)):
        launch = chip.Launch.new(backend=backend, measurement=b"m" * size, host_data=b"h" * 32)
        yield simulated.report(launch, b"r" * 64)[1]


def targets(dice: random.Random) -> list[Target]:
    """The table."""
    at = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    chip_keys = keys.make_chip_keys()
    pki = intel.IntelPki.issue(chip_keys, at=at)
    sgx_quote, tdx_quote, report = evidence()
    collateral = msgspec.json.decode(pki.collateral("tdx", at=at))
    crl = bytes.fromhex(collateral["pck_crl"])
    extension = pki.pck
    wire_seeds = [cbor.encode(some_value(dice)) for _ in range(20)]
    modules = [path.read_bytes() for path in sorted((ROOT / "examples").rglob("exit.wasm"))]
    table = [
        Target("wire.cbor", cbor.decode, wire_seeds),
        Target("wire.frames", read_frames, [b"\xd8\x18\x41\x00\xd8\x18\x58\x18" + b"\x00" * 24]),
        Target("wire.endpoint", as_text(Endpoint.parse), [b"https://[::1]:7000", b"unix:/a/b"]),
        Target("wire.listen", as_text(parse_listen), [b"127.0.0.1:0", b"[::]:65535"]),
        Target("evidence.kind", kind_of, [sgx_quote, tdx_quote, report]),
        Target("evidence.quote", quotes_pack_to_what_they_were, [sgx_quote, tdx_quote]),
        Target("evidence.snp", snp.Report.parse, [report]),
        Target("evidence.certificates", snp.parse_certificate_table, [bytes(24) + report[:50]]),
        Target("evidence.pck", pck.parse_pck_extension, [extension]),
        Target("evidence.der", lambda data: der.read_any(data, 0), [extension]),
        Target("verifier.certificate", x509.load_certificate, [pki.pck, pki.root]),
        Target("verifier.certificates", x509.load_certificates, [pki.pck_chain]),
        Target("verifier.crl", x509.load_crl, [crl]),
        Target("verifier.tcb-info", tcb_info.parse_tcb_info, [collateral["tcb_info"].encode()]),
        Target(
            "verifier.qe-identity", tcb_info.parse_qe_identity, [collateral["qe_identity"].encode()]
        ),
        Target(
            "verifier.json",
            lambda data: strictjson.decode(data, what="fuzz", limit=limits.MESSAGE),
            [collateral["qe_identity"].encode()],
        ),
        Target("verifier.policy", as_text(Policy.from_toml), [POLICY]),
        Target(
            "verifier.references", as_text(lambda text: read_references(text, name="f")), [POLICY]
        ),
        Target("client.config", as_text(Config.from_toml), [CONFIG]),
        Target("client.module", lambda data: Module.from_bytes(data, name="fuzz"), modules),
    ]
    for kind in message_kinds():
        table.append(
            Target(
                f"message.{kind.__module__.removeprefix('enarx.wire.')}.{kind.__name__}",
                functools.partial(unpack, kind=kind),
                [nearly(kind, dice) for _ in range(10)],
            )
        )
    return table
