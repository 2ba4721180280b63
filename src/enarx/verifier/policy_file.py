"""Policies and reference values as TOML (docs/policy.md is the reference for users).

A file is a table of rules that must all hold. The same rules may stand in ``[[any]]``
and ``[[all]]`` tables, nested, and under ``[context.NAME]``. Unknown keys are refused:
a rule that is misspelt must not be a rule that is missing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from enarx.errors import PolicyError
from enarx.evidence.snp import BERGAMO, PLATFORM_BITS, POLICY_BITS, Product
from enarx.verifier.platform_rules import (
    Advisories,
    CollateralRequired,
    MaximumAge,
    MinimumTcb,
    Products,
    RevocationChecked,
    TcbStatus,
)
from enarx.verifier.policy import ACCEPTABLE_STATUSES, BUILTIN, MONITORING, RELEASE_SECRETS, Policy
from enarx.verifier.references import ReferenceValues
from enarx.verifier.rules import (
    AllOf,
    AnyOf,
    Check,
    Flags,
    ForType,
    HostData,
    Instances,
    NoDebug,
    Reference,
    ReportRequired,
    Sandbox,
    Types,
    Vmpl,
)
from enarx.verifier.toml_reader import Path, TomlReader
from enarx.verifier.trace import Tier

FORMAT_VERSION: Final = 1

MAX_DEPTH: Final = 8
"""Nesting of any and all: deeper is a mistake, or an attack on the reader."""

TECHNOLOGIES: Final = ("snp", "sgx", "tdx", "tpm", "ear")

TCB_STATUSES: Final = (
    "UpToDate",
    "SWHardeningNeeded",
    "ConfigurationNeeded",
    "ConfigurationAndSWHardeningNeeded",
    "OutOfDate",
    "OutOfDateConfigurationNeeded",
    "TDRelaunchAdvised",
    "TDRelaunchAdvisedConfigurationNeeded",
)
"""Those that may be accepted at all: Revoked never is."""

TDX_FLAGS: Final = (
    "sept_ve_disable",
    "migratable",
    "pks",
    "key_locker",
    "perfmon",
    "service_td_bound",
)
TPM_FLAGS: Final = ("key_proven", "memory_encrypted")
SGX_FLAGS: Final = ("provision_key", "launch_key", "mode64", "kss")

_FMSPC: Final = re.compile("[0-9A-Fa-f]{12}")
_DIGESTS: Final = (32, 48, 64)
_SEVERITY: Final = {"require": Tier.CONTRAINDICATED, "warn": Tier.WARNING}
_TOP: Final = (
    "version",
    "title",
    "base",
    "allow_simulated",
    "simulated_roots",
    "tpm_roots",
    "context",
)
_UNSAFE_DEBUG: Final = "unsafe_allow_debug"
_COMMON: Final = ("types", "max_age", "revocation", "collateral", "instances", "keep")
_RULES: Final = (*_COMMON, "any", "all", *TECHNOLOGIES)
_OF_TYPE: Final = (
    "products",
    "products_warn",
    "minimum_tcb",
    "measurements",
    "signers",
    "registers",
    "host_data",
    "instances",
    "required",
    "forbidden",
    "revocation",
    "max_age",
)
_SNP: Final = ("vmpl",)
_INTEL: Final = ("tcb_status", "tcb_status_warn", "advisories", "collateral")
_TCB_NAMES: Final = ("fmc", "bl", "tee", "snp", "ucode")


def read_policy(text: str, *, name: str) -> Policy:
    """Read a policy file.

    Args:
        text: TOML.
        name: where it came from.

    Raises:
        ConfigError: not TOML, an unknown key or a wrong value; names line and column.
        PolicyError: empty, or contradictory.
    """
    reader = TomlReader(text, name=name)
    document = reader.document
    if not set(document) - {"version", "title"}:
        raise PolicyError(
            f"policy '{name}' is empty",
            hint='an empty policy would accept anything: start from base = "default"',
            code="policy.empty",
        )
    reader.only(document, (*_TOP, _UNSAFE_DEBUG, *_RULES), ())
    version = document.get("version")
    if type(version) is not int or version != FORMAT_VERSION:
        reader.fail(("version",), f"expected version = {FORMAT_VERSION}")
    base = _base(reader, document)
    rules = _rules(reader, document, (), depth=0)
    contexts = _contexts(reader, document, base)
    if base is None and not rules:
        raise PolicyError(
            f"policy '{name}' has no rules",
            hint='state at least one rule, or start from base = "default"',
            code="policy.empty",
        )
    allow_debug = reader.boolean(document.get(_UNSAFE_DEBUG, False), (_UNSAFE_DEBUG,))
    if base is not None and allow_debug:
        reader.fail((_UNSAFE_DEBUG,), f"base = {base.name!r} forbids debug mode")
    checks = base.checks if base is not None else _floor(document, allow_debug=allow_debug)
    allow = reader.boolean(
        document.get("allow_simulated", base.allow_simulated if base else False),
        ("allow_simulated",),
    )
    roots: tuple[bytes, ...] = ()
    if "simulated_roots" in document:
        roots = reader.hexes(document["simulated_roots"], ("simulated_roots",), sizes=(32,))
    tpm_roots = base.tpm_roots if base is not None else ()
    if "tpm_roots" in document:
        tpm_roots = reader.hexes(document["tpm_roots"], ("tpm_roots",), sizes=(32,))
    title = document.get("title", name)
    return Policy(
        name=reader.text(title, ("title",)),
        checks=(*checks, *rules),
        contexts=contexts,
        allow_simulated=allow,
        simulated_roots=roots,
        tpm_roots=tpm_roots,
    )


def _floor(document: dict[str, Any], *, allow_debug: bool) -> tuple[Check, ...]:
    """What holds without a base: evidence, no debug, and no technology the file forgot.

    A file with rules for SNP only must not accept SGX without any rule, and where it names
    no TCB statuses those of ``genuine`` hold.
    """
    # Who names attestation results takes another verifier's word instead of evidence.
    exempt = ("ear",) if "ear" in (*_named(document), *document.get("types", ())) else ()
    checks: list[Check] = [
        ReportRequired(exempt=exempt),
        Flags(kind="tpm", required=("key_proven",)),
    ]
    if not allow_debug:
        checks.append(NoDebug())
    named = _named(document)
    if named and "types" not in document:
        checks.append(Types(accepted=named))
    for kind in ("sgx", "tdx"):
        stated = document.get(kind)
        if not (isinstance(stated, dict) and {"tcb_status", "tcb_status_warn"} & stated.keys()):
            status = TcbStatus(accepted=ACCEPTABLE_STATUSES)
            checks.append(ForType(kind=kind, checks=(status,)))
    return tuple(checks)


def _named(table: dict[str, Any]) -> tuple[str, ...]:
    """The technologies a table has rules for, itself or in its ``all`` tables."""
    inner = table.get("all", ())
    within = {kind for one in inner if isinstance(one, dict) for kind in _named(one)}
    return tuple(kind for kind in TECHNOLOGIES if kind in table or kind in within)


def _base(reader: TomlReader, document: dict[str, Any]) -> Policy | None:
    if "base" not in document:
        return None
    return BUILTIN[reader.text(document["base"], ("base",), among=BUILTIN)]


def _contexts(
    reader: TomlReader, document: dict[str, Any], base: Policy | None
) -> dict[str, tuple[Check, ...]]:
    contexts: dict[str, tuple[Check, ...]] = {RELEASE_SECRETS: (), MONITORING: ()}
    contexts |= base.contexts if base else {}
    if "context" not in document:
        return contexts
    for name, value in reader.table(document["context"], ("context",)).items():
        path = ("context", name)
        table = reader.table(value, path)
        reader.only(table, _RULES, path)
        contexts[name] = contexts.get(name, ()) + tuple(_rules(reader, table, path, depth=0))
    return contexts


def _rules(reader: TomlReader, table: dict[str, Any], path: Path, *, depth: int) -> list[Check]:
    """The rules a table states; all of them must hold."""
    if depth > MAX_DEPTH:
        reader.fail(path, f"rules nest deeper than {MAX_DEPTH}")
    checks: list[Check] = []
    if "types" in table:
        accepted = reader.texts(table["types"], (*path, "types"), among=TECHNOLOGIES)
        checks.append(Types(accepted=accepted))
    checks += _shared(reader, table, path)
    if "collateral" in table:
        checks.append(CollateralRequired(otherwise=_severity(reader, table, path, "collateral")))
    for kind in TECHNOLOGIES:
        if kind in table:
            below = (*path, kind)
            inner = _of_type(reader, reader.table(table[kind], below), below, kind)
            checks.append(ForType(kind=kind, checks=tuple(inner)))
    if "keep" in table:
        checks += _keep(reader, reader.table(table["keep"], (*path, "keep")), (*path, "keep"))
    for word, combine in (("any", AnyOf), ("all", AllOf)):
        if word in table:
            below = (*path, word)
            alternatives = []
            for number, one in enumerate(reader.tables(table[word], below)):
                reader.only(one, _RULES, (*below, str(number)))
                inner = _rules(reader, one, (*below, str(number)), depth=depth + 1)
                if word == "any" and _named(one) and "types" not in one:
                    # An alternative for one technology is none for the others, whatever
                    # rules for all of them stand beside it.
                    inner.insert(0, Types(accepted=_named(one)))
                alternatives.append(AllOf(tuple(inner)))
            checks.append(combine(tuple(alternatives)))
    return checks


def _shared(reader: TomlReader, table: dict[str, Any], path: Path) -> list[Check]:
    """Rules that may stand for all technologies or for one."""
    checks: list[Check] = []
    if "max_age" in table:
        checks.append(MaximumAge(age=reader.duration(table["max_age"], (*path, "max_age"))))
    if "revocation" in table:
        checks.append(RevocationChecked(otherwise=_severity(reader, table, path, "revocation")))
    if "instances" in table:
        listed = reader.hexes(table["instances"], (*path, "instances"), sizes=(8, 16, 64))
        checks.append(Instances(accepted=tuple(_chip_ids(listed))))
    return checks


def _chip_ids(listed: Iterable[bytes]) -> Iterable[bytes]:
    """A Turin chip id of 8 bytes stands in reports with zeros behind it: accept both forms."""
    for one in listed:
        yield one
        if len(one) == 8:
            yield one.ljust(64, b"\0")


def _severity(reader: TomlReader, table: dict[str, Any], path: Path, key: str) -> Tier:
    return _SEVERITY[reader.text(table[key], (*path, key), among=_SEVERITY)]


def _of_type(reader: TomlReader, table: dict[str, Any], path: Path, kind: str) -> list[Check]:
    known = (*_OF_TYPE, *(_SNP if kind == "snp" else ()))
    if kind in ("sgx", "tdx"):
        known = (*known, *_INTEL)
    reader.only(table, known, path)
    checks = _shared(reader, table, path)
    if "products" in table or "products_warn" in table:
        among = tuple(Product) if kind == "snp" else ()
        names = {
            key: reader.texts(table[key], (*path, key), among=among) if key in table else ()
            for key in ("products", "products_warn")
        }
        if kind in ("sgx", "tdx"):
            names = {key: tuple(map(str.lower, listed)) for key, listed in names.items()}
        checks.append(Products(accepted=names["products"], warned=names["products_warn"]))
    if "minimum_tcb" in table:
        checks += _minimum_tcbs(reader, table["minimum_tcb"], (*path, "minimum_tcb"), kind)
    if "vmpl" in table:
        accepted = reader.numbers(table["vmpl"], (*path, "vmpl"), most=3)
        checks.append(Vmpl(accepted=accepted))
    checks += _statuses(reader, table, path, kind)
    checks += _flags(reader, table, path, kind)
    references = _references(reader, table, path)
    if references != ReferenceValues():
        checks.append(Reference(values=references))
    if "host_data" in table:
        wanted = reader.hexes(table["host_data"], (*path, "host_data"), sizes=_DIGESTS)
        checks.append(HostData(accepted=wanted))
    return checks


def _minimum_tcbs(reader: TomlReader, value: Any, path: Path, kind: str) -> list[Check]:
    minimums: dict[str, dict[str, int]] = {}
    for product, versions in reader.table(value, path).items():
        below = (*path, product)
        minimum = reader.table(versions, below)
        if kind == "snp":
            reader.text(product, below, among=(*Product, BERGAMO))
            reader.only(minimum, _TCB_NAMES, below)
        elif kind in ("sgx", "tdx") and not _FMSPC.fullmatch(product):
            reader.fail(below, "expected an FMSPC of 12 hex digits")
        minimums[product.lower() if kind != "snp" else product] = {
            name: reader.number(version, (*below, name), most=0xFFFF)
            for name, version in minimum.items()
        }
    if kind == "snp" and Product.GENOA in minimums:
        # Bergamo and Siena are of the Genoa line: without a minimum of their own its holds.
        minimums.setdefault(BERGAMO, minimums[Product.GENOA])
    return [MinimumTcb(product=product, minimum=one) for product, one in minimums.items()]


def _statuses(reader: TomlReader, table: dict[str, Any], path: Path, kind: str) -> list[Check]:
    checks: list[Check] = []
    if "tcb_status" in table or "tcb_status_warn" in table:
        names = {
            key: reader.texts(table[key], (*path, key), among=TCB_STATUSES) if key in table else ()
            for key in ("tcb_status", "tcb_status_warn")
        }
        checks.append(TcbStatus(accepted=names["tcb_status"], warned=names["tcb_status_warn"]))
        checks.append(CollateralRequired(kinds=(kind,)))
    if "advisories" in table:
        listed = reader.texts(table["advisories"], (*path, "advisories"))
        checks.append(Advisories(accepted=listed))
        checks.append(CollateralRequired(kinds=(kind,)))
    if "collateral" in table:
        otherwise = _severity(reader, table, path, "collateral")
        checks.append(CollateralRequired(kinds=(kind,), otherwise=otherwise))
    return checks


def _flags(reader: TomlReader, table: dict[str, Any], path: Path, kind: str) -> list[Check]:
    among: tuple[str, ...] = {
        "snp": (*POLICY_BITS, *PLATFORM_BITS),
        "tdx": TDX_FLAGS,
        "sgx": SGX_FLAGS,
        "tpm": TPM_FLAGS,
    }.get(kind, ())
    names = {
        key: reader.texts(table[key], (*path, key), among=among) if key in table else ()
        for key in ("required", "forbidden")
    }
    if not any(names.values()):
        return []
    return [Flags(kind=kind, required=names["required"], forbidden=names["forbidden"])]


def _keep(reader: TomlReader, table: dict[str, Any], path: Path) -> list[Check]:
    reader.only(table, ("sandbox",), path)
    return [Sandbox(required=reader.texts(table["sandbox"], (*path, "sandbox")))]


_REFERENCE_KEYS: Final = ("measurements", "signers", "registers", "payloads", "runtimes")


def _references(reader: TomlReader, table: dict[str, Any], path: Path) -> ReferenceValues:
    lists = {
        key: reader.hexes(table[key], (*path, key), sizes=_DIGESTS) if key in table else ()
        for key in ("measurements", "signers", "payloads", "runtimes")
    }
    registers: list[tuple[str, tuple[bytes, ...]]] = []
    if "registers" in table:
        below = (*path, "registers")
        for name, values in reader.table(table["registers"], below).items():
            found = reader.hexes(values, (*below, name), sizes=(16, 20, *_DIGESTS))
            registers.append((name, found))
    return ReferenceValues(**lists, registers=tuple(registers))


def read_references(text: str, *, name: str) -> ReferenceValues:
    """Read a file of reference values: lists of hex under the names of ``ReferenceValues``.

    Args:
        text: TOML.
        name: where it came from.

    Raises:
        ConfigError: not TOML, an unknown key, a wrong value, or no reference value at all.
    """
    reader = TomlReader(text, name=name)
    reader.only(reader.document, _REFERENCE_KEYS, ())
    references = _references(reader, reader.document, ())
    if references == ReferenceValues():
        reader.fail((), "no reference value", hint='such as measurements = ["<hex>"]')
    return references
