"""The keys behind an SNP report: which leaf signed it, and which chain stands over the leaf.

Nothing here depends on time, so all of it can be cached: signatures, names, roles and
the contents of certificates. Dates are compared by :mod:`enarx.verifier.snp`.

Source: AMD 57230 (VCEK and KDS specification), chapters 2 and 3.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

from enarx.errors import ParseError
from enarx.evidence.der import without_padding
from enarx.evidence.snp import (
    SIGNED_BY_VLEK,
    Product,
    Report,
    parse_certificate_table,
    tcb_components,
)
from enarx.evidence.vcek import STRUCT_VERSION, LeafExtensions
from enarx.verifier import roots, x509
from enarx.verifier.cache import Cache
from enarx.verifier.crl import RevocationList, crl_der, load_crl
from enarx.verifier.endorsements import Endorsements
from enarx.verifier.trace import Claim, Failure, Link, Trace
from enarx.verifier.verified import RootOfTrust

SOURCE: Final = "AMD 57230, section 3"
_FETCH: Final = "fetch the certificate chain of this product from AMD (enarx endorsements fetch)"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Leaf:
    """A certificate of a signing key, with AMD's extensions read."""

    certificate: x509.Certificate
    extensions: LeafExtensions


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Pool:
    """Everything supplied, read once.

    Attributes:
        key: identifies the pool in a cache.
        leaves: certificates of signing keys, explicitly supplied before those of the table.
        authorities: all other certificates.
        crls: revocation lists that could be read.
        problems: what could not be read, one sentence each.
    """

    key: tuple[object, ...]
    leaves: tuple[Leaf, ...]
    authorities: tuple[x509.Certificate, ...]
    crls: tuple[RevocationList, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Chain:
    """A leaf and what stands over it.

    Attributes:
        leaf: the signing key's certificate.
        path: leaf, intermediate, root, as far as it goes.
        root: where it ends; ``None`` when it is not complete.
        links: every check that does not depend on time, root first.
        crls: revocation lists whose signature by an authority of the path verifies, each with
            the certificates it speaks about.
        key: the leaf's public key; ``None`` when it is not P-384.
    """

    leaf: Leaf
    path: x509.Path
    root: RootOfTrust | None
    links: tuple[Link, ...]
    crls: tuple[tuple[RevocationList, tuple[x509.Certificate, ...]], ...]
    key: ec.EllipticCurvePublicKey | None


def pool_of(endorsements: Endorsements, cache: Cache, *, own: tuple[bytes, ...] = ()) -> Pool:
    """Read what was supplied; ``own`` are certificates that are the evidence itself."""
    key = ("snp.pool", own, endorsements.certificates, endorsements.crls, endorsements.cert_table)
    return cache.get_or_make(key, lambda: _read_pool(key, endorsements, own))


def _read_pool(key: tuple[object, ...], endorsements: Endorsements, own: tuple[bytes, ...]) -> Pool:
    problems: list[str] = []
    table_ders, table_crls, table_problem = _read_table(endorsements.cert_table)
    crls = [*endorsements.crls, *table_crls]
    if table_problem:
        problems.append(table_problem)
    explicit, unread = x509.load_pool(dict.fromkeys((*own, *endorsements.certificates)))
    table, unread_table = x509.load_pool(dict.fromkeys(table_ders))
    problems += [*unread, *(f"certificate table: {problem}" for problem in unread_table)]
    leaves: list[Leaf] = []
    authorities: list[x509.Certificate] = []
    for certificate in (*explicit, *table):
        if STRUCT_VERSION not in certificate.extensions:
            authorities.append(certificate)
            continue
        try:
            extensions = LeafExtensions.parse(certificate.extensions)
        except ParseError as error:
            problems.append(f"{certificate.common_name}: {error.message}")
        else:
            leaves.append(Leaf(certificate=certificate, extensions=extensions))
    lists, unread_lists = _read_lists(crls)
    return Pool(
        key=key,
        leaves=tuple(leaves),
        authorities=tuple(authorities),
        crls=lists,
        problems=(*problems, *unread_lists),
    )


def _read_table(table: bytes) -> tuple[list[bytes], list[bytes], str]:
    """Certificates and lists of a host's certificate table, and why it cannot be read.

    Entries with other GUIDs are the host's own business (clouds put measurement endorsements
    there); zeros behind DER only fill a page.
    """
    ders: list[bytes] = []
    crls: list[bytes] = []
    try:
        for role, content in parse_certificate_table(table) if table else ():
            if role == "crl":
                crls.append(without_padding(crl_der(content)))
            elif role in ("vcek", "vlek", "ask", "ark"):
                ders += [without_padding(one) for one in x509.load_certificates(content)]
    except ParseError as error:
        return ders, crls, error.message
    return ders, crls, ""


def _read_lists(
    ders: Iterable[bytes],
) -> tuple[tuple[RevocationList, ...], tuple[str, ...]]:
    lists: list[RevocationList] = []
    problems: list[str] = []
    for der in dict.fromkeys(ders):
        try:
            lists.append(load_crl(der))
        except ParseError as error:
            problems.append(error.message)
    return tuple(lists), tuple(problems)


def choose_leaf(pool: Pool, report: Report | None) -> Leaf | None:
    """The certificate that fits the report best; checks say later whether it really does."""
    if report is None or len(pool.leaves) < 2:
        return pool.leaves[0] if pool.leaves else None
    wanted = "vlek" if report.signing_key == SIGNED_BY_VLEK else "vcek"

    def fit(leaf: Leaf) -> tuple[bool, bool, bool]:
        hwid = leaf.extensions.hwid
        return (
            leaf.extensions.kind == wanted,
            hwid is None or report.chip_id == hwid.ljust(len(report.chip_id), b"\0"),
            reported_components(report, leaf) == leaf.extensions.tcb,
        )

    return max(pool.leaves, key=fit)


def reported_components(report: Report, leaf: Leaf | None) -> dict[str, int]:
    """The reported TCB by component, in the order of the product."""
    from_leaf = leaf.extensions.product if leaf is not None else None
    return tcb_components(report.reported_tcb, report.product or from_leaf)


def chain_of(leaf: Leaf, pool: Pool, cache: Cache) -> Chain:
    """Build and check the chain over a leaf."""
    key = ("snp.chain", pool.key, leaf.certificate.der)
    return cache.get_or_make(key, lambda: _build(leaf, pool, x509.Memo(cache)))


def _build(leaf: Leaf, pool: Pool, memo: x509.Memo) -> Chain:
    path = x509.build_path(leaf.certificate, pool.authorities, signed=memo.signed_by)
    trace = Trace()
    root = _check_root(path, trace)
    _check_path(leaf, path, root, trace)
    _check_supplied(pool, path, memo, trace)
    crls = _check_lists(pool, path, trace)
    key = leaf.certificate.public_key
    p384 = isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP384R1)
    trace.check(
        p384,
        "snp.leaf.key",
        "signing key is a P-384 key",
        failure=Failure.STRUCTURE,
        expected="P-384",
        found="P-384" if p384 else "another kind of key",
        source=SOURCE,
        depth=2,
    )
    return Chain(
        leaf=leaf,
        path=path,
        root=root,
        links=trace.links,
        crls=crls,
        key=key if p384 and isinstance(key, ec.EllipticCurvePublicKey) else None,
    )


