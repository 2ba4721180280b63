"""The few TPM 2.0 commands that attestation needs, written and read byte by byte.

Authorisations are empty passwords: the keys made here protect nothing from the machine's own
kernel, and no other program runs in it. Every response is checked for its code and length.

Source: TCG *TPM 2.0 Library*, part 3 (commands; the section stands at each), part 2 (constants).
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Mapping, Sequence
from typing import Final

from enarx.errors import HostError, ParseError
from enarx.evidence.tpm import PCR_SELECTION, PcrSelection
from enarx.evidence.tpm_keys import (
    ALG_AES,
    ALG_CFB,
    ALG_NULL,
    ALG_RSA,
    ALG_SHA256,
    attestation_key_template,
)
from enarx.evidence.tpm_layout import Reader, tpm2b
from enarx.keep.tpm.transport import HEADER, Transport

NO_SESSIONS: Final = 0x8001
SESSIONS: Final = 0x8002

ENDORSEMENT: Final = 0x4000000B
"""TPM_RH_ENDORSEMENT."""
PASSWORD: Final = 0x40000009
"""TPM_RS_PW."""
NO_HANDLE: Final = 0x40000007
"""TPM_RH_NULL."""

EK_HANDLE: Final = 0x81010001
"""Where the RSA EK is kept, where somebody kept it (TCG PC client platform profile)."""
EK_CERTIFICATE: Final = 0x01C00002
"""NV index of the certificate of the RSA 2048 EK (EK Credential Profile, section 2.2.1)."""

RC_INITIALIZE: Final = 0x100
"""TPM_RC_INITIALIZE: already started; by the firmware, usually."""

RC_AGAIN: Final = frozenset({0x908, 0x90A, 0x922})
"""TPM_RC_YIELDED, TPM_RC_TESTING, TPM_RC_RETRY: nothing was done, ask again."""
TRIES: Final = 100
"""How often a command is asked again, RETRY_SECONDS apart: a self-test takes under a second."""
RETRY_SECONDS: Final = 0.02

READ_CHUNK: Final = 512
"""Bytes read from an NV index at once; every TPM gives as many."""
MAX_NV: Final = 4096
"""Bytes of an EK certificate; they have about 1,500."""
PCRS_AT_ONCE: Final = 8
"""Registers that one TPM2_PCR_Read gives at most (TPML_DIGEST)."""

_EK_ATTRIBUTES: Final = 0x000300B2
"""fixedTPM, fixedParent, sensitiveDataOrigin, adminWithPolicy, restricted, decrypt."""
_EK_POLICY: Final = bytes.fromhex(
    "837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa"
)
"""PolicySecret(TPM_RH_ENDORSEMENT) (EK Credential Profile, annex B.3.3)."""
_EK_BITS: Final = 2048
_BANK: Final = "sha256"
_DIGEST: Final = 32
_POLICY_SESSION: Final = 0x01
_MAX_BUFFER: Final = 4096


class Tpm:
    """A TPM 2.0 behind a transport. Handles it gives out are its own numbers."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def close(self) -> None:
        """Give the transport back."""
        self._transport.close()

    def start_up(self) -> None:
        """TPM2_Startup(CLEAR), part 3, section 9.3; nothing where that was done already."""
        response = self._transport.exchange(_command(NO_SESSIONS, 0x144, struct.pack(">H", 0)))
        if _code(response) not in (0, RC_INITIALIZE):
            raise _refused("TPM2_Startup", _code(response))

    def read_pcrs(self, registers: Sequence[int]) -> Mapping[int, bytes]:
        """TPM2_PCR_Read, section 22.4: values of the SHA-256 bank."""
        values: dict[int, bytes] = {}
        wanted = sorted(set(registers))
        for first in range(0, len(wanted), PCRS_AT_ONCE):
            some = wanted[first : first + PCRS_AT_ONCE]
            reader = self._run("TPM2_PCR_Read", 0x17E, parameters=_selection(some))
            reader.number("I")
            for _ in range(reader.number("I")):
                PCR_SELECTION.read(reader)
            digests = [reader.sized("H", _DIGEST) for _ in range(reader.number("I"))]
            reader.end()
            if len(digests) != len(some):
                raise HostError("the TPM has no SHA-256 bank of all registers", code="tpm.bank")
            values.update(zip(some, digests, strict=True))
        return values

    def extend(self, register: int, digest: bytes) -> None:
        """TPM2_PCR_Extend, section 22.2: in the SHA-256 bank."""
        self._run(
            "TPM2_PCR_Extend",
            0x182,
            handles=(register,),
            sessions=(PASSWORD,),
            parameters=struct.pack(">IH", 1, ALG_SHA256) + digest,
        ).end()

    def create_attestation_key(self) -> tuple[int, bytes]:
        """TPM2_CreatePrimary, section 24.1, in the endorsement hierarchy.

        Returns:
            Handle and TPMT_PUBLIC. The same key comes each time, as long as the TPM's
            endorsement seed stays.
        """
        return self._create_primary(attestation_key_template())

    def endorsement_key(self) -> tuple[int, bytes]:
        """Handle and TPMT_PUBLIC of the RSA 2048 EK: the one that is kept, or made again."""
        try:
            reader = self._run("TPM2_ReadPublic", 0x173, handles=(EK_HANDLE,))
        except HostError as error:
            if error.code != "tpm.refused":
                raise
            return self._create_primary(_ek_template())
        return EK_HANDLE, reader.sized("H", _MAX_BUFFER)

    def _create_primary(self, template: bytes) -> tuple[int, bytes]:
        no_secret = tpm2b(tpm2b(b"") + tpm2b(b""))
        reader = self._run(
            "TPM2_CreatePrimary",
            0x131,
            handles=(ENDORSEMENT,),
            sessions=(PASSWORD,),
            parameters=no_secret + tpm2b(template) + tpm2b(b"") + struct.pack(">I", 0),
            gives_handle=True,
        )
        handle = reader.number("I")
        reader.number("I")  # size of the parameters
        return handle, reader.sized("H", _MAX_BUFFER)

    def read_ek_certificate(self) -> bytes:
        """TPM2_NV_Read, section 31.13, of the RSA EK's certificate (DER); empty without one."""
        try:
            public = self._run("TPM2_NV_ReadPublic", 0x169, handles=(EK_CERTIFICATE,))
        except HostError as error:
            if error.code != "tpm.refused":
                raise
            return b""
        size = int.from_bytes(public.sized("H", _MAX_BUFFER)[-2:])
        if size > MAX_NV:
            raise HostError(f"the TPM's EK certificate has {size} bytes", code="tpm.response")
        content = bytearray()
        while len(content) < size:
            chunk = min(READ_CHUNK, size - len(content))
            reader = self._run(
                "TPM2_NV_Read",
                0x14E,
                handles=(EK_CERTIFICATE, EK_CERTIFICATE),
                sessions=(PASSWORD,),
                parameters=struct.pack(">HH", chunk, len(content)),
            )
            piece = reader.sized("H", READ_CHUNK)
            if not piece:
                raise HostError("the TPM's EK certificate cannot be read", code="tpm.response")
            content += piece
        return bytes(content)

    def quote(
        self, key: int, *, extra_data: bytes, registers: Sequence[int]
    ) -> tuple[bytes, bytes]:
        """TPM2_Quote, section 18.4.

        Returns:
            TPMS_ATTEST and TPMT_SIGNATURE.
        """
        reader = self._run(
            "TPM2_Quote",
            0x158,
            handles=(key,),
            sessions=(PASSWORD,),
            parameters=tpm2b(extra_data) + struct.pack(">H", ALG_NULL) + _selection(registers),
        )
        return reader.sized("H", _MAX_BUFFER), reader.rest()

    def activate(self, *, ak: int, ek: int, credential: bytes, encrypted_seed: bytes) -> bytes:
        """TPM2_ActivateCredential, section 12.5: the secret, if both keys are this TPM's."""
        session = self._endorsement_session()
        try:
            reader = self._run(
                "TPM2_ActivateCredential",
                0x147,
                handles=(ak, ek),
                sessions=(PASSWORD, session),
                parameters=tpm2b(credential) + tpm2b(encrypted_seed),
            )
        except HostError:
            self.flush(session)
            raise
        return reader.sized("H", _MAX_BUFFER)

    def _endorsement_session(self) -> int:
        """A policy session that may use the EK: PolicySecret of the endorsement hierarchy."""
        reader = self._run(
            "TPM2_StartAuthSession",
            0x176,
            handles=(NO_HANDLE, NO_HANDLE),
            parameters=tpm2b(os.urandom(_DIGEST))
            + tpm2b(b"")
            + struct.pack(">BHH", _POLICY_SESSION, ALG_NULL, ALG_SHA256),
            gives_handle=True,
        )
        session = reader.number("I")
        self._run(
            "TPM2_PolicySecret",
            0x151,
            handles=(ENDORSEMENT, session),
            sessions=(PASSWORD,),
            parameters=tpm2b(b"") * 3 + struct.pack(">i", 0),
        )
        return session

    def flush(self, handle: int) -> None:
        """TPM2_FlushContext, section 28.4."""
        self._run("TPM2_FlushContext", 0x165, parameters=struct.pack(">I", handle)).end()

    def _run(
        self,
        name: str,
        code: int,
        *,
        handles: Sequence[int] = (),
        sessions: Sequence[int] = (),
        parameters: bytes = b"",
        gives_handle: bool = False,
    ) -> Response:
        """One command; its response's parameters, or all of it where that begins with a handle."""
        body = b"".join(struct.pack(">I", handle) for handle in handles)
        if sessions:
            area = b"".join(_authorisation(session) for session in sessions)
            body += struct.pack(">I", len(area)) + area
        tag = SESSIONS if sessions else NO_SESSIONS
        response = self._exchange(_command(tag, code, body + parameters))
        if _code(response):
            raise _refused(name, _code(response))
        if len(response) != int.from_bytes(response[2:6]):
            raise HostError(f"{name}: the response is cut off", code="tpm.response")
        reader = Response(response[HEADER:], what=name)
        if sessions and not gives_handle:
            reader = Response(reader.sized("I", _MAX_BUFFER), what=name)
        return reader

    def _exchange(self, command: bytes) -> bytes:
        for _ in range(TRIES):
            response = self._transport.exchange(command)
            if _code(response) not in RC_AGAIN:
                break
            time.sleep(RETRY_SECONDS)
        return response


