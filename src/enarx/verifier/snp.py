"""AMD SEV-SNP: does this report come from a genuine chip, and does all of it fit together?

The steps, each a block of links, root first:

1. The chain over the signing key: root pinned, every signature, roles (:mod:`.snp_chain`).
2. Dates of every certificate and revocation list; nothing revoked.
3. The report's form: version, algorithm, reserved bits, a known product.
4. The certificate is the one for this report: kind of key, product, chip, reported TCB.
5. The report's signature.
6. Extra inputs: what report data and host data are digests of; the ID block of the launch.

Sources: AMD 56860 (SNP firmware ABI), section 7.3 and table 23; AMD 57230 (VCEK, KDS).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

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
from enarx.evidence.vcek import STRUCT_VERSION
from enarx.verifier import x509
from enarx.verifier.cache import Cache
from enarx.verifier.endorsed_measurement import check_endorsed_measurement
from enarx.verifier.endorsements import Endorsements
from enarx.verifier.preimages import check_preimages
from enarx.verifier.snp_chain import Chain, Leaf, Pool, chain_of, choose_leaf, pool_of
from enarx.verifier.snp_fields import describe_leaf, describe_report
from enarx.verifier.snp_id import check_id_block
from enarx.verifier.trace import Claim, Failure, Trace
from enarx.verifier.verified import Verified

ABI: Final = "AMD 56860, table 23"
_DEPTH: Final = 3
_P384_ORDER: Final = int(
    "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf"
    "581a0db248b0a77aecec196accc52973",
    16,
)
"""Order of the group (SEC 2, section 2.5.1)."""
_ECDSA: Final = ec.ECDSA(hashes.SHA384())


@dataclass(frozen=True, kw_only=True, slots=True)
class SnpEvidence:
    """A report with its bytes, or a signing key's certificate alone (then there is no report)."""

    raw: bytes
    report: Report | None
    certificate: bytes = b""


class SnpTechnology:
    """How SNP evidence is read and verified."""

    kind = "snp"

    def parse(self, evidence: bytes) -> SnpEvidence:
        """Read a report, or a VCEK or VLEK certificate (DER or PEM).

        Raises:
            ParseError: neither.
        """
        if evidence[:1] == b"\x30" or evidence.startswith(b"-----BEGIN"):
            der = x509.load_certificates(evidence)[0]
            if STRUCT_VERSION not in x509.load_certificate(der).extensions:
                raise ParseError("certificate is not of an SNP signing key", code="snp.leaf")
            return SnpEvidence(raw=evidence, report=None, certificate=der)
        return SnpEvidence(raw=evidence, report=Report.parse(evidence))

    def verify(
        self, evidence: SnpEvidence, *, endorsements: Endorsements, at: datetime, cache: Cache
    ) -> Verified:
        """Run all steps of this module's docstring."""
        report = evidence.report
        own = (evidence.certificate,) if evidence.certificate else ()
        pool = pool_of(endorsements, cache, own=own)
        leaf = choose_leaf(pool, report)
        chain = chain_of(leaf, pool, cache) if leaf is not None else None
        trace = Trace()
        if chain is None:
            _report_missing_leaf(pool, trace)
        else:
            trace.extend(chain.links)  # 1.
            _check_dates(chain, at, trace)  # 2.
        if report is None:
            return _conclude(evidence, chain, endorsements, at, trace, cache_product=None)
        product = report.product
        if report.version < CPUID_SINCE_VERSION and leaf is not None:
            product = leaf.extensions.product
        _check_form(report, product, trace)  # 3.
        if leaf is not None and chain is not None:
            _check_binding(report, leaf, product, trace)  # 4.
            _check_signature(evidence.raw, report, chain, trace)  # 5.
        return _conclude(evidence, chain, endorsements, at, trace, cache_product=product)


TECHNOLOGY: Final = SnpTechnology()


def _report_missing_leaf(pool: Pool, trace: Trace) -> None:
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


def _check_dates(chain: Chain, at: datetime, trace: Trace) -> None:
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


def _check_form(report: Report, product: Product | None, trace: Trace) -> None:
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


def _check_binding(report: Report, leaf: Leaf, product: Product | None, trace: Trace) -> None:
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


def _check_signature(raw: bytes, report: Report, chain: Chain, trace: Trace) -> None:
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


def _conclude(
    evidence: SnpEvidence,
    chain: Chain | None,
    endorsements: Endorsements,
    at: datetime,
    trace: Trace,
    *,
    cache_product: Product | None,
) -> Verified:
    report = evidence.report
    root = chain.root if chain is not None else None
    genuine = trace.sound and root is not None and root.pinned
    if report is not None:
        check_preimages(report.report_data, report.host_data, endorsements, trace)  # 6.
        check_id_block(report, endorsements, trace)
        check_endorsed_measurement(report.measurement, endorsements, trace)
    until = chain.path.valid_until if chain is not None else None
    for revoked, _ in chain.crls if chain is not None else ():
        if until is not None and revoked.next_update is not None:
            until = min(until, revoked.next_update)
    checked = chain is not None and any(
        revoked.valid_at(at) and certificates for revoked, certificates in chain.crls
    )
    common: dict[str, Any] = {
        "kind": "snp",
        "evidence": evidence,
        "at": at,
        "links": trace.links,
        "genuine": genuine,
        "root": root,
        "revocation_checked": checked,
        "valid_until": until,
        "collateral_issued": min((revoked.this_update for revoked, _ in chain.crls), default=None)
        if chain is not None
        else None,
    }
    if report is None:
        leaf = chain.leaf if chain is not None else None
        return Verified(
            **common,
            has_report=False,
            findings=("certificate_only",),
            product=str(leaf.extensions.product or "") if leaf is not None else "",
            describe=lambda: {"leaf": describe_leaf(leaf, alone=True)} if leaf is not None else {},
        )
    return Verified(
        **common,
        **_facts(report, cache_product, checked=checked),
        describe=lambda: describe_report(
            report, chain.leaf if chain is not None else None, cache_product
        ),
    )


def _facts(report: Report, product: Product | None, *, checked: bool) -> dict[str, Any]:
    """What policies ask about, in the terms that all technologies share."""
    tcbs = {
        "reported": tcb_components(report.reported_tcb, product),
        "current": tcb_components(report.current_tcb, product),
        "committed": tcb_components(report.committed_tcb, product),
        "launch": tcb_components(report.launch_tcb, product),
    }
    flags = report.policy_flags() | report.platform_flags()
    findings = []
    if report.vmpl:
        findings.append(f"vmpl_{report.vmpl}")
    if report.reported_tcb != report.current_tcb:
        findings.append("reported_tcb_differs_from_current_tcb")
    if not checked:
        findings.append("no_crl")
    return {
        "debug": flags["debug_allowed"],
        "product": str(product or ""),
        "variant": report.variant,
        "instance": report.chip_id if any(report.chip_id) else b"",
        "measurement": report.measurement,
        "signer": report.id_key_digest if any(report.id_key_digest) else b"",
        "registers": {
            "id_key_digest": report.id_key_digest,
            "author_key_digest": report.author_key_digest,
            "family_id": report.family_id,
            "image_id": report.image_id,
        },
        "report_data": report.report_data,
        "host_data": report.host_data,
        "tcb": tcbs["reported"],
        "tcbs": tcbs,
        "flags": flags,
        "findings": tuple(findings),
        "vmpl": report.vmpl,
    }
