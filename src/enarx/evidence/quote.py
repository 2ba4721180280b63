"""SGX and TDX quotes (Intel DCAP): versions 3, 4 and 5, parsed and packed.

::

    version 3   header 48 | SGX report body 384            | length u32 | signature data
    version 4   header 48 | SGX 384 or TD 1.0 584          | length u32 | signature data
    version 5   header 48 | type u16, size u32 | body      | length u32 | signature data

    signature data   signature 64 | attestation key 64 | certification
    version 3        QE report 384 | its signature 64 | u16 authentication data | type u16, u32 data
    version 4, 5     type u16 = 6, u32 length, and in it what version 3 has directly

Sources: *Intel SGX ECDSA Quote Library Reference*, appendix A (version 3 and 4), and *Intel TDX
DCAP Quoting Library API*, appendix A.3 (version 4 and 5). Numbers are little endian; signatures
are r and s, keys x and y, of 32 bytes each, big endian, P-256 with SHA-256.

What is signed is packed again from the parsed values: so what is checked is what was read.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import Enum

from enarx.errors import ParseError, UsageError
from enarx.evidence.layout import Layout, octets, u16, u32
from enarx.evidence.sgx import SGX_REPORT_BODY_SIZE, SgxReportBody
from enarx.evidence.tdx import TD_REPORT_10_SIZE, TD_REPORT_15_SIZE, TdReportBody

TEE_SGX = 0x00000000
TEE_TDX = 0x00000081

KEY_TYPE_ECDSA_P256 = 2
INTEL_QE_VENDOR_ID = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")

BODY_SGX = 1
BODY_TD_10 = 2
BODY_TD_15 = 3

CERTIFICATION_PPID_PLAIN = 1
CERTIFICATION_PPID_RSA2048 = 2
CERTIFICATION_PPID_RSA3072 = 3
CERTIFICATION_PCK_CHAIN = 5
CERTIFICATION_QE_REPORT = 6

HEADER_SIZE = 48
SIGNATURE_SIZE = 64
KEY_SIZE = 64

MAX_QUOTE = 1 << 20
"""Bytes of a quote that are looked at; real ones are 4,500 to 8,000."""

MAX_AUTHENTICATION_DATA = 4096
"""Bytes of QE authentication data; Intel's quoting enclave writes 32."""

MAX_CERTIFICATION_DATA = 64 * 1024
"""Bytes of a PCK certificate chain in PEM; Intel's are about 3,700."""

_U16 = struct.Struct("<H")
_U32 = struct.Struct("<I")
_TYPE_AND_LENGTH = struct.Struct("<HI")


