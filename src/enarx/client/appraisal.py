"""8. Verify: what a Keep must be, computed on this machine, against what its evidence says.

The expected payload and runtime are those of this installation's own files, or of a file of
reference values; never the host's word. When they do not fit, the host is asked which files
it launched, and that is believed only as far as its digest is the one in the evidence: it
names the difference and changes no verdict.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from enarx.client.image import MACHINE, ImageValues
from enarx.client.paths import cache_dir
from enarx.errors import EnarxError, ProtocolError, UsageError
from enarx.evidence.claims import Claims
from enarx.image.cache import Cache
from enarx.image.installation import measure_installation
from enarx.image.launch import BACKENDS, launch_measurement
from enarx.image.manifest import differences, digest
from enarx.image.references import load_references
from enarx.verifier.appraisal import Verifier
from enarx.verifier.endorsements import Endorsements
from enarx.verifier.keep import KeepAppraisal, KeepRequest, appraise_keep
from enarx.verifier.policy import Policy
from enarx.verifier.references import ReferenceValues
from enarx.verifier.roles import endorsements_from
from enarx.wire.attestation import AttestResponse, Manifest, Manifests

_CODE_LINKS: Final = frozenset({"keep.payload", "keep.runtime", "keep.measurement"})
_VOUCHING_LINKS: Final = frozenset({"keep.report_data"})
_INTERPRETER: Final = re.compile(r"/bin/python[0-9.]*$")


@dataclass(frozen=True, kw_only=True)
class Expected:
    """Payload and runtime that must run in a Keep.

    Attributes:
        payload, runtime: SHA-256 of their manifests.
        origin: where they are from, for a person.
        payload_manifest, runtime_manifest: their files, where known.
        image: what a machine that boots the image measures, where that is known.
    """

    payload: bytes
    runtime: bytes
    origin: str
    payload_manifest: Manifest | None = None
    runtime_manifest: Manifest | None = None
    image: ImageValues | None = None

    @classmethod
    def here(cls) -> Expected:
        """What this installation would launch.

        Raises:
            UsageError: this machine cannot say (it is not Linux on x86-64): use a file.
            HostError: a file of the installation is missing or cannot be read.
        """
        cache = Cache.load(cache_dir())
        found = measure_installation(cache)
        cache.save()
        return cls(
            payload=found.payload_digest,
            runtime=found.runtime_digest,
            origin="this installation",
            payload_manifest=found.payload,
            runtime_manifest=found.runtime,
        )

    @classmethod
    def of_image(cls, image: ImageValues) -> Expected:
        """What a machine that boots this image runs."""
        return cls(
            payload=image.payload,
            runtime=image.runtime,
            origin=f"the image in {image.directory}",
            image=image,
        )

    @classmethod
    def from_file(cls, path: Path) -> Expected:
        """Reference values that `enarx measure --json` wrote. Raises ConfigError."""
        found = load_references(path)
        return cls(
            payload=found.payload_digest,
            runtime=found.runtime_digest,
            origin=str(path),
            payload_manifest=found.payload_manifest(),
            runtime_manifest=found.runtime_manifest(),
        )

    def references(self, backend: str) -> ReferenceValues:
        """As reference values for one back end.

        Raises:
            UsageError: the back end is a machine, and no image says what it boots.
        """
        if backend == MACHINE:
            if self.image is None:
                raise UsageError(
                    "reference values of processes say nothing of what a machine boots",
                    hint="build the image here with 'enarx image build', and leave --refs out",
                    code="references.image",
                )
            return self.image.references()
        measurement = launch_measurement(backend, payload=self.payload, runtime=self.runtime)
        return ReferenceValues(
            measurements=(measurement,), payloads=(self.payload,), runtimes=(self.runtime,)
        )


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What was asked for, and what is accepted.

    Attributes:
        backend: the back end's name.
        nonce: what was sent.
        init_data: as computed from the request.
        expected: payload and runtime.
        policy: the appraisal policy.
    """

    backend: str
    nonce: bytes
    init_data: bytes
    expected: Expected
    policy: Policy


