"""What the API server would not have of each run, Jobs and results, and when it is tried again.

A process remembers it to spare calls; nothing that is correct depends on it. When and how many are tried is `core/refusals.py`'s.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import NamedTuple

from vidbench_operator.core.observed import Observed, ObservedRun
from vidbench_operator.core.refusals import LONGEST_WAIT_SECONDS, HeldCreations, after_creations
from vidbench_operator.ports import RunKey


class _Life(NamedTuple):
    """A run, and not another of its name."""

    key: RunKey
    uid: str


class HeldBack:
    """The refused creations of all runs."""

    def __init__(self, first_wait_seconds: float) -> None:
        self._first_wait_seconds = first_wait_seconds
        self._jobs: dict[_Life, HeldCreations] = {}
        self._results: dict[_Life, HeldCreations] = {}

    def show(self, run: ObservedRun, observed: Observed, now: float) -> Observed:
        """Return the observation with what the server will not have at the moment."""
        jobs = self._jobs.get(_life_of(run), HeldCreations())
        results = self._results.get(_life_of(run), HeldCreations())
        return replace(
            observed,
            refused_jobs=jobs.texts,
            refused_until=jobs.retry_at,
            due_jobs=jobs.due_at(now),
            refused_results=frozenset(results.texts) - results.due_at(now),
            results_retry_at=results.retry_at,
        )

    def has_jobs_of(self, run: ObservedRun) -> bool:
        """Whether Jobs of the run are held back."""
        return _life_of(run) in self._jobs

    def note_jobs(
        self,
        run: ObservedRun,
        created: Collection[str],
        refused: Mapping[str, str],
        wanted: Collection[str],
        now: float,
    ) -> None:
        """Remember how creations of Jobs ended; `wanted` are the names that the run still needs."""
        self._note(self._jobs, run, created, refused, wanted, now)

    def note_results(self, run: ObservedRun, stored: Collection[str], refused: Mapping[str, str], now: float) -> None:
        """Remember how creations of results ended: a result stays wanted until it is stored."""
        held = self._results.get(_life_of(run), HeldCreations())
        self._note(self._results, run, stored, refused, held.texts.keys() | refused.keys(), now)

    def is_patience_over(self, run: ObservedRun) -> bool:
        """Whether results of the run were refused so often that the wait for them has come to its longest."""
        held = self._results.get(_life_of(run))
        return held is not None and held.wait_seconds >= LONGEST_WAIT_SECONDS

    def forget(self, key: RunKey) -> None:
        """Drop what is remembered of a run that is gone."""
        for kept in (self._jobs, self._results):
            for life in [life for life in kept if life.key == key]:
                del kept[life]

    def _note(
        self,
        kept: dict[_Life, HeldCreations],
        run: ObservedRun,
        created: Collection[str],
        refused: Mapping[str, str],
        wanted: Collection[str],
        now: float,
    ) -> None:
        life = _life_of(run)
        held = kept.pop(life, None)
        if held is None and not refused:
            return
        held = after_creations(held or HeldCreations(), created, refused, wanted, now, self._first_wait_seconds)
        if held.texts:
            kept[life] = held


def _life_of(run: ObservedRun) -> _Life:
    return _Life(RunKey(run.namespace, run.name), run.uid)
