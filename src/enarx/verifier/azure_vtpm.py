"""Confidential VMs with a paravisor: silicon vouches for a virtual TPM, which vouches for the VM.

1. The hardware's evidence inside the HCL report: an SNP report with its chain, or a TDREPORT and
   the TD quote (input ``td_quote``) that makes it checkable from afar. All of that technology's
   checks run, and policies judge the whole as evidence of that technology.
2. The hardware's report data is SHA-256 over the runtime data (for TDX in both, and both are of
   one TD), so that the silicon vouches for the virtual TPM's attestation key, ``HCLAkPub``.
3. That key signed the quote (inputs ``tpm_quote`` and ``tpm_signature``), whose digest is over
   the register values (``pcrs``), to which the event log replays (``event_log``).

The nonce is in the quote and never reaches the silicon: the report data of the whole is the
quote's extra data. How fresh the hardware report is, nothing says.

Source: Microsoft, *Azure confidential VMs guest attestation design*; RFC 7517 (JWK).
"""

from __future__ import annotations

import binascii
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec
from cryptography.hazmat.primitives.asymmetric import rsa

from enarx.errors import ParseError, UsageError
from enarx.evidence.hcl import REPORT_SNP, HclReport
from enarx.evidence.quote import Quote as TdQuote
from enarx.evidence.tdx import TdReportBody
from enarx.evidence.tpm import Attest
from enarx.evidence.tpm_keys import bare_signature
from enarx.verifier import strictjson
from enarx.verifier.appraisal import Parsed, parse, technology
from enarx.verifier.cache import Cache
from enarx.verifier.endorsements import Endorsements
from enarx.verifier.preimages import check_preimages
from enarx.verifier.tpm_pcrs import check_log, quoted, read_pcrs
from enarx.verifier.tpm_quote import Quote, check_quote
from enarx.verifier.trace import Claim, Failure, Trace
from enarx.verifier.unread import refuse_unread
from enarx.verifier.verified import RootOfTrust, Verified

SOURCE: Final = "Azure confidential VMs guest attestation design"
KEY_ID: Final = "HCLAkPub"
MAX_RUNTIME_DATA: Final = 32 * 1024
"""Bytes of runtime data; they take about 1,200."""
MAX_KEYS: Final = 16
MAX_RSA_BITS: Final = 4096
_REPORT_DATA: Final = 64
_DEPTH: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class HclEvidence:
    """An HCL report and the hardware report in it; of TDX there is only what it says."""

    hcl: HclReport
    snp: Parsed | None


class AzureVtpmTechnology:
    """How an HCL report with a quote is read and verified."""

    kind = "azure-vtpm"

    def parse(self, evidence: bytes) -> HclEvidence:
        """Read an HCL report and the SNP report in it.

        Raises:
            ParseError: not one.
        """
        hcl = HclReport.parse(evidence)
        snp = parse(hcl.hardware_report, kind="snp") if hcl.report_type == REPORT_SNP else None
        return HclEvidence(hcl=hcl, snp=snp)

    def verify(
        self, evidence: HclEvidence, *, endorsements: Endorsements, at: datetime, cache: Cache
    ) -> Verified:
        """Run the steps of this module's docstring."""
        trace = Trace()
        # The log, and other inputs of the virtual TPM, say nothing about the hardware's registers.
        below = msgspec.structs.replace(endorsements, event_log=b"", ccel=b"", extra=())
        inner = _hardware(evidence, endorsements, below, at, cache, trace)  # 1.
        _check_runtime_data(evidence.hcl, inner, trace)  # 2.
        quote = _quote(evidence.hcl, endorsements, trace)  # 3.
        if quote is not None:
            check_quote(quote, trace)
            if endorsements.event_log and not isinstance(quote.banks, str):
                check_log(endorsements.event_log, quote.banks, trace)
        genuine = inner.genuine and trace.sound
        report_data = quote.attest.extra_data if quote is not None else b""
        check_preimages(report_data, inner.host_data, endorsements, trace)
        refuse_unread(self.kind, endorsements, trace)
        registers = _registers(quote)
        return msgspec.structs.replace(
            inner,
            carrier=self.kind,
            evidence=evidence,
            links=(*inner.links, *trace.links),
            genuine=genuine,
            report_data=report_data,
            registers={**inner.registers, **registers},
            describe=lambda: _describe(evidence, inner, quote),
        )


TECHNOLOGY: Final = AzureVtpmTechnology()


def _hardware(
    evidence: HclEvidence,
    endorsements: Endorsements,
    below: Endorsements,
    at: datetime,
    cache: Cache,
    trace: Trace,
) -> Verified:
    """Step 1."""
    if evidence.snp is not None:
        snp = technology("snp")
        return snp.verify(evidence.snp.evidence, endorsements=below, at=at, cache=cache)
    found = "none supplied (--with td_quote=FILE)"
    supplied = endorsements.role("td_quote")
    if supplied is not None:
        try:
            quote = parse(supplied, kind="tdx")
        except ParseError as error:
            found = error.message
        else:
            return technology("tdx").verify(quote.evidence, endorsements=below, at=at, cache=cache)
    trace.check(
        False,
        "azure.td_quote",
        "a TD quote vouches for the TDREPORT",
        failure=Failure.CHAIN,
        claim=Claim.HARDWARE,
        expected="a TD quote",
        found=found,
        source=SOURCE,
        remedy="ask the machine's quoting service for the quote of this TDREPORT",
    )
    return _nothing(evidence, at)


def _nothing(evidence: HclEvidence, at: datetime) -> Verified:
    """What is known of a TD without its quote."""
    root: RootOfTrust | None = None
    return Verified(
        kind="tdx", evidence=evidence, at=at, links=(), genuine=False, root=root, describe=dict
    )