class Response(Reader):
    """A reader whose faults are the TPM's, not evidence's."""

    def take(self, size: int) -> bytes:
        """See :class:`Reader`.

        Raises:
            HostError: the response is cut off.
        """
        try:
            return super().take(size)
        except ParseError as error:
            raise HostError(error.message, code="tpm.response") from error

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(len(self._data) - self.offset)


def _command(tag: int, code: int, body: bytes) -> bytes:
    return struct.pack(">HII", tag, HEADER + len(body), code) + body


def _code(response: bytes) -> int:
    if len(response) < HEADER:
        raise HostError(f"TPM answered with {len(response)} bytes", code="tpm.response")
    return int.from_bytes(response[6:10])


def _refused(name: str, code: int) -> HostError:
    return HostError(f"the TPM refused {name}: response code 0x{code:x}", code="tpm.refused")


def _authorisation(session: int) -> bytes:
    """TPMS_AUTH_COMMAND with an empty nonce and an empty HMAC or password.

    No session is continued: a policy session is used for one command and then gone.
    """
    return struct.pack(">IHBH", session, 0, 0, 0)


def _selection(registers: Sequence[int]) -> bytes:
    """TPML_PCR_SELECTION of one bank."""
    return struct.pack(">I", 1) + PCR_SELECTION.pack(PcrSelection.of(_BANK, registers))


def _ek_template() -> bytes:
    """TPMT_PUBLIC of template L-1, RSA 2048 (EK Credential Profile, annex B.3.3)."""
    return (
        struct.pack(">HHI", ALG_RSA, ALG_SHA256, _EK_ATTRIBUTES)
        + tpm2b(_EK_POLICY)
        + struct.pack(">HHH", ALG_AES, 128, ALG_CFB)
        + struct.pack(">HHI", ALG_NULL, _EK_BITS, 0)
        + tpm2b(bytes(_EK_BITS // 8))
    )
