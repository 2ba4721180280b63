"""A Keep that is a machine, judged by its TPM: real quotes of real TPMs in software.

The firmware is played here: its events are extended one by one and written into a log.
"""

from __future__ import annotations

import asyncio
import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.keep.swtpm import Authority, manufacture, needs_swtpm, running

from enarx.client.activation import activate
from enarx.errors import ParseError, ProtocolError
from enarx.evidence.boot_log import TAG_INITRD, TAG_LOAD_OPTIONS
from enarx.evidence.eventlog import EV_NO_ACTION
from enarx.evidence.tpm_bundle import TpmBundle
from enarx.image import pcr
from enarx.keep.identity import Identity
from enarx.keep.tpm import Tpm, TpmAttester
from enarx.verifier import Policy, ReferenceValues, Tier, endorsements_from
from enarx.verifier.appraisal import Verifier, judge, parse
from enarx.verifier.keep import KeepAppraisal, KeepRequest, appraise_keep
from enarx.verifier.tpm_activation import Activation
from enarx.verifier.trace import Failure
from enarx.verifier.verified import RootOfTrust
from enarx.wire.attestation import ActivateRequest, ActivateResponse, AttestResponse, InitData
from enarx.wire.codec import pack
from enarx.wire.fields import Endorsement, Limits
from enarx.wire.silicon import LaunchRecord

pytestmark = needs_swtpm
DEVELOPMENT = Policy.builtin("development")
NONCE, PAYLOAD, RUNTIME = b"n" * 32, b"p" * 32, b"r" * 32
INIT = InitData(kuuid=b"k" * 16, backend="tpm", nonce=NONCE, owner=b"o" * 32, limits=Limits())
LAYERS = {
    "firmware": b"",
    "kernel": b"K" * 32,
    "command_line": pcr.command_line_digest("quiet"),
    "initrd": b"I" * 32,
}
FIRMWARE_EVENT = b"F" * 32


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def boot_events(layers: dict[str, bytes]) -> list[tuple[int, int, bytes, bytes]]:
    """Register, type, digest and data of what OVMF and the kernel's stub measure."""
    separator = (0x4, sha256(bytes(4)), bytes(4))
    variables = [
        (7, 0x80000001, pcr.variable_digest(guid, name, b""), name.encode())
        for guid, name in pcr._VARIABLES
    ]
    leave = [b"Exit Boot Services Invocation", b"Exit Boot Services Returned with Success"]
    calling = b"Calling EFI Application from Boot Option"
    return [
        (0, 0x80000008, layers["firmware"] or FIRMWARE_EVENT, b"firmware"),
        *variables,
        (7, *separator),
        (1, 0xA, b"A" * 32, b"ACPI DATA"),
        (4, 0x80000003, layers["kernel"], b"kernel"),
        (4, 0x80000007, sha256(calling), calling),
        *((index, *separator) for index in range(7)),
        (9, 0x6, layers["command_line"], struct.pack("<II", TAG_LOAD_OPTIONS, 0)),
        (9, 0x6, layers["initrd"], struct.pack("<II", TAG_INITRD, 0)),
        *((5, 0x80000007, sha256(text), text) for text in leave),
    ]


def event_log(events: list[tuple[int, int, bytes, bytes]]) -> bytes:
    spec = b"Spec ID Event03\0" + struct.pack("<I4BIHHB", 0, 0, 2, 0, 2, 1, 0xB, 32, 0)
    head = struct.pack("<II20sI", 0, EV_NO_ACTION, bytes(20), len(spec)) + spec
    return head + b"".join(
        struct.pack("<IIIH32sI", index, kind, 1, 0xB, digest, len(data)) + data
        for index, kind, digest, data in events
    )


