"""What vendors say about their silicon, as plain data: the verifier's second input.

Endorsements (RFC 9334, section 4.1) are carried here exactly as they came: DER and
signed JSON bytes, nothing trusted, nothing parsed. Fetching and caching them is the
work of :mod:`enarx.endorsements`; believing them is the work of the verifier.
"""

from __future__ import annotations

from typing import Final

import msgspec

from enarx.errors import ParseError
from enarx.verifier import strictjson

MAX_COLLATERAL_BYTES: Final = 4 * 1024 * 1024
"""The largest real collateral is under 100 KiB; CRLs of a big fleet stay under 1 MiB."""

MAX_CERTIFICATES: Final = 64
"""A fleet bundle needs one leaf a machine and three intermediates; more is not one appraisal's."""

MAX_CERTIFICATE_BYTES: Final = 64 * 1024
"""Vendor certificates are under 3 KiB; this bounds what a host can make us parse."""

MAX_CRL_BYTES: Final = 2 * 1024 * 1024
"""Intel's PCK revocation list is some 100 KiB."""

_DCAP_TEXT: Final = (
    "pck_crl_issuer_chain",
    "tcb_info_issuer_chain",
    "qe_identity_issuer_chain",
    "tcb_info",
    "qe_identity",
)
_DCAP_HEX: Final = ("root_ca_crl", "pck_crl", "tcb_info_signature", "qe_identity_signature")


class DcapCollateral(msgspec.Struct, frozen=True, kw_only=True):
    """Intel DCAP collateral (PCS API v4), each part exactly as it was signed.

    Attributes:
        pck_crl_issuer_chain, tcb_info_issuer_chain, qe_identity_issuer_chain: PEM, leaf first;
            empty where absent.
        root_ca_crl, pck_crl: DER; empty where absent.
        tcb_info, qe_identity: the inner JSON object, byte for byte as signed.
        tcb_info_signature, qe_identity_signature: r and s, 32 bytes each, big endian.
    """

    pck_crl_issuer_chain: bytes = b""
    tcb_info_issuer_chain: bytes = b""
    qe_identity_issuer_chain: bytes = b""
    root_ca_crl: bytes = b""
    pck_crl: bytes = b""
    tcb_info: bytes = b""
    tcb_info_signature: bytes = b""
    qe_identity: bytes = b""
    qe_identity_signature: bytes = b""

    def __post_init__(self) -> None:
        size = sum(len(getattr(self, name)) for name in self.__struct_fields__)
        if size > MAX_COLLATERAL_BYTES:
            raise ParseError(
                f"collateral is {size} bytes, more than {MAX_COLLATERAL_BYTES}",
                hint="pass the collateral of one platform only",
                code="collateral.size",
            )

    @classmethod
    def from_json(cls, data: bytes) -> DcapCollateral:
        """Read the nine-key JSON form (text as text, CRLs and signatures as hex).

        Raises:
            ParseError: not JSON, not an object, an unknown key, or a value of the wrong form.
        """
        parts = strictjson.decode(data, what="collateral", limit=MAX_COLLATERAL_BYTES)
        values: dict[str, bytes] = {}
        for key, value in parts.items():
            if key not in cls.__struct_fields__:
                raise ParseError(
                    f"collateral has an unknown key {key!r}",
                    hint=f"known keys: {', '.join(cls.__struct_fields__)}",
                    code="collateral.key",
                )
            values[key] = _part(key, value)
        return cls(**values)

    def to_json(self) -> bytes:
        """The nine-key JSON form; the inverse of :meth:`from_json`."""
        parts = {key: getattr(self, key).decode("utf-8") for key in _DCAP_TEXT}
        parts |= {key: getattr(self, key).hex() for key in _DCAP_HEX}
        return msgspec.json.encode({key: parts[key] for key in self.__struct_fields__})


def _part(key: str, value: object) -> bytes:
    if value is None:
        return b""
    if not isinstance(value, str):
        raise ParseError(
            f"collateral key {key!r} holds {type(value).__name__}, not text",
            hint="every part is a JSON string",
            code="collateral.value",
        )
    if key in _DCAP_TEXT:
        try:
            return value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise ParseError(
                f"collateral key {key!r} is not valid Unicode",
                hint="every part is a JSON string",
                code="collateral.value",
            ) from error
    try:
        return bytes.fromhex(value)
    except ValueError as error:
        raise ParseError(
            f"collateral key {key!r} is not hex: {error}",
            hint="revocation lists and signatures are hex",
            code="collateral.value",
        ) from error


class Endorsements(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the verifier is given besides the evidence. All of it is untrusted.

    Attributes:
        certificates: DER, in any order: leaves (VCEK, VLEK, PCK), intermediates, roots.
        crls: DER revocation lists, in any order.
        cert_table: the SNP certificate table a host passed along (GHCB form); empty if none.
        dcap: SGX and TDX collateral.
        event_log: measured-boot or runtime log to replay (CCEL or vendor JSON); empty if none.
        extra: further inputs by role name (``csr``, ``pcrs``, ``key``, ...).
    """

    certificates: tuple[bytes, ...] = ()
    crls: tuple[bytes, ...] = ()
    cert_table: bytes = b""
    dcap: DcapCollateral | None = None
    event_log: bytes = b""
    ccel: bytes = b""
    extra: tuple[tuple[str, bytes], ...] = ()

    def role(self, name: str) -> bytes | None:
        """The extra input with this role name, or ``None``."""
        for role, data in self.extra:
            if role == name:
                return data
        return None


NO_ENDORSEMENTS: Final = Endorsements()
