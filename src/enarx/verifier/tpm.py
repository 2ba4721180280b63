"""TPM 2.0: did this machine boot what it should, and does its TPM vouch for this Keep?

The steps, each a block of links, root first:

1. The chain over the endorsement key (EK); its root is judged by the policy (:mod:`.tpm_chain`).
2. The attestation key (AK): it only signs what the TPM made, and lives in the TPM of that EK
   (:mod:`.tpm_activation`).
3. The quote: magic and type, signature, clock (:mod:`.tpm_quote`).
4. The registers: the values hash to the quoted digest, and the event log replays to them.
5. What the Keep itself extended: register 11 replays from exactly the init data, register 12
   from the workloads that were accepted.

Two forms are read. A *bundle* (:mod:`enarx.evidence.tpm_bundle`) has all of it. A bare quote
(TPMS_ATTEST) has only step 3: key, signature and values come beside it, as the inputs
``ak_public`` (PEM, DER or TPMT_PUBLIC) or ``ak_tpmt_public``, ``signature`` or
``signature_tpmt``, ``pcrs`` and ``event_log``. Whoever supplies a bare key vouches for it: the
flag ``key_proven`` is then off, and the default policy refuses it.

A TPM proves what booted. The machine's memory lies open to its host, so the flag
``memory_encrypted`` is always off.

Sources: TCG *TPM 2.0 Library*, parts 1 to 3; RFC 9683 (remote integrity verification).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from enarx.evidence.tpm import MAGIC, Attest
from enarx.evidence.tpm_bundle import TpmBundle
from enarx.evidence.tpm_keys import Public, Signature
from enarx.verifier.cache import Cache
from enarx.verifier.endorsements import Endorsements
from enarx.verifier.tpm_bare import verify_bare
from enarx.verifier.tpm_keep import KeepQuote, verify_keep
from enarx.verifier.verified import Verified


@dataclass(frozen=True, slots=True, kw_only=True)
class BareQuote:
    """A quote without anything that helps to believe it."""

    raw: bytes
    attest: Attest


class TpmTechnology:
    """How TPM evidence is read and verified."""

    kind = "tpm"

    def parse(self, evidence: bytes) -> BareQuote | KeepQuote:
        """Read a bundle, or a TPMS_ATTEST.

        Raises:
            ParseError: neither, or a part of the bundle is not what it should be.
        """
        if evidence[:4] == MAGIC.to_bytes(4):
            return BareQuote(raw=evidence, attest=Attest.parse(evidence))
        bundle = TpmBundle.parse(evidence)
        return KeepQuote(
            bundle=bundle,
            attest=Attest.parse(bundle.quote),
            signature=Signature.parse(bundle.signature),
            ak=Public.parse(bundle.ak),
        )

    def verify(
        self,
        evidence: BareQuote | KeepQuote,
        *,
        endorsements: Endorsements,
        at: datetime,
        cache: Cache,
    ) -> Verified:
        """Run the steps of this module's docstring that the form allows."""
        if isinstance(evidence, KeepQuote):
            return verify_keep(evidence, endorsements=endorsements, at=at)
        return verify_bare(evidence.raw, evidence.attest, endorsements=endorsements, at=at)


TECHNOLOGY: Final = TpmTechnology()
