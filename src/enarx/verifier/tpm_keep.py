"""Steps 1 to 5 of :mod:`enarx.verifier.tpm` for a Keep's bundle."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from enarx.evidence.boot_log import layers
from enarx.evidence.eventlog import EventLog, replay_digests
from enarx.evidence.tpm import Attest
from enarx.evidence.tpm_bundle import (
    BANK,
    DIGEST,
    INIT_DATA,
    INIT_DATA_PCR,
    QUOTED_PCRS,
    WORKLOAD_PCR,
    TpmBundle,
    boot_digest,
)
from enarx.evidence.tpm_keys import Public, Signature
from enarx.verifier.endorsements import Endorsements
from enarx.verifier.preimages import check_preimages
from enarx.verifier.tpm_activation import ROLE, check_activation
from enarx.verifier.tpm_chain import check_chain, ek_path, root_of
from enarx.verifier.tpm_pcrs import QUOTE_FORMAT, check_log
from enarx.verifier.tpm_quote import Quote, check_quote, describe_quote
from enarx.verifier.trace import Claim, Failure, Trace
from enarx.verifier.unread import refuse_unread
from enarx.verifier.verified import Verified

REPORT_DATA: Final = 64
"""Bytes of report data in the form all technologies share: a quote carries the first half."""

_ENDORSEMENT: Final = bytes.fromhex("4000000b")
"""TPM_RH_ENDORSEMENT, the qualified name of the hierarchy (part 1, section 16)."""
_DEPTH: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepQuote:
    """A bundle and its parts, only read."""

    bundle: TpmBundle
    attest: Attest
    signature: Signature
    ak: Public


def verify_keep(evidence: KeepQuote, *, endorsements: Endorsements, at: datetime) -> Verified:
    """All five steps."""
    bundle, attest, trace = evidence.bundle, evidence.attest, Trace()
    path, problem = ek_path(bundle.ek, endorsements.certificates)
    check_chain(path, problem, at, trace)  # 1.
    _check_ak(evidence, trace)  # 2.
    ek = path.certificates[0] if path is not None else None
    proven = check_activation(
        endorsements.role(ROLE), ek=ek, ak=evidence.ak, quote=bundle.quote, trace=trace
    )
    quote = Quote(
        raw=bundle.quote,
        attest=attest,
        signatures=(evidence.signature,),
        key=evidence.ak.key,
        banks={BANK: bundle.pcrs},
    )
    check_quote(quote, trace)  # 3.
    _check_selection(attest, trace)  # 4.
    log = check_log(bundle.log, {BANK: bundle.pcrs}, trace) if bundle.log else None
    if not bundle.log:
        trace.note("tpm.log", "event log", found="none: no layer of the boot can be named")
    init_data = _check_events(bundle, trace)  # 5.
    report_data = _report_data(attest.extra_data)
    check_preimages(report_data, init_data, endorsements, trace)
    refuse_unread("tpm", endorsements, trace)
    return Verified(
        kind="tpm",
        evidence=evidence,
        at=at,
        links=trace.links,
        genuine=False,  # until the policy says that it pins the root
        root=root_of(path, problem),
        describe=lambda: {
            **describe_quote(quote),
            **_describe(evidence, log),
            "ek_spki_sha256": ek.spki_sha256.hex() if ek is not None else "",
        },
        product="TPM 2.0",
        instance=ek.spki_sha256 if ek is not None else b"",
        measurement=boot_digest(bundle.pcrs),
        registers=_registers(bundle, log),
        report_data=report_data,
        host_data=init_data,
        flags={"key_proven": proven, "memory_encrypted": False},
        findings=() if log is not None else ("no_event_log",),
        valid_until=path.valid_until if path is not None else None,
    )


def _report_data(extra_data: bytes) -> bytes:
    """In the form all technologies share, where it is one digest."""
    return extra_data.ljust(REPORT_DATA, b"\0") if len(extra_data) == DIGEST else extra_data


def _check_ak(evidence: KeepQuote, trace: Trace) -> None:
    ak = evidence.ak
    trace.check(
        ak.is_attestation_key,
        "tpm.ak.attributes",
        "attestation key never leaves its TPM, and signs only what that made",
        failure=Failure.BINDING,
        claim=Claim.INSTANCE_IDENTITY,
        expected="fixedTPM, fixedParent, sensitiveDataOrigin, restricted, sign; not decrypt",
        found=f"attributes {ak.attributes:08x}",
        source="TPM 2.0 Library, part 2, section 8.3",
        remedy="the key could sign anything: do not trust it",
        depth=_DEPTH - 1,
    )
    qualified = ak.raw[2:4] + hashlib.new(ak.name_algorithm, _ENDORSEMENT + ak.name).digest()
    trace.check(
        evidence.attest.qualified_signer == qualified,
        "tpm.ak.hierarchy",
        "attestation key is a primary key of the endorsement hierarchy",
        failure=Failure.BINDING,
        claim=Claim.INSTANCE_IDENTITY,
        expected=qualified.hex(),
        found=evidence.attest.qualified_signer.hex(),
        source="TPM 2.0 Library, part 1, section 16: qualified names",
        remedy="another key signed than the evidence names",
        depth=_DEPTH - 1,
    )


def _check_selection(attest: Attest, trace: Trace) -> None:
    found = {one.bank: one.registers for one in attest.selections}
    trace.check(
        tuple(found) == (BANK,) and found[BANK] == QUOTED_PCRS,
        "tpm.quote.selection",
        "quote is over registers 0 to 15",
        failure=Failure.BINDING,
        claim=Claim.EXECUTABLES,
        expected=f"{BANK}: {', '.join(map(str, QUOTED_PCRS))}",
        found="; ".join(f"{bank}: {', '.join(map(str, some))}" for bank, some in found.items()),
        source=QUOTE_FORMAT,
        remedy="a register that is not quoted may hold anything",
        depth=_DEPTH,
    )


def _check_events(bundle: TpmBundle, trace: Trace) -> bytes:
    """Step 5; the init data's digest where register 11 proves it, else nothing."""
    good = {}
    for register, what in ((INIT_DATA_PCR, "init data"), (WORKLOAD_PCR, "workloads")):
        digests = [one.digest for one in bundle.events if one.register == register]
        replayed = replay_digests(BANK, digests, size=DIGEST)
        value = bundle.pcrs.get(register, b"")
        good[register] = trace.check(
            value == replayed,
            f"tpm.events.pcr{register}",
            f"register {register} holds the {what} that the Keep names, and nothing else",
            failure=Failure.BINDING,
            claim=Claim.CONFIGURATION,
            expected=replayed.hex(),
            found=value.hex() or "no value given",
            source="enarx.evidence.tpm_bundle",
            remedy="somebody else extended the register, or the Keep leaves something out",
            depth=_DEPTH + 1,
        )
    labels = [one.label for one in bundle.events if one.register == INIT_DATA_PCR]
    once = trace.check(
        labels == [INIT_DATA],
        "tpm.events.init_data",
        "init data were measured, once",
        failure=Failure.INIT_DATA,
        claim=Claim.CONFIGURATION,
        expected=INIT_DATA,
        found=", ".join(labels) or "nothing",
        source="DESIGN, step 5: init data",
        remedy="the Keep was not started the way it has to be: do not use it",
        depth=_DEPTH + 1,
    )
    if not (once and good[INIT_DATA_PCR]):
        return b""
    return next(one.digest for one in bundle.events if one.register == INIT_DATA_PCR)


def _registers(bundle: TpmBundle, log: EventLog | None) -> Mapping[str, bytes]:
    """Registers by number, and the layers of the boot that the log names."""
    registers = {f"pcr{index}": value for index, value in bundle.pcrs.items()}
    if 0 in bundle.pcrs:
        registers["firmware"] = bundle.pcrs[0]
    return registers | dict(layers(log, BANK) if log is not None else {})


def _describe(evidence: KeepQuote, log: EventLog | None) -> dict[str, Any]:
    bundle = evidence.bundle
    spki = evidence.ak.key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return {
        "ak_name": evidence.ak.name.hex(),
        "ak_spki_sha256": hashlib.sha256(spki).hexdigest(),
        "pcrs": {str(index): value.hex() for index, value in sorted(bundle.pcrs.items())},
        "boot_digest": boot_digest(bundle.pcrs).hex(),
        "layers": {name: digest.hex() for name, digest in layers(log, BANK).items()}
        if log is not None
        else {},
        "measured": [
            {"register": one.register, "label": one.label, "sha256": one.digest.hex()}
            for one in bundle.events
        ],
    }
