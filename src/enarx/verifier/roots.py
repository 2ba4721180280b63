"""Vendor roots of trust, pinned by the SHA-256 of their DER SubjectPublicKeyInfo.

The certificates themselves come with evidence or collateral; only the keys are
pinned, because vendors reissue certificates of the same key (Intel did).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec

SIMULATED_ROOT_NAME: Final = "SIMULATED ROOT - NOT HARDWARE"
"""Common name of the self-signed root of simulated silicon, exactly."""


class PinnedRoot(msgspec.Struct, frozen=True, kw_only=True):
    """One vendor root.

    Attributes:
        name: common name in the certificate.
        vendor: who holds the key.
        kinds: technologies whose evidence may end in it.
        source: where the vendor publishes it.
    """

    name: str
    vendor: str
    kinds: tuple[str, ...]
    source: str


def _amd(product: str) -> PinnedRoot:
    return PinnedRoot(
        name=f"ARK-{product}",
        vendor="AMD",
        kinds=("snp",),
        source=f"https://kdsintf.amd.com/vcek/v1/{product}/cert_chain",
    )


PINNED_ROOTS: Final[Mapping[bytes, PinnedRoot]] = MappingProxyType(
    {
        bytes.fromhex(spki): root
        for spki, root in {
            "9f056bee44377e29308cb5ffa895bdfb62d18881fa6bed8d6f075b0204089cb9": _amd("Milan"),
            "429a69c9422aa258ee4d8db5fcda9c6470ef15f8cd5a9cebd6cbc7d90b863831": _amd("Genoa"),
            "4f125410563a2ab9a50356f9243f6fe0b6f73de98603f53f90339c70e9d7ad08": _amd("Turin"),
            "a0af031289f5d5d4132f9186068a7fc13628633ba235777472e29b6b6c67a49e": PinnedRoot(
                name="Intel SGX Root CA",
                vendor="Intel",
                kinds=("sgx", "tdx"),
                source="https://certificates.trustedservices.intel.com/"
                "Intel_SGX_Provisioning_Certification_RootCA.cer",
            ),
            "f2caf5ecc6190b4a8399b78bc58a2bbcd0382375db8a1bfd78a82743874fd225": PinnedRoot(
                name="aws.nitro-enclaves",
                vendor="AWS",
                kinds=("nitro",),
                source="https://aws-nitro-enclaves.amazonaws.com/AWS_NitroEnclaves_Root-G1.zip",
            ),
            "a90c4eb5acfd3e3d03a25db6a26b84f720ad0503196c627c21ddd48dd85b06a4": PinnedRoot(
                name="NVIDIA Device Identity CA",
                vendor="NVIDIA",
                kinds=("nvidia",),
                source="https://docs.attestation.nvidia.com",
            ),
        }.items()
    }
)


def pinned(spki_sha256: bytes, *, kind: str) -> PinnedRoot | None:
    """The vendor root with this key, if evidence of this kind may end in it."""
    root = PINNED_ROOTS.get(spki_sha256)
    return root if root is not None and kind in root.kinds else None
