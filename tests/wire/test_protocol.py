"""Every message type has its rule in protocol.cddl, and both say the same."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

import cbor2
import msgspec
import pytest

import enarx.wire
from enarx import errors
from enarx.errors import ProtocolError
from enarx.wire import attestation, fields, loader, manager, problem, session, silicon, zygote
from enarx.wire.codec import Message, pack, unpack

D, K = b"d" * 32, b"k" * 16
PROBLEM = problem.Problem(title="RefusedError", detail="no", code="refused", status=403)
MANIFEST = attestation.Manifest(
    component="payload", files=(attestation.File(path="a/b.py", size=3, sha256=D),)
)
KEEP = manager.KeepStatus(
    kuuid=K, backend="sim-sgx", state=manager.State.READY, owner=D, created=1, address="tcp:7000"
)
ENDORSEMENT = fields.Endorsement(role="vcek", data=b"der")

SAMPLES: tuple[Message, ...] = (
    fields.Limits(memory=1, cpu=2, wall=3, compile=4),
    ENDORSEMENT,
    PROBLEM,
    problem.Problem(title="HostError", detail="no", code="host"),
    manager.Contract(
        backend="snp", substrate="vm", evidence="snp", simulated=False, missing=("no chip",)
    ),
    manager.ContractList(contracts=()),
    manager.CreateKeep(backend="sim-sgx", nonce=D, owner=b"der"),
    KEEP,
    manager.KeepList(keeps=(KEEP, KEEP)),
    manager.HostStatus(
        version="1", pid=1, launcher="systemd", silicon="running", keeps=0, started=1
    ),
    manager.Tenant(certificate=b"der"),
    attestation.InitData(
        kuuid=K, backend="sim-sgx", nonce=D, owner=D, limits=fields.Limits(memory=7)
    ),
    attestation.AttestRequest(nonce=D),
    attestation.AttestResponse(
        certificate=b"der", endorsements=(ENDORSEMENT,), address="unix:/k.sock"
    ),
    attestation.ActivateRequest(nonce=D, credential=b"c", seed=b"s"),
    attestation.ActivateResponse(proof=D),
    attestation.File(path="a", size=0, sha256=D),
    MANIFEST,
    attestation.Manifests(payload=MANIFEST, runtime=MANIFEST),
    session.Config(args=("a", ""), env={"A": "b"}, files=("null", "stdin")),
    session.Workload(
        name="x.wasm", module=b"\0asm", config=session.Config(args=("a",)), secrets={"S": b"s"}
    ),
    session.Workload(name="x.wasm", module=b"", detach=True),
    session.Stdin(data=b"x"),
    session.StdinEnd(),
    session.Started(module=D),
    session.Stdout(data=b"x"),
    session.Stderr(data=b"x"),
    session.Lost(size=5),
    session.Exit(code=255),
    session.Trap(message="unreachable", frames=("main", "_start")),
    session.Killed(reason="limit.cpu", detail="used 1 s"),
    session.Failed(problem=PROBLEM),
    session.KeepReport(state=manager.State.READY),
    session.KeepReport(
        state=manager.State.SHUTDOWN, module=D, started=5, ended=(session.Exit(code=0),)
    ),
    silicon.SiliconInfo(),
    silicon.SiliconStatus(backends=("sim-sgx",), payload=D, runtime=D, root=D, sandbox=("x",)),
    silicon.GetEndorsements(backend="sim-sgx"),
    silicon.EndorsementsReply(endorsements=(ENDORSEMENT,)),
    silicon.GetManifests(),
    silicon.ManifestsReply(size=9),
    silicon.Launch(backend="sim-sgx", kuuid=K, host_data=D, uid=5),
    silicon.Launched(pid=7),
    silicon.LaunchRecord(backend="sim-sgx", payload=D, runtime=D),
    silicon.GetReport(report_data=b"r" * 64),
    silicon.ReportReply(media_type="application/x", evidence=b"e"),
    loader.Boot(init_data=b"i", owner=b"der"),
    loader.Activate(credential=b"c", seed=b"s"),
    loader.Activated(proof=D),
    loader.Halt(),
    loader.Ready(certificate=b"der"),
    loader.Progress(state=manager.State.RUNNING, detail="x"),
    loader.BootFailed(problem=PROBLEM),
    zygote.ZygoteReady(),
    zygote.Fork(kuuid=K, uid=1, backend="sim-sgx", payload=D, runtime=D),
    zygote.Forked(kuuid=K, pid=4),
    zygote.ForkFailed(kuuid=K, problem=PROBLEM),
    zygote.Ended(kuuid=K, status=-9),
)
PARTS = {"Limits", "Endorsement", "Contract", "File", "Manifest", "Config"}
"""Types that only occur inside a message."""


def message_types() -> set[type[Message]]:
    for module in pkgutil.iter_modules(enarx.wire.__path__):
        importlib.import_module(f"enarx.wire.{module.name}")
    found, queue = set(), [Message]
    while queue:
        for kind in queue.pop().__subclasses__():
            if kind.__module__.startswith("enarx.wire."):
                found.add(kind)
                queue.append(kind)
    return found


def test_every_message_type_has_a_sample_here() -> None:
    assert {type(sample) for sample in SAMPLES} == message_types()


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: type(sample).__name__)
def test_message_fits_its_rule_and_comes_back_equal(sample: Message, protocol: Any) -> None:
    encoded = pack(sample)
    protocol.check(type(sample).__name__, encoded)
    if type(sample).__name__ not in PARTS:
        protocol.check("message", encoded)
    assert unpack(encoded, type(sample)) == sample


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: type(sample).__name__)
def test_message_with_a_field_too_many_or_of_another_type_is_refused(
    sample: Message, protocol: Any
) -> None:
    plain = cbor2.loads(pack(sample))
    for wrong in (
        {**plain, "unknown": 1},
        *({**plain, key: 1.5} for key in plain),
        *({k: v for k, v in plain.items() if k != key} for key in required(sample)),
    ):
        encoded = cbor2.dumps(wrong, canonical=True)
        with pytest.raises(ProtocolError):
            unpack(encoded, type(sample))
        with pytest.raises(AssertionError, match=r"does not fit"):
            protocol.check(type(sample).__name__, encoded)


def required(sample: Message) -> list[str]:
    return [field.encode_name for field in msgspec.structs.fields(sample) if field.required]


def test_every_error_crosses_the_wire_as_itself() -> None:
    for error in (
        errors.UsageError("u", hint="h", code="usage.x"),
        errors.ModuleError("m"),
        errors.ConfigError("c", path="E.toml", line=3, column=4),
        errors.LimitError("l", code="limit.size"),
        errors.RefusedError("r", code="keep.not-owner"),
        errors.KeepLostError("k"),
        errors.HostError("h"),
        errors.WorkloadError("w"),
    ):
        received = problem.to_error(unpack(pack(problem.from_error(error)), problem.Problem))
        assert isinstance(error, type(received))
        assert (received.code, received.hint, received.message) == (
            error.code,
            error.hint,
            error.message,
        )


def test_problem_of_an_unknown_class_is_a_refusal() -> None:
    strange = problem.Problem(title="Surprise", detail="d", code="c")
    assert type(problem.to_error(strange)) is errors.RefusedError
