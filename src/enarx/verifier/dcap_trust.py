"""Links of PCK chain and revocation: steps 1 and 2 of :mod:`enarx.verifier.dcap_standing`."""

from __future__ import annotations

from collections.abc import Iterable

from enarx.verifier import roots
from enarx.verifier.crl import RevocationList
from enarx.verifier.dcap_chain import PckChain
from enarx.verifier.dcap_collateral import CollateralSet, read_list
from enarx.verifier.dcap_links import (
    FOREIGN,
    PCK_PROFILE,
    PCS,
    REFETCH,
    Entry,
    certificate_window,
    crl_window,
    make_link,
)
from enarx.verifier.trace import Failure, Link
from enarx.verifier.verified import RootOfTrust
from enarx.verifier.x509 import Certificate, Memo


def chain_entries(kind: str, chain: PckChain, entries: list[Entry]) -> RootOfTrust | None:
    """Step 1: root, chain and its dates; returns where the chain ends."""
    root: RootOfTrust | None = None
    end = chain.root
    if end is not None:
        known = roots.pinned(end.spki_sha256, kind=kind)
        root = RootOfTrust(
            name=end.common_name,
            spki_sha256=end.spki_sha256,
            pinned=known is not None,
            simulated=known is None and end.common_name == roots.SIMULATED_ROOT_NAME,
        )
        # A simulated root is for the policy to judge: it is neither good nor bad here.
        if not root.simulated:
            entries.append(_root_link(kind, end, known))
    entries.append(
        make_link(
            not chain.problem,
            f"{kind}.pck.chain",
            "PCK chain from the platform's certificate to a root",
            failure=Failure.STRUCTURE if chain.structural else Failure.CHAIN,
            expected="PCK certificate, its CA and a root, each signed by the next",
            found=chain.problem
            or " <- ".join(one.common_name for one in reversed(_certificates(chain))),
            source=PCK_PROFILE,
            remedy="take the quote with certification data of type 5, "
            "or supply the platform's PCK chain",
            depth=1,
        )
    )
    certificates = _certificates(chain)
    entries.extend(
        certificate_window(kind, one, depth=depth)
        for depth, one in enumerate(reversed(certificates))
    )
    return root


def _root_link(kind: str, end: Certificate, known: roots.PinnedRoot | None) -> Link:
    return make_link(
        known is not None,
        f"{kind}.root",
        f"root of trust {end.common_name}",
        failure=Failure.ROOT,
        expected="a root key of Intel that is pinned",
        found=f"SPKI SHA-256 {end.spki_sha256.hex()}",
        source=known.source if known is not None else "enarx.verifier.roots",
        remedy=f"this chain is not Intel's: {FOREIGN}",
        depth=0,
    )


def _certificates(chain: PckChain) -> tuple[Certificate, ...]:
    return chain.path.certificates if chain.path else ()


def revocation_entries(
    kind: str,
    chain: PckChain,
    collateral: CollateralSet | None,
    lists: tuple[bytes, ...],
    memo: Memo,
    entries: list[Entry],
) -> bool:
    """Step 2: both lists, and all others; true when both were there and are to be believed."""
    if collateral is None:
        return False
    if collateral.crl_issuer_path is not None or collateral.crl_issuer_problem:
        entries.append(_crl_issuer_link(kind, chain, collateral))
    signers = [path.certificates[0] for path in collateral.signer_paths]
    below_root = [one for one in (chain.authority, *signers) if one is not None]
    both = (
        (collateral.root_crl, collateral.root_crl_problem, chain.root, below_root),
        (collateral.pck_crl, collateral.pck_crl_problem, chain.authority, [chain.leaf]),
    )
    believed = 0
    for crl, problem, issuer, certificates in both:
        if crl is None and not problem:
            continue
        believed += _crl_entries(kind, crl, problem, issuer, certificates, memo, entries)
    for der in lists:
        crl, problem = read_list(der)
        of_root = crl is not None and chain.root is not None and crl.issuer == chain.root.subject
        issuer, certificates = both[0][2:] if of_root else both[1][2:]
        _crl_entries(kind, crl, problem, issuer, certificates, memo, entries)
    return believed == len(both)


def _crl_issuer_link(kind: str, chain: PckChain, collateral: CollateralSet) -> Link:
    path, problem = collateral.crl_issuer_path, collateral.crl_issuer_problem
    authority = chain.authority
    if path is not None and not problem and authority is not None:
        if path.certificates[0].spki_sha256 != authority.spki_sha256:
            problem = f"{path.certificates[0].common_name} did not issue the PCK certificate"
        elif not same_root(path.root, chain.root):
            problem = "it ends in another root than the PCK chain"
    return make_link(
        not problem,
        f"{kind}.crl.issuer",
        "issuer chain of the PCK revocation list",
        failure=Failure.COLLATERAL,
        expected="the CA of the PCK certificate, under the same root",
        found=problem or "so it is",
        source=PCS,
        remedy=REFETCH,
        depth=1,
    )


def _crl_entries(
    kind: str,
    crl: RevocationList | None,
    problem: str,
    issuer: Certificate | None,
    certificates: Iterable[Certificate | None],
    memo: Memo,
    entries: list[Entry],
) -> bool:
    name = issuer.common_name if issuer else "an authority that is missing"
    good = crl is not None and issuer is not None and memo.list_signed_by(crl, issuer)
    entries.append(
        make_link(
            good,
            f"{kind}.crl.signature",
            f"revocation list of {name} is signed by it",
            failure=Failure.COLLATERAL,
            expected=name,
            found=problem
            or (crl.issuer_common_name if crl else "nothing")
            + ("" if good else ", not signed by that authority"),
            source=PCK_PROFILE,
            remedy=REFETCH,
            depth=1,
        )
    )
    if crl is None:
        return False
    entries.append(crl_window(kind, crl))
    if not good:
        return False  # what a list says that nobody signed means nothing
    # A serial number only means something on the list of the authority that gave it.
    listed = [
        one.common_name
        for one in certificates
        if one is not None and one.issuer == crl.issuer and crl.lists(one)
    ]
    entries.append(
        make_link(
            not listed,
            f"{kind}.revocation",
            f"nothing is on the revocation list of {name}",
            failure=Failure.REVOKED,
            expected="not revoked",
            found=f"revoked: {', '.join(listed)}" if listed else "not revoked",
            source="RFC 5280, section 6.3.3",
            remedy=f"Intel withdrew this key: {FOREIGN}",
            depth=1,
        )
    )
    return True


def same_root(one: Certificate | None, other: Certificate | None) -> bool:
    """Whether both are there and have the same key."""
    return one is not None and other is not None and one.spki_sha256 == other.spki_sha256
