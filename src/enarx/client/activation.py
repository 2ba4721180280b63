"""3. and 4. once more, of a Keep with a TPM: do its keys live together, in one TPM?

The Keep's evidence names an endorsement key, which a certificate says is a TPM's, and an
attestation key, which signed the quote. The client encrypts a secret that only a TPM with both
keys gives out; the answer becomes an input of the verdict. It is this client's own: what a host
supplies under that name is refused, because anybody can make up a secret and its answer.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from enarx.errors import HostError, ProtocolError
from enarx.evidence.cmw import CMW_OID, KeepMessage
from enarx.verifier.tpm_activation import ROLE, SECRET, activation_for, make_challenge
from enarx.verifier.x509 import load_certificate
from enarx.wire.attestation import ActivateRequest, ActivateResponse, AttestResponse
from enarx.wire.fields import Endorsement

REFUSED: Final = "tpm.refused"
"""Code of the error with which a Keep tells what its TPM said."""


async def activate(
    response: AttestResponse,
    *,
    nonce: bytes,
    ask: Callable[[ActivateRequest], Awaitable[ActivateResponse]],
) -> AttestResponse:
    """The response with the activation among its endorsements.

    Args:
        nonce: of the Keep.
        ask: asks the Keep, through the manager.

    Returns:
        The response as it was where the TPM refuses: then its keys do not belong together, and
        the verdict says so.

    Raises:
        ParseError: the certificate carries no evidence of a TPM with an endorsement key.
        ProtocolError: the host supplies an activation of its own.
        RefusedError, HostError: the Keep cannot be asked.
    """
    if any(each.role == ROLE for each in response.endorsements):
        raise ProtocolError(
            "the host supplies an activation of its own",
            hint="do not use this host",
            code="protocol.endorsements",
        )
    content = load_certificate(response.certificate).extensions.get(CMW_OID, b"")
    evidence = KeepMessage.parse(content).evidence
    secret = secrets.token_bytes(SECRET)
    challenge = make_challenge(evidence, secret=secret, seed=secrets.token_bytes(SECRET))
    request = ActivateRequest(
        nonce=nonce, credential=challenge.credential, seed=challenge.encrypted_seed
    )
    try:
        answer = await ask(request)
    except HostError as error:
        if error.code != REFUSED:
            raise
        return response
    activation = activation_for(evidence, secret=secret, proof=answer.proof)
    return msgspec.structs.replace(
        response,
        endorsements=(*response.endorsements, Endorsement(role=ROLE, data=activation.pack())),
    )
