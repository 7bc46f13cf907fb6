"""A GPU that changes with time, for the replay double: power, clocks, heat and reasons as functions of a moment, with the
energy between any two moments known in closed form.

The energy counter behaves as a real one: it moves in steps, and counts from an arbitrary start. The power register holds
the power of its last refresh. Times are seconds, power is watts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from unit.runner.nvml_replay import H100, NvmlReplay, error

COUNTER_STEP_SECONDS = 0.02
POWER_STEP_SECONDS = 0.025


@dataclass(frozen=True)
class Load:
    """A part of a story: from `start` on, power goes evenly from `watts` to `until_watts` (default: stays) until the next one."""

    start: float
    watts: float
    until_watts: float | None = None
    reasons: int = 0
    sm_clock: int = 1980
    temperature: int = 60


@dataclass(frozen=True)
class Story:
    """What a GPU does from second 0 to `seconds`."""

    loads: tuple[Load, ...]
    seconds: float
    reset_at: float | None = None
    counted_before: int = 500_000_000
    """What the counter shows at second 0, in millijoules: it counts since the driver was loaded."""

    lost_at: float | None = None
    mig: bool = False
    driver: bool = True
    counter_error: float = 0.0
    """By what share the counter reads too much."""

    def parts(self) -> Iterator[tuple[Load, float]]:
        ends = [load.start for load in self.loads[1:]] + [self.seconds]
        return zip(self.loads, ends, strict=True)

    def load_at(self, moment: float) -> Load:
        return [load for load in self.loads if load.start <= moment][-1]

    def watts_at(self, moment: float) -> float:
        load, end = next((load, end) for load, end in self.parts() if moment <= end or end == self.seconds)
        last = load.watts if load.until_watts is None else load.until_watts
        return load.watts + (last - load.watts) * (moment - load.start) / (end - load.start)

    def joules(self, start: float, end: float) -> float:
        """The energy between two moments: every part is a trapezoid."""
        total = 0.0
        for load, part_end in self.parts():
            first, last = max(start, load.start), min(end, part_end)
            if last <= first:
                continue
            final = load.watts if load.until_watts is None else load.until_watts
            slope = (final - load.watts) / (part_end - load.start)
            total += (last - first) * (load.watts + slope * ((first + last) / 2 - load.start))
        return total


IDLE = Story((Load(0, 71.25, sm_clock=345, temperature=31, reasons=0x1),), 60)
FULL = Story((Load(0, 71.25, temperature=35), Load(5, 71.25, 690, temperature=55), Load(5.4, 690, temperature=62, reasons=0x4), Load(45, 120, 71.25)), 60)  # fmt: skip
PULSED = Story(tuple(Load(second, 650 if second % 2 else 400) for second in range(60)), 60)
THROTTLED = replace(FULL, loads=(*FULL.loads[:3], Load(20, 450, sm_clock=990, temperature=91, reasons=0x48), FULL.loads[3]))  # fmt: skip
MIG = replace(FULL, mig=True)
RESET = replace(FULL, reset_at=22.0)
HIDDEN_RESET = replace(RESET, counted_before=1_000)
NO_DRIVER = replace(FULL, driver=False)
LOST = replace(FULL, lost_at=22.0)
WRONG_COUNTER = replace(FULL, counter_error=0.08)


@dataclass
class StoryDevice:
    """The replay double of a GPU that goes through a story; `now` is the moment, and somebody else moves it."""

    story: Story
    now: float = 0.0
    slept: list[float] = field(default_factory=list)

    def replay(self) -> NvmlReplay:
        init = None if self.story.driver else error("LIBRARY_NOT_FOUND")
        return _MovingReplay(self, init)

    def answers(self) -> dict[str, Any]:
        """What NVML answers at this moment."""
        story, load = self.story, self.story.load_at(self.now)
        if story.lost_at is not None and self.now >= story.lost_at:
            return dict.fromkeys(H100, error("GPU_IS_LOST"))
        since = story.reset_at if story.reset_at is not None and self.now >= story.reset_at else 0.0
        counted = int(self.now / COUNTER_STEP_SECONDS) * COUNTER_STEP_SECONDS
        start = 0 if since else story.counted_before
        energy = start + round(1000 * (1 + story.counter_error) * story.joules(since, max(since, counted)))
        refreshed = int(self.now / POWER_STEP_SECONDS) * POWER_STEP_SECONDS
        return {
            **H100,
            "nvmlDeviceGetTotalEnergyConsumption": energy,
            "nvmlDeviceGetPowerUsage": round(1000 * story.watts_at(refreshed)),
            "nvmlDeviceGetTemperature": load.temperature,
            "nvmlDeviceGetClockInfo": load.sm_clock,
            "nvmlDeviceGetCurrentClocksEventReasons": load.reasons,
            "nvmlDeviceGetCurrentClocksThrottleReasons": load.reasons,
            "nvmlDeviceGetMigMode": [int(story.mig), int(story.mig)],
        }

    def nanoseconds(self) -> int:
        return round(self.now * 1e9)

    def until(self, end: float) -> Callable[[float], bool]:
        """A sampler's `wait`: moves the moment, and says when the story is over."""

        def wait(seconds: float) -> bool:
            self.now += seconds
            return self.now >= end

        return wait


class _MovingReplay(NvmlReplay):
    """Devices are asked anew at every call."""

    def __init__(self, device: StoryDevice, init: Exception | None) -> None:
        super().__init__({}, init=init)
        self._device = device

    def _answer(self, handle: dict[str, Any], name: str) -> Any:
        return super()._answer(self._device.answers(), name)
