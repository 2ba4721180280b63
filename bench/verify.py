"""How fast evidence is verified, as ratios to dcap-qvl (Rust) measured in the same run.

    python bench/verify.py [--vectors DIR]

Times are the best of several repetitions of a mean, in microseconds: on a busy machine only the
ratios mean something. *Warm* is a verifier that has seen this platform and its collateral, as a
service has; *new platform* one that has seen the collateral only; *cold* one that has seen
nothing. All three get the collateral as parsed parts, as dcap-qvl gets it too, and check every
signature over the quote itself every time.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
import timeit
import tracemalloc
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import dcap_qvl

from enarx.evidence.quote import Quote
from enarx.verifier.appraisal import Verifier, parse
from enarx.verifier.endorsements import DcapCollateral, Endorsements
from enarx.verifier.policy import Policy
from enarx.verifier.x509 import load_certificates

VECTORS = Path(__file__).resolve().parents[2] / "shared" / "vectors"
INTEL = (
    "sgx/v3-config-sw-hardening-phala",
    "sgx/v3-sw-hardening-automata",
    "tdx/v4-up-to-date-phala",
    "tdx/v4-up-to-date-ccel-cos",
    "tdx/v5-td15-up-to-date-google",
)
AMD = ("snp/milan-v3-vcek-microsoft", "snp/genoa-v3-vcek-microsoft", "snp/turin-v5-vcek-microsoft")
PLATFORMS = 1000
REPETITIONS = 7


def microseconds(*functions: Callable[[], object], number: int) -> list[float]:
    """Best mean time of one call of each, measured in turns so that noise meets all alike."""
    for function in functions:
        function()
    rounds = [
        [timeit.timeit(function, number=number) / number * 1e6 for function in functions]
        for _ in range(REPETITIONS)
    ]
    return [min(times) for times in zip(*rounds, strict=True)]


def load(name: str, vectors: Path) -> tuple[dict[str, bytes], datetime]:
    """Files by role, and the time to judge at."""
    directory = vectors / name
    expected = json.loads((directory / "expected.json").read_text())
    files = {role: (directory / file).read_bytes() for role, file in expected["files"].items()}
    length = expected["fields"].get("quote_len")
    if length:
        files["quote"] = files["quote"][:length]
    return files, datetime.fromisoformat(expected["verify_at"])


def intel(name: str, vectors: Path) -> tuple[str, ...]:
    """One row: dcap-qvl, warm, new platform, cold, parsing."""
    files, at = load(name, vectors)
    quote, collateral = files["quote"], DcapCollateral.from_json(files["collateral"])
    theirs = dcap_qvl.QuoteCollateralV3.from_json(files["collateral"].decode())
    endorsements, policy = Endorsements(dcap=collateral), Policy.builtin("genuine")
    seconds = int(at.timestamp())

    def appraise(verifier: Verifier) -> None:
        verifier.appraise(quote, policy=policy, at=at, endorsements=endorsements)

    warm = Verifier()
    reference, *times = microseconds(
        lambda: dcap_qvl.verify(quote, theirs, seconds),
        lambda: appraise(warm),
        _new_platforms(quote, at, endorsements, policy),
        lambda: appraise(Verifier()),
        number=60,
    )
    (parsing,) = microseconds(lambda: parse(quote), number=1000)
    ratios = (f"{time:.0f} ({time / reference:.2f}x)" for time in times)
    return name, f"{reference:.0f}", *ratios, f"{parsing:.0f}"


def _new_platforms(
    data: bytes, at: datetime, endorsements: Endorsements, policy: Policy
) -> Callable[[], None]:
    """Appraise the same quote as if each were of another platform, collateral already known."""
    quote, counter, verifier = Quote.parse(data), iter(range(1 << 30)), Verifier()

    def run() -> None:
        # A newline more behind the chain is another chain to the cache, and the same to all else.
        padding = b"\n" * (next(counter) % 4000)
        signature = dataclasses.replace(
            quote.signature,
            certification_data=quote.signature.certification_data.rstrip(b"\0") + padding,
        )
        verifier.appraise(
            dataclasses.replace(quote, signature=signature).pack(),
            policy=policy,
            at=at,
            endorsements=endorsements,
        )

    return run


def amd(name: str, vectors: Path) -> tuple[str, ...]:
    """One row: warm and cold times of an SNP report, and reports a second."""
    files, at = load(name, vectors)
    certificates = (files["vcek"], *load_certificates(files["chain"]))
    endorsements, policy = Endorsements(certificates=certificates), Policy.builtin("genuine")

    def appraise(verifier: Verifier) -> None:
        verifier.appraise(files["report"], policy=policy, at=at, endorsements=endorsements)

    warm = Verifier()
    times = microseconds(lambda: appraise(warm), lambda: appraise(Verifier()), number=50)
    return name, f"{times[0]:.0f}", f"{1e6 / times[0]:.0f}/s", f"{times[1] / 1000:.2f} ms"


def memory(vectors: Path) -> str:
    """Python memory of a verifier that remembers 1,000 platforms, in MiB."""
    files, at = load(INTEL[2], vectors)
    endorsements = Endorsements(dcap=DcapCollateral.from_json(files["collateral"]))
    quote = Quote.parse(files["quote"])
    verifier, policy = Verifier(), Policy.builtin("genuine")
    tracemalloc.start()
    for number in range(PLATFORMS):
        signature = dataclasses.replace(
            quote.signature,
            certification_data=quote.signature.certification_data.rstrip(b"\0") + b"\n" * number,
        )
        data = dataclasses.replace(quote, signature=signature).pack()
        verifier.appraise(data, policy=policy, at=at, endorsements=endorsements)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return f"{size / (1 << 20):.1f} MiB"


def import_time() -> str:
    """Milliseconds that `import enarx.verifier.appraisal` takes in a fresh interpreter."""
    script = (
        "import time; start = time.perf_counter(); import enarx.verifier.appraisal, "
        "enarx.verifier.tdx; print((time.perf_counter() - start) * 1000)"
    )
    runs = [
        float(
            subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout
        )
        for _ in range(5)
    ]
    return f"{min(runs):.0f} ms"


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """Print a Markdown table."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    for number, row in enumerate((head, *rows)):
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print(f"| {' | '.join(cells)} |")
        if number == 0:
            print(f"|{'|'.join('-' * (width + 2) for width in widths)}|")
    print()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--vectors", type=Path, default=VECTORS)
    vectors = arguments.parse_args().vectors
    if not vectors.is_dir():
        sys.exit(f"no samples in {vectors}: pass --vectors")
    print("SGX and TDX, microseconds a quote (ratio to dcap-qvl)\n")
    table(
        ("sample", f"dcap-qvl {dcap_qvl.__version__}", "warm", "new platform", "cold", "parse"),
        [intel(name, vectors) for name in INTEL],
    )
    print("SEV-SNP, microseconds a report\n")
    table(("sample", "warm", "rate", "cold"), [amd(name, vectors) for name in AMD])
    print(f"Memory of a verifier with {PLATFORMS} platforms: {memory(vectors)}")
    print(f"Import of the verifier: {import_time()}")


if __name__ == "__main__":
    main()
