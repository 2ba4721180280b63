"""Every bound of the host, by name, with its reason. Bytes, seconds or counts."""

from __future__ import annotations

from typing import Final

from enarx.wire.limits import CERTIFICATE_SECONDS, MIB

KEEPS_TOTAL: Final = 1024
"""Keeps of one host at a time. An idle one takes about 10 MiB with its loader."""
KEEPS_PER_PRINCIPAL: Final = 512
"""Keeps of one principal at a time, so that one tenant leaves room for others."""
CREATES_BURST: Final = 256
"""Keeps that one principal may create at once ..."""
CREATES_PER_SECOND: Final = 64.0
"""... and how fast it may go on: more than two cores can launch."""
PRINCIPALS: Final = 4096
"""Principals whose creation rate is remembered; the longest idle one is forgotten."""
ENDED_KEEPS: Final = 1024
"""Ended Keeps whose last status is still told; the oldest is forgotten first."""
TENANTS: Final = 1024
"""Tenant certificates that a TLS host remembers; each takes about 1 KiB."""
LAUNCHES: Final = 8
"""Loaders that are started at the same time; more wait. Forking is bound by the cores."""

LAUNCH_SECONDS: Final = 20.0
"""From asking a launcher for a loader until it listens. Takes 3 ms forked, 0.3 s as a unit."""
ATTEST_SECONDS: Final = 300.0
"""Making a Keep, as the manager waits for it. Takes 20 ms; the first one on simulated SNP
waits for two RSA-4096 keys, a hundred at once wait for each other, a machine boots first."""
BOOT_SECONDS: Final = 90.0
"""From Boot to Ready, as the loader waits for it; less than the manager's own patience."""
SILICON_SECONDS: Final = 60.0
"""Any answer of the silicon; it is started meanwhile where it was not running."""
CONTROL_SECONDS: Final = 5.0
"""An answer of a loader that needs no work."""
SILICON_START_SECONDS: Final = 15.0
"""How long a loader waits for a silicon that is being started; it takes one, or ten on a busy
machine."""
SILICON_POLL: Final = 0.05
"""How often it looks."""
HALT_SECONDS: Final = 2.0
"""How long a Keep may take to end in good order before it is killed."""
FAREWELL_SECONDS: Final = 0.2
"""How long a loader whose Keep has ended waits for its last answers to be read."""
LOST_SECONDS: Final = 0.5
"""How long a Keep may outlive its silicon or loader before it is killed; it ends by itself
in milliseconds."""
STOP_SECONDS: Final = 10.0
"""How long a whole host may take to end before `down` kills it."""
UNATTESTED_SECONDS: Final = float(CERTIFICATE_SECONDS)
"""How long a loader waits for its attest request: as long as a certificate would have lived."""
SILICON_PAUSE: Final = 1.0
"""Between two starts of the silicon, so that one that cannot start does not take a core."""

KEEP_OVERHEAD: Final = 512 * MIB
"""Memory that the host grants a Keep above its contract's limit: interpreter, buffers, and the
compiler, which the Keep bounds by itself in a child."""
KEEP_PIDS: Final = 128
"""Processes and threads of one Keep: the app loader, its workload, compiler threads."""
KEEP_UIDS: Final = 0x7000_0000
"""First of the user ids for Keeps: 1879048192..2147352575 are unused by systemd's own
allocation (systemd, UIDS-GIDS) and by useradd."""
KEEP_UID_COUNT: Final = 0x0800_0000
"""How many there are; the last is well below 2147352575."""

ORDER: Final = 128 * 1024
"""The file that tells a loader what to do: the owner's certificate and some numbers."""
SERVER_KEY_DAYS: Final = 3650
"""Lifetime of the manager's TLS certificate. Clients pin it; the date protects nobody."""
