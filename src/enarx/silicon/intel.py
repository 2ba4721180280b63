"""The simulated PKI for SGX and TDX: chain, TCB info, identities, revocation lists.

The shapes are Intel's: root CA, PCK Platform CA, PCK certificate with the SGX extension,
TCB signing certificate, TCB info version 3, enclave identities version 2, and two
revocation lists, each JSON signed over its exact text. The values are our own, and every
chain ends in a root that says it is no hardware.

Sources: Intel, *SGX PCK Certificate and Certificate Revocation List Profile Specification*;
*SGX and TDX Provisioning Certification Service API version 4*.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from enarx.evidence.ecdsa import raw_p256_from_der
from enarx.evidence.pck import PCK_EXTENSION_OID, PckExtension, pack_pck_extension
from enarx.silicon import pki
from enarx.silicon.keys import ChipKeys, load_ec

FMSPC: Final = b"SIMULA"
"""Family, model, stepping, platform, SKU: six bytes that no processor of Intel's has."""
PCE_ID: Final = bytes(2)
PCE_SVN: Final = 13
SGX_COMPONENTS: Final = (14, 14, 3, 3, 255, 255, 1, *(0,) * 9)
"""SVNs of the simulated platform: those of its newest TCB level, so that it is UpToDate."""
CPU_SVN: Final = bytes(SGX_COMPONENTS)
SGX_TYPE: Final = 1

TDX_MODULE_SVN: Final = 6
TDX_MODULE_VERSION: Final = 1
TEE_TCB_SVN: Final = bytes((TDX_MODULE_SVN, TDX_MODULE_VERSION, 3, *(0,) * 13))
"""SVNs of the simulated TDX module. Its version is above 0, so that TDX_01 speaks for it."""

QE_ISV_SVN: Final = 8
TD_QE_ISV_SVN: Final = 4
QE_PROD_ID: Final = 1
TD_QE_PROD_ID: Final = 2
QE_SIGNER: Final = hashlib.sha256(b"signer of the simulated quoting enclave").digest()
EVALUATION_NUMBER: Final = 1

PLATFORM_CA_NAME: Final = "Intel SGX PCK Platform CA"
TCB_SIGNING_NAME: Final = "Intel SGX TCB Signing"
PCK_NAME: Final = "Intel SGX PCK Certificate"


@dataclass(frozen=True, slots=True, kw_only=True)
class IntelPki:
    """Certificates of the simulated PKI.

    root, platform_ca, pck, tcb_signing: DER.
    """

    keys: ChipKeys
    root: bytes
    platform_ca: bytes
    pck: bytes
    tcb_signing: bytes

    @classmethod
    def issue(cls, keys: ChipKeys, *, at: datetime) -> IntelPki:
        """Issue all certificates for these keys."""
        root = _issuer(pki.ROOT_NAME, keys.root)
        platform = _issuer(PLATFORM_CA_NAME, keys.platform_ca)

        def sign(subject: str, key: bytes, issuer: pki.Issuer, **more: Any) -> bytes:
            public = load_ec(key).public_key()
            return pki.certificate(pki.name(subject), public, issuer, at=at, **more)

        ca = {"usage": pki.CA_USAGE, "authority": True, "lifetime": pki.ROOT_YEARS}
        leaf = {"usage": pki.LEAF_USAGE, "authority": False, "lifetime": pki.LEAF_YEARS}
        extension = {PCK_EXTENSION_OID: pack_pck_extension(_pck_extension(keys))}
        return cls(
            keys=keys,
            root=sign(pki.ROOT_NAME, keys.root, root, path_length=1, **ca),
            platform_ca=sign(PLATFORM_CA_NAME, keys.platform_ca, root, path_length=0, **ca),
            pck=sign(PCK_NAME, keys.pck, platform, extensions=extension, **leaf),
            tcb_signing=sign(TCB_SIGNING_NAME, keys.tcb_signing, root, **leaf),
        )

    @property
    def root_spki_sha256(self) -> bytes:
        """SHA-256 of the root's SubjectPublicKeyInfo, by which a policy can pin it."""
        return hashlib.sha256(pki.spki(load_ec(self.keys.root).public_key())).digest()

    @property
    def pck_chain(self) -> bytes:
        """PEM, leaf first, root last: what a quote carries as certification data of type 5."""
        return pem(self.pck, self.platform_ca, self.root)

    def collateral(self, tee: str, *, at: datetime) -> bytes:
        """The collateral for `sgx` or `tdx`, in the nine-key JSON form, issued now."""
        signing_chain = pem(self.tcb_signing, self.root).decode()
        tcb_info = _json(_tcb_info(tee, at))
        identity = _json(_qe_identity(tee, at))
        signer = load_ec(self.keys.tcb_signing)
        root = _issuer(pki.ROOT_NAME, self.keys.root)
        platform = _issuer(PLATFORM_CA_NAME, self.keys.platform_ca)
        parts = {
            "pck_crl_issuer_chain": pem(self.platform_ca, self.root).decode(),
            "root_ca_crl": pki.revocation_list(root, at=at).hex(),
            "pck_crl": pki.revocation_list(platform, at=at).hex(),
            "tcb_info_issuer_chain": signing_chain,
            "tcb_info": tcb_info,
            "tcb_info_signature": _sign(signer, tcb_info).hex(),
            "qe_identity_issuer_chain": signing_chain,
            "qe_identity": identity,
            "qe_identity_signature": _sign(signer, identity).hex(),
        }
        return _json(parts).encode()


