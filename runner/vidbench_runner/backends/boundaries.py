"""Times of one sample: contiguous boundaries, and which phase each stretch between two of them belongs to.

A sample is cut at every start and end of a timed call. Each stretch between two cuts has exactly one owner, so the phases
sum to the latency by construction. Rules, applied after the sample:

- Inside a timed call the stretch is the phase of the innermost call that is running (nested calls are exclusive times).
- Between calls, before the first denoiser call: PREPARE (checks, tokenising, timesteps, initial noise, copies of
  embeddings). A sample without any denoiser call has only the stretch before its first call as PREPARE.
- Between calls, next to a denoiser call once the first has started: DENOISE. This is the loop's own arithmetic (guidance,
  scheduler step) and what leads from the last step to the decoder (unpacking and scaling of latents).
- Between two calls of one phase: that phase (chunks of a decode, joined by the pipeline).
- Everything else: OTHER (between decode and postprocessing, after postprocessing: there models are offloaded again).

On an accelerator the cuts are events on the current stream, read once after the sample. The latency stays the wall clock
between two synchronisations; the time between the last event and the wall clock's end goes to the last stretch.

Knows no torch: what it needs of it is passed in.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from vidbench_api.verdict import Phase
from vidbench_runner.ports import Clock, PhaseStretch

NANOSECONDS_PER_MILLISECOND = 1_000_000


class MonotonicClock:
    """The process's finest monotonic clock."""

    def nanoseconds(self) -> int:
        """Return nanoseconds since an arbitrary start."""
        return time.perf_counter_ns()


class Boundaries(Protocol):
    """Takes the cuts of one sample after another."""

    def start(self) -> None:
        """Begin a sample; its first cut is taken here."""
        ...

    def mark(self) -> None:
        """Take a cut."""
        ...

    def finish(self) -> tuple[int, ...]:
        """Take the last cut and return all of them in nanoseconds since the first, in order; forget the sample."""
        ...


class WallBoundaries:
    """Cuts read from a clock at once: right where calls return when their work is done, as on the CPU."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._readings: list[int] = []

    def start(self) -> None:
        """Begin a sample."""
        self._readings = [self._clock.nanoseconds()]

    def mark(self) -> None:
        """Take a cut."""
        self._readings.append(self._clock.nanoseconds())

    def finish(self) -> tuple[int, ...]:
        """Take the last cut; nanoseconds since the first."""
        self.mark()
        first = self._readings[0]
        return tuple(reading - first for reading in self._readings)


class Event(Protocol):
    """A point on an accelerator's stream, as `torch.cuda.Event(enable_timing=True)`."""

    def record(self) -> None:
        """Put the event on the current stream."""
        ...

    def elapsed_time(self, end: Event) -> float:
        """Milliseconds from this event to a later one, once both have happened."""
        ...


class StreamBoundaries:
    """Cuts recorded as events on the current stream and read once; the ends are the wall clock round a synchronisation."""

    def __init__(self, clock: Clock, new_event: Callable[[], Event], synchronize: Callable[[], None]) -> None:
        self._clock = clock
        self._new_event = new_event
        self._synchronize = synchronize
        self._events: list[Event] = []
        self._started = 0

    def start(self) -> None:
        """Begin a sample when all earlier work on the device is done."""
        self._events = []
        self._synchronize()
        self._started = self._clock.nanoseconds()
        self.mark()

    def mark(self) -> None:
        """Record an event; nothing waits for it."""
        event = self._new_event()
        event.record()
        self._events.append(event)

    def finish(self) -> tuple[int, ...]:
        """Wait for the device; nanoseconds since the start.

        The event timer and the wall clock are two clocks: should an event lie past the end by their drift, it is put at it.
        """
        self._synchronize()
        end = self._clock.nanoseconds() - self._started
        first = self._events[0]
        cuts = [0]
        for event in self._events[1:]:
            elapsed = round(first.elapsed_time(event) * NANOSECONDS_PER_MILLISECOND)
            cuts.append(min(max(elapsed, cuts[-1]), end))
        self._events = []
        return (*cuts, end)


@dataclass(frozen=True)
class SampleTimes:
    """The times of one sample in nanoseconds. `phases` has every phase; those not None sum to `latency` exactly.

    `calls` counts timed calls, a call inside a call of its own phase not counted again; for PREPARE and OTHER, which are
    no calls, it counts their stretches.
    """

    latency: int
    phases: dict[Phase, int | None]
    calls: dict[Phase, int]
    denoiser_starts: tuple[int, ...]
    denoise_end: int | None
    stretches: tuple[PhaseStretch, ...] = ()

    def steps(self, calls_per_step: int | None, steps: int) -> tuple[int, ...]:
        """Duration of each denoising step: from its first denoiser call to the next step's, the last to the decoder.

        They sum to the loop's duration. Empty where it is not known how the calls make up steps, or they do not.
        """
        if calls_per_step is None or self.denoise_end is None or len(self.denoiser_starts) != calls_per_step * steps:
            return ()
        cuts = (*self.denoiser_starts[::calls_per_step], self.denoise_end)
        return tuple(end - start for start, end in itertools.pairwise(cuts))


