"""Every bound on what a stranger may send, by name, with its reason.

Sizes are in bytes, times in seconds unless the name says otherwise.
"""

from __future__ import annotations

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB

CBOR_DEPTH: Final = 16
"""Nesting of arrays and maps. Our deepest message nests five levels."""
CBOR_ITEMS: Final = 50_000
"""Data items in one message. A manifest of the runtime (about 1,500 files) needs 9,000."""

HTTP_HEAD: Final = 16 * KIB
"""Request line or status line with all headers. Ours are under 1 KiB."""
HTTP_HEAD_SECONDS: Final = 10.0
"""How long a peer may take to send one request's head, once it has begun or just connected."""
HTTP_IDLE_SECONDS: Final = 60.0
"""How long a kept-alive connection may wait for its next request."""
HTTP_LINGER_SECONDS: Final = 5.0
"""How long a server reads on, and forgets, after its answer to a peer that still sends."""
HTTP_CHUNK: Final = 64 * KIB
"""Bytes read from or written to a connection at once."""
HTTP_CONNECTIONS: Final = 256
"""Connections that one server serves at a time; more wait in the kernel's backlog."""
HTTP_BACKLOG: Final = 128
"""Connections that the kernel may queue for one listener."""

MESSAGE: Final = 256 * KIB
"""A message without a module in it: contracts, status, problems, create, attest request."""
ATTESTATION: Final = 2 * MIB
"""An attestation response: certificate with evidence (at most 16 KiB of it), and endorsements,
of which Intel's TCB info and revocation lists are the largest (about 300 KiB)."""
MANIFEST: Final = 4 * MIB
"""The manifests of payload and runtime, about 120 bytes a file."""
MODULE: Final = 64 * MIB
"""A WebAssembly module. A Python interpreter as a module is 30 MB."""
SECRETS: Final = 1 * MIB
"""All secrets of one workload together."""
WORKLOAD: Final = MODULE + SECRETS + MESSAGE
"""The first frame of a workload stream: module, configuration, secrets."""
FRAME: Final = 128 * KIB
"""Any other frame of a stream: one piece of stdin, stdout or stderr is at most HTTP_CHUNK."""

ARGUMENTS: Final = 4096
"""Arguments of a workload, and likewise environment variables."""
ARGUMENT: Final = 128 * KIB
"""One argument, or one environment variable's value: what Linux allows (MAX_ARG_STRLEN)."""
NAME: Final = 256
"""A name: back end, environment variable, secret, file."""
TEXT: Final = 8 * KIB
"""A sentence for a person in a problem or a status."""
CERTIFICATE: Final = 64 * KIB
"""One DER certificate; the Keep's holds its evidence."""
CREDENTIAL: Final = 1 * KIB
"""A credential for a TPM, and likewise its encrypted seed: 512 bytes under a key of RSA 4096."""
ENDORSEMENTS: Final = 32
"""Endorsements that go with one piece of evidence."""
KEEPS: Final = 4096
"""Keeps that one host lists."""
FILES: Final = 20_000
"""Files in one manifest."""

CERTIFICATE_SECONDS: Final = 300
"""How long a Keep's one-use certificate lives: the client verifies and sends within seconds.
A Keep that nobody used by then ends by itself."""
CLOCK_SKEW_SECONDS: Final = 60
"""How far the clocks of client and host may differ before a fresh certificate is refused."""
