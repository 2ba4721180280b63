"""Appraisal policies (RFC 9334, section 8.5): what the relying party accepts.

A policy is a name, checks that must all hold, and more checks per context. An empty
one is an error, never 'allow'. What weakens trust has a name that says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from enarx.errors import PolicyError
from enarx.verifier.platform_rules import (
    CollateralRequired,
    MinimumTcb,
    Products,
    RevocationChecked,
    TcbsInOrder,
    TcbStatus,
)
from enarx.verifier.rules import (
    Check,
    Flags,
    ForType,
    NoDebug,
    ReportRequired,
    Vmpl,
)
from enarx.verifier.trace import Tier

RELEASE_SECRETS: Final = "release-secrets"
MONITORING: Final = "monitoring"

SPKI_SHA256_BYTES: Final = 32


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """What is accepted, in the order it is checked.

    Attributes:
        name: shown in every verdict.
        checks: all of them apply.
        contexts: more checks, by what the verdict is for.
        allow_simulated: accept simulated silicon, which protects nothing. Development only.
        simulated_roots: with ``allow_simulated``, only these roots (SHA-256 of their SPKI).
        tpm_roots: roots of TPM vendors that are trusted (SHA-256 of their SPKI).
    """

    name: str
    checks: tuple[Check, ...]
    contexts: dict[str, tuple[Check, ...]] = {}
    allow_simulated: bool = False
    simulated_roots: tuple[bytes, ...] = ()
    tpm_roots: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        if not self.checks:
            raise PolicyError(
                f"policy '{self.name}' is empty",
                hint='an empty policy would accept anything: start from base = "default"',
                code="policy.empty",
            )
        if self.simulated_roots and not self.allow_simulated:
            raise PolicyError(
                f"policy '{self.name}' names simulated roots but does not allow simulated silicon",
                hint="set allow_simulated = true, or drop simulated_roots",
                code="policy.contradiction",
            )
        for root in (*self.simulated_roots, *self.tpm_roots):
            if len(root) != SPKI_SHA256_BYTES:
                raise PolicyError(
                    f"policy '{self.name}': a root is {len(root)} bytes, not 32",
                    hint="give the SHA-256 of the root's SubjectPublicKeyInfo",
                    code="policy.value",
                )

    def checks_for(self, context: str | None) -> tuple[Check, ...]:
        """The checks that apply in a context.

        Raises:
            PolicyError: the policy has no such context.
        """
        if context is None:
            return self.checks
        more = self.contexts.get(context)
        if more is None:
            known = ", ".join(sorted(self.contexts)) or "none"
            raise PolicyError(
                f"policy '{self.name}' has no context {context!r}",
                hint=f"contexts it has: {known}",
                code="policy.context",
            )
        return self.checks + more

    @classmethod
    def builtin(cls, name: str) -> Policy:
        """One of the built-in policies: ``genuine``, ``default``, ``development``.

        Raises:
            PolicyError: there is none of that name.
        """
        try:
            return BUILTIN[name]
        except KeyError:
            raise PolicyError(
                f"there is no built-in policy {name!r}",
                hint=f"built-in: {', '.join(BUILTIN)}; or pass the path of a policy file",
                code="policy.unknown",
            ) from None

    @classmethod
    def from_toml(cls, text: str, *, name: str = "policy") -> Policy:
        """Read a policy file (see docs/policy.md).

        Args:
            text: TOML.
            name: where it came from, for error messages.

        Raises:
            ConfigError: not TOML, an unknown key or a wrong value; names line and column.
            PolicyError: empty or contradictory.
        """
        from enarx.verifier.policy_file import read_policy

        return read_policy(text, name=name)

    def but(self, *, allow_simulated: bool, name: str = "") -> Policy:
        """The same policy, with simulated silicon allowed or not."""
        return Policy(
            name=name or self.name,
            checks=self.checks,
            contexts=self.contexts,
            allow_simulated=allow_simulated,
            simulated_roots=self.simulated_roots if allow_simulated else (),
            tpm_roots=self.tpm_roots,
        )


ACCEPTABLE_STATUSES: Final = (
    "UpToDate",
    "SWHardeningNeeded",
    "ConfigurationNeeded",
    "ConfigurationAndSWHardeningNeeded",
)

GENUINE: Final = Policy(
    name="genuine",
    checks=(NoDebug(), TcbStatus(accepted=ACCEPTABLE_STATUSES)),
    contexts={RELEASE_SECRETS: (ReportRequired(),), MONITORING: ()},
)
"""Everything genuine and in date, no debug, TCB status not behind: the least that makes sense."""

MILAN_REASON: Final = "its root key seed can be read out by software (arXiv 2605.12990, May 2026)"

MINIMUM_TCBS: Final[tuple[Check, ...]] = (
    MinimumTcb(product="Milan", minimum={"snp": 24, "ucode": 0xDB}),
    MinimumTcb(product="Genoa", minimum={"snp": 23, "ucode": 0x54}),
    MinimumTcb(product="Bergamo", minimum={"snp": 23, "ucode": 0x19}),
    MinimumTcb(product="Turin", minimum={"ucode": 0x47}),
)
"""Microcode that checks its successors' signatures (AMD-SB-3019), and firmware that checks for
memory aliases (AMD-SB-3015). Bergamo and Siena count their microcode on their own."""

_STRUCTURE: Final[tuple[Check, ...]] = (
    NoDebug(),
    ReportRequired(),
    Vmpl(accepted=(0,)),
    Flags(kind="snp", forbidden=("migrate_ma_allowed",)),
    Flags(kind="tdx", required=("sept_ve_disable",), forbidden=("migratable",)),
    Flags(kind="tpm", required=("key_proven",)),
)
"""What a guest or enclave is launched with, on real and on simulated silicon alike."""

DEFAULT: Final = Policy(
    name="default",
    checks=(
        *_STRUCTURE,
        ForType(
            kind="snp",
            checks=(Products(accepted=("Genoa", "Turin"), warned=("Milan",), reason=MILAN_REASON),),
        ),
        *MINIMUM_TCBS,
        TcbsInOrder(),
        Flags(kind="snp", required=("alias_check_complete",)),
        Flags(kind="tpm", required=("memory_encrypted",), otherwise=Tier.WARNING),
        TcbStatus(accepted=("UpToDate",), warned=ACCEPTABLE_STATUSES[1:]),
        CollateralRequired(),
        RevocationChecked(otherwise=Tier.WARNING),
    ),
    contexts={RELEASE_SECRETS: (RevocationChecked(),), MONITORING: ()},
)
"""The 2026 policy: also minimum TCBs, VMPL 0, no migration, alias check; Milan only warns."""

DEVELOPMENT: Final = Policy(
    name="development",
    checks=(*_STRUCTURE, TcbStatus(accepted=ACCEPTABLE_STATUSES)),
    contexts={RELEASE_SECRETS: (), MONITORING: ()},
    allow_simulated=True,
)
"""As default for how a Keep is launched, but simulated silicon is affirmed: protects nothing."""

BUILTIN: Final[Mapping[str, Policy]] = {
    "genuine": GENUINE,
    "default": DEFAULT,
    "development": DEVELOPMENT,
}
