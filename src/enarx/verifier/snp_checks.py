"""The checks of an SNP report, one step of :mod:`enarx.verifier.snp` a function.

Sources: AMD 56860 (SNP firmware ABI), section 7.3 and table 23; AMD 57230 (VCEK, KDS).
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

from enarx.errors import ParseError
from enarx.evidence.snp import (
    CPUID_SINCE_VERSION,
    ECDSA_P384_SHA384,
    POLICY_MUST_BE_ONE,
    SIGNED_BY_NONE,
    SIGNED_BY_VCEK,
    SIGNED_BY_VLEK,
    SIGNED_SIZE,
    SIGNING_KEYS,
    SUPPORTED_VERSIONS,
    Product,
    Report,
    tcb_components,
    unpack_signature,
)
from enarx.verifier.snp_chain import Chain, Leaf, Pool
from enarx.verifier.trace import Claim, Failure, Trace

ABI: Final = "AMD 56860, table 23"
_DEPTH: Final = 3
_P384_ORDER: Final = int(
    "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf"
    "581a0db248b0a77aecec196accc52973",
    16,
)
"""Order of the group (SEC 2, section 2.5.1)."""
_ECDSA: Final = ec.ECDSA(hashes.SHA384())


def report_missing_leaf(pool: Pool, trace: Trace) -> None:
    """There is no certificate for the signing key at all."""
    trace.check(
        False,
        "snp.leaf",
        "certificate of the signing key",
        failure=Failure.CHAIN,
        claim=Claim.INSTANCE_IDENTITY,
        expected="a VCEK or VLEK certificate",
        found="; ".join(pool.problems[:4]) or "none supplied",
        source="AMD 57230, section 2",
        remedy="fetch it from AMD for this chip and TCB (enarx endorsements fetch)",
    )


def check_dates(chain: Chain, at: datetime, trace: Trace) -> None:
    """Step 2: every certificate and list is in date, and nothing is revoked."""
    when = at.isoformat()
    for depth, one in enumerate(reversed(chain.path.certificates)):
        trace.check(
            one.valid_at(at),
            "snp.certificate.dates",
            f"{one.common_name} is in date",
            failure=Failure.TIME,
            claim=Claim.INSTANCE_IDENTITY,
            expected=f"{one.not_before.isoformat()} to {one.not_after.isoformat()}",
            found=when,
            source="RFC 5280, section 4.1.2.5",
            valid_until=one.not_after,
            remedy="use a certificate that is valid now, and check this machine's clock",
            depth=depth,
        )
    for revoked, certificates in chain.crls:
        trace.check(
            revoked.valid_at(at),
            "snp.crl.dates",
            f"revocation list of {revoked.issuer_common_name} is in date",
            failure=Failure.TIME,
            claim=Claim.INSTANCE_IDENTITY,
            expected=f"{revoked.this_update.isoformat()} to "
            f"{revoked.next_update.isoformat() if revoked.next_update else 'no end given'}",
            found=when,
            source="RFC 5280, section 5.1.2",
            valid_until=revoked.next_update,
            remedy="fetch the revocation list again (enarx endorsements fetch)",
            depth=1,
        )
        listed = [one.common_name for one in certificates if revoked.lists(one)]
        trace.check(
            not listed,
            "snp.revocation",
            f"nothing in the chain is on the list of {revoked.issuer_common_name}",
            failure=Failure.REVOKED,
            claim=Claim.INSTANCE_IDENTITY,
            expected="not revoked",
            found=f"revoked: {', '.join(listed)}" if listed else "not revoked",
            source="RFC 5280, section 6.3.3",
            valid_until=revoked.next_update,
            remedy="AMD withdrew this key: fetch a new chain, and trust nothing under this one",
            depth=1,
        )


def check_form(report: Report, product: Product | None, trace: Trace) -> None:
    """Step 3: the report has a form that genuine firmware gives."""
    known_version = report.version in SUPPORTED_VERSIONS
    trace.check(
        known_version,
        "snp.report.version",
        "report version is supported",
        failure=Failure.STRUCTURE,
        expected="2, 3 or 5",
        found=str(report.version),
        source=ABI,
        remedy="" if known_version else "update this program if the version is a new one",
        depth=_DEPTH,
    )
    trace.check(
        report.signature_algo == ECDSA_P384_SHA384,
        "snp.report.algorithm",
        "signature algorithm is ECDSA P-384 with SHA-384",
        failure=Failure.STRUCTURE,
        expected="1",
        found=str(report.signature_algo),
        source="AMD 56860, chapter 10",
        depth=_DEPTH,
    )
    trace.check(
        bool(report.policy & POLICY_MUST_BE_ONE),
        "snp.report.policy",
        "guest policy has its reserved bit set",
        failure=Failure.STRUCTURE,
        expected="bit 17 set",
        found=f"{report.policy:016x}",
        source="AMD 56860, section 4.3",
        depth=_DEPTH,
    )
    if report.version >= CPUID_SINCE_VERSION:
        trace.check(
            product is not None,
            "snp.report.product",
            "CPUID names a known product",
            failure=Failure.STRUCTURE,
            expected="Milan, Genoa or Turin",
            found=f"family {report.cpuid_family:#x} model {report.cpuid_model:#x}"
            + (f" ({product})" if product else ""),
            source=ABI,
            remedy="update this program if the processor is a new one",
            depth=_DEPTH,
        )


def check_binding(report: Report, leaf: Leaf, product: Product | None, trace: Trace) -> None:
    """Step 4: the certificate is the one for this report."""
    extensions = leaf.extensions
    stated = SIGNING_KEYS.get(report.signing_key, f"reserved ({report.signing_key})")
    trace.check(
        stated == extensions.kind,
        "snp.binding.kind",
        "certificate is of the kind of key that signed",
        failure=Failure.SIGNATURE if report.signing_key == SIGNED_BY_NONE else Failure.BINDING,
        claim=Claim.INSTANCE_IDENTITY,
        expected=stated,
        found=extensions.kind,
        source=ABI + ": SIGNING_KEY",
        remedy="supply the VCEK for chip-signed and the VLEK for provider-signed reports",
        depth=_DEPTH,
    )
    trace.check(
        product is not None and extensions.product is product,
        "snp.binding.product",
        "certificate and report are of the same product",
        failure=Failure.BINDING,
        expected=str(product or "unknown"),
        found=extensions.product_name,
        source="AMD 57230, section 3.1",
        remedy="supply the certificate of this chip",
        depth=_DEPTH,
    )
    if extensions.hwid is not None:
        trace.check(
            report.chip_id == extensions.hwid.ljust(len(report.chip_id), b"\0")
            and any(report.chip_id),
            "snp.binding.chip",
            "certificate belongs to the chip that made the report",
            failure=Failure.BINDING,
            claim=Claim.INSTANCE_IDENTITY,
            expected=extensions.hwid.hex(),
            found=report.chip_id.hex(),
            source="AMD 57230, table 7: hwID",
            remedy="supply the VCEK of this chip (enarx endorsements fetch)"
            if not report.chip_key_masked
            else "the host masks the chip id: unset MaskChipId, or use a VLEK",
            depth=_DEPTH,
        )
    components = tcb_components(report.reported_tcb, product)
    trace.check(
        components == extensions.tcb,
        "snp.binding.tcb",
        "certificate is for the reported TCB",
        failure=Failure.TCB_MISMATCH,
        expected=_versions(extensions.tcb),
        found=_versions(components),
        source="AMD 57230, table 7: *SPL",
        remedy="fetch the certificate for exactly this TCB (enarx endorsements fetch)",
        depth=_DEPTH,
    )


def _versions(tcb: dict[str, int]) -> str:
    return " ".join(f"{name} {version}" for name, version in tcb.items())


def check_signature(raw: bytes, report: Report, chain: Chain, trace: Trace) -> None:
    """Step 5: the key in the certificate signed these bytes."""
    problem = _signature_problem(raw, report, chain.key)
    trace.check(
        not problem,
        "snp.report.signature",
        f"report is signed by the {chain.leaf.extensions.kind.upper()}",
        failure=Failure.SIGNATURE,
        claim=Claim.HARDWARE,
        expected="a signature that verifies over bytes 0 to 671",
        found=problem or "ECDSA P-384 SHA-384 verifies",
        source="AMD 56860, section 7.3",
        valid_until=chain.leaf.certificate.not_after,
        remedy="the report was changed or signed by another key: do not trust it",
        depth=_DEPTH,
    )


def _signature_problem(raw: bytes, report: Report, key: ec.EllipticCurvePublicKey | None) -> str:
    """Why the signature does not count; empty when it does."""
    if key is None:
        return "no usable key"
    if report.signing_key not in (SIGNED_BY_VCEK, SIGNED_BY_VLEK):
        return "report says that it is not signed"
    try:
        r, s = unpack_signature(report.signature)
    except ParseError as error:
        return error.message
    if not (0 < r < _P384_ORDER and 0 < s < _P384_ORDER):
        return "r or s is out of range"
    try:
        key.verify(utils.encode_dss_signature(r, s), raw[:SIGNED_SIZE], _ECDSA)
    except InvalidSignature:
        return "does not verify"
    return ""
