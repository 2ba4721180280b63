"""No changed bit of anything that is signed is ever accepted, and nothing can be cut off.

The quick run takes a sample of positions; ``-m slow`` takes every bit of every signed byte of
every genuine sample: header and body, the quoting enclave's report, what that binds, all
signatures, the signed part of each certificate and revocation list, TCB info, QE identity.
"""

from __future__ import annotations

import base64
import struct
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace

import msgspec
import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_der_x509_certificate
from tests.verifier.dcap_samples import GENUINE, Sample, samples

from enarx.errors import ParseError
from enarx.evidence import der
from enarx.evidence.ecdsa import P256_ORDER
from enarx.evidence.eventlog import parse_event_log
from enarx.evidence.quote import Quote
from enarx.verifier import DcapCollateral, Endorsements, Tier, Verdict, Verifier
from enarx.verifier.appraisal import parse
from enarx.verifier.x509 import load_certificates

QUICK_FLIPS = 16
"""Positions of each signed range in the quick run, spread evenly and odd so that bits differ."""

CHAINS = ("pck_crl_issuer_chain", "tcb_info_issuer_chain", "qe_identity_issuer_chain")
DOCUMENTS = ("tcb_info", "tcb_info_signature", "qe_identity", "qe_identity_signature")
LISTS = ("root_ca_crl", "pck_crl")
MAX_SECONDS, MAX_BYTES = 1.0, 50 << 20