def _check_runtime_data(hcl: HclReport, inner: Verified, trace: Trace) -> None:
    """Step 2."""
    expected = hcl.runtime_digest.ljust(_REPORT_DATA, b"\0")
    trace.check(
        inner.report_data == expected,
        "azure.runtime_data",
        "silicon vouches for exactly this runtime data",
        failure=Failure.BINDING,
        claim=Claim.INSTANCE_IDENTITY,
        expected=expected.hex(),
        found=inner.report_data.hex() or "nothing",
        source=SOURCE,
        remedy="the runtime data, and the key in it, are of another machine",
        depth=_DEPTH,
    )
    quote = inner.evidence
    if not isinstance(quote, TdQuote) or not isinstance(quote.body, TdReportBody):
        return
    same = (hcl.td_report_data, hcl.td_mrtd) == (quote.body.report_data, quote.body.mr_td)
    trace.check(
        same,
        "azure.td_report",
        "TDREPORT and TD quote are of the same TD",
        failure=Failure.BINDING,
        claim=Claim.INSTANCE_IDENTITY,
        expected=f"MRTD {quote.body.mr_td.hex()[:32]}…, and its report data",
        found="the same" if same else f"MRTD {hcl.td_mrtd.hex()[:32]}…, or other report data",
        source="Intel TDX Module ABI: TDREPORT_STRUCT",
        remedy="supply the quote that was made of this TDREPORT",
        depth=_DEPTH,
    )


def _quote(hcl: HclReport, endorsements: Endorsements, trace: Trace) -> Quote | None:
    """The virtual TPM's quote, and the key that the runtime data names; ``None`` without one."""
    raw = endorsements.role("tpm_quote")
    problem = "none supplied (--with tpm_quote=FILE)"
    attest = None
    if raw is not None:
        try:
            attest, problem = Attest.parse(raw), ""
        except ParseError as error:
            problem = error.message
    trace.check(
        attest is not None,
        "azure.tpm_quote",
        "there is a quote of the virtual TPM",
        failure=Failure.BINDING,
        claim=Claim.EXECUTABLES,
        expected="a TPMS_ATTEST",
        found=problem or "a quote",
        source=SOURCE,
        remedy="ask the virtual TPM for a quote with your nonce",
        depth=_DEPTH,
    )
    if raw is None or attest is None:
        return None
    key, problem = read_attestation_key(hcl.runtime_data)
    bare = endorsements.role("tpm_signature")
    try:
        signatures = (bare_signature(key, bare or b""),) if key is not None else ()
    except UsageError:
        signatures, problem = (), "no signature was supplied (--with tpm_signature=FILE)"
    data = endorsements.role("pcrs")
    try:
        banks = read_pcrs(data) if data is not None else "no register values were supplied"
    except ParseError as error:
        banks = error.message
    return Quote(
        raw=raw, attest=attest, signatures=signatures, key=key, banks=banks, problem=problem
    )


def read_attestation_key(runtime_data: bytes) -> tuple[rsa.RSAPublicKey | None, str]:
    """The key ``HCLAkPub`` in runtime data, and why there is none."""
    try:
        document = strictjson.decode(runtime_data, what="runtime data", limit=MAX_RUNTIME_DATA)
        keys = document.get("keys")
        if not isinstance(keys, list) or len(keys) > MAX_KEYS:
            return None, "runtime data hold no list of keys"
        named = [one for one in keys if isinstance(one, dict) and one.get("kid") == KEY_ID]
        if len(named) != 1 or named[0].get("kty") != "RSA":
            return None, f"runtime data do not hold exactly one RSA key {KEY_ID}"
        n, e = (_number(named[0].get(name)) for name in ("n", "e"))
        if n.bit_length() > MAX_RSA_BITS:
            return None, f"{KEY_ID} has {n.bit_length()} bits"
        return rsa.RSAPublicNumbers(e, n).public_key(), ""
    except ParseError as error:
        return None, error.message
    except ValueError as error:
        return None, f"{KEY_ID} is no RSA key: {error}"


def _number(text: Any) -> int:
    """Base64url without padding (RFC 7518, section 6.3.1)."""
    if not isinstance(text, str) or not text.isascii():
        raise ValueError("a member is missing")
    plain = text.translate({ord("-"): "+", ord("_"): "/", ord("+"): "!", ord("/"): "!"})
    return int.from_bytes(binascii.a2b_base64(plain + "=" * (-len(plain) % 4), strict_mode=True))


def _registers(quote: Quote | None) -> dict[str, bytes]:
    """The virtual TPM's registers that are quoted, where they hash to the digest or not."""
    if quote is None or isinstance(quote.banks, str):
        return {}
    signed = quoted(quote.attest, quote.banks)
    return {f"pcr{index}": value for index, value in signed.get("sha256", {}).items()}


def _describe(evidence: HclEvidence, inner: Verified, quote: Quote | None) -> dict[str, Any]:
    hcl = evidence.hcl
    fields: dict[str, Any] = {
        "hcl_report_type": hcl.report_type,
        "runtime_data_sha256": hcl.runtime_digest.hex(),
        inner.kind: inner.describe(),
    }
    key = quote.key if quote is not None else None
    if isinstance(key, rsa.RSAPublicKey):
        numbers = key.public_numbers()
        size = (numbers.n.bit_length() + 7) // 8
        fields["hcl_ak_pub"] = {"n": numbers.n.to_bytes(size).hex(), "e": numbers.e}
    if quote is not None:
        fields["tpm_nonce"] = quote.attest.extra_data.hex()
        fields["tpm_pcr_selection"] = [
            {"alg": one.bank, "pcrs": list(one.registers)} for one in quote.attest.selections
        ]
        fields["tpm_pcr_digest"] = quote.attest.pcr_digest.hex()
    return fields
