"""A TPM's quote: made by a TPM, signed by the key, over these register values.

The one block of links that every use of quotes has in common (:mod:`.tpm`, :mod:`.azure_vtpm`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from enarx.evidence.tpm import MAGIC, Attest, Banks
from enarx.evidence.tpm_keys import PublicKey, Signature
from enarx.verifier.tpm_pcrs import QUOTE_FORMAT, check_digest
from enarx.verifier.trace import Claim, Failure, Trace

_DEPTH: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """A quote and what came with it, only read.

    Attributes:
        raw, attest: what was signed, as bytes and in parts.
        signatures: all of them have to be good; usually one.
        key: of who signed; ``None`` where there is none, and then ``problem`` says why.
        banks: register values, or a sentence that says why there are none.
    """

    raw: bytes
    attest: Attest
    signatures: Sequence[Signature]
    key: PublicKey | None
    banks: Banks | str
    problem: str = ""

    @property
    def hash_name(self) -> str:
        """Algorithm of the PCR digest: that of the signature."""
        return self.signatures[0].hash_name if self.signatures else ""


def check_quote(quote: Quote, trace: Trace) -> None:
    """Magic and type, signature, PCR digest; and the clock, as a fact."""
    attest = quote.attest
    trace.check(
        attest.magic == MAGIC,
        "tpm.quote.magic",
        "a TPM made these bytes, as a quote",
        failure=Failure.STRUCTURE,
        expected="magic ff544347, type 8018",
        found=f"magic {attest.magic:08x}, type {attest.type:04x}",
        source=QUOTE_FORMAT,
        depth=_DEPTH,
    )
    key = quote.key
    signed = (
        key is not None
        and bool(quote.signatures)
        and all(one.verifies(key, quote.raw) for one in quote.signatures)
    )
    trace.check(
        signed,
        "tpm.quote.signature",
        "quote is signed by the attestation key",
        failure=Failure.SIGNATURE,
        claim=Claim.HARDWARE,
        expected="a signature that verifies over the quote",
        found=_scheme(quote) if signed else quote.problem or "does not verify",
        source="TPM 2.0 Library, part 3, section 18.4",
        remedy="the quote was changed, or is of another machine: do not trust it",
        depth=_DEPTH,
    )
    check_digest(attest, quote.hash_name, quote.banks, trace)
    trace.note(
        "tpm.clock",
        "clock of the TPM",
        found=f"{attest.clock} ms, {attest.reset_count} resets, {attest.restart_count} restarts"
        + ("" if attest.safe else ", and it may have gone back"),
        source="TPM 2.0 Library, part 2, section 10.11",
        depth=_DEPTH,
    )


def _scheme(quote: Quote) -> str:
    return ", ".join(f"{one.scheme.upper()} {one.hash_name} verifies" for one in quote.signatures)


def describe_quote(quote: Quote) -> dict[str, Any]:
    """The parsed values, in the documented names and forms."""
    attest = quote.attest
    first = quote.signatures[0] if quote.signatures else None
    return {
        "signature_scheme": first.scheme if first else "",
        "hash_alg": quote.hash_name,
        "extra_data": attest.extra_data.hex(),
        "qualified_signer": attest.qualified_signer.hex(),
        "clock": attest.clock,
        "reset_count": attest.reset_count,
        "restart_count": attest.restart_count,
        "safe": attest.safe,
        "firmware_version": f"{attest.firmware_version:016x}",
        "pcr_selection": [
            {"bank": one.bank, "pcrs": list(one.registers)} for one in attest.selections
        ],
        "pcr_digest": attest.pcr_digest.hex(),
    }
