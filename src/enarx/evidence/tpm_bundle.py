"""Evidence of a Keep in a machine with a TPM, in one piece: media type ``tpm-quote``.

A deterministic CBOR map::

    { "version": 1,
      "quote": TPMS_ATTEST, "signature": TPMT_SIGNATURE, "ak": TPMT_PUBLIC,
      "ek": [ DER certificate of the endorsement key, then of its issuers where known ],
      "pcrs": { register: 32 bytes }          every quoted register of the SHA-256 bank,
      "log": TCG event log of the firmware    empty where there is none that fits,
      "events": [ [ register, SHA-256 digest, label ] ]   what the Keep extended itself }

The quote's extra data is SHA-256 over the claims. Registers that the Keep extends itself start
at zero and replay from ``events``: 11 holds exactly one event, the digest of the init data, and
12 one for each workload and configuration that was accepted. A digest in a quote is so worth as
much as the kernel and initrd that registers 4 and 9 name.

Sources: TCG *TPM 2.0 Library*, part 2; RFC 9334, section 4.2 (evidence).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from enarx.errors import ParseError
from enarx.evidence import cbor
from enarx.evidence.eventlog import PCR_COUNT
from enarx.evidence.tpm import MAX_ATTEST
from enarx.evidence.tpm_keys import MAX_PUBLIC, MAX_SIGNATURE

VERSION: Final = 1
BANK: Final = "sha256"
DIGEST: Final = 32

INIT_DATA_PCR: Final = 11
WORKLOAD_PCR: Final = 12
QUOTED_PCRS: Final = tuple(range(16))
"""Registers of a Keep's quote: 16 to 23 may be reset by whoever runs in the machine."""

BOOT_PCRS: Final = (0, 2, 3, 4, 5, 6, 7, 8, 9)
"""Registers that say what booted. Left out: 1 (the machine's tables), 10 (the kernel's own)."""

INIT_DATA: Final = "init-data"
"""Label of the one event in register 11."""

MAX_BUNDLE: Final = 40 * 1024
"""Bytes of it all; it travels in a certificate (see ``enarx.evidence.cmw.MAX_CMW_BYTES``)."""

MAX_BUNDLED_LOG: Final = 24 * 1024
"""Bytes of an event log that still goes along; OVMF's log of a kernel is some 10 KB."""

MAX_EK_CERTIFICATES: Final = 6
MAX_EVENTS: Final = 64
"""Events of the Keep: it takes one workload, so there are under ten."""
MAX_LABEL: Final = 64

_KEYS: Final = ("version", "quote", "signature", "ak", "ek", "pcrs", "log", "events")


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeEvent:
    """What the Keep extended: register, digest, and a word for what it is the digest of."""

    register: int
    digest: bytes
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TpmBundle:
    """The map of this module's docstring."""

    quote: bytes
    signature: bytes
    ak: bytes
    ek: tuple[bytes, ...]
    pcrs: Mapping[int, bytes]
    log: bytes = b""
    events: tuple[RuntimeEvent, ...] = ()

    def pack(self) -> bytes:
        """The inverse of :meth:`parse`."""
        return cbor.encode(
            {
                "version": VERSION,
                "quote": self.quote,
                "signature": self.signature,
                "ak": self.ak,
                "ek": list(self.ek),
                "pcrs": dict(self.pcrs),
                "log": self.log,
                "events": [[one.register, one.digest, one.label] for one in self.events],
            }
        )

    @classmethod
    def parse(cls, data: bytes) -> TpmBundle:
        """Read the map; its parts are bounded, and not read.

        Raises:
            ParseError: not deterministic CBOR of this form (``tpm.bundle``).
        """
        value = cbor.decode(data, what="TPM evidence", limit=MAX_BUNDLE)
        if not isinstance(value, dict) or set(value) != set(_KEYS):
            raise _bad(f"must have exactly the entries {', '.join(_KEYS)}")
        if type(value["version"]) is not int or value["version"] != VERSION:
            raise _bad(f"has a version that is not {VERSION}")
        certificates = value["ek"]
        if not isinstance(certificates, list) or len(certificates) > MAX_EK_CERTIFICATES:
            raise _bad(f"has an entry 'ek' that is no list of at most {MAX_EK_CERTIFICATES}")
        return cls(
            quote=_bytes(value["quote"], "quote", MAX_ATTEST),
            signature=_bytes(value["signature"], "signature", MAX_SIGNATURE),
            ak=_bytes(value["ak"], "ak", MAX_PUBLIC),
            ek=tuple(_bytes(one, "ek", MAX_BUNDLE) for one in certificates),
            pcrs=_registers(value["pcrs"]),
            log=_bytes(value["log"], "log", MAX_BUNDLED_LOG),
            events=_events(value["events"]),
        )


def boot_digest(pcrs: Mapping[int, bytes]) -> bytes:
    """SHA-256 over the registers of :data:`BOOT_PCRS`, joined: the measurement of a VM Keep.

    Empty where one of them is missing.
    """
    if any(index not in pcrs for index in BOOT_PCRS):
        return b""
    return hashlib.sha256(b"".join(pcrs[index] for index in BOOT_PCRS)).digest()


def activation_proof(secret: bytes, quote: bytes) -> bytes:
    """What only who could decrypt the credential's secret can say about a quote.

    The TPM gives the secret out only where endorsement key and attestation key live together
    (TPM2_ActivateCredential); the HMAC-SHA256 under it is over this very quote, so that the
    answer is of no use for another.
    """
    digest = hashlib.sha256(quote).digest()
    return hmac.new(secret, b"enarx tpm activation\0" + digest, hashlib.sha256).digest()


def _bytes(value: Any, name: str, most: int) -> bytes:
    if not isinstance(value, bytes) or len(value) > most:
        raise _bad(f"has an entry {name!r} that is not at most {most} bytes")
    return value


def _register(value: Any) -> int:
    if type(value) is not int or not 0 <= value < PCR_COUNT:
        raise _bad(f"names a register that is not one of {PCR_COUNT}")
    return value


def _digest(value: Any) -> bytes:
    if not isinstance(value, bytes) or len(value) != DIGEST:
        raise _bad(f"has a digest that is not {DIGEST} bytes")
    return value


def _registers(value: Any) -> Mapping[int, bytes]:
    if not isinstance(value, dict):
        raise _bad("has an entry 'pcrs' that is no map")
    return {_register(index): _digest(digest) for index, digest in value.items()}


def _events(value: Any) -> tuple[RuntimeEvent, ...]:
    if not isinstance(value, list) or len(value) > MAX_EVENTS:
        raise _bad(f"has an entry 'events' that is no list of at most {MAX_EVENTS}")
    return tuple(_event(one) for one in value)


def _event(value: Any) -> RuntimeEvent:
    if not isinstance(value, list) or len(value) != 3:
        raise _bad("has an event that is not [register, digest, label]")
    register, digest, label = value
    if not isinstance(label, str) or not 1 <= len(label) <= MAX_LABEL or not label.isprintable():
        raise _bad("has an event whose label is none")
    if _register(register) not in (INIT_DATA_PCR, WORKLOAD_PCR):
        raise _bad(f"has an event of register {register}, which is not the Keep's")
    return RuntimeEvent(register=register, digest=_digest(digest), label=label)


def _bad(what: str) -> ParseError:
    return ParseError(f"TPM evidence {what}", code="tpm.bundle")