def pem(*certificates: bytes) -> bytes:
    """DER certificates as PEM, in this order."""
    return b"".join(
        x509.load_der_x509_certificate(one).public_bytes(Encoding.PEM) for one in certificates
    )


def _issuer(common_name: str, key: bytes) -> pki.Issuer:
    return pki.Issuer(name=pki.name(common_name), key=load_ec(key))


def _sign(key: ec.EllipticCurvePrivateKey, text: str) -> bytes:
    return raw_p256_from_der(key.sign(text.encode(), ec.ECDSA(hashes.SHA256())))


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def _pck_extension(keys: ChipKeys) -> PckExtension:
    return PckExtension(
        ppid=keys.ppid,
        tcb_components=SGX_COMPONENTS,
        pce_svn=PCE_SVN,
        cpu_svn=CPU_SVN,
        pce_id=PCE_ID,
        fmspc=FMSPC,
        sgx_type=SGX_TYPE,
        platform_instance_id=keys.instance,
        dynamic_platform=True,
        cached_keys=True,
        smt_enabled=True,
    )


def _dates(at: datetime) -> dict[str, str]:
    """Issue date and next update, as Intel writes them."""
    return {
        "issueDate": _time(at - pki.BACKDATED),
        "nextUpdate": _time(at + pki.COLLATERAL_DAYS),
    }


def _time(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def _level(tcb: dict[str, Any], at: datetime) -> dict[str, Any]:
    date = (at - timedelta(days=1)).replace(hour=0, minute=0, second=0)
    return {"tcb": tcb, "tcbDate": _time(date), "tcbStatus": "UpToDate"}


def _tcb_info(tee: str, at: datetime) -> dict[str, Any]:
    """TCB info version 3 with one level, which the simulated platform reaches."""
    tcb: dict[str, Any] = {
        "sgxtcbcomponents": [{"svn": svn} for svn in SGX_COMPONENTS],
        "pcesvn": PCE_SVN,
    }
    info: dict[str, Any] = {
        "id": tee.upper(),
        "version": 3,
        **_dates(at),
        "fmspc": FMSPC.hex().upper(),
        "pceId": PCE_ID.hex(),
        "tcbType": 0,
        "tcbEvaluationDataNumber": EVALUATION_NUMBER,
    }
    if tee == "tdx":
        module = {
            "mrsigner": "00" * 48,
            "attributes": "00" * 8,
            "attributesMask": "FF" * 8,
        }
        info["tdxModule"] = module
        levels = [_level({"isvsvn": TDX_MODULE_SVN}, at)]
        identity = {"id": f"TDX_{TDX_MODULE_VERSION:02X}", **module, "tcbLevels": levels}
        info["tdxModuleIdentities"] = [identity]
        tcb["tdxtcbcomponents"] = [{"svn": svn} for svn in TEE_TCB_SVN]
    info["tcbLevels"] = [_level(tcb, at)]
    return info


def _qe_identity(tee: str, at: datetime) -> dict[str, Any]:
    """Identity of the simulated quoting enclave, version 2."""
    return {
        "id": "QE" if tee == "sgx" else "TD_QE",
        "version": 2,
        **_dates(at),
        "tcbEvaluationDataNumber": EVALUATION_NUMBER,
        "miscselect": "00000000",
        "miscselectMask": "FFFFFFFF",
        "attributes": "11" + "00" * 15,
        "attributesMask": "FB" + "FF" * 7 + "00" * 8,
        "mrsigner": QE_SIGNER.hex().upper(),
        "isvprodid": QE_PROD_ID if tee == "sgx" else TD_QE_PROD_ID,
        "tcbLevels": [_level({"isvsvn": QE_ISV_SVN if tee == "sgx" else TD_QE_ISV_SVN}, at)],
    }