def flips(data: bytes, start: int, end: int, count: int | None) -> Iterator[bytes]:
    """The data with one bit of [start, end) changed, at every position or at some."""
    bits = (end - start) * 8
    step = 1 if count is None else max(1, bits // count) | 1
    for position in range(0, bits, step):
        changed = bytearray(data)
        changed[start + position // 8] ^= 1 << (position % 8)
        yield bytes(changed)


def signed_range(data: bytes) -> tuple[int, int]:
    """Where the signed part of a certificate or list lies: the first element inside."""
    content = der.read_whole(data, tag=der.SEQUENCE)
    start = len(data) - len(content)
    return start, start + der.read_any(content, 0)[2]


def accepted(verdict: Verdict) -> bool:
    return verdict.tier is not Tier.CONTRAINDICATED or verdict.genuine


def refused(appraise: Callable[[], Verdict]) -> bool:
    try:
        return not accepted(appraise())
    except ParseError:
        return True


def check_quote(sample: Sample, count: int | None) -> None:
    verifier, quote = Verifier(), sample.quote
    parsed = Quote.parse(quote)
    signature = parsed.signature
    body = len(parsed.signed_bytes)
    vouching = quote.index(signature.qe_report.pack())
    data = quote.index(signature.authentication_data, vouching + 448)
    ranges = (
        (0, body),
        (body + 4, body + 4 + 128),
        (vouching, vouching + 384 + 64),
        (data, data + len(signature.authentication_data)),
    )
    endorsements = sample.endorsements()
    for start, end in ranges:
        for changed in flips(quote, start, end, count):
            given = {"evidence": changed, "verifier": verifier, "endorsements": endorsements}
            assert refused(lambda given=given: sample.appraise(**given)), changed.hex()


def with_certificate(certificates: tuple[bytes, ...], number: int, changed: bytes) -> bytes:
    """PEM of the certificates with one replaced, whatever it is now."""
    replaced = (*certificates[:number], changed, *certificates[number + 1 :])
    return b"".join(_pem(one) for one in replaced)


def _pem(data: bytes) -> bytes:
    body = base64.encodebytes(data)
    return b"-----BEGIN CERTIFICATE-----\n" + body + b"-----END CERTIFICATE-----\n"


def check_pck_chain(sample: Sample, count: int | None) -> None:
    quote = Quote.parse(sample.quote)
    endorsements, verifier = sample.endorsements(), Verifier(cache_entries=8)
    certificates = load_certificates(quote.signature.certification_data.rstrip(b"\0"))
    for number, one in enumerate(certificates):
        for changed in flips(one, *signed_range(one), count):
            chain = with_certificate(certificates, number, changed)
            evidence = _with_chain(quote, chain)
            given = {"evidence": evidence, "verifier": verifier, "endorsements": endorsements}
            assert refused(lambda given=given: sample.appraise(**given)), (number, changed.hex())


def _with_chain(quote: Quote, chain: bytes) -> bytes:
    signature = replace(quote.signature, certification_data=chain)
    return replace(quote, signature=signature).pack()


def collateral_flips(collateral: DcapCollateral, count: int | None) -> Iterator[DcapCollateral]:
    change = msgspec.structs.replace
    for name in DOCUMENTS:
        value = getattr(collateral, name)
        for changed in flips(value, 0, len(value), count):
            yield change(collateral, **{name: changed})
    for name in LISTS:
        value = getattr(collateral, name)
        for changed in flips(value, *signed_range(value), count) if value else ():
            yield change(collateral, **{name: changed})
    for name in CHAINS:
        value = getattr(collateral, name)
        # Without lists nobody needs the chain of their issuer.
        if name == CHAINS[0] and not collateral.pck_crl:
            continue
        certificates = load_certificates(value)
        for number, one in enumerate(certificates):
            for changed in flips(one, *signed_range(one), count):
                yield change(collateral, **{name: with_certificate(certificates, number, changed)})


def check_collateral(sample: Sample, count: int | None) -> None:
    verifier, evidence = Verifier(cache_entries=8), sample.quote
    collateral = sample.endorsements().dcap
    assert collateral is not None
    for changed in collateral_flips(collateral, count):
        endorsements = Endorsements(dcap=changed)
        verdict = verifier.appraise(
            evidence, policy=GENUINE, at=sample.at, endorsements=endorsements
        )
        assert not accepted(verdict), changed


CHECKS = [check_quote, check_pck_chain, check_collateral]
GENUINE_SAMPLES = samples("sgx", "tdx", passing=True)


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("sample", GENUINE_SAMPLES)
def test_no_flipped_bit_is_accepted(sample: Sample, check: Callable[..., None]) -> None:
    assert sample.appraise(evidence=sample.quote).tier is Tier.AFFIRMING
    check(sample, QUICK_FLIPS)


@pytest.mark.slow
@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("sample", GENUINE_SAMPLES)
def test_no_flipped_bit_anywhere_is_accepted(sample: Sample, check: Callable[..., None]) -> None:
    check(sample, None)


@pytest.mark.parametrize("sample", GENUINE_SAMPLES)
def test_quote_cut_at_any_length_is_no_quote(sample: Sample) -> None:
    verifier, quote, kind = Verifier(), sample.quote, sample.expected["tee"]
    for length in range(len(quote)):
        with pytest.raises(ParseError):
            verifier.appraise(quote[:length], kind=kind, policy=GENUINE, at=sample.at)


@pytest.mark.parametrize("sample", GENUINE_SAMPLES)
def test_no_length_field_can_be_changed(sample: Sample) -> None:
    quote = sample.quote
    signed = len(Quote.parse(quote).signed_bytes)
    nested = 6 if Quote.parse(quote).header.version > 3 else 0
    tail = signed + 4 + 128 + nested + 448
    fields = [(signed, "<I"), (tail, "<H"), (tail + 2 + 32 + 2, "<I")]
    fields += [(signed + 4 + 128 + 2, "<I")] if nested else []
    for position, form in fields:
        largest = (1 << 8 * struct.calcsize(form)) - 1
        for value in (0, 1, largest // 2, largest):
            changed = bytearray(quote)
            struct.pack_into(form, changed, position, value)
            assert refused(lambda data=bytes(changed): sample.appraise(evidence=data))


@pytest.mark.parametrize("sample", GENUINE_SAMPLES)
def test_collateral_cut_anywhere_is_refused(sample: Sample) -> None:
    collateral = sample.endorsements().dcap
    assert collateral is not None
    verifier = Verifier(cache_entries=8)
    for name in (*DOCUMENTS, *LISTS, *CHAINS[1:]):
        value = getattr(collateral, name)
        for length in range(1, len(value), max(1, len(value) // 24)):
            if name in CHAINS and not value[length:].strip():
                continue
            changed = msgspec.structs.replace(collateral, **{name: value[:length]})
            verdict = verifier.appraise(
                sample.quote, policy=GENUINE, at=sample.at, endorsements=Endorsements(dcap=changed)
            )
            assert not accepted(verdict), (name, length)


def raw(r: int, s: int) -> bytes:
    return r.to_bytes(32) + s.to_bytes(32)


@pytest.mark.parametrize(
    "signature",
    [raw(0, 0), raw(0, 1), raw(1, 0), raw(P256_ORDER, 1), raw(1, P256_ORDER), b"\xff" * 64],
)
@pytest.mark.parametrize("sample", GENUINE_SAMPLES[:2])
def test_signature_out_of_range_is_refused_everywhere(sample: Sample, signature: bytes) -> None:
    quote = Quote.parse(sample.quote)
    for name in ("signature", "qe_report_signature"):
        changed = replace(quote, signature=replace(quote.signature, **{name: signature}))
        assert not accepted(sample.appraise(evidence=changed.pack()))
    for name in ("tcb_info_signature", "qe_identity_signature"):
        collateral = sample.endorsements().dcap
        changed_collateral = msgspec.structs.replace(collateral, **{name: signature})
        assert not accepted(sample.appraise(endorsements=Endorsements(dcap=changed_collateral)))


@pytest.mark.parametrize("sample", GENUINE_SAMPLES[:2])
def test_high_s_is_a_signature_as_the_standard_says(sample: Sample) -> None:
    quote = Quote.parse(sample.quote)
    r, s = quote.signature.signature[:32], int.from_bytes(quote.signature.signature[32:])
    other = replace(quote.signature, signature=r + (P256_ORDER - s).to_bytes(32))
    evidence = replace(quote, signature=other).pack()
    assert sample.appraise(evidence=evidence).tier is Tier.AFFIRMING


HUGE = 100 << 20


@pytest.mark.parametrize(
    "read",
    [
        DcapCollateral.from_json,
        lambda huge: DcapCollateral(tcb_info=huge),
        lambda huge: DcapCollateral(pck_crl=huge),
        lambda huge: DcapCollateral(tcb_info_issuer_chain=huge),
        lambda huge: parse(huge, kind="sgx"),
        parse_event_log,
    ],
    ids=["json", "tcb-info", "crl", "chain", "quote", "event-log"],
)
def test_a_hundred_megabytes_are_refused_before_they_cost_anything(
    read: Callable[[bytes], object],
) -> None:
    huge = b"[" * HUGE
    tracemalloc.start()
    start = time.process_time()
    with pytest.raises(ParseError):
        read(huge)
    spent, (_, peak) = time.process_time() - start, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert spent < MAX_SECONDS
    assert peak < MAX_BYTES


@pytest.mark.parametrize("sample", GENUINE_SAMPLES[:1])
def test_certificate_with_an_extension_twice_is_refused(sample: Sample) -> None:
    quote = Quote.parse(sample.quote)
    certificates = load_certificates(quote.signature.certification_data.rstrip(b"\0"))
    leaf = load_der_x509_certificate(certificates[0])
    twice = _extension_twice(leaf.public_bytes(Encoding.DER))
    evidence = _with_chain(quote, with_certificate(certificates, 0, twice))
    assert not accepted(sample.appraise(evidence=evidence))


def _extension_twice(certificate: bytes) -> bytes:
    """The certificate with its last extension repeated, all lengths mended."""
    content = der.read_whole(certificate, tag=der.SEQUENCE)
    _, tbs, end = der.read_any(content, 0)
    parts = list(der.elements(tbs))
    tag, explicit = parts[-1]
    extensions = list(der.elements(der.read_whole(explicit, tag=der.SEQUENCE)))
    inner = b"".join(der.element(*one) for one in [*extensions, extensions[-1]])
    parts[-1] = (tag, der.element(der.SEQUENCE, inner))
    body = der.element(der.SEQUENCE, b"".join(der.element(*one) for one in parts))
    return der.element(der.SEQUENCE, body + content[end:])
