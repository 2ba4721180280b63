"""The simulated chip: it says of a launch what real silicon would say, in its own format.

One `Launch` is what was measured at one launch; `Chip.report` signs evidence over it and
over 64 bytes of the Keep's choice. Nobody but the server, which knows which channel belongs
to which launch, calls it.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from enarx.errors import UsageError
from enarx.evidence import quote, sgx, snp, tdx
from enarx.evidence.cmw import MEDIA_TYPES
from enarx.evidence.ecdsa import raw_p256_from_der, raw_p256_key
from enarx.image.launch import BACKENDS
from enarx.silicon import amd, intel
from enarx.silicon.amd import AmdPki
from enarx.silicon.intel import IntelPki
from enarx.silicon.keys import ChipKeys, load_ec

_QE_AUTHENTICATION: Final = bytes(range(32))
"""Intel's quoting enclave writes these 32 bytes too."""
_QE_ID: Final = b"simulated QE id".ljust(20, b"\0")
_XFRM: Final = bytes.fromhex("e700000000000000")
_XFAM: Final = bytes.fromhex("e702060000000000")
_SEPT_VE_DISABLE: Final = 1 << 28
_ENCLAVE_SIGNER: Final = hashlib.sha256(b"signer of the simulated launch image").digest()
_SEAM: Final = hashlib.sha384(b"simulated TDX module").digest()

_SNP_POLICY: Final = snp.POLICY_MUST_BE_ONE | snp.POLICY_BITS["smt_allowed"]
_SNP_PLATFORM: Final = sum(
    snp.PLATFORM_BITS[name] for name in ("smt_en", "tsme_en", "ecc_en", "alias_check_complete")
)
_GENOA_CPUID: Final = (0x19, 0x11, 1)
_FIRMWARE: Final = (40, 55, 1)
"""Build, minor and major number of the simulated SNP firmware."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What the chip knows of one launch.

    measurement: as `image.launch` computes it for this back end.
    host_data: the host's 32 bytes (SHA-256 of the init data).
    report_id: 32 random bytes that name this launch while it lives (SNP).
    """

    backend: str
    measurement: bytes
    host_data: bytes
    report_id: bytes

    @classmethod
    def new(cls, *, backend: str, measurement: bytes, host_data: bytes) -> Launch:
        """A launch that takes place now."""
        return cls(
            backend=backend,
            measurement=measurement,
            host_data=host_data,
            report_id=secrets.token_bytes(32),
        )

    @property
    def technology(self) -> str:
        """`sgx`, `snp` or `tdx`."""
        return BACKENDS[self.backend]


class Chip:
    """Signs evidence. Holds the chip's keys, and what follows from them once and for all."""

    def __init__(self, keys: ChipKeys, pki: IntelPki) -> None:
        self._keys = keys
        self._chain = pki.pck_chain
        self._vcek = load_ec(keys.vcek)
        # The quoting enclave's own key, which its report binds and the PCK key vouches for.
        self._attestation_key = ec.generate_private_key(ec.SECP256R1())
        self._public = raw_p256_key(self._attestation_key.public_key())
        pck = load_ec(keys.pck)
        self._qe = {
            tee: _quoting_enclave(tee, pck, bound=self._public + _QE_AUTHENTICATION)
            for tee in ("sgx", "tdx")
        }

    def report(self, launch: Launch, report_data: bytes) -> tuple[str, bytes]:
        """Media type and evidence over `report_data` (64 bytes) for one launch."""
        technology = launch.technology
        if technology == "snp":
            evidence = self._snp(launch, report_data)
        else:
            evidence = self._quote(launch, report_data)
        return MEDIA_TYPES[technology], evidence

    def _quote(self, launch: Launch, report_data: bytes) -> bytes:
        header: quote.QuoteHeader
        body: sgx.SgxReportBody | tdx.TdReportBody
        if launch.technology == "sgx":
            header = quote.QuoteHeader(
                version=3,
                attestation_key_type=quote.KEY_TYPE_ECDSA_P256,
                tee_type=quote.TEE_SGX,
                qe_svn=intel.QE_ISV_SVN,
                pce_svn=intel.PCE_SVN,
                qe_vendor_id=quote.INTEL_QE_VENDOR_ID,
                user_data=_QE_ID,
            )
            body = _enclave(launch, report_data)
        else:
            header = quote.QuoteHeader(
                version=4,
                attestation_key_type=quote.KEY_TYPE_ECDSA_P256,
                tee_type=quote.TEE_TDX,
                qe_vendor_id=quote.INTEL_QE_VENDOR_ID,
                user_data=_QE_ID,
            )
            body = _trust_domain(launch, report_data)
        qe_report, qe_signature = self._qe[launch.technology]
        signed = quote.pack_signed_bytes(header, body)
        signature = quote.QuoteSignature(
            signature=_sign_p256(self._attestation_key, signed),
            attestation_key=self._public,
            qe_report=qe_report,
            qe_report_signature=qe_signature,
            authentication_data=_QE_AUTHENTICATION,
            certification_type=quote.CERTIFICATION_PCK_CHAIN,
            certification_data=self._chain,
        )
        return quote.Quote(header=header, body=body, signature=signature).pack()

    def _snp(self, launch: Launch, report_data: bytes) -> bytes:
        signed = _snp_report(launch, report_data, self._keys.hwid).pack()
        r, s = decode_dss_signature(
            self._vcek.sign(signed[: snp.SIGNED_SIZE], ec.ECDSA(hashes.SHA384()))
        )
        return signed[: snp.SIGNED_SIZE] + snp.pack_signature(r, s)


