"""The parsed values of a quote in documented names and forms: hex, integers, lists."""

from __future__ import annotations

from typing import Any

from enarx.evidence.quote import Quote
from enarx.evidence.sgx import SgxReportBody
from enarx.evidence.tdx import TdReportBody
from enarx.verifier.dcap_chain import PckChain
from enarx.verifier.tcb import TcbAssessment, TcbStatus


def describe(
    quote: Quote, chain: PckChain, tcb: TcbAssessment | None, evaluation_number: int
) -> dict[str, Any]:
    """All fields; those of parts that are not there are left out."""
    header, signature = quote.header, quote.signature
    fields: dict[str, Any] = {
        "quote_version": header.version,
        "attestation_key_type": header.attestation_key_type,
        "tee_type": f"{header.tee_type:08x}",
        "qe_vendor_id": header.qe_vendor_id.hex(),
        "quote_len": len(quote.pack()),
        "trailing_bytes": quote.trailing,
        "cert_data_type": signature.certification_type,
    }
    if header.version == 5:
        fields["body_type"] = quote.body_type
    if isinstance(quote.body, SgxReportBody):
        if header.version == 3:
            fields |= {"header_qe_svn": header.qe_svn, "header_pce_svn": header.pce_svn}
        fields |= _sgx(quote.body)
    else:
        fields |= _tdx(quote.body)
    qe = signature.qe_report
    fields["qe"] = {
        "mrsigner": qe.mr_signer.hex(),
        "isv_prod_id": qe.isv_prod_id,
        "isv_svn": qe.isv_svn,
        "attributes": qe.attributes.hex(),
        "misc_select": qe.misc_select.hex(),
    }
    return fields | _pck(chain) | _tcb(tcb, evaluation_number)


def _sgx(body: SgxReportBody) -> dict[str, Any]:
    # Zeros without key separation and sharing (KSS), of which most enclaves know nothing.
    config_id = {"config_id": body.config_id.hex()} if any(body.config_id) else {}
    return {
        "mrenclave": body.mr_enclave.hex(),
        "mrsigner": body.mr_signer.hex(),
        "cpu_svn": body.cpu_svn.hex(),
        "misc_select": body.misc_select.hex(),
        "attributes": body.attributes.hex(),
        "isv_prod_id": body.isv_prod_id,
        "isv_svn": body.isv_svn,
        **config_id,
        "config_svn": body.config_svn,
        "isv_family_id": body.isv_family_id.hex(),
        "isv_ext_prod_id": body.isv_ext_prod_id.hex(),
        "report_data": body.report_data.hex(),
        "debug": body.debug,
    }


def _tdx(body: TdReportBody) -> dict[str, Any]:
    names = (
        "tee_tcb_svn",
        "mr_seam",
        "mr_signer_seam",
        "seam_attributes",
        "td_attributes",
        "xfam",
        "mr_config_id",
        "mr_owner",
        "mr_owner_config",
        "rtmr0",
        "rtmr1",
        "rtmr2",
        "rtmr3",
        "report_data",
    )
    fields: dict[str, Any] = {"mrtd": body.mr_td.hex()}
    fields["rtmrs"] = [register.hex() for register in body.rtmrs]
    fields |= {name: getattr(body, name).hex() for name in names}
    if body.tee_tcb_svn2 is not None and body.mr_service_td is not None:
        fields["tee_tcb_svn2"] = body.tee_tcb_svn2.hex()
        fields["mr_service_td"] = body.mr_service_td.hex()
    fields["td_attribute_flags"] = list(body.attribute_flags)
    fields["debug"] = body.debug
    fields["tdx_module"] = "1.0 layout" if body.tee_tcb_svn2 is None else "1.5"
    return fields


def _pck(chain: PckChain) -> dict[str, Any]:
    extension, leaf = chain.extension, chain.leaf
    if extension is None or leaf is None:
        return {}
    return {
        "pck": {
            "fmspc": extension.fmspc.hex(),
            "pceid": extension.pce_id.hex(),
            "pcesvn": extension.pce_svn,
            "cpusvn": extension.cpu_svn.hex(),
            "tcb_components": list(extension.tcb_components),
            "sgx_type": extension.sgx_type,
            "ca": chain.second or leaf.issuer_common_name,
            "not_before": f"{leaf.not_before:%Y-%m-%dT%H:%M:%SZ}",
            "not_after": f"{leaf.not_after:%Y-%m-%dT%H:%M:%SZ}",
        }
    }


def _tcb(tcb: TcbAssessment | None, evaluation_number: int) -> dict[str, Any]:
    if tcb is None:
        return {}
    fields: dict[str, Any] = {
        "tcb_status": str(tcb.status),
        "advisory_ids": list(tcb.advisories),
        "tcb_evaluation_data_number": evaluation_number,
        "platform_tcb_status": _status(tcb.platform_status),
        "qe_tcb_status": _status(tcb.qe_status),
    }
    if tcb.platform is not None:
        fields["tcb_level_date"] = tcb.platform.date
    if tcb.module is not None:
        fields["tdx_module_identity"] = tcb.module.name
        fields["tdx_module_tcb_status"] = tcb.module.status and _status(tcb.module.status)
    return fields


def _status(status: TcbStatus) -> str | None:
    """A part that reaches no level has no status of its own."""
    return None if status is TcbStatus.NO_MATCHING_LEVEL else str(status)
