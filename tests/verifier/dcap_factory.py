"""An SGX and TDX vendor of our own: keys, certificates, lists, collateral and quotes.

Everything is really signed. Tests change one thing at a time and look what the verifier says.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from enarx.evidence.ecdsa import raw_p256_from_der, raw_p256_key
from enarx.evidence.pck import PCK_EXTENSION_OID, PckExtension, pack_pck_extension
from enarx.evidence.quote import (
    CERTIFICATION_PCK_CHAIN,
    INTEL_QE_VENDOR_ID,
    KEY_TYPE_ECDSA_P256,
    TEE_SGX,
    TEE_TDX,
    Quote,
    QuoteHeader,
    QuoteSignature,
    pack_signed_bytes,
)
from enarx.evidence.sgx import SgxReportBody
from enarx.evidence.tdx import TdReportBody
from enarx.verifier import DcapCollateral
from enarx.verifier.roots import SIMULATED_ROOT_NAME

NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)
ISSUED = NOW - timedelta(days=10)
NEXT_UPDATE = NOW + timedelta(days=20)
NOT_BEFORE = NOW - timedelta(days=400)
NOT_AFTER = NOW + timedelta(days=400)
ECDSA = ec.ECDSA(hashes.SHA256())

PCK, PCK_CA = "Intel SGX PCK Certificate", "Intel SGX PCK Platform CA"
TCB_SIGNER = "Intel SGX TCB Signing"

FMSPC = bytes.fromhex("b0c06f000000")
PLATFORM = PckExtension(
    ppid=b"p" * 16,
    tcb_components=(5,) * 16,
    pce_svn=10,
    cpu_svn=b"\x05" * 16,
    pce_id=b"\0\0",
    fmspc=FMSPC,
    sgx_type=1,
    platform_instance_id=b"i" * 16,
)
QE_SIGNER = b"q" * 32
QE_REPORT = SgxReportBody(
    mr_signer=QE_SIGNER, isv_prod_id=2, isv_svn=6, attributes=b"\x15" + bytes(7) + b"\xe7" * 8
)
ENCLAVE = SgxReportBody(
    mr_enclave=b"e" * 32, mr_signer=b"s" * 32, attributes=b"\x05" + bytes(15), report_data=b"r" * 64
)
DOMAIN = TdReportBody(
    tee_tcb_svn=bytes([5, 1, 3]) + bytes(13),
    td_attributes=(1 << 28).to_bytes(8, "little"),
    mr_td=b"t" * 48,
    report_data=b"r" * 64,
)
DOMAIN_15 = dataclasses.replace(DOMAIN, tee_tcb_svn2=DOMAIN.tee_tcb_svn, mr_service_td=bytes(48))


@functools.cache
def key(name: str) -> ec.EllipticCurvePrivateKey:
    """One key for each name, the same in the whole run."""
    return ec.generate_private_key(ec.SECP256R1())


def certificate(
    subject: str,
    *,
    issuer: str,
    authority: bool = False,
    extension: PckExtension | None = None,
    not_before: datetime = NOT_BEFORE,
    not_after: datetime = NOT_AFTER,
    holder: str = "",
    signer: str = "",
    serial: int | None = None,
) -> x509.Certificate:
    """A certificate; keys go by common name unless ``holder`` or ``signer`` say otherwise."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key(holder or subject).public_key())
        .serial_number(serial or int.from_bytes(hashlib.sha256(subject.encode()).digest()[:8]))
        .not_valid_before(not_before)
        .not_valid_after(not_after)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    )
    if extension is not None:
        value = pack_pck_extension(extension)
        oid = x509.ObjectIdentifier(PCK_EXTENSION_OID)
        builder = builder.add_extension(x509.UnrecognizedExtension(oid, value), critical=False)
    return builder.sign(key(signer or issuer), hashes.SHA256())


