"""What one timed call costs: the seam round a method that does nothing, against the method alone.

The instrument's share of a sample is this times its calls. It is measured on the very boundaries that time the samples, so
that on an accelerator it holds the recording of events.
"""

from __future__ import annotations

import statistics
from types import SimpleNamespace
from typing import Any

from vidbench_runner.backends.boundaries import Boundaries, MonotonicClock, PhaseRecorder
from vidbench_runner.backends.seam import PhaseSeam
from vidbench_runner.ports import Progress

ROUNDS = 5
CALLS = 200


class _Nothing:
    """A part whose `decode` does nothing."""

    def decode(self) -> None:
        """Do nothing."""


def timed_call_nanoseconds(boundaries: Boundaries, progress: Progress) -> int:
    """Return the median over some rounds of what one timed call costs more than an untimed one; never below 0."""
    clock, recorder, part = MonotonicClock(), PhaseRecorder(boundaries), _Nothing()
    seam = PhaseSeam(recorder, progress)
    costs = []
    for _ in range(ROUNDS):
        bare = _loop(clock, part)
        seam.install(SimpleNamespace(components={"vae": part}))
        recorder.begin()
        timed = _loop(clock, part)
        recorder.finish()
        seam.remove()
        costs.append((timed - bare) / CALLS)
    return max(0, round(statistics.median(costs)))


def _loop(clock: MonotonicClock, part: Any) -> int:
    started = clock.nanoseconds()
    for _ in range(CALLS):
        part.decode()
    return clock.nanoseconds() - started