class Trailing(Enum):
    """What to do with bytes behind a quote: many come in buffers of a fixed size."""

    REFUSE = "refuse"
    ZEROS = "zeros"
    """Accept zeros only."""
    CUT = "cut"
    """Cut them off, whatever they are: nobody signed them and nothing reads them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuoteHeader:
    """The first 48 bytes. ``qe_svn`` and ``pce_svn`` are reserved from version 4 on."""

    version: int = u16()
    attestation_key_type: int = u16()
    tee_type: int = u32()
    qe_svn: int = u16()
    pce_svn: int = u16()
    qe_vendor_id: bytes = octets(16)
    user_data: bytes = octets(20)

    @classmethod
    def parse(cls, data: bytes, *, offset: int = 0) -> QuoteHeader:
        """Read the 48 bytes at ``offset``.

        Raises:
            ParseError: fewer are left.
        """
        return _HEADER.parse(data, offset=offset)

    def pack(self) -> bytes:
        """The 48 bytes, which are signed.

        Raises:
            UsageError: a field has another size or range than the layout gives it.
        """
        return _HEADER.pack(self)


_HEADER = Layout(QuoteHeader, size=HEADER_SIZE)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuoteSignature:
    """Who signed, and who vouches for the signer.

    Attributes:
        signature: of the attestation key over :attr:`Quote.signed_bytes`.
        attestation_key: its public half, x and y.
        qe_report: report of the quoting enclave that made the key.
        qe_report_signature: of the PCK key over the packed ``qe_report``.
        authentication_data: of the quoting enclave's choice, bound by its report.
        certification_type: form of ``certification_data``; 5 is a PCK chain in PEM.
        certification_data: see ``certification_type``.
    """

    signature: bytes
    attestation_key: bytes
    qe_report: SgxReportBody
    qe_report_signature: bytes
    authentication_data: bytes
    certification_type: int
    certification_data: bytes

    @property
    def bound_data(self) -> bytes:
        """What ``qe_report.report_data`` is the SHA-256 of (then 32 zeros)."""
        return self.attestation_key + self.authentication_data


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """One quote.

    Attributes:
        header: version, TEE type, quoting enclave.
        body: the report on the enclave or trust domain.
        signature: who signed it.
        trailing: how many bytes were behind it in the buffer it came in; not part of it.
    """

    header: QuoteHeader
    body: SgxReportBody | TdReportBody
    signature: QuoteSignature
    trailing: int = 0

    @classmethod
    def parse(cls, data: bytes, *, trailing: Trailing = Trailing.REFUSE) -> Quote:
        """Read a quote.

        Args:
            data: the quote, from its first byte on.
            trailing: which bytes may follow it.

        Raises:
            ParseError: not a quote of version 3, 4 or 5, a length that does not fit, a key
                type other than ECDSA P-256, or bytes behind the quote.
        """
        if len(data) > MAX_QUOTE:
            raise ParseError(
                f"quote has {len(data)} bytes, at most {MAX_QUOTE} are read", code="quote.size"
            )
        header = QuoteHeader.parse(data)
        _check_header(header)
        body, offset = _parse_body(data, header)
        signature_data, end = _take(data, offset, _U32, MAX_QUOTE, "signature data")
        signature = _parse_signature(signature_data, header.version, offset + _U32.size)
        _check_trailing(data[end:], trailing, offset=end)
        return cls(header=header, body=body, signature=signature, trailing=len(data) - end)

    def pack(self) -> bytes:
        """The quote's bytes, without trailing zeros.

        Raises:
            UsageError: version, TEE type and body do not go together, or a field has another
                size than the layout gives it.
        """
        data = _pack_signature(self.signature, self.header.version)
        return self.signed_bytes + _U32.pack(len(data)) + data

    @property
    def signed_bytes(self) -> bytes:
        """Header, body descriptor (version 5) and body: what the attestation key signs.

        Raises:
            UsageError: as for :meth:`pack`.
        """
        return pack_signed_bytes(self.header, self.body)

    @property
    def body_type(self) -> int:
        """1 SGX enclave, 2 TDX 1.0, 3 TDX 1.5 (written out in version 5 only)."""
        return _body_type(self.body)


def pack_signed_bytes(header: QuoteHeader, body: SgxReportBody | TdReportBody) -> bytes:
    """The bytes that the attestation key of a quote with this header and body signs.

    Raises:
        UsageError: version, TEE type and body do not go together.
    """
    kind = _body_type(body)
    wanted = TEE_SGX if kind == BODY_SGX else TEE_TDX
    allowed = {3: (BODY_SGX,), 4: (BODY_SGX, BODY_TD_10), 5: (BODY_SGX, BODY_TD_10, BODY_TD_15)}
    if header.tee_type != wanted or kind not in allowed.get(header.version, ()):
        raise UsageError(
            f"a version {header.version} quote of TEE type 0x{header.tee_type:x} "
            f"cannot carry a body of type {kind}"
        )
    packed = body.pack()
    descriptor = _TYPE_AND_LENGTH.pack(kind, len(packed)) if header.version == 5 else b""
    return header.pack() + descriptor + packed


def _check_trailing(rest: bytes, allowed: Trailing, *, offset: int) -> None:
    if not rest or allowed is Trailing.CUT or (allowed is Trailing.ZEROS and not any(rest)):
        return
    raise ParseError(
        f"{len(rest)} bytes follow the quote",
        offset=offset,
        hint="Cut the buffer to the quote's length, or ask for trailing bytes to be allowed.",
        code="quote.trailing",
    )


def _body_type(body: SgxReportBody | TdReportBody) -> int:
    if isinstance(body, SgxReportBody):
        return BODY_SGX
    return BODY_TD_10 if body.tee_tcb_svn2 is None else BODY_TD_15


def _check_header(header: QuoteHeader) -> None:
    if header.version not in (3, 4, 5):
        raise ParseError(
            f"quote has version {header.version}, expected 3, 4 or 5",
            offset=0,
            code="quote.version",
        )
    if header.attestation_key_type != KEY_TYPE_ECDSA_P256:
        raise ParseError(
            f"quote has attestation key type {header.attestation_key_type}, expected "
            f"{KEY_TYPE_ECDSA_P256} (ECDSA P-256)",
            offset=2,
            code="quote.key-type",
        )
    known = (TEE_SGX,) if header.version == 3 else (TEE_SGX, TEE_TDX)
    if header.tee_type not in known:
        raise ParseError(
            f"quote of version {header.version} has TEE type 0x{header.tee_type:08x}",
            offset=4,
            code="quote.tee-type",
        )


def _parse_body(data: bytes, header: QuoteHeader) -> tuple[SgxReportBody | TdReportBody, int]:
    offset = HEADER_SIZE
    if header.version == 5:
        kind, size = _unpack(_TYPE_AND_LENGTH, data, offset, "body descriptor")
        _check_descriptor(kind, size, header.tee_type)
        offset += _TYPE_AND_LENGTH.size
    else:
        kind = BODY_SGX if header.tee_type == TEE_SGX else BODY_TD_10
    if kind == BODY_SGX:
        return SgxReportBody.parse(data, offset=offset), offset + SGX_REPORT_BODY_SIZE
    if kind == BODY_TD_10:
        return TdReportBody.parse(data, offset=offset), offset + TD_REPORT_10_SIZE
    return TdReportBody.parse_15(data, offset=offset), offset + TD_REPORT_15_SIZE


def _check_descriptor(kind: int, size: int, tee_type: int) -> None:
    sizes = {
        (TEE_SGX, BODY_SGX): SGX_REPORT_BODY_SIZE,
        (TEE_TDX, BODY_TD_10): TD_REPORT_10_SIZE,
        (TEE_TDX, BODY_TD_15): TD_REPORT_15_SIZE,
    }
    if sizes.get((tee_type, kind)) != size:
        raise ParseError(
            f"quote body has type {kind} and {size} bytes, which is none that TEE type "
            f"0x{tee_type:08x} has",
            offset=HEADER_SIZE,
            code="quote.body-type",
        )


def _parse_signature(data: bytes, version: int, base: int) -> QuoteSignature:
    """Read the signature data; ``base`` is where it starts in the quote, for messages."""
    signature = _slice(data, 0, SIGNATURE_SIZE, base)
    key = _slice(data, SIGNATURE_SIZE, KEY_SIZE, base)
    inner, offset = data, SIGNATURE_SIZE + KEY_SIZE
    if version >= 4:
        kind = _unpack(_U16, data, offset, "certification type")[0]
        if kind != CERTIFICATION_QE_REPORT:
            raise ParseError(
                f"certification data has type {kind}, expected {CERTIFICATION_QE_REPORT}",
                offset=base + offset,
                code="quote.certification-type",
            )
        inner, end = _take(data, offset + 2, _U32, MAX_QUOTE, "certification data")
        _ends(data, end, base, "certification data")
        base, offset = base + offset + 6, 0
    qe_report = SgxReportBody.parse(inner, offset=offset)
    offset += SGX_REPORT_BODY_SIZE
    qe_report_signature = _slice(inner, offset, SIGNATURE_SIZE, base)
    offset += SIGNATURE_SIZE
    authentication, offset = _take(inner, offset, _U16, MAX_AUTHENTICATION_DATA, "QE data")
    kind = _unpack(_U16, inner, offset, "certification type")[0]
    chain, end = _take(inner, offset + 2, _U32, MAX_CERTIFICATION_DATA, "certification data")
    _ends(inner, end, base, "signature data")
    return QuoteSignature(
        signature=signature,
        attestation_key=key,
        qe_report=qe_report,
        qe_report_signature=qe_report_signature,
        authentication_data=authentication,
        certification_type=kind,
        certification_data=chain,
    )


def _pack_signature(signature: QuoteSignature, version: int) -> bytes:
    for name in ("signature", "attestation_key", "qe_report_signature"):
        size = len(getattr(signature, name))
        if size != SIGNATURE_SIZE:
            raise UsageError(f"quote {name} has {size} bytes, it must have {SIGNATURE_SIZE}")
    if len(signature.authentication_data) > MAX_AUTHENTICATION_DATA:
        raise UsageError("QE authentication data is too long")
    vouching = (
        signature.qe_report.pack()
        + signature.qe_report_signature
        + _U16.pack(len(signature.authentication_data))
        + signature.authentication_data
        + _TYPE_AND_LENGTH.pack(signature.certification_type, len(signature.certification_data))
        + signature.certification_data
    )
    if version >= 4:
        vouching = _TYPE_AND_LENGTH.pack(CERTIFICATION_QE_REPORT, len(vouching)) + vouching
    return signature.signature + signature.attestation_key + vouching


def _unpack(form: struct.Struct, data: bytes, offset: int, what: str) -> tuple[int, ...]:
    if offset + form.size > len(data):
        raise ParseError(f"quote is cut off before its {what}", code="parse.truncated")
    return form.unpack_from(data, offset)


def _take(
    data: bytes, offset: int, form: struct.Struct, limit: int, what: str
) -> tuple[bytes, int]:
    """The bytes behind a length of ``form``, and where they end."""
    (length,) = _unpack(form, data, offset, f"{what} length")
    start = offset + form.size
    if length > min(limit, len(data) - start):
        raise ParseError(
            f"{what} of the quote claims {length} bytes, {len(data) - start} are left "
            f"and at most {limit} are read",
            code="quote.length",
        )
    return data[start : start + length], start + length


def _slice(data: bytes, offset: int, size: int, base: int) -> bytes:
    if offset + size > len(data):
        raise ParseError(
            f"signature data has {len(data)} bytes, {offset + size} are needed",
            offset=base + offset,
            code="parse.truncated",
        )
    return data[offset : offset + size]


def _ends(data: bytes, end: int, base: int, what: str) -> None:
    if end != len(data):
        raise ParseError(
            f"{len(data) - end} bytes follow inside the {what}",
            offset=base + end,
            code="quote.length",
        )
