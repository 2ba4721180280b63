"""Feeds broken input to every parser, for a given time.

    python tools/fuzz.py --seconds 60
    python tools/fuzz.py --seconds 600 --only evidence --seeds DIRECTORY
    python tools/fuzz.py --only evidence.quote --replay .fuzz/evidence.quote-1f2e3d4c

A parser may accept its input or raise an ``EnarxError``. Anything else, more
than two seconds for one input, or more than 2 GiB is a finding: it is written to
``.fuzz/`` and printed with the command that shows it again; the exit code is 1.
The first line names the seed of the run.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import resource
import secrets
import sys
import time
import traceback
from collections import Counter
from pathlib import Path

from fuzz_targets import ROOT, Target, targets

from enarx.errors import EnarxError

FINDINGS = ROOT / ".fuzz"
MEMORY = 2 << 30  # bytes of address space: an honest parser needs a hundredth
SLOW = 2.0  # seconds for one input of at most MAX_SIZE bytes, generous on a busy machine
MAX_SIZE = 64 * 1024
MAX_FINDINGS = 10  # after that the run ends: they have the same few causes
ROUND = 50  # inputs for one target before the next one gets its turn
INTERESTING = (b"\x00", b"\xff", b"\x7f", b"\x80", b"\xff\xff\xff\xff", b"\x00\x00\x00\x00")


def mutate(data: bytes, others: list[bytes], dice: random.Random) -> bytes:
    """The same bytes with one to four things wrong."""
    for _ in range(dice.randint(1, 4)):
        place = dice.randrange(len(data) + 1)
        length = dice.choice([1, 1, 2, 4, 16, 100])
        match dice.randrange(7):
            case 0 if data:  # one bit
                place = dice.randrange(len(data))
                data = (
                    data[:place] + bytes([data[place] ^ 1 << dice.randrange(8)]) + data[place + 1 :]
                )
            case 1:  # cut off
                data = data[:place]
            case 2:  # leave out
                data = data[:place] + data[place + length :]
            case 3:  # put in
                data = data[:place] + dice.randbytes(length) + data[place:]
            case 4:  # a length or count that lies
                value = dice.choice(INTERESTING)
                data = data[:place] + value + data[place + len(value) :]
            case 5:  # repeat a part
                data = (
                    data[:place] + data[place : place + length] * dice.randint(2, 50) + data[place:]
                )
            case _:  # go on as another input does
                other = dice.choice(others)
                data = data[:place] + other[dice.randrange(len(other) + 1) :]
    return data[:MAX_SIZE]


def attempt(target: Target, data: bytes) -> str:
    """What happened: ``accepted``, an error's class, or the text of a finding."""
    start = time.perf_counter()
    try:
        target.parse(data)
        outcome = "accepted"
    except EnarxError as error:
        outcome = type(error).__name__
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is the finding
        frames = traceback.extract_tb(error.__traceback__)[-6:]
        place = f"{type(error).__name__} at {frames[-1].filename}:{frames[-1].lineno}"
        shown = "".join(traceback.format_list(frames))
        return f"finding: {place}: {str(error)[:200]}\n{shown}"
    taken = time.perf_counter() - start
    return outcome if taken < SLOW else f"finding: took {taken:.1f} s for {len(data)} bytes"


def keep(target: Target, data: bytes, text: str) -> None:
    """Writes a finding down and says how to see it again."""
    FINDINGS.mkdir(exist_ok=True)
    path = FINDINGS / f"{target.name}-{hashlib.sha256(data).hexdigest()[:8]}"
    path.write_bytes(data)
    shown = path.relative_to(ROOT)
    print(f"\n{target.name}: {text.strip()}")
    print(f"again: .venv/bin/python tools/fuzz.py --only {target.name} --replay {shown}")


def fuzz(chosen: list[Target], seconds: float, rounds: int, dice: random.Random) -> int:
    """Takes the targets in turn until time or rounds are over; how many findings there were."""
    end = time.monotonic() + seconds
    outcomes: Counter[str] = Counter()
    seen: set[str] = set()
    while time.monotonic() < end and len(seen) < MAX_FINDINGS and rounds:
        rounds -= 1
        for target in chosen:
            for _ in range(ROUND):
                data = mutate(dice.choice(target.seeds), target.seeds, dice)
                outcome = attempt(target, data)
                if outcome.startswith("finding"):
                    # One cause shows up many times: the kind of error and its place name it.
                    cause = outcome.split(": ")[1]
                    if cause not in seen:
                        seen.add(cause)
                        keep(target, data, outcome)
                    outcome = "finding"
                outcomes[outcome] += 1
    total = sum(outcomes.values())
    parts = ", ".join(f"{count} {name}" for name, count in outcomes.most_common())
    print(f"fuzz: {total} inputs for {len(chosen)} parsers: {parts}; {len(seen)} findings")
    return len(seen)


def more_seeds(directory: Path, table: list[Target]) -> None:
    """Gives every target the small files below a directory to start from as well."""
    for path in sorted(directory.rglob("*")):
        if path.is_file() and 0 < path.stat().st_size <= MAX_SIZE:
            for target in table:
                target.seeds.append(path.read_bytes())


def main() -> int:
    """The command line; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="how long")
    parser.add_argument("--rounds", type=int, default=-1, help="end after so many rounds")
    parser.add_argument("--only", default="", help="targets whose name begins so")
    parser.add_argument("--seed", type=int, default=None, help="the seed of an earlier run")
    parser.add_argument("--seeds", type=Path, default=None, help="directory of more inputs")
    parser.add_argument("--replay", type=Path, default=None, help="one input, once")
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    seed = secrets.randbits(32) if options.seed is None else options.seed
    dice = random.Random(seed)  # noqa: S311 - must be repeatable, guards nothing
    chosen = [each for each in targets(dice) if each.name.startswith(options.only)]
    if not chosen:
        print(f"fuzz: no parser's name begins with {options.only!r}", file=sys.stderr)
        return 2
    if options.replay:
        outcomes = {each.name: attempt(each, options.replay.read_bytes()) for each in chosen}
        print("\n".join(f"{name}: {text}" for name, text in outcomes.items()))
        return int(any(text.startswith("finding") for text in outcomes.values()))
    if options.seeds:
        more_seeds(options.seeds, chosen)
    print(f"fuzz: seed {seed}, {options.seconds:g} s, {len(chosen)} parsers", flush=True)
    return int(fuzz(chosen, options.seconds, options.rounds, dice) > 0)


if __name__ == "__main__":
    sys.exit(main())
