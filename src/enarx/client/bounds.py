"""How long the client waits for others, in seconds. Nothing it waits for is without a bound,
but a running workload, which its owner may bound with ``wall``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Timeouts:
    """Every wait of the client.

    Attributes:
        connect: for a connection with its TLS handshake.
        manager: for an answer of the keep manager about what it knows.
        attest: for the evidence: the Keep is made meanwhile, and simulated SNP makes an
            RSA-4096 chain at its first use, and a virtual machine boots first.
        session: for an answer of the Keep about itself.
        start: for the workload to be taken and started, beyond four times the processor
            time that compiling may take (the host has other work too).
        grace: for the end of a workload beyond its ``wall`` limit.
        end: for the host to end a Keep.
        host: for a private host to be ready, and for it to end.
    """

    connect: float = 10.0
    manager: float = 30.0
    attest: float = 300.0
    session: float = 30.0
    start: float = 60.0
    grace: float = 15.0
    end: float = 5.0
    host: float = 30.0


DEFAULT = Timeouts()