class Appraiser:
    """Judges Keeps: one verifier, which remembers validated chains, and this installation."""

    def __init__(self) -> None:
        self._verifier = Verifier()
        self._here: Expected | None = None
        with contextlib.suppress(UsageError):
            self._here = Expected.here()

    def asked(
        self, *, backend: str, nonce: bytes, init_data: bytes, expected: Expected | None,
        policy: Policy | None,
    ) -> Asked:  # fmt: skip
        """What was asked for.

        Args:
            expected: this installation's own payload and runtime when None.
            policy: the built-in `default` when None.

        Raises:
            UsageError: nothing is expected: this machine cannot say what a Keep runs.
        """
        return Asked(
            backend=backend,
            nonce=nonce,
            init_data=init_data,
            expected=expected or self._expected(backend),
            policy=policy or Policy.builtin("default"),
        )

    def _expected(self, backend: str) -> Expected:
        if backend == MACHINE:
            return Expected.of_image(ImageValues.load(built_from=self._here_payload()))
        return self._here or Expected.here()

    def _here_payload(self) -> bytes | None:
        return self._here.payload if self._here is not None else None

    def appraise(self, response: AttestResponse, asked: Asked) -> KeepAppraisal:
        """Judge the certificate of a Keep against what was asked for, now.

        Raises:
            ParseError: it is no certificate of a Keep, or the endorsements have no such form.
        """
        return appraise_keep(
            response.certificate,
            KeepRequest(
                kind=MACHINE if asked.backend == MACHINE else BACKENDS[asked.backend],
                nonce=asked.nonce,
                init_data=asked.init_data,
                references=asked.expected.references(asked.backend),
            ),
            policy=asked.policy,
            at=datetime.now(UTC),
            endorsements=_endorsements(response),
            verifier=self._verifier,
        )

    async def explain(
        self,
        appraisal: KeepAppraisal,
        expected: Expected,
        ask: Callable[[], Awaitable[Manifests]],
    ) -> tuple[str, ...]:
        """What differs, file by file, where the code is not the expected one; empty otherwise.

        Args:
            ask: gets the manifests from the host.
        """
        failed = {link.name for link in appraisal.verdict.failed}
        if not failed & _CODE_LINKS or failed & _VOUCHING_LINKS:
            # In the second case nothing vouches for the digests to compare manifests with.
            return ()
        try:
            manifests = await ask()
        except EnarxError as error:
            return (f"the host does not say which files it launched: {error.message}",)
        return _explain(appraisal.claims, expected, manifests)


def _endorsements(response: AttestResponse) -> Endorsements:
    try:
        return endorsements_from((each.role, each.data) for each in response.endorsements)
    except UsageError as error:
        raise ProtocolError(
            f"the host's endorsements are not what they must be: {error.message}",
            code="protocol.endorsements",
        ) from None


def _explain(claims: Claims, expected: Expected, manifests: Manifests) -> tuple[str, ...]:
    lines: list[str] = []
    for name, found, claimed, wanted, reference in (
        ("payload", manifests.payload, claims.payload, expected.payload, expected.payload_manifest),
        ("runtime", manifests.runtime, claims.runtime, expected.runtime, expected.runtime_manifest),
    ):
        if claimed != wanted:
            lines += _explain_component(name, found, claimed, reference)
    return tuple(lines)


def _explain_component(
    name: str, found: Manifest, claimed: bytes, reference: Manifest | None
) -> list[str]:
    try:
        genuine = found.component == name and digest(found) == claimed
    except ProtocolError:
        genuine = False
    if not genuine:
        return [f"{name}: the list of files that the host gives is not what was measured"]
    if reference is None:
        return [f"{name}: another one; the reference values list no files to compare"]
    lines = [f"{name}: {line}" for line in differences(reference, found)]
    if name == "runtime":
        here, there = _interpreter(reference), _interpreter(found)
        if here != there:
            # All that comes with it differs as well; to list that would hide the reason.
            return [
                f"the host runs another interpreter: expected {here}, found {there}",
                "if that one is to be trusted: `enarx measure --json` there, --refs FILE here",
            ]
    return lines


def _interpreter(manifest: Manifest) -> str:
    paths = [file.path for file in manifest.files if _INTERPRETER.search(file.path)]
    return paths[0] if paths else "none"
