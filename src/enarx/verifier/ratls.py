"""Interoperable RA-TLS: is the quote in this certificate about the key of this certificate?

1. The certificate carries quote and claims (:mod:`enarx.evidence.ratls`), and its own key
   signed it. Its dates mean nothing: it is its own authority.
2. The claims' public-key hash is of the certificate's key.
3. The quote's report data is SHA-256 over exactly the claims.
4. Everything the quote's technology checks.

Source: CCC Attestation SIG, *Interoperable RA-TLS*.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec

from enarx.errors import ParseError
from enarx.evidence.claims import report_data
from enarx.evidence.ratls import RATLS_OID, TAG_QUOTE_AND_CLAIMS, RatlsEvidence
from enarx.verifier.appraisal import Parsed, parse, technology
from enarx.verifier.cache import Cache
from enarx.verifier.endorsements import Endorsements
from enarx.verifier.trace import Claim, Failure, Trace
from enarx.verifier.verified import Verified
from enarx.verifier.x509 import Certificate, load_certificate, load_certificates, signed_by

SOURCE: Final = "Interoperable RA-TLS"
_DEPTH: Final = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class RatlsCertificate:
    """A certificate, what it carries, and the quote inside, all of them only read."""

    certificate: Certificate
    carried: RatlsEvidence
    quote: Parsed


class RatlsTechnology:
    """How RA-TLS certificates are read and verified."""

    kind = "ra-tls"

    def parse(self, evidence: bytes) -> RatlsCertificate:
        """Read a certificate (DER or PEM) and the quote in it.

        Raises:
            ParseError: no certificate, none of this kind, or what it carries is malformed.
        """
        certificate = load_certificate(load_certificates(evidence)[0])
        content = certificate.extensions.get(RATLS_OID)
        if content is None:
            raise ParseError(
                f"certificate has no extension {RATLS_OID}",
                hint="this certificate carries no interoperable RA-TLS evidence",
                code="ratls.none",
            )
        carried = RatlsEvidence.parse(content)
        quote = parse(carried.quote)
        if quote.kind not in ("sgx", "tdx"):
            raise ParseError(f"RA-TLS evidence holds {quote.kind}, no quote", code="ratls.quote")
        return RatlsCertificate(certificate=certificate, carried=carried, quote=quote)

    def verify(
        self, evidence: RatlsCertificate, *, endorsements: Endorsements, at: datetime, cache: Cache
    ) -> Verified:
        """Run all steps of this module's docstring."""
        inner = technology(evidence.quote.kind).verify(  # 4.
            evidence.quote.evidence, endorsements=endorsements, at=at, cache=cache
        )
        trace = Trace()
        _check(evidence, inner, endorsements, trace)
        return msgspec.structs.replace(
            inner,
            carrier=self.kind,
            links=(*inner.links, *trace.links),
            genuine=inner.genuine and trace.sound,
            describe=lambda: {**inner.describe(), **_describe(evidence)},
        )


TECHNOLOGY: Final = RatlsTechnology()


def _check(
    evidence: RatlsCertificate, inner: Verified, endorsements: Endorsements, trace: Trace
) -> None:
    certificate, carried = evidence.certificate, evidence.carried
    own = signed_by(certificate, certificate)
    trace.check(  # 1.
        own,
        "ratls.certificate",
        "certificate is signed by its own key",
        failure=Failure.SIGNATURE,
        claim=Claim.INSTANCE_IDENTITY,
        expected="self-signed",
        found="self-signed" if own else "the signature does not verify",
        source=SOURCE,
        remedy="the certificate was changed: do not use it",
        depth=_DEPTH,
    )
    trace.check(  # 2.
        carried.key_digest == certificate.spki_sha256,
        "ratls.key",
        "claims are about the key of this certificate",
        failure=Failure.BINDING,
        claim=Claim.INSTANCE_IDENTITY,
        expected=certificate.spki_sha256.hex(),
        found=carried.key_digest.hex(),
        source=SOURCE + ": pubkey-hash",
        remedy="somebody else presents this evidence: do not use it",
        depth=_DEPTH,
    )
    expected = report_data(carried.claims)
    trace.check(  # 3.
        inner.report_data == expected,
        "ratls.report_data",
        "silicon vouches for exactly these claims",
        failure=Failure.BINDING,
        claim=Claim.INSTANCE_IDENTITY,
        expected=expected.hex(),
        found=inner.report_data.hex(),
        source=SOURCE + ": report data",
        remedy="the claims were changed: do not use this certificate",
        depth=_DEPTH,
    )
    beside = endorsements.role("quote")
    if beside is not None:
        trace.check(
            beside == carried.quote,
            "ratls.quote",
            "quote that was supplied is the one in the certificate",
            failure=Failure.BINDING,
            claim=Claim.INSTANCE_IDENTITY,
            expected=f"{len(carried.quote)} bytes of quote",
            found="the same" if beside == carried.quote else "another quote",
            source="relying party",
            remedy="supply the quote that belongs to this certificate",
            depth=_DEPTH,
        )


def _describe(evidence: RatlsCertificate) -> dict[str, Any]:
    return {
        "cbor_tag": TAG_QUOTE_AND_CLAIMS,
        "claims_sha256": report_data(evidence.carried.claims)[:32].hex(),
        "claims": {name: value.hex() for name, value in evidence.carried.entries.items()},
        "spki_sha256": evidence.certificate.spki_sha256.hex(),
    }
