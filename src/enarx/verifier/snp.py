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

from enarx.errors import ParseError
from enarx.evidence.snp import CPUID_SINCE_VERSION, REPORT_SIZE, Product, Report
from enarx.evidence.vcek import STRUCT_VERSION
from enarx.verifier import x509
from enarx.verifier.cache import Cache
from enarx.verifier.endorsed_measurement import check_endorsed_measurement
from enarx.verifier.endorsements import Endorsements
from enarx.verifier.preimages import check_preimages
from enarx.verifier.snp_chain import Chain, chain_of, choose_leaf, pool_of
from enarx.verifier.snp_checks import (
    check_binding,
    check_dates,
    check_form,
    check_signature,
    report_missing_leaf,
)
from enarx.verifier.snp_fields import describe_leaf, describe_report, facts_of
from enarx.verifier.snp_id import check_id_block
from enarx.verifier.trace import Trace
from enarx.verifier.unread import refuse_unread
from enarx.verifier.verified import Verified


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
        is_certificate = evidence[:1] == b"\x30" or evidence.startswith(b"-----BEGIN")
        if is_certificate and len(evidence) != REPORT_SIZE:
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
            report_missing_leaf(pool, trace)
        else:
            trace.extend(chain.links)  # 1.
            check_dates(chain, at, trace)  # 2.
        if report is None:
            return _conclude(evidence, chain, endorsements, at, trace, product=None)
        product = report.product
        if report.version < CPUID_SINCE_VERSION and leaf is not None:
            product = leaf.extensions.product
        check_form(report, product, trace)  # 3.
        if leaf is not None and chain is not None:
            check_binding(report, leaf, product, trace)  # 4.
            check_signature(evidence.raw, report, chain, trace)  # 5.
        return _conclude(evidence, chain, endorsements, at, trace, product=product)


TECHNOLOGY: Final = SnpTechnology()


def _conclude(
    evidence: SnpEvidence,
    chain: Chain | None,
    endorsements: Endorsements,
    at: datetime,
    trace: Trace,
    *,
    product: Product | None,
) -> Verified:
    report = evidence.report
    root = chain.root if chain is not None else None
    leaf = chain.leaf if chain is not None else None
    crls = chain.crls if chain is not None else ()
    genuine = trace.sound and root is not None and root.pinned
    if report is not None:
        check_preimages(report.report_data, report.host_data, endorsements, trace)  # 6.
        refuse_unread("snp", endorsements, trace)
        check_id_block(report, endorsements, trace)
        check_endorsed_measurement(report.measurement, endorsements, trace)
    ends = [one.not_after for one in chain.path.certificates] if chain is not None else []
    ends += [revoked.next_update for revoked, _ in crls if revoked.next_update is not None]
    checked = any(revoked.valid_at(at) and certificates for revoked, certificates in crls)
    common: dict[str, Any] = {
        "kind": "snp",
        "evidence": evidence,
        "at": at,
        "links": trace.links,
        "genuine": genuine,
        "root": root,
        "revocation_checked": checked,
        "valid_until": min(ends, default=None),
        "collateral_issued": min((revoked.this_update for revoked, _ in crls), default=None),
    }
    if report is None:
        return Verified(
            **common,
            has_report=False,
            findings=("certificate_only",),
            product=str(leaf.extensions.product or "") if leaf is not None else "",
            describe=lambda: {"leaf": describe_leaf(leaf, alone=True)} if leaf is not None else {},
        )
    return Verified(
        **common,
        **facts_of(report, product, checked=checked),
        describe=lambda: describe_report(report, leaf, product),
    )