@dataclass
class Booted:
    """A machine that has booted, and its Keep."""

    tpm: Tpm
    attester: TpmAttester
    chain: bytes

    @classmethod
    def boot(cls, tpm: Tpm, chain: bytes, *, log: bool = True, **changed: bytes) -> Booted:
        events = boot_events({**LAYERS, **changed})
        for index, _, digest, _ in events:
            tpm.extend(index, digest)
        return cls(tpm, TpmAttester(tpm, log=event_log(events) if log else b""), chain)

    def keep(self, init: InitData = INIT) -> bytes:
        """Boot the Keep: its certificate."""
        digest = sha256(pack(init))
        self.attester.bind(digest)
        return self.certificate(init)

    def certificate(self, init: InitData = INIT) -> bytes:
        return Identity.make(
            init=init,
            init_digest=sha256(pack(init)),
            record=LaunchRecord(backend="tpm", payload=PAYLOAD, runtime=RUNTIME),
            levels=(),
            get_report=self.attester.report,
        ).certificate

    async def _answer(self, request: ActivateRequest) -> ActivateResponse:
        proof = self.attester.activate(credential=request.credential, encrypted_seed=request.seed)
        return ActivateResponse(proof=proof)

    def respond(self, certificate: bytes, *, activated: bool = True) -> AttestResponse:
        """What the client has in the end, the host's part played."""
        response = AttestResponse(
            certificate=certificate,
            endorsements=(Endorsement(role="chain", data=self.chain),),
            address="unix:/keep",
        )
        if not activated:
            return response
        return asyncio.run(activate(response, nonce=NONCE, ask=self._answer))


def request(init: InitData = INIT, **changed: bytes) -> KeepRequest:
    layers = {**LAYERS, **changed}
    layers["firmware"] = firmware_register(layers["firmware"] or FIRMWARE_EVENT)
    boot = pcr.MachineBoot(pcrs=pcr.registers(**layers), layers=layers)
    return KeepRequest(
        kind="tpm",
        nonce=NONCE,
        init_data=pack(init),
        references=ReferenceValues(
            measurements=(boot.measurement,),
            registers=boot.registers,
            payloads=(PAYLOAD,),
            runtimes=(RUNTIME,),
        ),
    )


def firmware_register(event: bytes) -> bytes:
    return sha256(sha256(bytes(32) + event) + sha256(bytes(4)))


def appraise(
    response: AttestResponse, asked: KeepRequest | None = None, policy: Policy = DEVELOPMENT
) -> KeepAppraisal:
    return appraise_keep(
        response.certificate,
        asked or request(),
        policy=policy,
        at=datetime.now(UTC),
        endorsements=endorsements_from((one.role, one.data) for one in response.endorsements),
    )


def failed(appraisal: KeepAppraisal) -> set[str]:
    assert appraisal.verdict.tier is Tier.CONTRAINDICATED
    return {link.name for link in appraisal.verdict.failed}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("tpm") / "authority")


