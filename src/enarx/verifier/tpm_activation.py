"""Credential activation: does the attestation key live in the TPM of that endorsement key?

1. The client encrypts a secret to the endorsement key (EK), bound to the name of the
   attestation key (AK): :func:`make_challenge`, what TPM2_MakeCredential does.
2. The TPM gives the secret out only if it holds both keys (TPM2_ActivateCredential), and the
   Keep answers with an HMAC under it over its quote.
3. The client hands secret and answer to the verifier as the input ``activation``.

EKs of RSA with 2048 bits or more and the name algorithm SHA-256 (templates L-1 and H-1), which
every TPM for PC clients has, are known; others are refused by name.

Source: TCG *TPM 2.0 Library*, part 1, chapter 24 (credential protection) and section 11.4.10
(KDFa); part 1, annex B.4 (RSA-OAEP).
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from typing import Final

import msgspec
from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.hashes import SHA256

from enarx.errors import ParseError, UsageError
from enarx.evidence import cbor
from enarx.evidence.tpm_bundle import TpmBundle, activation_proof
from enarx.evidence.tpm_keys import Public
from enarx.evidence.tpm_layout import tpm2b
from enarx.verifier.trace import Claim, Failure, Trace
from enarx.verifier.x509 import Certificate, load_certificate

SECRET: Final = 32
"""Bytes of the secret, and of the seed that protects it: the size of a SHA-256 digest."""

ROLE: Final = "activation"
"""Role of this input, as in ``enarx verify --with activation=FILE``."""

_MAX: Final = 1024
_MIN_EK_BITS: Final = 2048
_AES_BITS: Final = 128
_SOURCE: Final = "TPM 2.0 Library, part 1, chapter 24"


class Challenge(msgspec.Struct, frozen=True, kw_only=True):
    """What is sent to the Keep.

    Attributes:
        credential: content of the TPM2B_ID_OBJECT.
        encrypted_seed: content of the TPM2B_ENCRYPTED_SECRET.
    """

    credential: bytes
    encrypted_seed: bytes


class Activation(msgspec.Struct, frozen=True, kw_only=True):
    """The Keep's answer, and what it was asked with.

    Attributes:
        ek: SHA-256 of the SubjectPublicKeyInfo that the secret was encrypted to.
        ak: name of the attestation key that it was bound to.
        secret: what was encrypted.
        proof: the answer.
    """

    ek: bytes
    ak: bytes
    secret: bytes
    proof: bytes

    def pack(self) -> bytes:
        """As the input ``activation``; the inverse of :meth:`parse`."""
        return cbor.encode(
            {"ek": self.ek, "ak": self.ak, "secret": self.secret, "proof": self.proof}
        )

    @classmethod
    def parse(cls, data: bytes) -> Activation:
        """Read the input.

        Raises:
            ParseError: not deterministic CBOR of these four byte strings.
        """
        value = cbor.decode(data, what="activation", limit=_MAX)
        names = set(cls.__struct_fields__)
        if (
            not isinstance(value, dict)
            or set(value) != names
            or not all(isinstance(one, bytes) for one in value.values())
        ):
            raise ParseError("activation is not a map of four byte strings", code="tpm.activation")
        return cls(**value)


def make_challenge(evidence: bytes, *, secret: bytes, seed: bytes) -> Challenge:
    """Step 1, for the keys that a Keep's evidence names.

    Args:
        evidence: a :class:`TpmBundle`; nothing in it needs to have been verified.
        secret, seed: 32 fresh random bytes each.

    Raises:
        ParseError: the evidence holds no EK certificate or AK that can be read, or an EK of
            another kind.
        UsageError: secret or seed are not 32 bytes.
    """
    if len(secret) != SECRET or len(seed) != SECRET:
        raise UsageError(f"secret and seed must have {SECRET} bytes each", code="tpm.secret")
    bundle = TpmBundle.parse(evidence)
    if not bundle.ek:
        raise ParseError(
            "evidence holds no EK certificate",
            hint="the TPM has none: make it with swtpm_setup --create-ek-cert",
            code="tpm.ek",
        )
    key = load_certificate(bundle.ek[0]).public_key
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size < _MIN_EK_BITS:
        raise ParseError(
            "the endorsement key is not RSA of 2048 bits or more",
            hint="have the Keep use the TPM's RSA endorsement key",
            code="tpm.ek",
        )
    name = Public.parse(bundle.ak).name
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), b"IDENTITY\0")
    return Challenge(
        credential=_protect(secret, seed, name), encrypted_seed=key.encrypt(seed, oaep)
    )


def activation_for(evidence: bytes, *, secret: bytes, proof: bytes) -> Activation:
    """Step 3: what :func:`check_activation` needs of the exchange over this evidence.

    Raises:
        ParseError: as :func:`make_challenge`.
    """
    bundle = TpmBundle.parse(evidence)
    return Activation(
        ek=load_certificate(bundle.ek[0]).spki_sha256 if bundle.ek else b"",
        ak=Public.parse(bundle.ak).name,
        secret=secret,
        proof=proof,
    )


def check_activation(
    data: bytes | None, *, ek: Certificate | None, ak: Public, quote: bytes, trace: Trace
) -> bool:
    """Add the link; whether the key is proven."""
    found = "no activation was made"
    good = False
    if data is not None:
        try:
            given = Activation.parse(data)
        except ParseError as error:
            found = error.message
        else:
            good, found = _judge(given, ek=ek, ak=ak, quote=quote)
    return trace.check(
        good,
        "tpm.activation",
        "attestation key lives in the TPM of the endorsement key",
        failure=Failure.BINDING,
        claim=Claim.INSTANCE_IDENTITY,
        expected="an answer under the secret that only that TPM gives out",
        found=found,
        source=_SOURCE,
        remedy="the attestation key is of another machine, or the activation was left out",
        depth=2,
    )


def _judge(
    given: Activation, *, ek: Certificate | None, ak: Public, quote: bytes
) -> tuple[bool, str]:
    if ek is None or given.ek != ek.spki_sha256:
        return False, "the secret was for another endorsement key"
    if given.ak != ak.name:
        return False, "the secret was for another attestation key"
    if len(given.secret) != SECRET:
        return False, f"a secret of {len(given.secret)} bytes"
    if not hmac.compare_digest(given.proof, activation_proof(given.secret, quote)):
        return False, "an answer that is not under the secret, or not over this quote"
    return True, "answered under the secret"


def _protect(secret: bytes, seed: bytes, name: bytes) -> bytes:
    """TPMS_ID_OBJECT: HMAC over, and AES-CFB of, the secret."""
    storage = _kdfa(seed, b"STORAGE", name, _AES_BITS)
    cipher = Cipher(algorithms.AES(storage), CFB(bytes(16))).encryptor()
    identity = cipher.update(tpm2b(secret)) + cipher.finalize()
    integrity = _kdfa(seed, b"INTEGRITY", b"", SHA256.digest_size * 8)
    return tpm2b(hmac.new(integrity, identity + name, hashlib.sha256).digest()) + identity


def _kdfa(key: bytes, label: bytes, context: bytes, bits: int) -> bytes:
    """KDFa with SHA-256, for at most one digest of key."""
    message = struct.pack(">I", 1) + label + b"\0" + context + struct.pack(">I", bits)
    return hmac.new(key, message, hashlib.sha256).digest()[: bits // 8]