def endorsements(
    backend: str, *, pki: IntelPki, amd_pki: AmdPki | None, at: datetime
) -> tuple[tuple[str, bytes], ...]:
    """What verifies this back end's evidence: (role, data) in the form its vendor gives it.

    Raises:
        UsageError: SNP was asked for before its keys were made.
    """
    technology = BACKENDS[backend]
    if technology != "snp":
        return (("collateral", pki.collateral(technology, at=at)),)
    if amd_pki is None:
        raise UsageError("the keys for SNP evidence are not made yet", code="silicon.not-ready")
    return (
        ("vcek", amd_pki.vcek),
        ("ask", amd_pki.ask),
        ("ark", amd_pki.ark),
        ("crl", amd_pki.crl),
    )


def _sign_p256(key: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    return raw_p256_from_der(key.sign(data, ec.ECDSA(hashes.SHA256())))


def _quoting_enclave(
    tee: str, pck: ec.EllipticCurvePrivateKey, *, bound: bytes
) -> tuple[sgx.SgxReportBody, bytes]:
    """Report of the quoting enclave over its key, and the PCK key's signature over it."""
    flags = sgx.ATTRIBUTE_INIT | sgx.ATTRIBUTE_MODE64 | sgx.ATTRIBUTE_PROVISION_KEY
    report = sgx.SgxReportBody(
        cpu_svn=intel.CPU_SVN,
        attributes=flags.to_bytes(8, "little") + _XFRM,
        mr_enclave=hashlib.sha256(b"simulated quoting enclave " + tee.encode()).digest(),
        mr_signer=intel.QE_SIGNER,
        isv_prod_id=intel.QE_PROD_ID if tee == "sgx" else intel.TD_QE_PROD_ID,
        isv_svn=intel.QE_ISV_SVN if tee == "sgx" else intel.TD_QE_ISV_SVN,
        report_data=hashlib.sha256(bound).digest() + bytes(32),
    )
    return report, _sign_p256(pck, report.pack())


def _enclave(launch: Launch, report_data: bytes) -> sgx.SgxReportBody:
    """Report body of an enclave that was launched with this configuration id (KSS)."""
    flags = sgx.ATTRIBUTE_INIT | sgx.ATTRIBUTE_MODE64 | sgx.ATTRIBUTE_KSS
    return sgx.SgxReportBody(
        cpu_svn=intel.CPU_SVN,
        attributes=flags.to_bytes(8, "little") + _XFRM,
        mr_enclave=launch.measurement,
        mr_signer=_ENCLAVE_SIGNER,
        config_id=launch.host_data + bytes(32),
        report_data=report_data,
    )


def _trust_domain(launch: Launch, report_data: bytes) -> tdx.TdReportBody:
    """Report body of a trust domain, TDX 1.0."""
    return tdx.TdReportBody(
        tee_tcb_svn=intel.TEE_TCB_SVN,
        mr_seam=_SEAM,
        td_attributes=_SEPT_VE_DISABLE.to_bytes(8, "little"),
        xfam=_XFAM,
        mr_td=launch.measurement,
        mr_config_id=launch.host_data + bytes(16),
        report_data=report_data,
    )


def _snp_report(launch: Launch, report_data: bytes, chip_id: bytes) -> snp.Report:
    """Attestation report, version 3, not signed yet; all TCBs of the chip are the same."""
    tcb = snp.pack_tcb(amd.TCB, amd.PRODUCT)
    family, model, stepping = _GENOA_CPUID
    build, minor, major = _FIRMWARE
    return snp.Report(
        version=3,
        policy=_SNP_POLICY,
        signature_algo=snp.ECDSA_P384_SHA384,
        current_tcb=tcb,
        platform_info=_SNP_PLATFORM,
        key_word=snp.key_word(signing_key=snp.SIGNED_BY_VCEK),
        report_data=report_data,
        measurement=launch.measurement,
        host_data=launch.host_data,
        report_id=launch.report_id,
        report_id_ma=b"\xff" * 32,
        reported_tcb=tcb,
        cpuid_family=family,
        cpuid_model=model,
        cpuid_stepping=stepping,
        chip_id=chip_id,
        committed_tcb=tcb,
        current_build=build,
        current_minor=minor,
        current_major=major,
        committed_build=build,
        committed_minor=minor,
        committed_major=major,
        launch_tcb=tcb,
    )