@pytest.fixture(scope="module")
def states(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    directory = tmp_path_factory.mktemp("states")
    return manufacture(directory / "one", authority), manufacture(directory / "two", authority)


@pytest.fixture
def tpm(states: tuple[Path, Path]) -> Iterator[Tpm]:
    with running(states[0]) as tpm:
        yield tpm


@pytest.fixture
def machine(tpm: Tpm, authority: Authority) -> Booted:
    return Booted.boot(tpm, authority.chain)


def test_keep_that_booted_what_was_asked_for_is_affirmed(machine: Booted) -> None:
    appraisal = appraise(machine.respond(machine.keep()))
    verdict = appraisal.verdict
    assert verdict.require().tier is Tier.AFFIRMING
    assert verdict.simulated
    assert not verdict.genuine
    names = {link.name for link in verdict.trace}
    assert {
        "root.simulated", "tpm.ek.chain", "tpm.ak.attributes", "tpm.ak.hierarchy",
        "tpm.activation", "tpm.quote.magic", "tpm.quote.signature", "tpm.quote.pcr_digest",
        "tpm.quote.selection", "tpm.log.pcr4", "tpm.clock", "tpm.events.pcr11",
        "tpm.events.pcr12", "reference.firmware", "reference.kernel", "reference.initrd",
        "reference.command_line", "keep.report_data", "keep.host_data", "keep.measurement",
    } <= names  # fmt: skip
    assert set(verdict.fields["layers"]) == {"kernel", "command_line", "initrd"}


def test_simulated_tpm_is_never_affirmed_by_default(machine: Booted) -> None:
    response = machine.respond(machine.keep())
    for name in ("default", "genuine"):
        appraisal = appraise(response, policy=Policy.builtin(name))
        assert "root.simulated" in failed(appraisal)
        assert appraisal.verdict.failure is Failure.SIMULATED


def test_root_that_a_policy_pins_is_trusted_and_memory_still_lies_open(machine: Booted) -> None:
    response = machine.respond(machine.keep())
    root = appraise(response).verdict.verified.root  # type: ignore[union-attr]
    policy = msgspec.structs.replace(
        Policy.builtin("default"),
        tpm_roots=(root.spki_sha256,),  # type: ignore[union-attr]
    )
    verdict = appraise(response, policy=policy).verdict
    assert verdict.tier is Tier.WARNING
    assert verdict.genuine
    assert not verdict.simulated
    assert "tpm.flag.memory_encrypted" in {link.name for link in verdict.warnings}


def test_root_of_another_name_that_no_policy_pins_is_refused(machine: Booted) -> None:
    response = machine.respond(machine.keep())
    roles = endorsements_from((one.role, one.data) for one in response.endorsements)
    evidence = appraise(response).evidence
    verified = Verifier().verify(
        parse(evidence, kind="tpm"), endorsements=roles, at=datetime.now(UTC)
    )
    other = RootOfTrust(name="A Vendor", spki_sha256=b"v" * 32, pinned=False, simulated=False)
    verdict = judge(msgspec.structs.replace(verified, root=other), policy=DEVELOPMENT)
    assert verdict.failure is Failure.ROOT


@pytest.mark.parametrize(
    ("layer", "register"),
    [("firmware", "pcr0"), ("kernel", "pcr4"), ("initrd", "pcr9"), ("command_line", "pcr9")],
)
def test_another_layer_is_named(tpm: Tpm, authority: Authority, layer: str, register: str) -> None:
    machine = Booted.boot(
        tpm, authority.chain, **{layer: b"another layer of 32 bytes here..."[:32]}
    )
    appraisal = appraise(machine.respond(machine.keep()))
    assert appraisal.verdict.failure is Failure.MEASUREMENT
    found = {name for name in failed(appraisal) if name.startswith("reference.")}
    assert found == {f"reference.{layer}", f"reference.{register}"}


def test_without_a_log_registers_still_decide(tpm: Tpm, authority: Authority) -> None:
    machine = Booted.boot(tpm, authority.chain, log=False, kernel=b"x" * 32)
    assert "reference.pcr4" in failed(appraise(machine.respond(machine.keep())))


def test_key_that_nobody_proved_is_refused(machine: Booted) -> None:
    appraisal = appraise(machine.respond(machine.keep(), activated=False))
    assert failed(appraisal) == {"tpm.activation", "tpm.flag.key_proven"}


def test_activation_the_host_made_up_is_refused_by_the_client(machine: Booted) -> None:
    response = machine.respond(machine.keep())
    with pytest.raises(ProtocolError) as caught:
        asyncio.run(activate(response, nonce=NONCE, ask=machine._answer))
    assert caught.value.code == "protocol.endorsements"


def test_activation_over_another_quote_or_secret_is_refused(machine: Booted) -> None:
    first = machine.respond(machine.keep())
    again = machine.respond(machine.certificate(), activated=False)
    given = first.endorsements[-1]
    replayed = msgspec.structs.replace(again, endorsements=(*again.endorsements, given))
    assert "tpm.activation" in failed(appraise(replayed))
    activation = msgspec.structs.replace(Activation.parse(given.data), secret=b"x" * 32)
    wrong = Endorsement(role="activation", data=activation.pack())
    assert "tpm.activation" in failed(
        appraise(msgspec.structs.replace(first, endorsements=(first.endorsements[0], wrong)))
    )


def test_certificate_of_another_tpm_is_not_taken(
    states: tuple[Path, Path], authority: Authority
) -> None:
    """A host that has a genuine TPM, and lends its certificate to a TPM that it made up."""
    with running(states[1]) as other:
        lent = other.read_ek_certificate()
    with running(states[0]) as tpm:
        machine = Booted.boot(tpm, authority.chain)
        machine.attester._ek = (lent,)
        certificate = machine.keep()
        # The TPM refuses the secret, so the client has no activation to show.
        response = machine.respond(certificate)
        assert [one.role for one in response.endorsements] == ["chain"]
        assert "tpm.activation" in failed(appraise(response))


def test_register_11_that_somebody_else_extended_later_is_noticed(machine: Booted) -> None:
    machine.keep()
    machine.tpm.extend(11, b"x" * 32)
    found = failed(appraise(machine.respond(machine.certificate())))
    assert {"tpm.events.pcr11", "keep.host_data"} <= found


def test_register_12_proves_what_has_run(machine: Booted) -> None:
    machine.keep()
    machine.attester.measure("workload", b"w" * 32)
    appraisal = appraise(machine.respond(machine.certificate()))
    assert appraisal.verdict.tier is Tier.AFFIRMING
    assert appraisal.verdict.fields["measured"][-1] == {
        "register": 12, "label": "workload", "sha256": (b"w" * 32).hex(),
    }  # fmt: skip


def test_workload_that_is_left_out_is_noticed(machine: Booted) -> None:
    machine.keep()
    machine.tpm.extend(12, b"w" * 32)
    assert "tpm.events.pcr12" in failed(appraise(machine.respond(machine.certificate())))


def test_init_data_that_were_never_bound_are_noticed(machine: Booted) -> None:
    found = failed(appraise(machine.respond(machine.certificate())))
    assert {"tpm.events.init_data", "keep.host_data"} <= found


def test_other_init_data_are_noticed(machine: Booted) -> None:
    other = msgspec.structs.replace(INIT, owner=b"x" * 32)
    found = failed(appraise(machine.respond(machine.keep(other))))
    assert {"keep.init_data", "keep.host_data"} <= found


def test_replayed_quote_is_noticed(machine: Booted) -> None:
    response = machine.respond(machine.keep())
    asked = msgspec.structs.replace(request(), nonce=b"m" * 32)
    assert "keep.nonce" in failed(appraise(response, asked))


def test_chain_without_its_root_is_no_chain(machine: Booted) -> None:
    response = machine.respond(machine.keep())
    bare = msgspec.structs.replace(response, endorsements=response.endorsements[1:])
    appraisal = appraise(bare)
    assert "tpm.ek.chain" in failed(appraisal)
    assert appraisal.verdict.failure is Failure.CHAIN


def test_no_flipped_bit_of_the_evidence_is_passed_over(tpm: Tpm, authority: Authority) -> None:
    # Data of log events are covered by no digest: the evidence here has no log.
    machine = Booted.boot(tpm, authority.chain, log=False)
    response = machine.respond(machine.keep())
    evidence = appraise(response).evidence
    roles = endorsements_from((one.role, one.data) for one in response.endorsements)
    wanted = ReferenceValues(
        measurements=request().references.measurements,
        registers=(("pcr1", (TpmBundle.parse(evidence).pcrs[1],)),),
    )

    def tier(content: bytes) -> Tier:
        return (
            Verifier()
            .appraise(
                content,
                kind="tpm",
                policy=DEVELOPMENT,
                at=datetime.now(UTC),
                endorsements=roles,
                references=wanted,
            )
            .tier
        )

    assert tier(evidence) is Tier.AFFIRMING
    for position in range(0, len(evidence), 3):
        changed = bytearray(evidence)
        changed[position] ^= 1 << position % 8
        try:
            assert tier(bytes(changed)) is Tier.CONTRAINDICATED, position
        except ParseError:
            continue


@pytest.mark.parametrize("part", ["log", "pcrs", "events"])
def test_changed_parts_are_noticed(machine: Booted, part: str) -> None:
    response = machine.respond(machine.keep())
    message = appraise(response)
    bundle = TpmBundle.parse(message.evidence)
    changed: dict[str, Any] = {
        "log": {"log": bundle.log.replace(LAYERS["initrd"], b"J" * 32)},
        "pcrs": {"pcrs": {**bundle.pcrs, 9: b"9" * 32}},
        "events": {"events": ()},
    }[part]
    fields = {name: getattr(bundle, name) for name in TpmBundle.__dataclass_fields__}
    evidence = TpmBundle(**{**fields, **changed}).pack()
    verdict = Verifier().appraise(
        evidence,
        policy=DEVELOPMENT,
        at=datetime.now(UTC),
        endorsements=endorsements_from((one.role, one.data) for one in response.endorsements),
    )
    assert verdict.tier is Tier.CONTRAINDICATED
    expected = {"log": "tpm.log.pcr9", "pcrs": "tpm.quote.pcr_digest", "events": "tpm.events.pcr11"}
    assert expected[part] in {link.name for link in verdict.failed}
