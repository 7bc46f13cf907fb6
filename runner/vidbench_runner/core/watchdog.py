"""When a worker has to be ended: too long in loading, too long without progress, too long altogether. Pure.

Progress is any of: a heartbeat, processor time, data from or to storage, a busy device. A worker that loads or decodes
beats seldom but computes or reads; one that waits for a long kernel sleeps, but its device is busy; one that compiles has
children that compute. A worker that waits for a hung device in a busy loop computes as well: that one meets the shard's
deadline, not the watchdog.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vidbench_api.names import Reason
from vidbench_api.verdict import Stage
from vidbench_runner.core.endings import Ending

PROCESSOR_SHARE = 0.01
"""Of the time without a heartbeat; below it a process idles: timers and pollers of libraries need less."""

STORAGE_BYTES = 1024 * 1024
"""Bytes from or to storage that count as progress: a load that waits for a slow disk needs hardly any processor time."""

PATIENCE: Mapping[Stage, int] = {Stage.LOADING: 2, Stage.WARMING_UP: 2, Stage.STORING: 2}
"""How often `no_progress` a stage may be silent, 1 where none is stated: shared storage stalls under load, and a first clip
may wait for a compiler on another machine's cache."""

_LOADING = frozenset({Stage.STARTING, Stage.LOADING})


@dataclass(frozen=True)
class Limits:
    """Limits in seconds."""

    load: float
    no_progress: float
    shard: float

    def silence(self, stage: Stage) -> float:
        """Seconds without progress after which a worker in this stage hangs."""
        return self.no_progress * PATIENCE.get(stage, 1)

    @property
    def soft_deadline(self) -> float:
        """Seconds after which the shard is ended with what it has: a tenth before its limit, at most a minute."""
        return self.shard - min(60.0, self.shard / 10)


@dataclass(frozen=True)
class Activity:
    """What a worker and its children used since their start."""

    processor_seconds: float
    storage_bytes: int
    """Read from storage and written to it."""


@dataclass(frozen=True)
class Observation:
    """One look at a worker. `seconds` counts from its start."""

    seconds: float
    stage: Stage
    beats: int
    activity: Activity
    device_busy: bool | None = None
    """Whether the device computed since the last look; None where that cannot be told."""


class Watchdog:
    """Follows one worker's observations and says when it has to be ended."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._progress = Observation(0.0, Stage.STARTING, -1, Activity(0.0, 0))

    def observe(self, now: Observation) -> Ending | None:
        """Return why the worker has to be ended now, or None."""
        if self._has_progressed(now):
            self._progress = now
        limits = self._limits
        if now.seconds >= limits.soft_deadline:
            return Ending(
                Reason.SHARD_DEADLINE,
                f"timeouts.shardSeconds is {limits.shard:g}: ended after {now.seconds:.0f} s in stage {now.stage.value}",
            )
        if now.stage in _LOADING and now.seconds >= limits.load:
            return Ending(
                Reason.LOAD_DEADLINE,
                f"the model was not loaded {now.seconds:.0f} s after the start (timeouts.loadSeconds)",
            )
        idle = now.seconds - self._progress.seconds
        if idle >= limits.silence(now.stage):
            device = "" if now.device_busy is None else ", an idle device"
            return Ending(
                Reason.HUNG,
                f"no boundary or step, no processor time, no storage traffic{device} for {idle:.0f} s in stage"
                f" {now.stage.value} (timeouts.noProgressSeconds)",
            )
        return None

    def _has_progressed(self, now: Observation) -> bool:
        last = self._progress
        processor = now.activity.processor_seconds - last.activity.processor_seconds
        return (
            now.beats != last.beats
            or now.stage is not last.stage
            or processor >= PROCESSOR_SHARE * self._limits.no_progress
            or now.activity.storage_bytes - last.activity.storage_bytes >= STORAGE_BYTES
            or now.device_busy is True
        )
