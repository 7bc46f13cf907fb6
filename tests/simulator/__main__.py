"""`python -m simulator`: many seeds on all cores, or one with its story. See `make simulate`."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from bench.report import provenance, write

from .mutants import MUTANTS
from .occurrences import never, rows
from .simulation import REAL, Code
from .story import Story, play, shorten

WORKERS = 2
CHUNK = 25
ENOUGH_FOR_ALL = 2_000
"""Seeds from which on everything that can occur has to."""


@dataclass
class Tally:
    """What came of some seeds."""

    seeds: int = 0
    cpu_seconds: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    violations: list[tuple[int, str]] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Take in what came of others."""
        self.seeds += other.seeds
        self.cpu_seconds += other.cpu_seconds
        self.counts += other.counts
        self.violations += other.violations


def play_chunk(seeds: range) -> Tally:
    """Play some seeds in this process."""
    tally, started = Tally(), time.process_time()
    for seed in seeds:
        story = play(seed)
        tally.seeds += 1
        tally.counts += story.counts
        if story.violation is not None:
            tally.violations.append((seed, story.violation))
    tally.cpu_seconds = time.process_time() - started
    return tally


def play_all(first: int, seeds: int) -> Iterator[Tally]:
    """Play seeds on all workers, and yield what came of them as it comes."""
    chunks = [range(start, min(start + CHUNK, first + seeds)) for start in range(first, first + seeds, CHUNK)]
    with multiprocessing.Pool(WORKERS) as pool:
        yield from pool.imap_unordered(play_chunk, chunks)


def tell(story: Story, code: Code = REAL) -> None:
    """Print one story: how it went, and if it went wrong, the shortest way there that was found."""
    if story.violation is None:
        print(f"seed {story.seed}: no violation in {len(story.trace)} steps")
        print("\n".join(f"  {row}" for row in rows(story.counts)))
        return
    short = shorten(story, code)
    print(f"seed {story.seed}: {story.violation}")
    print(f"the {len(short.trace)} of {len(story.trace)} steps that lead to `{short.violation}`:")
    for step in short.trace:
        print(f"  {step.action} ({step.number})")
    print("the operators' last calls:")
    print("\n".join(f"  {call}" for call in short.calls))
    print(f"play it again: make simulate SEED={story.seed}")


def simulate(first: int, seeds: int) -> int:
    """Play many seeds, print and write the figures; returns the exit status."""
    load, started, total = os.getloadavg()[0], time.monotonic(), Tally()
    for tally in play_all(first, seeds):
        total.add(tally)
        if total.seeds % (40 * CHUNK) < CHUNK:
            print(f"{total.seeds} of {seeds} seeds, {len(total.violations)} violations", flush=True)
    seconds = time.monotonic() - started
    missing = never(total.counts) if seeds >= ENOUGH_FOR_ALL else []
    print("\n".join(rows(total.counts)))
    print(
        f"{total.seeds} seeds from {first} on in {seconds:.0f} s: {total.seeds / seconds:.0f} seeds/s on {WORKERS} processes,"
        f" {total.seeds / total.cpu_seconds:.0f} seeds per second of processor time; {len(total.violations)} violations"
    )
    path = write("simulate", make_report(total, first, seconds, load, missing))
    print(f"written to {path}")
    for what in missing:
        print(f"never occurred: {what}", file=sys.stderr)
    for seed, text in sorted(total.violations)[:20]:
        print(f"seed {seed}: {text}", file=sys.stderr)
    if total.violations:
        tell(play(min(total.violations)[0]))
    return 1 if total.violations or missing else 0


def make_report(total: Tally, first: int, seconds: float, load: float, missing: list[str]) -> dict[str, Any]:
    """Return the figures of `build/bench/simulate.json`."""
    return {
        "benchmark": "simulate",
        **provenance(load),
        "firstSeed": first,
        "seeds": total.seeds,
        "violations": [{"seed": seed, "text": text} for seed, text in sorted(total.violations)],
        "seconds": round(seconds, 1),
        "workers": WORKERS,
        "seedsPerSecond": round(total.seeds / seconds, 1),
        "seedsPerProcessorSecond": round(total.seeds / total.cpu_seconds, 1),
        "neverOccurred": missing,
        "occurrences": dict(sorted(total.counts.items())),
    }


def main() -> int:
    """Read the arguments, and play."""
    parser = argparse.ArgumentParser(prog="simulator", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1_000, help="how many seeds to play")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--seed", type=int, help="play this one alone and tell its story")
    parser.add_argument("--mutant", choices=sorted(MUTANTS), help="with --seed: an operator with this mistake in it")
    arguments = parser.parse_args()
    if arguments.seed is None:
        return simulate(arguments.first, arguments.seeds)
    code = MUTANTS[arguments.mutant] if arguments.mutant else REAL
    story = play(arguments.seed, code=code)
    tell(story, code)
    return 1 if story.violation is not None else 0


if __name__ == "__main__":
    sys.exit(main())
