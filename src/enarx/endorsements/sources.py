"""Where vendors publish, and which mirrors may stand in for them.

Nothing here is trusted: everything that is fetched is verified against pinned vendor keys. TLS
keeps others from seeing which machines somebody verifies, and from holding back new lists.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

import msgspec

from enarx.errors import UsageError

AMD_KDS: Final = "https://kdsintf.amd.com"
"""AMD 57230, section 4.1."""
INTEL_PCS: Final = "https://api.trustedservices.intel.com"
"""Intel PCS API version 4."""
INTEL_ROOT_CRL: Final = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der"
"""The distribution point in Intel's root certificate."""

KDS_VARIABLE: Final = "ENARX_KDS_URL"
PCS_VARIABLE: Final = "ENARX_PCS_URL"
CA_VARIABLE: Final = "ENARX_ENDORSEMENTS_CA"

PCCS_ROOT_CRL_PATH: Final = "/sgx/certification/v4/rootcacrl"
"""Where a PCCS (Intel's caching service) and our own mirror have the root's list."""


class Sources(msgspec.Struct, frozen=True, kw_only=True):
    """Base addresses, without a slash at the end.

    Attributes:
        kds: AMD's service, or a mirror of it.
        pcs: Intel's service, a PCCS, or a mirror.
        root_crl: address of the revocation list of Intel's root.
        ca_file: PEM certificates to trust for TLS besides the system's (a PCCS of one's own).
    """

    kds: str = AMD_KDS
    pcs: str = INTEL_PCS
    root_crl: str = INTEL_ROOT_CRL
    ca_file: str | None = None


def configured_sources(
    *,
    kds: str | None = None,
    pcs: str | None = None,
    ca_file: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> Sources:
    """Addresses from arguments, else from the environment, else the vendors' own.

    Raises:
        UsageError: an address that is not https (http is for the same machine only).
    """
    variables = os.environ if environ is None else environ
    kds = kds or variables.get(KDS_VARIABLE) or AMD_KDS
    pcs = pcs or variables.get(PCS_VARIABLE) or INTEL_PCS
    own = _base(pcs, what="Intel PCS") != INTEL_PCS
    return Sources(
        kds=_base(kds, what="AMD KDS"),
        pcs=_base(pcs, what="Intel PCS"),
        root_crl=_base(pcs, what="Intel PCS") + PCCS_ROOT_CRL_PATH if own else INTEL_ROOT_CRL,
        ca_file=ca_file or variables.get(CA_VARIABLE) or None,
    )


def _base(url: str, *, what: str) -> str:
    parts = urlsplit(url)
    secure = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname))
    if not secure or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise UsageError(
            f"address of {what} {url!r} cannot be used",
            hint="give https://HOST[:PORT][/PATH]; http only for this same machine",
            code="endorsements.url",
        )
    return url.rstrip("/")


def is_loopback(host: str | None) -> bool:
    """Whether a host name can only be this machine."""
    if host is None:
        return False
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