def crl(
    issuer: str,
    *revoked: x509.Certificate,
    signer: str = "",
    this_update: datetime = ISSUED,
    next_update: datetime = NEXT_UPDATE,
) -> bytes:
    """A revocation list, DER."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .last_update(this_update)
        .next_update(next_update)
    )
    for one in revoked:
        builder = builder.add_revoked_certificate(
            x509.RevokedCertificateBuilder()
            .serial_number(one.serial_number)
            .revocation_date(this_update)
            .build()
        )
    return builder.sign(key(signer or issuer), hashes.SHA256()).public_bytes(Encoding.DER)


def pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(one.public_bytes(Encoding.PEM) for one in certificates)


def signed(holder: str, message: bytes) -> bytes:
    """A raw signature, r and s."""
    return raw_p256_from_der(key(holder).sign(message, ECDSA))


def stamp(time: datetime) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%SZ}"


def level(svn: int, status: str, *, pce: int = 10, tdx: tuple[int, ...] | None = None) -> Any:
    """A platform level: all SGX components ``svn``."""
    tcb: dict[str, Any] = {"sgxtcbcomponents": [{"svn": svn, "type": "part"}] * 16, "pcesvn": pce}
    if tdx is not None:
        tcb["tdxtcbcomponents"] = [{"svn": one} for one in tdx]
    return {"tcb": tcb, "tcbDate": "2026-01-01T00:00:00Z", "tcbStatus": status}


def isv_level(svn: int, status: str, *advisories: str) -> Any:
    found = {"tcb": {"isvsvn": svn}, "tcbDate": "2026-01-01T00:00:00Z", "tcbStatus": status}
    return found | ({"advisoryIDs": list(advisories)} if advisories else {})


TDX_LEVEL = (0, 0, 3, *([0] * 13))
MODULE = {
    "mrsigner": "00" * 48,
    "attributes": "00" * 8,
    "attributesMask": "FF" * 8,
}


def tcb_info(kind: str, **changes: Any) -> dict[str, Any]:
    """A TCB info as Intel writes it, with changes."""
    info: dict[str, Any] = {
        "id": kind.upper(),
        "version": 3,
        "issueDate": stamp(ISSUED),
        "nextUpdate": stamp(NEXT_UPDATE),
        "fmspc": FMSPC.hex().upper(),
        "pceId": "0000",
        "tcbType": 0,
        "tcbEvaluationDataNumber": 17,
    }
    if kind == "tdx":
        info["tdxModule"] = MODULE
        info["tdxModuleIdentities"] = [
            {"id": "TDX_01", **MODULE, "tcbLevels": [isv_level(5, "UpToDate")]}
        ]
    tdx = TDX_LEVEL if kind == "tdx" else None
    info["tcbLevels"] = [level(5, "UpToDate", tdx=tdx), level(2, "OutOfDate", tdx=tdx)]
    return info | changes


def qe_identity(kind: str, **changes: Any) -> dict[str, Any]:
    """A QE identity as Intel writes it, with changes."""
    return {
        "id": "TD_QE" if kind == "tdx" else "QE",
        "version": 2,
        "issueDate": stamp(ISSUED),
        "nextUpdate": stamp(NEXT_UPDATE),
        "tcbEvaluationDataNumber": 17,
        "miscselect": "00000000",
        "miscselectMask": "FFFFFFFF",
        "attributes": "11" + "00" * 15,
        "attributesMask": "FB" + "FF" * 7 + "00" * 8,
        "mrsigner": QE_SIGNER.hex().upper(),
        "isvprodid": 2,
        "tcbLevels": [isv_level(6, "UpToDate"), isv_level(1, "OutOfDate")],
    } | changes


def text(document: dict[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


class Vendor:
    """A root and what hangs below it.

    Args:
        kind: ``sgx`` or ``tdx``.
        root: common name of the root; the simulated one unless told otherwise.
    """

    def __init__(self, kind: str, *, root: str = SIMULATED_ROOT_NAME) -> None:
        self.kind, self.root_name = kind, root
        self.root = certificate(root, issuer=root, authority=True)
        self.ca = certificate(PCK_CA, issuer=root, authority=True)
        self.pck = certificate(PCK, issuer=PCK_CA, extension=PLATFORM)
        self.signer = certificate(TCB_SIGNER, issuer=root)

    def collateral(self, **changes: Any) -> DcapCollateral:
        """All nine parts; ``tcb_info`` and ``qe_identity`` may be given as dictionaries."""
        parts: dict[str, Any] = {
            "pck_crl_issuer_chain": pem(self.ca, self.root),
            "tcb_info_issuer_chain": pem(self.signer, self.root),
            "qe_identity_issuer_chain": pem(self.signer, self.root),
            "root_ca_crl": crl(self.root_name),
            "pck_crl": crl(PCK_CA),
            "tcb_info": tcb_info(self.kind),
            "qe_identity": qe_identity(self.kind),
        } | changes
        for name in ("tcb_info", "qe_identity"):
            if isinstance(parts[name], dict):
                parts[name] = text(parts[name])
            parts.setdefault(f"{name}_signature", signed(TCB_SIGNER, parts[name]))
        return DcapCollateral(**parts)

    def quote(
        self,
        body: SgxReportBody | TdReportBody | None = None,
        *,
        version: int | None = None,
        qe_report: SgxReportBody = QE_REPORT,
        chain: tuple[x509.Certificate, ...] = (),
        pck_holder: str = PCK,
    ) -> Quote:
        """A quote over ``body``, signed by everybody who has to."""
        body = body or (ENCLAVE if self.kind == "sgx" else DOMAIN)
        sgx = isinstance(body, SgxReportBody)
        header = QuoteHeader(
            version=version or (3 if sgx else 4 if body.tee_tcb_svn2 is None else 5),
            attestation_key_type=KEY_TYPE_ECDSA_P256,
            tee_type=TEE_SGX if sgx else TEE_TDX,
            qe_vendor_id=INTEL_QE_VENDOR_ID,
        )
        attestation_key = raw_p256_key(key("attestation").public_key())
        authentication = bytes(range(32))
        bound = hashlib.sha256(attestation_key + authentication).digest()
        qe_report = dataclasses.replace(qe_report, report_data=bound + bytes(32))
        return Quote(
            header=header,
            body=body,
            signature=QuoteSignature(
                signature=signed("attestation", pack_signed_bytes(header, body)),
                attestation_key=attestation_key,
                qe_report=qe_report,
                qe_report_signature=signed(pck_holder, qe_report.pack()),
                authentication_data=authentication,
                certification_type=CERTIFICATION_PCK_CHAIN,
                certification_data=pem(*(chain or (self.pck, self.ca, self.root))) + b"\0",
            ),
        )
