"""What the links of a trace speak of: the rows of a trust report, root first."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from enarx.verifier.trace import Link

if TYPE_CHECKING:
    from enarx.client.appraisal import Asked

    _Says = Callable[[Sequence[Link], Asked], str]

LONGEST_VALUE: Final = 72
"""Characters of an expected or found value; the JSON form has all of it."""
_HEX_SHOWN: Final = 16

SANDBOX_LEVELS: Final[tuple[tuple[tuple[str, ...], str], ...]] = (
    (("own-uid", "user-namespace"), "a user of its own"),
    (("mount-namespace",), "mounts of its own"),
    (("empty-root",), "an empty file system"),
    (("pid-namespace",), "processes of its own"),
    (("net-namespace",), "no network"),
    (("ipc-namespace",), "no shared memory with others"),
    (("uts-namespace",), "a host name of its own"),
    (("no-capabilities",), "no capabilities"),
    (("no-new-privs",), "no new privileges"),
    (("not-dumpable",), "memory closed to its own user"),
    (("landlock",), "Landlock"),
    (("seccomp",), "a system call filter"),
)
"""Levels that a Keep reports, each with the names that satisfy it and what it gives."""


@dataclass(frozen=True)
class Stage:
    """Links that speak of one thing."""

    label: str
    names: re.Pattern[str]
    holds: _Says
    """What to say of them when all of them hold."""


def _says(text: str) -> _Says:
    return lambda _, __: text


def _found(pattern: str, otherwise: str) -> _Says:
    """What the first link whose name fits has found."""

    def find(links: Sequence[Link], _: Asked) -> str:
        return next((short(k.found) for k in links if re.search(pattern, k.name)), otherwise)

    return find


def _digests(links: Sequence[Link], asked: Asked) -> str:
    found = {link.name.removeprefix("keep."): link.found[:_HEX_SHOWN] for link in links}
    both = [f"{name} {found[name]}" for name in ("payload", "runtime") if name in found]
    return f"{', '.join(both)}: as in {asked.expected.origin}"


CODE: Final = "code"
_STAGES: Final = tuple(
    Stage(label, re.compile(names), holds)
    for label, names, holds in (
        ("root of trust", r"^root\.|\.root$", _found("root", "pinned")),
        (
            "signing key",
            r"\.(pck|leaf|chain|certificate|intermediate|supplied|certified|instance)\b"
            r"|^tpm\.(ek|ak|activation|public|secret)\b",
            _found(r"\.chain$", "certified up to the root, in date"),
        ),
        ("revocation", r"\.(crl|revocation)\b", _says("nothing on the way is revoked")),
        (
            "firmware level",
            r"\.(tcb\w*|minimum_tcb|qe|qe_identity|module|collateral\w*|product|advisor\w*)\b",
            _found(r"\.tcb\.status$", "at or above what the policy asks for"),
        ),
        (
            "evidence",
            r"^(snp|sgx|tdx|tpm)\.(quote|report|td|evidence|measurement_log|event\w*|log|pcrs|clock)\b",
            _says("signed by that key, unchanged"),
        ),
        (
            "measured boot",
            r"^tpm\.(ak|activation|quote|log|events|clock|flag)\b",
            _says("signed by a key that is proven to live in that TPM"),
        ),
        (
            "launched as",
            r"\.(debug|vmpl|flag|flags|migration|signer)\b",
            _says("no debugging, no door for the host"),
        ),
        (CODE, r"^keep\.(payload|runtime|measurement)$|^reference\.", _digests),
        (
            "your request",
            r"^keep\.(nonce|init_data|host_data|kind)$|^expected\.",
            _says("this nonce, this owner, these limits, this back end"),
        ),
        (
            "the Keep's key",
            r"^keep\.(certificate|key|report_data|ratls)\b",
            _says("made inside, in that evidence, valid for minutes"),
        ),
        ("sandbox", r"^keep\.sandbox$", _says("the levels that the policy asks for")),
        ("policy", r"", _says("all other rules are met")),
    )
)
_KEEP_FIRST: Final = re.compile(r"^(keep|expected|reference)\.")
"""Names that are looked up among the later stages first: `keep.certificate` is no chip's."""


def by_stage(trace: Sequence[Link]) -> list[tuple[Stage, list[Link]]]:
    """The links of each stage that has any, in the order of the chain."""
    found: dict[str, list[Link]] = {}
    for link in trace:
        found.setdefault(stage_of(link).label, []).append(link)
    return [(stage, found[stage.label]) for stage in _STAGES if stage.label in found]


def stage_of(link: Link) -> Stage:
    stages = _STAGES[::-1][1:] if _KEEP_FIRST.search(link.name) else _STAGES
    return next((stage for stage in stages if stage.names.search(link.name)), _STAGES[-1])


def short(text: str) -> str:
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}…"
