"""What the relying party expects: reference values (RFC 9334, section 4.3) and expectations.

Reference values say which code is good; expectations say what this very
attestation has to carry (a nonce, a key, the data the Keep was started with).
"""

from __future__ import annotations

from typing import Final

import msgspec

from enarx.errors import UsageError

REPORT_DATA_BYTES: Final = 64
"""User data of SNP, SGX and TDX evidence (SNP ABI table 23, SDM vol. 3D, TDX module ABI)."""


class ReferenceValues(msgspec.Struct, frozen=True, kw_only=True):
    """Which measurements are good. An empty tuple makes no demand.

    Attributes:
        measurements: launch measurements (SNP MEASUREMENT, SGX MRENCLAVE, TDX MRTD).
        signers: signer identities (SGX MRSIGNER, SNP author or id key digest).
        registers: further registers by name (``rtmr0`` ... ``rtmr3``, ``pcr4``), each with the
            values that are good.
        payloads: digests of a Keep payload (SHA-256).
        runtimes: digests of a Keep runtime (SHA-256).
    """

    measurements: tuple[bytes, ...] = ()
    signers: tuple[bytes, ...] = ()
    registers: tuple[tuple[str, tuple[bytes, ...]], ...] = ()
    payloads: tuple[bytes, ...] = ()
    runtimes: tuple[bytes, ...] = ()


class Expectations(msgspec.Struct, frozen=True, kw_only=True):
    """What this one attestation must carry; ``None`` makes no demand.

    Attributes:
        report_data: the report data, up to 64 bytes; shorter is compared with zeros appended.
        nonce: up to 64 bytes, expected at the front of the report data with zeros behind.
        host_data: the field the host chooses at launch (SNP HOST_DATA, SGX CONFIGID, TDX
            MRCONFIGID); shorter is compared with zeros appended.
    """

    report_data: bytes | None = None
    nonce: bytes | None = None
    host_data: bytes | None = None

    def __post_init__(self) -> None:
        for name in ("report_data", "nonce", "host_data"):
            value = getattr(self, name)
            if value is not None and not 1 <= len(value) <= REPORT_DATA_BYTES:
                raise UsageError(
                    f"expected {name} is {len(value)} bytes; 1 to {REPORT_DATA_BYTES} make sense",
                    hint=f"pass {name} as the bytes the evidence has to carry",
                    code="verify.expectation",
                )


NO_REFERENCES: Final = ReferenceValues()
NO_EXPECTATIONS: Final = Expectations()
