"""Which endorsements evidence needs, read from the evidence itself.

Nothing about the evidence has been verified here: it only says what to look for.
"""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from enarx.endorsements.references import (
    AmdChain,
    AmdCrl,
    KeyKind,
    PckAuthority,
    PckCrl,
    QeIdentityOf,
    Reference,
    RootCrl,
    TcbInfoOf,
    Tee,
    Vcek,
    Vlek,
    chip_size,
    components,
)
from enarx.errors import ParseError, UsageError
from enarx.evidence.quote import Quote
from enarx.evidence.snp import SIGNED_BY_VLEK, Product, Report, tcb_components
from enarx.evidence.vcek import LeafExtensions
from enarx.verifier import appraisal
from enarx.verifier.dcap_chain import read_pck_chain
from enarx.verifier.ratls import RatlsCertificate
from enarx.verifier.snp import SnpEvidence
from enarx.verifier.x509 import Memo, load_certificate

PRODUCTS_OF_VERSION_2: Final = (Product.MILAN, Product.GENOA)
"""Reports of version 2 do not name their product, and these are the ones that wrote any."""


class Needs(msgspec.Struct, frozen=True, kw_only=True):
    """What to look for.

    Attributes:
        kind: technology of the evidence.
        options: alternatives, each complete in itself; the first that can be had is enough.
        absent: what no service gives out, one sentence each.
    """

    kind: str
    options: tuple[tuple[Reference, ...], ...]
    absent: tuple[str, ...] = ()


def needs_of(evidence: bytes, *, kind: str | None = None, product: Product | None = None) -> Needs:
    """Read what evidence needs.

    Args:
        evidence: a report, quote or certificate.
        kind: its technology; detected when ``None``.
        product: of an SNP report that does not say it; tried one after the other when ``None``.

    Raises:
        ParseError: the bytes are not evidence.
        UsageError: no vendor publishes endorsements for this technology.
    """
    return _needs(appraisal.parse(evidence, kind=kind), product)


def _needs(parsed: appraisal.Parsed, product: Product | None) -> Needs:
    match parsed.evidence:
        case RatlsCertificate() as certificate:
            return _needs(certificate.quote, product)
        case SnpEvidence(report=Report() as report):
            return _of_report(report, product)
        case SnpEvidence() as alone:
            return _of_leaf(alone.certificate)
        case Quote() as quote:
            return _of_quote(quote, "tdx" if parsed.kind == "tdx" else "sgx")
    raise UsageError(
        f"no vendor publishes endorsements for {parsed.kind} evidence",
        hint="pass what verification needs with --with",
        code="endorsements.kind",
    )


def _of_report(report: Report, product: Product | None) -> Needs:
    known = report.product or product
    products = (known,) if known else PRODUCTS_OF_VERSION_2
    if report.signing_key == SIGNED_BY_VLEK:
        return Needs(
            kind="snp",
            options=tuple(_authorities(one, "vlek") for one in products),
            absent=("its VLEK certificate comes from the cloud provider, with the evidence",),
        )
    if report.chip_key_masked or not any(report.chip_id):
        return Needs(
            kind="snp",
            options=tuple(_authorities(one, "vcek") for one in products),
            absent=("the report does not name its chip, so its VCEK certificate cannot be asked",),
        )
    return Needs(
        kind="snp",
        options=tuple((*_authorities(one, "vcek"), _vcek(report, one)) for one in products),
    )


def _vcek(report: Report, product: Product) -> Vcek:
    tcb = tcb_components(report.reported_tcb, product)
    return Vcek(
        product=product,
        chip=report.chip_id[: chip_size(product)],
        tcb=tuple(tcb[name] for name in components(product)),
    )


def _of_leaf(der: bytes) -> Needs:
    leaf = LeafExtensions.parse(load_certificate(der).extensions)
    if leaf.product is None:
        raise ParseError(f"certificate is of {leaf.product_name}, which is not known")
    return Needs(
        kind="snp",
        options=(_authorities(leaf.product, "vlek" if leaf.kind == "vlek" else "vcek"),),
    )


def _authorities(product: Product, kind: KeyKind) -> tuple[Reference, ...]:
    return (AmdChain(product=product, kind=kind), AmdCrl(product=product, kind=kind))


def _of_quote(quote: Quote, tee: Tee) -> Needs:
    signature = quote.signature
    chain = read_pck_chain(signature.certification_type, signature.certification_data, (), Memo())
    if chain.extension is None or chain.leaf is None:
        raise ParseError(
            f"quote does not carry its PCK certificate: {chain.problem}",
            hint="Intel gives it only to the platform's owner; ask for a quote with the chain",
            code="endorsements.pck",
        )
    issuer = chain.leaf.issuer_common_name.lower()
    authority: PckAuthority = "platform" if "platform" in issuer else "processor"
    return Needs(
        kind=tee,
        options=(
            (
                PckCrl(authority=authority),
                RootCrl(),
                TcbInfoOf(tee=tee, fmspc=chain.extension.fmspc),
                QeIdentityOf(tee=tee),
            ),
        ),
    )


def reference_of_leaf(der: bytes) -> Vcek | Vlek:
    """The name of a VCEK or VLEK certificate, read from itself.

    Raises:
        ParseError: not a certificate of an SNP signing key of a known product.
    """
    leaf = LeafExtensions.parse(load_certificate(der).extensions)
    if leaf.product is None:
        raise ParseError(f"certificate is of {leaf.product_name}, which is not known")
    if leaf.hwid is None:
        return Vlek(product=leaf.product, digest=hashlib.sha256(der).digest())
    tcb = tuple(leaf.tcb.get(name, 0) for name in components(leaf.product))
    return Vcek(product=leaf.product, chip=leaf.hwid, tcb=tcb)