def _check_root(path: x509.Path, trace: Trace) -> RootOfTrust | None:
    end = path.root
    if end is None:
        trace.check(
            False,
            "snp.chain",
            "chain from the signing key to a root",
            failure=Failure.CHAIN,
            claim=Claim.INSTANCE_IDENTITY,
            expected="leaf, intermediate and root, each signed by the next",
            found=path.problem,
            source=SOURCE,
            remedy=_FETCH,
        )
        return None
    known = roots.pinned(end.spki_sha256, kind="snp")
    root = RootOfTrust(
        name=end.common_name,
        spki_sha256=end.spki_sha256,
        pinned=known is not None,
        simulated=known is None and end.common_name == roots.SIMULATED_ROOT_NAME,
    )
    if not root.simulated:
        trace.check(
            known is not None,
            "snp.root",
            f"root of trust {end.common_name}",
            failure=Failure.ROOT,
            claim=Claim.INSTANCE_IDENTITY,
            expected="a root key of AMD that is pinned",
            found=f"SPKI SHA-256 {end.spki_sha256.hex()}",
            source=known.source if known is not None else "enarx.verifier.roots",
            valid_until=end.not_after,
            remedy="this chain is not AMD's: do not trust the host that sent it",
        )
    return root


def _check_path(leaf: Leaf, path: x509.Path, root: RootOfTrust | None, trace: Trace) -> None:
    if root is None:
        return
    for depth, (child, issuer) in enumerate(
        zip(path.certificates[-2::-1], path.certificates[:0:-1], strict=True), start=1
    ):
        trace.check(
            True,
            f"snp.{'leaf' if child is leaf.certificate else 'intermediate'}.signature",
            f"{child.common_name} is signed by {issuer.common_name}",
            failure=Failure.CHAIN,
            claim=Claim.INSTANCE_IDENTITY,
            expected="a signature that verifies",
            found=child.algorithm,
            source=SOURCE,
            valid_until=child.not_after,
            depth=depth,
        )
    _check_roles(leaf, path, root, trace)


