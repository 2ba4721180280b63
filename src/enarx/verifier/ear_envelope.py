"""The steps that JWT and CWT share, from a signed envelope to an attestation result.

1. Open: header, payload and signature, as bytes (:mod:`.ear_jwt`, :mod:`.ear_cwt`).
2. Verify: nothing critical is unread, the algorithm is the key's, the signature is the key's.
3. Read the claims (:mod:`.ear_claims`), and only then look at what they say.
4. Compare the times.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from enarx.verifier.ear import Ear, Token
from enarx.verifier.ear_claims import CBOR, Form, read_claims
from enarx.verifier.ear_keys import algorithm_of, bad_signature, verify


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """A signed token that was opened, and not believed.

    Attributes:
        header: all parameters; strangers can write those that are not protected.
        algorithm: what the protected header says it is signed with, of any type.
        problem: why no key can make it good; empty otherwise.
        claims: the payload, decoded.
        message: the bytes that are signed.
        form: how claims are named.
    """

    header: Mapping[Any, Any]
    algorithm: object
    problem: str
    claims: dict[Any, Any]
    message: bytes
    signature: bytes
    form: Form

    def verify(self, key: ec.EllipticCurvePublicKey) -> None:
        """Step 2.

        Raises:
            VerificationError: it is not signed by this key (``ear.signature``).
        """
        if self.problem:
            bad_signature(self.problem)
        of_key = algorithm_of(key)
        expected: object = of_key.number if self.form is CBOR else of_key.name
        if type(self.algorithm) is not type(expected) or self.algorithm != expected:
            bad_signature(f"algorithm is {self.algorithm!r}, the key is for {expected}")
        verify(key, self.signature, self.message)

    def read(self) -> Ear:
        """Step 3.

        Raises:
            ParseError: the claims are not those of an EAR (``ear.schema``).
        """
        return read_claims(self.claims, self.form)

    def token(self, key: ec.EllipticCurvePublicKey, *, at: datetime, leeway: timedelta) -> Token:
        """Steps 2 to 4.

        Raises:
            VerificationError: signature or time.
            ParseError: the claims are not those of an EAR.
        """
        self.verify(key)
        ear = self.read()
        ear.check_time(at, leeway=leeway)
        return Token(ear=ear, header=self.header, claims=self.claims)
