"""Which technology bytes are evidence of, told from their first bytes and their length."""

from __future__ import annotations

from typing import Final, NoReturn

from enarx.errors import ParseError

SNP_REPORT_BYTES: Final = 1184
"""SNP ABI specification, table 23."""

_INTEL_QE_VENDOR: Final = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
_QE_VENDOR_AT: Final = 12
_TEE_TYPE_AT: Final = 4
_TEE_SGX: Final = bytes.fromhex("00000000")
_TEE_TDX: Final = bytes.fromhex("81000000")
_DER_SEQUENCE: Final = 0x30
_PEM: Final = b"-----BEGIN CERTIFICATE-----"
_QUOTE_VERSIONS: Final = (b"\x03\x00", b"\x04\x00", b"\x05\x00")
_ECDSA_P256: Final = b"\x02\x00"
_HEX: Final = b"0123456789abcdefABCDEF \t\r\n"
_TEXT_BYTES: Final = 64
"""No evidence begins with so many bytes that are all hexadecimal digits."""
_JWT: Final = b"eyJ"
"""Base64 of an opening brace and quote: how the header of every JWT begins."""
_STARTS: Final = {
    bytes.fromhex("ff544347"): "tpm",  # the TPM's magic number
    b"\xa8\x62ak": "tpm",  # a Keep's bundle: a map of eight, of which "ak" comes first
    b"HCLA": "azure-vtpm",
}
_SPEC_ID_AT: Final = 32
_SPEC_ID: Final = b"Spec ID Event03\0"
"""Data of the first record of a crypto-agile event log."""
_AMD_OID: Final = bytes.fromhex("2b060104019c7801")


def kind_of(evidence: bytes) -> str:
    """Name the technology.

    Raises:
        ParseError: the bytes look like no evidence known.
    """
    if len(evidence) > _TEXT_BYTES and not evidence[:_TEXT_BYTES].translate(None, delete=_HEX):
        raise ParseError(
            "this is text in hexadecimal, evidence is bytes",
            offset=0,
            hint="convert it first, such as with `xxd -r -p`",
            code="verify.hex",
        )
    if evidence[_QE_VENDOR_AT : _QE_VENDOR_AT + 16] == _INTEL_QE_VENDOR:
        return _tee_of(evidence) or _unrecognised(evidence)
    for start, kind in _STARTS.items():
        if evidence.startswith(start):
            return kind
    if evidence[_SPEC_ID_AT : _SPEC_ID_AT + len(_SPEC_ID)] == _SPEC_ID:
        return "eventlog"
    if len(evidence) == SNP_REPORT_BYTES:
        return "snp"
    if evidence[:1] and evidence[0] == _DER_SEQUENCE:
        return "snp" if _AMD_OID in evidence else "ra-tls"
    if evidence.startswith(_PEM):
        return kind_of_certificate(evidence)
    if evidence.startswith(_JWT):
        return "ear"
    # A quote of another vendor's quoting enclave: read, so that it can be refused by name.
    known = evidence[:2] in _QUOTE_VERSIONS and evidence[2:4] == _ECDSA_P256
    return (_tee_of(evidence) if known else None) or _unrecognised(evidence)


def kind_of_certificate(pem: bytes) -> str:
    """Name the technology of the first certificate in PEM.

    Raises:
        ParseError: it cannot be read.
    """
    from enarx.verifier.x509 import load_certificates

    return "snp" if _AMD_OID in load_certificates(pem)[0] else "ra-tls"


def _tee_of(quote: bytes) -> str | None:
    return {_TEE_SGX: "sgx", _TEE_TDX: "tdx"}.get(quote[_TEE_TYPE_AT : _TEE_TYPE_AT + 4])


def _unrecognised(evidence: bytes) -> NoReturn:
    raise ParseError(
        f"{len(evidence)} bytes that look like no evidence known",
        offset=0,
        hint="name the type with --type if you know it",
        code="verify.unrecognised",
    )
