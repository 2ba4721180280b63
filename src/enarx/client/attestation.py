"""8. What the attestation of one Keep came to: the way to a session, if the verdict allows it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from enarx.client.session import Session
from enarx.errors import ProtocolError, UsageError, VerificationError
from enarx.wire.attestation import AttestResponse
from enarx.wire.endpoint import Endpoint

if TYPE_CHECKING:
    from enarx.client.agent import AsyncKeep
    from enarx.client.appraisal import Asked
    from enarx.verifier.keep import KeepAppraisal


class Attestation:
    """What the attestation of one Keep came to.

    Attributes:
        keep: the Keep.
        response: what came of steps 3 to 6, as it came.
        certificate: its one-use certificate (DER), which carries the evidence.
        verdict: what is to be thought of it; it has no truth value.
        claims: what the Keep says of itself; worth as much as the verdict.
        evidence: in the vendor's own format.
        asked: what was asked for, and the policy.
        differences: which files differ, where the code is not the expected one.
    """

    def __init__(
        self,
        *,
        keep: AsyncKeep,
        response: AttestResponse,
        appraisal: KeepAppraisal,
        asked: Asked,
        differences: tuple[str, ...],
    ) -> None:
        self.keep = keep
        self.response = response
        self.certificate = response.certificate
        self.verdict = appraisal.verdict
        self.claims = appraisal.claims
        self.evidence = appraisal.evidence
        self.asked = asked
        self.differences = differences

    def session(self, *, accept_warning: bool = False) -> Session:
        """8. The session with this Keep, if the verdict allows it.

        Args:
            accept_warning: also with a verdict that only warns. Say so only where a person
                decided it.

        Raises:
            VerificationError: the verdict does not allow it; nothing was sent.
        """
        self._require(accept_warning=accept_warning)
        self.keep.used = True
        client = self.keep.client
        return Session(
            address=self.response.address,
            endpoint=keep_endpoint(self.response.address, client.endpoint),
            identity=client.identity,
            certificate=self.certificate,
            limits=self.keep.limits,
            timeouts=client.timeouts,
        )

    def _require(self, *, accept_warning: bool) -> None:
        try:
            self.verdict.require(accept_warning=accept_warning)
        except VerificationError as error:
            if not self.differences:
                raise
            lines = "".join(f"\n    {line}" for line in self.differences)
            raise VerificationError(
                error.message + lines, hint=error.hint, code=error.code
            ) from None
        until = self.verdict.valid_until
        if until is not None and datetime.now(UTC) >= until:
            raise VerificationError(
                f"the verdict held until {until.isoformat()}, and that has passed",
                hint="create a new Keep",
                code="verification.time",
            )


def keep_endpoint(address: str, host: Endpoint) -> Endpoint:
    """Where a Keep of `host` listens, as that host says.

    Raises:
        ProtocolError: an address that a Keep of that host cannot have.
    """
    same_machine = bool(host.path)
    scheme = "unix:" if same_machine else "tcp:"
    try:
        if address.startswith(scheme):
            return Endpoint.parse(address, host=host.host)
    except UsageError:
        pass
    raise ProtocolError(
        f"the host says its Keep listens at {address!r}, expected {scheme}...",
        code="host.address",
    )
