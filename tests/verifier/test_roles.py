"""Named inputs, bundles, roots, strict JSON, and which technology bytes are evidence of."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from tests.verifier.snp_factory import chip, crl

from enarx.endorsements import bundle_of, load_bundle
from enarx.endorsements.packing import inputs_of
from enarx.errors import EnarxError, ParseError, UsageError
from enarx.verifier import DcapCollateral, Endorsements, endorsements_from, parse, strictjson
from enarx.verifier.appraisal import MAX_EVIDENCE_BYTES
from enarx.verifier.detect import kind_of
from enarx.verifier.endorsements import MAX_COLLATERAL_BYTES
from enarx.verifier.roots import PINNED_ROOTS, pinned

VECTORS = Path(__file__).resolve().parents[3] / "shared" / "vectors"
ARK = chip().ark.der()
COLLATERAL = DcapCollateral(
    tcb_info=b'{"id": "SGX"}', tcb_info_signature=b"\x01" * 64, pck_crl=b"\x30\x00"
)


def pem(der: bytes) -> bytes:
    return x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM)


def test_certificates_may_be_der_or_pem_under_any_of_their_roles() -> None:
    leaf, ask, ark = chip().endorsements().certificates
    given_ = endorsements_from([("vcek", leaf), ("chain", pem(ask) + pem(ark)), ("crl", crl())])
    assert given_.certificates == (leaf, ask, ark)
    assert len(given_.crls) == 1


def test_unknown_role_is_refused() -> None:
    with pytest.raises(UsageError) as caught:
        endorsements_from([("vcekk", b"")])
    assert "vcek" in caught.value.hint


def test_role_that_can_be_there_once_is_refused_twice() -> None:
    with pytest.raises(UsageError):
        endorsements_from([("cert_table", b"a"), ("cert_table", b"b")])


@pytest.mark.parametrize("role", ["chain", "collateral", "event_log"])
def test_input_that_is_too_large_is_refused(role: str) -> None:
    with pytest.raises(ParseError):
        endorsements_from([(role, bytes(MAX_COLLATERAL_BYTES + 1))])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"tcb_info": 1}',
        '{"tcb_infos": ""}',
        '{"pck_crl": "zz"}',
        '{"tcb_info": "a", "tcb_info": "b"}',
        '{"tcb_info": NaN}',
        '{"tcb_info": "\\ud800"}',
        "[" * 100_000,
        '{"a":' * 50_000,
    ],
)
def test_collateral_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(ParseError):
        endorsements_from([("collateral", text.encode())])


def test_collateral_survives_its_json() -> None:
    assert DcapCollateral.from_json(COLLATERAL.to_json()) == COLLATERAL
    reordered = json.dumps(dict(reversed(json.loads(COLLATERAL.to_json()).items())))
    assert DcapCollateral.from_json(reordered.encode()) == COLLATERAL


def test_bundle_holds_all_that_was_supplied() -> None:
    whole = Endorsements(
        certificates=(ARK,),
        crls=(crl(),),
        cert_table=b"table",
        dcap=COLLATERAL,
        event_log=b"log",
        ccel=b"ccel",
        extra=(("csr", b"request"),),
    )
    assert load_bundle(bundle_of(whole, evidence=b"none")) == whole
    assert endorsements_from(inputs_of(whole)) == whole


@given(st.binary(max_size=100))
def test_any_bytes_are_a_bundle_or_a_parse_error(data: bytes) -> None:
    try:
        load_bundle(data)
    except ParseError:
        return


@given(st.binary(max_size=1300), st.sampled_from(["snp", "sgx", "tdx", "ra-tls", None]))
def test_any_bytes_are_evidence_or_an_error_of_ours(data: bytes, kind: str | None) -> None:
    try:
        parse(data, kind=kind)
    except EnarxError:
        return


def test_evidence_that_is_too_large_is_not_read() -> None:
    with pytest.raises(ParseError) as caught:
        parse(bytes(MAX_EVIDENCE_BYTES + 1))
    assert caught.value.code == "verify.size"


def test_unknown_type_names_those_there_are() -> None:
    with pytest.raises(UsageError) as caught:
        parse(b"", kind="sev")
    assert "snp" in caught.value.hint


def test_snp_report_is_told_by_its_length_and_certificate_by_its_extensions() -> None:
    made = chip()
    assert kind_of(made.evidence()) == "snp"
    assert kind_of(made.leaf_der()) == "snp"
    assert kind_of(ARK) == "ra-tls"
    assert kind_of(pem(made.leaf_der())) == "snp"
    for noise in (b"", b"\x00", b"text", bytes(1183), bytes(1185)):
        with pytest.raises(ParseError):
            kind_of(noise)


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.booleans(), max_size=5))
def test_strict_json_reads_what_json_writes(value: dict[str, object]) -> None:
    encoded = json.dumps(value).encode()
    assert strictjson.decode(encoded, what="test", limit=1 << 20) == value


@pytest.mark.parametrize("file", sorted((VECTORS / "roots").glob("*.pem")) or [None], ids=str)
def test_pinned_roots_are_those_of_the_vendors(file: Path | None) -> None:
    if file is None:
        pytest.skip(f"no roots in {VECTORS}")
    known = {one["file"]: one for one in json.loads((VECTORS / "roots.json").read_text())["roots"]}
    expected = known[f"roots/{file.name}"]
    certificate = x509.load_pem_x509_certificate(file.read_bytes())
    spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    root = PINNED_ROOTS.get(hashlib.sha256(spki).digest())
    if expected["role"] != "root":
        assert root is None
        return
    assert root is not None
    assert root.name == expected["common_name"]


def test_root_of_one_technology_is_none_of_another() -> None:
    for spki, root in PINNED_ROOTS.items():
        for kind in root.kinds:
            assert pinned(spki, kind=kind) is root
        assert pinned(spki, kind="other") is None


def test_hexadecimal_text_is_told_from_evidence() -> None:
    with pytest.raises(ParseError) as caught:
        kind_of(chip().evidence().hex().encode())
    assert caught.value.code == "verify.hex"
