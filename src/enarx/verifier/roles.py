"""Endorsements from named inputs: the role names of ``enarx verify --with`` and of the wire."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from enarx.errors import ParseError, UsageError
from enarx.verifier.endorsements import MAX_COLLATERAL_BYTES, DcapCollateral, Endorsements

CERTIFICATE_ROLES: Final = ("vcek", "vlek", "ask", "asvk", "ark", "pck", "root", "chain")
EXTRA_ROLES: Final = (
    "activation",
    "ak_public",
    "ak_tpmt_public",
    "ccel_table",
    "csr",
    "host_data_preimage",
    "id_auth",
    "id_block",
    "key",
    "measurement_endorsement",
    "pcrs",
    "platform_key",
    "quote",
    "report",
    "report_data_preimage",
    "signature",
    "signature_tpmt",
    "td_quote",
    "tpm_quote",
    "tpm_signature",
)
ROLES: Final = tuple(
    sorted(
        (*CERTIFICATE_ROLES, "crl", "cert_table", "collateral", "event_log", "ccel", *EXTRA_ROLES)
    )
)

MAX_INPUTS: Final = 64
"""Inputs of one appraisal; a genuine one has under ten."""


def endorsements_from(inputs: Iterable[tuple[str, bytes]]) -> Endorsements:
    """Sort named inputs into endorsements. Certificates may be PEM or DER.

    Raises:
        UsageError: an unknown role, or one that can only be there once is there twice.
        ParseError: an input is over-long, or PEM or JSON that cannot be read.
    """
    certificates: list[bytes] = []
    crls: list[bytes] = []
    single: dict[str, bytes] = {}
    for number, (role, data) in enumerate(inputs):
        if role not in ROLES:
            raise UsageError(
                f"unknown role {role!r}",
                hint=f"known roles: {', '.join(ROLES)}",
                code="verify.role",
            )
        if number >= MAX_INPUTS or len(data) > MAX_COLLATERAL_BYTES:
            raise ParseError(
                f"{role}: {len(data)} bytes as input {number + 1}; at most {MAX_INPUTS} inputs "
                f"of {MAX_COLLATERAL_BYTES} bytes are read",
                code="verify.size",
            )
        if role in CERTIFICATE_ROLES:
            certificates.extend(_certificates(role, data))
        elif role == "crl":
            crls.append(_crl(data))
        elif role in single:
            raise UsageError(f"role {role!r} is given twice", code="verify.role")
        else:
            single[role] = data
    collateral = single.pop("collateral", None)
    return Endorsements(
        certificates=tuple(certificates),
        crls=tuple(crls),
        cert_table=single.pop("cert_table", b""),
        dcap=DcapCollateral.from_json(collateral) if collateral is not None else None,
        event_log=single.pop("event_log", b""),
        ccel=single.pop("ccel", b""),
        extra=tuple(single.items()),
    )


def _certificates(role: str, data: bytes) -> tuple[bytes, ...]:
    from enarx.verifier.x509 import load_certificates

    try:
        return load_certificates(data)
    except ParseError as error:
        raise ParseError(f"{role}: {error.message}", hint=error.hint, code=error.code) from error


def _crl(data: bytes) -> bytes:
    from enarx.verifier.crl import crl_der

    return crl_der(data)