def attribute(owners: Sequence[Phase | None]) -> list[Phase]:
    """Give every stretch without an owner (None: between calls) its phase, by the rules at the top of this module."""
    named: list[Phase] = []
    denoisers = [index for index, owner in enumerate(owners) if owner is Phase.DENOISE]
    first_call = next((index for index, owner in enumerate(owners) if owner is not None), None)
    for index, owner in enumerate(owners):
        if owner is not None:
            named.append(owner)
            continue
        before = owners[index - 1] if index > 0 else None
        after = owners[index + 1] if index + 1 < len(owners) else None
        prepares_until = denoisers[0] if denoisers else first_call if index == 0 else None
        if prepares_until is not None and index < prepares_until:
            named.append(Phase.PREPARE)
        elif Phase.DENOISE in (before, after):
            named.append(Phase.DENOISE)
        elif before is not None and before is after:
            named.append(before)
        else:
            named.append(Phase.OTHER)
    return named


def stretches(named: Sequence[Phase], cuts: Sequence[int]) -> tuple[PhaseStretch, ...]:
    """Return when which phase ran: neighbours of one phase are one stretch."""
    found: list[PhaseStretch] = []
    for phase, start, end in zip(named, cuts[:-1], cuts[1:], strict=True):
        if found and found[-1].phase is phase:
            found[-1] = PhaseStretch(phase, found[-1].start, end)
        else:
            found.append(PhaseStretch(phase, start, end))
    return tuple(found)


class PhaseRecorder:
    """Follows the calls of one sample at a time and says what each phase took."""

    def __init__(self, boundaries: Boundaries) -> None:
        self._boundaries = boundaries
        self._owners: list[Phase | None] = []
        self._running: list[Phase] = []
        self._calls: dict[Phase, int] = {}
        self._denoiser_cuts: list[int] = []
        self.active = False
        self.failed_phase: Phase | None = None
        """The innermost phase that an exception left first, in the sample that is running or was the last."""

        self.failure: BaseException | None = None
        """That exception: a pipeline may swallow it and fail of what is then missing."""

    @property
    def denoiser_calls(self) -> int:
        """Forward calls of a denoiser so far in this sample."""
        return len(self._denoiser_cuts)

    def begin(self) -> None:
        """Start a sample."""
        self._owners, self._running, self._calls, self._denoiser_cuts = [], [], {}, []
        self.failed_phase = self.failure = None
        self.active = True
        self._boundaries.start()

    @contextmanager
    def call(self, phase: Phase) -> Iterator[None]:
        """Time what runs inside as `phase`; ends the stretch before it and its own."""
        self._cut()
        if phase not in self._running:
            self._calls[phase] = self._calls.get(phase, 0) + 1
        if phase is Phase.DENOISE:
            self._denoiser_cuts.append(len(self._owners))
        self._running.append(phase)
        try:
            yield
        except BaseException as error:
            if self.failed_phase is None:
                self.failed_phase, self.failure = phase, error
            raise
        finally:
            self._cut()
            self._running.pop()

    def abandon(self) -> Phase | None:
        """End a sample that failed; return the phase in which it did, as far as the calls seen tell."""
        self.active = False
        self._running = []
        if self.failed_phase is not None or not self._owners:
            return self.failed_phase or Phase.PREPARE
        return attribute([*self._owners, None])[-1] if self._denoiser_cuts else Phase.PREPARE

    def finish(self) -> SampleTimes:
        """End the sample and add up its stretches."""
        self._owners.append(None)
        cuts = self._boundaries.finish()
        self.active = False
        named = attribute(self._owners)
        phases: dict[Phase, int | None] = dict.fromkeys(Phase)
        calls = {phase: self._calls.get(phase, 0) for phase in Phase}
        for phase, start, end in zip(named, cuts[:-1], cuts[1:], strict=True):
            phases[phase] = (phases[phase] or 0) + end - start
        for phase in (Phase.PREPARE, Phase.OTHER):
            calls[phase] = named.count(phase)
        denoised = [index for index, phase in enumerate(named) if phase is Phase.DENOISE]
        return SampleTimes(
            latency=cuts[-1],
            phases=phases,
            calls=calls,
            denoiser_starts=tuple(cuts[index] for index in self._denoiser_cuts),
            denoise_end=cuts[denoised[-1] + 1] if denoised else None,
            stretches=stretches(named, cuts),
        )

    def _cut(self) -> None:
        self._owners.append(self._running[-1] if self._running else None)
        self._boundaries.mark()
