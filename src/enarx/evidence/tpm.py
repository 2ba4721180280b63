"""What a TPM says: quotes over platform configuration registers.

A quote is a TPMS_ATTEST that a restricted key of the TPM signed. Such a key signs nothing that
begins with the magic number unless the TPM itself made it, so magic and type are what tells a
quote from any other signed bytes.

Source: TCG *TPM 2.0 Library*, part 2, sections 10.6 (PCR selections) and 10.12 (attestation).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from enarx.errors import ParseError
from enarx.evidence.eventlog import ALGORITHMS, PCR_COUNT
from enarx.evidence.tpm_layout import Structure, listed, number, sized

MAGIC: Final = 0xFF544347
"""TPM_GENERATED_VALUE: 0xff, ``TCG``."""

TYPE_QUOTE: Final = 0x8018
"""TPM_ST_ATTEST_QUOTE."""

MAX_ATTEST: Final = 2048
"""Bytes of a TPMS_ATTEST; a quote over one bank has under 200."""

MAX_NAME: Final = 2 + 64
"""Bytes of a qualified name: algorithm and the largest digest."""

MAX_EXTRA_DATA: Final = 2 + 64
"""Bytes of TPM2B_DATA: a TPMT_HA with the largest digest."""

MAX_SELECTIONS: Final = 8
"""Banks in one selection; the TCG registry has six hash algorithms for PCRs."""

MAX_SELECT: Final = 32
"""Bytes of one bitmap: the TPM profile for PC clients has 3."""

DIGEST_SIZES: Final[Mapping[str, int]] = MappingProxyType(
    {"sha1": 20, "sha256": 32, "sha384": 48, "sha512": 64}
)
"""Bytes of one register, by bank."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PcrSelection:
    """TPMS_PCR_SELECTION: which registers of one bank.

    Attributes:
        algorithm: TPM algorithm id of the bank.
        bitmap: bit n of byte n // 8 stands for register n.
    """

    algorithm: int = number("H")
    bitmap: bytes = sized(MAX_SELECT, length="B")

    @property
    def bank(self) -> str:
        """The bank by hashlib's name; ``alg_XXXX`` for one that is unknown."""
        return ALGORITHMS.get(self.algorithm, f"alg_{self.algorithm:04x}")

    @property
    def registers(self) -> tuple[int, ...]:
        """The registers that are selected, ascending, which is the order they are hashed in."""
        return tuple(
            index
            for index in range(8 * len(self.bitmap))
            if self.bitmap[index // 8] >> index % 8 & 1
        )

    @classmethod
    def of(cls, bank: str, registers: Sequence[int]) -> PcrSelection:
        """The selection of these registers, in the three bytes that PC clients use."""
        bits = sum(1 << index for index in set(registers))
        return cls(algorithm=ALGORITHM_IDS[bank], bitmap=bits.to_bytes(PCR_COUNT // 8, "little"))


ALGORITHM_IDS: Final[Mapping[str, int]] = MappingProxyType(
    {name: algorithm for algorithm, name in ALGORITHMS.items()}
)
PCR_SELECTION: Final = Structure(PcrSelection, name="TPMS_PCR_SELECTION")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attest:
    """TPMS_ATTEST of a quote.

    Attributes:
        magic, type: :data:`MAGIC` and :data:`TYPE_QUOTE`.
        qualified_signer: qualified name of the key that signed.
        extra_data: what the caller gave; the nonce, or a hash of what is to be bound.
        clock: milliseconds the TPM has been powered, over its life.
        reset_count: boots of the platform; restart_count: resumes since the last of them.
        safe: 1 when no higher clock was ever reported than this one.
        firmware_version: the vendor's.
        selections: the registers that the digest is over.
        pcr_digest: hash, in the signature's algorithm, of their values joined.
    """

    magic: int = number("I")
    type: int = number("H")
    qualified_signer: bytes = sized(MAX_NAME)
    extra_data: bytes = sized(MAX_EXTRA_DATA)
    clock: int = number("Q")
    reset_count: int = number("I")
    restart_count: int = number("I")
    safe: int = number("B")
    firmware_version: int = number("Q")
    selections: tuple[PcrSelection, ...] = listed(PCR_SELECTION, MAX_SELECTIONS)
    pcr_digest: bytes = sized(64)

    @classmethod
    def parse(cls, data: bytes) -> Attest:
        """Read a quote's TPMS_ATTEST.

        Raises:
            ParseError: not made by a TPM, not a quote, selections of no use, cut off or more
                than a TPMS_ATTEST.
        """
        if len(data) > MAX_ATTEST:
            raise ParseError(f"TPMS_ATTEST has {len(data)} bytes", code="tpm.size")
        if data[:4] != MAGIC.to_bytes(4):
            raise ParseError(
                f"bytes begin with {data[:4].hex() or 'nothing'}, not with the TPM's magic number",
                offset=0,
                hint="expected a TPMS_ATTEST as TPM2_Quote gives it",
                code="tpm.magic",
            )
        kind = int.from_bytes(data[4:6])
        if kind != TYPE_QUOTE:
            raise ParseError(
                f"TPMS_ATTEST has type 0x{kind:04x}; a quote has 0x{TYPE_QUOTE:04x}",
                offset=4,
                code="tpm.type",
            )
        attest = ATTEST.parse(data)
        if attest.safe > 1:
            raise ParseError("TPMS_ATTEST has a flag that is neither 0 nor 1", code="tpm.flag")
        banks = [one.algorithm for one in attest.selections]
        if len(banks) != len(set(banks)):
            raise ParseError("TPMS_ATTEST selects a bank twice", code="tpm.selection")
        if any(index >= PCR_COUNT for one in attest.selections for index in one.registers):
            raise ParseError(
                f"TPMS_ATTEST selects a register above {PCR_COUNT - 1}", code="tpm.selection"
            )
        return attest

    def pack(self) -> bytes:
        """The bytes that are signed; the inverse of :meth:`parse`."""
        return ATTEST.pack(self)


ATTEST: Final = Structure(Attest, name="TPMS_ATTEST")

Banks = Mapping[str, Mapping[int, bytes]]
"""Register values: by bank, then by register."""


def pcr_digest(hash_name: str, selections: Sequence[PcrSelection], banks: Banks) -> bytes:
    """The digest of a quote over these selections (part 3, section 18.4).

    Args:
        hash_name: the algorithm of the signature, which need not be that of a bank.

    Raises:
        ParseError: a selected register has no value in ``banks`` (``tpm.pcr``).
    """
    digest = hashlib.new(hash_name)
    for selection in selections:
        values = banks.get(selection.bank, {})
        for index in selection.registers:
            if index not in values:
                raise ParseError(
                    f"register {index} of the {selection.bank} bank is quoted, but its value is "
                    "not given",
                    code="tpm.pcr",
                )
            digest.update(values[index])
    return digest.digest()
