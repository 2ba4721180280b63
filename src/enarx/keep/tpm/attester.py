"""Evidence of a Keep that is a machine, from the machine's TPM.

1. ``bind``: the init data's digest goes into register 11, which must be untouched.
2. ``report``: a quote over registers 0 to 15, whose extra data is the claims' digest, with the
   attestation key, the endorsement key's certificate, the firmware's event log and what the
   Keep itself extended (:mod:`enarx.evidence.tpm_bundle`).
3. ``activate``: the proof that both keys live in one TPM, for whoever doubts it.
4. ``measure``: each workload and configuration goes into register 12 before it runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from enarx.errors import HostError, UsageError
from enarx.evidence.cmw import MEDIA_TYPES
from enarx.evidence.tpm import Attest, pcr_digest
from enarx.evidence.tpm_bundle import (
    BANK,
    DIGEST,
    INIT_DATA,
    INIT_DATA_PCR,
    MAX_BUNDLED_LOG,
    MAX_EVENTS,
    QUOTED_PCRS,
    WORKLOAD_PCR,
    RuntimeEvent,
    TpmBundle,
    activation_proof,
)
from enarx.keep.tpm.commands import Tpm
from enarx.keep.tpm.transport import RESOURCE_MANAGER, Device
from enarx.wire.silicon import ReportReply

EVENT_LOG: Final = "/sys/kernel/security/tpm0/binary_bios_measurements"
"""The firmware's log, where securityfs is mounted (Linux, security/tpm/tpm_event_log)."""

QUOTE_TRIES: Final = 3
"""A register that is extended between reading and quoting makes them differ; then both again."""


class TpmAttester:
    """The seam of ``enarx.keep.machine.attester``, with a TPM behind it."""

    backend = "tpm"

    def __init__(self, tpm: Tpm, *, log: bytes = b"") -> None:
        self._tpm = tpm
        self._log = log if len(log) <= MAX_BUNDLED_LOG else b""
        self._key, self._public = tpm.create_attestation_key()
        certificate = tpm.read_ek_certificate()
        self._ek = (certificate,) if certificate else ()
        self._events: list[RuntimeEvent] = []
        self._quote = b""

    @classmethod
    def open(cls, *, device: str = RESOURCE_MANAGER, log: str = EVENT_LOG) -> TpmAttester:
        """Open the machine's TPM.

        Raises:
            HostError: there is none, or it refuses.
        """
        try:
            with Path(log).open("rb") as file:
                content = file.read(MAX_BUNDLED_LOG + 1)
        except OSError:
            content = b""  # its absence is told to the verifier, which has the registers
        return cls(Tpm(Device(device)), log=content)

    def bind(self, init_digest: bytes) -> None:
        """Extend the init data's SHA-256 into register 11; once.

        Raises:
            HostError: register 11 or 12 was extended before, or the TPM refuses.
        """
        values = self._tpm.read_pcrs((INIT_DATA_PCR, WORKLOAD_PCR))
        for register, value in values.items():
            if any(value):
                raise HostError(
                    f"register {register} of the TPM was extended before this Keep started",
                    hint="Start the machine again; if it stays so, its firmware or kernel is to "
                    "blame.",
                    code="tpm.taken",
                )
        self._extend(INIT_DATA_PCR, init_digest, INIT_DATA)

    def measure(self, label: str, digest: bytes) -> None:
        """Extend what is about to be accepted into register 12.

        Args:
            label: a word for what it is, such as ``workload``.
            digest: its SHA-256.

        Raises:
            HostError: too many events, or the TPM refuses.
        """
        if len(self._events) >= MAX_EVENTS:
            raise HostError(f"more than {MAX_EVENTS} events", code="tpm.events")
        self._extend(WORKLOAD_PCR, digest, label)

    def report(self, report_data: bytes) -> ReportReply:
        """Evidence over 64 bytes: 32, and 32 zeros, because a quote carries 50 on some TPMs.

        Raises:
            UsageError: not of that form.
            HostError: the TPM refuses, or its registers keep changing.
        """
        if len(report_data) != 2 * DIGEST or any(report_data[DIGEST:]):
            raise UsageError("a TPM takes 32 bytes of report data", code="tpm.report-data")
        for _ in range(QUOTE_TRIES):
            pcrs = self._tpm.read_pcrs(QUOTED_PCRS)
            quote, signature = self._tpm.quote(
                self._key, extra_data=report_data[:DIGEST], registers=QUOTED_PCRS
            )
            if _fits(quote, pcrs):
                break
        else:
            raise HostError("registers change while they are quoted", code="tpm.registers")
        self._quote = quote
        bundle = TpmBundle(
            quote=quote,
            signature=signature,
            ak=self._public,
            ek=self._ek,
            pcrs=pcrs,
            log=self._log,
            events=tuple(self._events),
        )
        return ReportReply(media_type=MEDIA_TYPES["tpm"], evidence=bundle.pack())

    def activate(self, *, credential: bytes, encrypted_seed: bytes) -> bytes:
        """The proof over the last report's quote (:func:`activation_proof`).

        Raises:
            HostError: no report was made yet, or the TPM refuses: the secret was for other keys.
        """
        if not self._quote:
            raise HostError("there is no quote to answer for yet", code="tpm.activation")
        ek, _ = self._tpm.endorsement_key()
        try:
            secret = self._tpm.activate(
                ak=self._key, ek=ek, credential=credential, encrypted_seed=encrypted_seed
            )
        finally:
            if ek >> 24 == _TRANSIENT:
                self._tpm.flush(ek)
        return activation_proof(secret, self._quote)

    def _extend(self, register: int, digest: bytes, label: str) -> None:
        if len(digest) != DIGEST:
            raise UsageError(f"digest has {len(digest)} bytes, not {DIGEST}", code="tpm.digest")
        self._tpm.extend(register, digest)
        self._events.append(RuntimeEvent(register=register, digest=digest, label=label))


_TRANSIENT: Final = 0x80
"""Kind of handle (part 2, section 7.2) of a key that was made, not kept."""


def _fits(quote: bytes, pcrs: Mapping[int, bytes]) -> bool:
    """Whether the quote is over these values."""
    attest = Attest.parse(quote)
    return pcr_digest("sha256", attest.selections, {BANK: pcrs}) == attest.pcr_digest
