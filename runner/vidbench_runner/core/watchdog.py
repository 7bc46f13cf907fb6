"""When a worker has to be ended: too long in loading, too long without progress, too long altogether. Pure.

Progress is any of: a heartbeat, processor time, data read from storage. A worker that loads or decodes beats seldom but
computes or reads. A worker that waits for a hung device in a busy loop computes as well: that one meets the shard's
deadline, not the watchdog.
"""

from __future__ import annotations

from dataclasses import dataclass

from vidbench_api.names import Reason
from vidbench_api.verdict import Stage
from vidbench_runner.core.endings import Ending

PROCESSOR_SHARE = 0.01
"""Of the time without a heartbeat; below it a process idles: timers and pollers of libraries need less."""

READ_BYTES = 1024 * 1024
"""Bytes from storage that count as progress: a load that waits for a slow disk needs hardly any processor time."""

_LOADING = frozenset({Stage.STARTING, Stage.LOADING})


@dataclass(frozen=True)
class Limits:
    """Limits in seconds."""

    load: float
    no_progress: float
    shard: float

    @property
    def soft_deadline(self) -> float:
        """Seconds after which the shard is ended with what it has: a tenth before its limit, at most a minute."""
        return self.shard - min(60.0, self.shard / 10)


@dataclass(frozen=True)
class Activity:
    """What a worker and its children used since their start."""

    processor_seconds: float
    read_bytes: int


@dataclass(frozen=True)
class Observation:
    """One look at a worker. `seconds` counts from its start."""

    seconds: float
    stage: Stage
    beats: int
    activity: Activity


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
        if idle >= limits.no_progress:
            return Ending(
                Reason.HUNG,
                f"no boundary or step, no processor time and no reading for {idle:.0f} s in stage {now.stage.value}"
                " (timeouts.noProgressSeconds)",
            )
        return None

    def _has_progressed(self, now: Observation) -> bool:
        last = self._progress
        processor = now.activity.processor_seconds - last.activity.processor_seconds
        return (
            now.beats != last.beats
            or now.stage is not last.stage
            or processor >= PROCESSOR_SHARE * self._limits.no_progress
            or now.activity.read_bytes - last.activity.read_bytes >= READ_BYTES
        )
