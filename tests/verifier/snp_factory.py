"""SNP chains and reports made for tests: everything about them can be made wrong.

The root is named like simulated silicon, so that policies that allow it judge everything
else. Keys are P-384 throughout: RSA keys of the vendor's size take seconds to make.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.serialization import Encoding

from enarx.evidence import der
from enarx.evidence.snp import Product, Report, key_word, pack_signature, pack_tcb
from enarx.evidence.vcek import LeafExtensions
from enarx.verifier import Endorsements, Policy, Verdict, Verifier
from enarx.verifier.roots import SIMULATED_ROOT_NAME

AT = datetime(2026, 6, 1, 12, tzinfo=UTC)
FROM = AT - timedelta(days=10)
UNTIL = AT + timedelta(days=10)
SIMULATED = Policy.builtin("genuine").but(allow_simulated=True, name="simulated")
ALG_ECDSA_SHA384 = der.element(der.SEQUENCE, der.object_identifier("1.2.840.10045.4.3.3"))

TCB = {"bl": 10, "tee": 0, "snp": 23, "ucode": 84}
TURIN_TCB = {"fmc": 1, "bl": 1, "tee": 1, "snp": 4, "ucode": 81}
CPUID = {Product.MILAN: (0x19, 1), Product.GENOA: (0x19, 0x11), Product.TURIN: (0x1A, 2)}


@cache
def key(name: str) -> ec.EllipticCurvePrivateKey:
    """One key a name, made once a test run."""
    return ec.generate_private_key(ec.SECP384R1())


def name_of(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])


@dataclass(frozen=True)
class Made:
    """How one certificate is made."""

    subject: str
    issuer: str
    signer: str
    key: str
    serial: int = 1
    start: datetime = FROM
    end: datetime = UNTIL
    authority: bool = False
    path_length: int | None = None
    extensions: dict[str, bytes] = field(default_factory=dict)
    curve: ec.EllipticCurve = field(default_factory=ec.SECP384R1)

    def der(self) -> bytes:
        public = key(self.key).public_key()
        if not isinstance(self.curve, ec.SECP384R1):
            public = ec.generate_private_key(self.curve).public_key()
        builder = (
            x509.CertificateBuilder()
            .subject_name(name_of(self.subject))
            .issuer_name(name_of(self.issuer))
            .public_key(public)
            .serial_number(self.serial)
            .not_valid_before(self.start)
            .not_valid_after(self.end)
        )
        if self.authority:
            constraints = x509.BasicConstraints(ca=True, path_length=self.path_length)
            builder = builder.add_extension(constraints, critical=True)
        for oid, content in self.extensions.items():
            extension = x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), content)
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(key(self.signer), hashes.SHA384()).public_bytes(Encoding.DER)


def resign(certificate: bytes, signer: str, old: bytes, new: bytes) -> bytes:
    """The certificate with bytes of its signed part replaced, and signed again."""
    tbs = x509.load_der_x509_certificate(certificate).tbs_certificate_bytes
    assert tbs.count(old) == 1
    assert len(old) == len(new)
    tbs = tbs.replace(old, new)
    signature = key(signer).sign(tbs, ec.ECDSA(hashes.SHA384()))
    bits = der.element(0x03, b"\0" + signature)
    return der.element(der.SEQUENCE, tbs + ALG_ECDSA_SHA384 + bits)


def crl(
    issuer: str = SIMULATED_ROOT_NAME,
    signer: str = "ark",
    revoked: tuple[int, ...] = (),
    start: datetime = FROM,
    end: datetime = UNTIL,
) -> bytes:
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(name_of(issuer))
        .last_update(start)
        .next_update(end)
    )
    for serial in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(start)
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(key(signer), hashes.SHA384()).public_bytes(Encoding.DER)


REPORT = Report(
    version=3,
    policy=0x30000,
    signature_algo=1,
    platform_info=0x25,
    report_data=b"\x01" * 64,
    measurement=b"\x02" * 48,
    host_data=b"\x03" * 32,
    chip_id=bytes(range(64)),
    cpuid_family=0x19,
    cpuid_model=0x11,
)


@dataclass(frozen=True)
class Snp:
    """A chip with its chain and a report; ``but`` makes another that differs."""

    product: Product = Product.GENOA
    tcb: dict[str, int] = field(default_factory=lambda: dict(TCB))
    ark: Made = Made(
        SIMULATED_ROOT_NAME, SIMULATED_ROOT_NAME, "ark", "ark", serial=10, authority=True
    )
    ask: Made = Made(
        "SEV-Genoa", SIMULATED_ROOT_NAME, "ark", "ask", serial=11, authority=True, path_length=0
    )
    leaf: Made = Made("SEV-VCEK", "SEV-Genoa", "ask", "vcek", serial=1)
    hwid: bytes | None = bytes(range(64))
    csp_id: str | None = None
    report: Report = REPORT
    tcbs: tuple[str, ...] = ("current_tcb", "reported_tcb", "committed_tcb", "launch_tcb")
    crls: tuple[bytes, ...] = ()
    signer: str = "vcek"

    def but(self, **changes: Any) -> Snp:
        return replace(self, **changes)

    def with_report(self, **changes: Any) -> Snp:
        return replace(self, report=replace(self.report, **changes))

    def leaf_der(self) -> bytes:
        extensions = LeafExtensions(
            product_name=self.product.value, tcb=self.tcb, hwid=self.hwid, csp_id=self.csp_id
        )
        return replace(self.leaf, extensions=extensions.pack() | self.leaf.extensions).der()

    def evidence(self) -> bytes:
        raw = pack_tcb(self.tcb, self.product)
        set_tcbs = dict.fromkeys(self.tcbs, raw)
        report = replace(self.report, **set_tcbs)
        signed = report.signed_bytes()
        signature = key(self.signer).sign(signed, ec.ECDSA(hashes.SHA384()))
        r, s = utils.decode_dss_signature(signature)
        return replace(report, signature=pack_signature(r, s)).pack()

    def endorsements(self, **more: Any) -> Endorsements:
        given = {
            "certificates": (self.leaf_der(), self.ask.der(), self.ark.der()),
            "crls": self.crls,
        } | more
        return Endorsements(**given)

    def appraise(self, policy: Policy = SIMULATED, at: datetime = AT, **more: Any) -> Verdict:
        given = {"evidence": None, "endorsements": None} | more
        evidence = given.pop("evidence") or self.evidence()
        endorsements = given.pop("endorsements") or self.endorsements()
        return Verifier().appraise(
            evidence, policy=policy, at=at, endorsements=endorsements, **given
        )


def chip(product: Product = Product.GENOA, **changes: Any) -> Snp:
    """A genuine machine of a product line, as far as simulated silicon can be one."""
    family, model = CPUID[product]
    turin = product is Product.TURIN
    hwid = bytes(range(1, 9)) if turin else bytes(range(64))
    made = Snp(
        product=product,
        tcb=dict(TURIN_TCB if turin else TCB),
        hwid=hwid,
        ask=replace(Snp.ask, subject=f"SEV-{product}"),
        leaf=replace(Snp.leaf, issuer=f"SEV-{product}"),
        report=replace(
            Snp.report, cpuid_family=family, cpuid_model=model, chip_id=hwid.ljust(64, b"\0")
        ),
    )
    return made.but(**changes)


def vlek(product: Product = Product.MILAN) -> Snp:
    """A machine of a cloud provider that signs with the provider's key."""
    made = chip(product, hwid=None, csp_id="CN=cc.example.org")
    intermediate = f"SEV-VLEK-{product}"
    return made.but(
        ask=replace(made.ask, subject=intermediate),
        leaf=replace(made.leaf, subject="SEV-VLEK", issuer=intermediate),
        report=replace(made.report, chip_id=bytes(64), key_word=key_word(signing_key=1)),
    )
