"""The values of SNP evidence: as policies ask for them, and in the documented names and forms."""

from __future__ import annotations

from typing import Any, Final

from enarx.evidence.snp import (
    CPUID_SINCE_VERSION,
    MITIGATIONS_SINCE_VERSION,
    SIGNING_KEYS,
    Product,
    Report,
    tcb_components,
)
from enarx.verifier.snp_chain import Leaf

_POLICY_FLAGS: Final = (
    "smt_allowed",
    "migrate_ma_allowed",
    "debug_allowed",
    "single_socket_required",
)
_PLATFORM_FLAGS: Final = (
    "smt_en",
    "tsme_en",
    "ecc_en",
    "rapl_dis",
    "ciphertext_hiding_en",
    "alias_check_complete",
)


def describe_report(report: Report, leaf: Leaf | None, product: Product | None) -> dict[str, Any]:
    """Fields of a report and of the certificate it was checked with."""
    policy, platform = report.policy_flags(), report.platform_flags()
    fields: dict[str, Any] = {
        "version": report.version,
        "guest_svn": report.guest_svn,
        "policy": f"{report.policy:016x}",
        "policy_flags": {
            "abi_minor": report.policy & 0xFF,
            "abi_major": report.policy >> 8 & 0xFF,
            **{name: policy[name] for name in _POLICY_FLAGS},
        },
        "family_id": report.family_id.hex(),
        "image_id": report.image_id.hex(),
        "vmpl": report.vmpl,
        "signature_algo": report.signature_algo,
        "platform_info": f"{report.platform_info:016x}",
        "platform_flags": {name: platform[name] for name in _PLATFORM_FLAGS},
        "author_key_en": report.author_key_enabled,
        "mask_chip_key": report.chip_key_masked,
        "signing_key": SIGNING_KEYS.get(report.signing_key, f"reserved {report.signing_key}"),
        "report_data": report.report_data.hex(),
        "measurement": report.measurement.hex(),
        "host_data": report.host_data.hex(),
        "id_key_digest": report.id_key_digest.hex(),
        "author_key_digest": report.author_key_digest.hex(),
        "report_id": report.report_id.hex(),
        "report_id_ma": report.report_id_ma.hex(),
        "current_tcb": _tcb(report.current_tcb, product),
        "reported_tcb": _tcb(report.reported_tcb, product),
        "committed_tcb": _tcb(report.committed_tcb, product),
        "launch_tcb": _tcb(report.launch_tcb, product),
    }
    if report.version >= CPUID_SINCE_VERSION:
        fields["cpuid_fam_id"] = report.cpuid_family
        fields["cpuid_mod_id"] = report.cpuid_model
        fields["cpuid_step"] = report.cpuid_stepping
    fields["chip_id"] = report.chip_id.hex()
    fields["current_version"] = (
        f"{report.current_major}.{report.current_minor}.{report.current_build}"
    )
    fields["committed_version"] = (
        f"{report.committed_major}.{report.committed_minor}.{report.committed_build}"
    )
    if report.version >= MITIGATIONS_SINCE_VERSION:
        fields["launch_mit_vector"] = report.launch_mit_vector.to_bytes(8, "little").hex()
        fields["current_mit_vector"] = report.current_mit_vector.to_bytes(8, "little").hex()
    if leaf is not None:
        fields["leaf"] = describe_leaf(leaf)
    return fields


def _tcb(raw: bytes, product: Product | None) -> dict[str, Any]:
    return {"raw": raw.hex(), **tcb_components(raw, product)}


def describe_leaf(leaf: Leaf, *, alone: bool = False) -> dict[str, Any]:
    """Fields of a signing key's certificate; ``alone`` when there is no report beside it."""
    extensions, certificate = leaf.extensions, leaf.certificate
    fields: dict[str, Any] = {
        "kind": extensions.kind,
        "product_name": extensions.product_name,
        "tcb": dict(extensions.tcb),
        "hwid": extensions.hwid.hex() if extensions.hwid is not None else None,
    }
    if not alone or extensions.csp_id is not None:
        fields["csp_id"] = extensions.csp_id
    fields["serial"] = f"{certificate.serial:x}"
    fields["not_before"] = certificate.not_before.strftime("%Y-%m-%dT%H:%M:%SZ")
    fields["not_after"] = certificate.not_after.strftime("%Y-%m-%dT%H:%M:%SZ")
    return fields


def facts_of(report: Report, product: Product | None, *, checked: bool) -> dict[str, Any]:
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