def _check_roles(leaf: Leaf, path: x509.Path, root: RootOfTrust, trace: Trace) -> None:
    """The intermediate is the one for this product and kind of key, three certificates in all."""
    product = leaf.extensions.product
    kind = leaf.extensions.kind
    top = roots.SIMULATED_ROOT_NAME if root.simulated else f"ARK-{product}"
    expected = f"{_intermediate_name(product, kind)}, {top}" if product else "a known product"
    names = [one.common_name for one in path.certificates[1:]]
    trace.check(
        ", ".join(names) == expected,
        "snp.chain.roles",
        f"chain is the one for {kind.upper()}s of {leaf.extensions.product_name}",
        failure=Failure.CHAIN,
        claim=Claim.INSTANCE_IDENTITY,
        expected=expected,
        found=", ".join(names),
        source=SOURCE,
        remedy="a certificate of one product cannot speak for another",
        depth=1,
    )


def _intermediate_name(product: Product, kind: str) -> str:
    return f"SEV-VLEK-{product}" if kind == "vlek" else f"SEV-{product}"


def _check_supplied(pool: Pool, path: x509.Path, memo: x509.Memo, trace: Trace) -> None:
    """Nothing that was supplied is damaged or foreign, whether the chain needs it or not.

    A certificate that only happens not to be needed today is no reason to pass over that
    somebody changed it: each must lead to a vendor's root, or to this chain's own.
    """
    problems = list(pool.problems)
    own_root = path.root.spki_sha256 if path.root is not None else b""
    used = {one.der for one in path.certificates}
    everything = [*pool.authorities, *(leaf.certificate for leaf in pool.leaves)]
    for one in everything:
        if one.der in used:
            continue
        end = x509.build_path(one, pool.authorities, signed=memo.signed_by).root
        if end is None or end.spki_sha256 not in (own_root, *roots.PINNED_ROOTS):
            name = one.common_name or "a certificate without common name"
            problems.append(f"{name} does not lead to a vendor's root")
    if problems:
        trace.check(
            False,
            "snp.supplied",
            "supplied certificates and lists are whole",
            failure=Failure.CHAIN,
            claim=Claim.INSTANCE_IDENTITY,
            expected="certificates that lead to a vendor's root",
            found="; ".join(problems[:4]),
            source=SOURCE,
            remedy="drop or replace the damaged input",
            depth=1,
        )


def _check_lists(
    pool: Pool, path: x509.Path, trace: Trace
) -> tuple[tuple[RevocationList, tuple[x509.Certificate, ...]], ...]:
    if not pool.crls or path.root is None:
        return ()
    good: list[tuple[RevocationList, tuple[x509.Certificate, ...]]] = []
    of_chain = 0
    for revoked in pool.crls:
        issuers = [one for one in path.certificates[1:] if one.subject == revoked.issuer]
        if not issuers:
            continue
        of_chain += 1
        signer = next((one for one in issuers if revoked.signed_by(one)), None)
        trace.check(
            signer is not None,
            "snp.crl.signature",
            f"revocation list is signed by {revoked.issuer_common_name}",
            failure=Failure.COLLATERAL,
            claim=Claim.INSTANCE_IDENTITY,
            expected="a signature that verifies",
            found=revoked.algorithm or "an unknown algorithm",
            source="RFC 5280, section 6.3.3 (f)",
            valid_until=revoked.next_update,
            remedy="fetch the revocation list again (enarx endorsements fetch)",
            depth=1,
        )
        if signer is not None:
            below = tuple(
                one
                for one in path.certificates
                if one.issuer == signer.subject and not one.self_issued
            )
            good.append((revoked, below))
    if not of_chain:
        trace.check(
            False,
            "snp.crl.issuer",
            "a revocation list of this chain is among those supplied",
            failure=Failure.COLLATERAL,
            claim=Claim.INSTANCE_IDENTITY,
            expected=f"a list of {path.certificates[-1].common_name}",
            found=", ".join(one.issuer_common_name or "unnamed" for one in pool.crls),
            source="RFC 5280, section 6.3.3 (b)",
            remedy="fetch the revocation list of this product (enarx endorsements fetch)",
            depth=1,
        )
    return tuple(good)
