"""The machine's TPM as the Keep's silicon: measured boot, quotes, credential activation.

transport   a TPM 2.0 as bytes in and bytes out: the kernel's device, or swtpm's socket
commands    the few commands of the TPM 2.0 library that attestation needs
attester    the Keep's evidence: registers, event log, quote, EK certificate
"""

from __future__ import annotations

from enarx.keep.tpm.attester import TpmAttester
from enarx.keep.tpm.commands import Tpm
from enarx.keep.tpm.transport import Device, Stream, Transport

__all__ = ["Device", "Stream", "Tpm", "TpmAttester", "Transport"]
