"""The simulator on a fixed number of seeds, and that it would find what it is there to find."""

from __future__ import annotations

import pytest
from simulator.__main__ import play_all
from simulator.mutants import MUTANTS
from simulator.story import draw_trace, play, shorten

SEEDS = 300
SEEDS_FOR_A_MUTANT = 400
PINNED = {
    3: "a restart wrote an Event about a run that cannot be read and said so already",
    473: "a shard that waited for its next attempt was taken for one that ended",
    2182: "what a harvest said was not counted",
    3691: "results of a rung that cannot help were written before their status, and tried again for ever",
    9637: "a pod that lived was taken for the one before, as the clock had been set back since",
    2827: "no time was given to a queue",
}
"""Seeds that once found something, with what it was: the operator's mistakes, and the simulator's own."""


@pytest.mark.timeout(600)
def test_whatever_happens_every_invariant_holds_and_every_run_ends() -> None:
    violations = [violation for tally in play_all(0, SEEDS) for violation in tally.violations]
    assert violations == [], "make simulate SEED=... tells the story of a seed"


@pytest.mark.parametrize("seed", PINNED)
def test_seed_that_once_found_something_finds_it_no_more(seed: int) -> None:
    assert play(seed).violation is None


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", MUTANTS)
def test_operator_with_a_mistake_in_it_is_found(name: str) -> None:
    for seed in range(SEEDS_FOR_A_MUTANT):
        story = play(seed, code=MUTANTS[name])
        if story.violation is not None:
            assert play(seed).violation is None, "the real operator does it as well"
            return
    raise AssertionError(f"an operator that {name} is not told from one that does not")


def test_same_seed_has_the_same_story() -> None:
    first, second = play(7), play(7)
    assert (first.counts, first.violation) == (second.counts, second.violation)
    assert first.trace == draw_trace(7)


def test_story_is_shortened_to_what_leads_to_its_end() -> None:
    code = MUTANTS["overwrites a status that changed meanwhile"]
    story = next(story for seed in range(200) if (story := play(seed, code=code)).violation is not None)
    short = shorten(story, code)
    assert short.kind == story.kind
    assert len(short.trace) <= len(story.trace)
    assert play(story.seed, short.trace, code).violation == short.violation
