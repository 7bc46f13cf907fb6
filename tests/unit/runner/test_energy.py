"""Energy of the replayed stories against their closed-form integrals, by counter and by sampled power; and when there is none."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pynvml
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.runner.nvml_replay import H100, NvmlReplay
from unit.runner.nvml_stories import (
    FULL,
    HIDDEN_RESET,
    IDLE,
    LOST,
    MIG,
    NO_DRIVER,
    PULSED,
    RESET,
    THROTTLED,
    WRONG_COUNTER,
    Load,
    Story,
    StoryDevice,
)

from vidbench_api.verdict import Phase
from vidbench_runner.core.device_watch import watched
from vidbench_runner.core.energy import (
    Energy,
    Sharing,
    disagreement,
    energy_facts,
    energy_of,
    idle_power,
    integral,
    net,
)
from vidbench_runner.meters.nvml import detect_meter, open_device
from vidbench_runner.meters.nvml_probe import NvmlProbe
from vidbench_runner.meters.sampler import Timing, take_readings
from vidbench_runner.meters.trace import CAPACITY, TraceWatch, TraceWriter, new_trace
from vidbench_runner.ports import DeviceReading, DeviceSample, PhaseStretch

SECOND = 1_000_000_000


@contextmanager
def trace_of(story: Story) -> Iterator[TraceWatch]:
    """What the real sampler writes while a story goes on, read back by the other end."""
    device = StoryDevice(story)
    nvml, handle = open_device({}, device.replay)
    descriptor = new_trace()
    try:
        timing = Timing(now=device.nanoseconds, spent=lambda: 0)
        take_readings(NvmlProbe(nvml, handle), TraceWriter(descriptor), device.until(story.seconds), timing)
        yield TraceWatch(descriptor)
    finally:
        os.close(descriptor)


@dataclass(frozen=True)
class Read:
    """One sample of a story: the device before and after it, and the readings meanwhile."""

    before: DeviceReading
    after: DeviceReading
    readings: tuple[DeviceSample, ...]
    window: tuple[int, int]

    def energy(self, stretches: Sequence[PhaseStretch] = ()) -> Energy:
        return energy_of(self.before, self.after, self.window, self.readings, stretches)


def read(story: Story, start: float, end: float) -> Read:
    device = StoryDevice(story)
    meter = detect_meter({}, device.replay)
    device.now = start
    before = meter.read()
    device.now = end
    after = meter.read()
    window = (round(start * SECOND), round(end * SECOND))
    if not story.driver:
        return Read(before, after, (), window)
    with trace_of(story) as watch:
        return Read(before, after, watch.between(*window), window)


WINDOWS = [(6.0, 44.0), (7.35, 12.6), (10.0, 20.0)]


@pytest.mark.parametrize("window", WINDOWS, ids=str)
@pytest.mark.parametrize(
    "story", [pytest.param(s, id=n) for s, n in ((IDLE, "idle"), (FULL, "full load"), (PULSED, "pulsed"), (THROTTLED, "throttled"))]
)  # fmt: skip
def test_integrals_of_a_story_are_reproduced_within_a_percent(story: Story, window: tuple[float, float]) -> None:
    energy = read(story, *window).energy()
    known = 1000 * story.joules(*window)
    assert energy.millijoules == pytest.approx(known, rel=0.01)
    # Sampled power of a load that jumps every second is right within what lies between two readings.
    assert energy.sampled_millijoules == pytest.approx(known, rel=0.02 if story is PULSED else 0.01)
    assert energy.reason is None


def test_closed_form_of_a_ramp() -> None:
    ramp = Story((Load(0, 100, 300), Load(10, 50)), 20)
    assert ramp.joules(0, 20) == pytest.approx(200 * 10 + 50 * 10)
    assert ramp.joules(2, 4) == pytest.approx(2 * 160)


@pytest.mark.parametrize(
    ("story", "reason"),
    [
        pytest.param(MIG, "mig", id="MIG"),
        pytest.param(RESET, "counter_reset", id="the counter begins anew"),
        pytest.param(HIDDEN_RESET, "counter_reset", id="the counter begins anew, and passes where it was"),
        pytest.param(NO_DRIVER, "no meter: NVML does not start: NVML Shared Library Not Found", id="no driver"),
    ],
)
def test_story_without_energy_says_why(story: Story, reason: str) -> None:
    energy = read(story, 6, 40).energy()
    assert (energy.millijoules, energy.sampled_millijoules, energy.reason) == (None, None, reason)


def test_gpu_that_is_lost_has_no_energy_and_says_so() -> None:
    energy = read(LOST, 6, 40).energy()
    assert energy.millijoules is None
    assert "GPU is lost" in (energy.reason or "")


WHOLE = DeviceReading(uuid="GPU-1", total_energy_millijoules=10)
LATER = DeviceReading(uuid="GPU-1", total_energy_millijoules=20)


@pytest.mark.parametrize(
    ("sharing", "others", "seconds", "reason"),
    [
        pytest.param(Sharing(), 0, 1.0, None, id="alone, long enough"),
        pytest.param(Sharing(), 1, 1.0, "shared_gpu", id="somebody else is there"),
        pytest.param(Sharing(shared_resource=True), 0, 1.0, "shared_gpu", id="a time slice"),
        pytest.param(Sharing(gpus=4), 0, 1.0, "one_of_4_gpus", id="one of several GPUs"),
        pytest.param(Sharing(), 0, 0.999, "window_below_1s", id="too short"),
    ],
)
def test_energy_is_only_that_of_the_sample(sharing: Sharing, others: int, seconds: float, reason: str | None) -> None:
    before = DeviceReading(uuid="GPU-1", total_energy_millijoules=10, other_processes=others)
    energy = energy_of(before, LATER, (0, round(seconds * SECOND)), sharing=sharing)
    assert (energy.millijoules, energy.reason) == (None if reason else 10, reason)


def readings_at(*points: tuple[float, int | None]) -> tuple[DeviceSample, ...]:
    return tuple(DeviceSample(round(at * SECOND), power_milliwatts=power) for at, power in points)


@pytest.mark.parametrize(
    ("readings", "end", "millijoules"),
    [
        pytest.param(readings_at((0, 100), (0.5, 100), (1, 100)), 1, 100, id="even"),
        pytest.param(readings_at((0.1, 100), (0.5, 300)), 0.6, 10 + 80 + 30, id="held to the edges"),
        pytest.param(readings_at((0.1, 100), (0.7, 100)), 0.8, None, id="a gap"),
        pytest.param(readings_at((0.6, 100)), 1, None, id="nothing at the start"),
        pytest.param(readings_at((0.1, 100)), 1, None, id="nothing at the end"),
        pytest.param(readings_at((0.1, None), (0.2, None)), 0.4, None, id="no power"),
        pytest.param((), 1, None, id="nothing at all"),
    ],
)
def test_integral_of_the_sampled_power(readings: tuple[DeviceSample, ...], end: float, millijoules: int | None) -> None:
    assert integral(readings, 0, round(end * SECOND)) == millijoules


@given(st.lists(st.integers(0, 1_000_000), min_size=2, max_size=50))
def test_integral_lies_between_the_least_and_the_most_power(powers: list[int]) -> None:
    readings = readings_at(*((0.1 * number, power) for number, power in enumerate(powers)))
    seconds = 0.1 * (len(powers) - 1)
    found = integral(readings, 0, round(seconds * SECOND))
    assert found is not None
    assert min(powers) * seconds - 1 <= found <= max(powers) * seconds + 1


def test_phases_of_a_second_or_more_get_their_energy_and_shorter_ones_none() -> None:
    stretches = (
        PhaseStretch(Phase.TEXT_ENCODE, 0, SECOND // 2),
        PhaseStretch(Phase.DENOISE, SECOND // 2, 20 * SECOND),
        PhaseStretch(Phase.VAE_DECODE, 20 * SECOND, 22 * SECOND),
    )
    phases = read(THROTTLED, 10, 32).energy(stretches).phases
    assert set(phases) == {"denoise", "vae_decode"}
    assert phases["denoise"] == pytest.approx(1000 * THROTTLED.joules(10.5, 30), rel=0.01)
    assert phases["vae_decode"] == pytest.approx(1000 * THROTTLED.joules(30, 32), rel=0.01)


def test_a_phase_of_many_short_stretches_is_the_sum_of_them() -> None:
    steps = [PhaseStretch(Phase.DENOISE, n * SECOND // 20, (2 * n + 1) * SECOND // 40) for n in range(200)]
    phases = read(FULL, 10, 20).energy(steps).phases
    assert phases["denoise"] == pytest.approx(690 * 1000 * 5, rel=0.01)


def test_idle_power_is_the_median_of_what_a_device_at_rest_shows() -> None:
    with trace_of(FULL) as watch:
        assert idle_power(watch.between(2 * SECOND, 4 * SECOND)) == 71_250
        assert idle_power(watch.between(2 * SECOND, 2 * SECOND + 300_000_000)) is None, "too few readings"


def test_net_energy_is_what_the_device_takes_above_its_rest() -> None:
    energy = read(FULL, 10, 20).energy()
    assert net(energy, 71_250) == pytest.approx(1000 * (690 - 71.25) * 10, rel=0.01)
    assert net(energy, None) is None
    assert net(Energy(None, SECOND, "mig"), 71_250) is None


def test_two_ways_that_differ_are_told_and_short_windows_are_not_compared() -> None:
    good, bad = (read(story, 10, 40).energy() for story in (FULL, WRONG_COUNTER))
    assert disagreement([good]) == pytest.approx(0, abs=0.01)
    assert disagreement([bad]) == pytest.approx(1 / 1.08 - 1, abs=0.01)
    assert disagreement([read(WRONG_COUNTER, 10, 19.5).energy()]) is None


def test_facts_are_means_per_frame_step_and_phase() -> None:
    energies = [Energy(9_000, SECOND, None, 9_900, {"denoise": 8_000, "vae_decode": 1}), Energy(11_000, 10 * SECOND, None, 11_000, {"denoise": 9_000})]  # fmt: skip
    facts = energy_facts(energies, frames=5, steps=4, idle_milliwatts=70)
    assert facts is not None
    assert (facts.per_frame_millijoules, facts.per_step_millijoules) == (2_000, 2_500)
    assert (facts.phase_millijoules, facts.disagreement_ppm) == ({"denoise": 8_500}, 45_000)
    assert energy_facts([*energies, Energy(None, SECOND, "mig")], 5, 4, 70) is None


def test_watched_story_tells_throttling_clocks_and_heat() -> None:
    seen = watched(read(THROTTLED, 10, 30).readings)
    assert seen.readings == pytest.approx(200, abs=1)
    assert set(seen.throttled) == {"swPowerCap", "hwThermal"}, "a slowdown whose cause is told is not told twice"
    assert seen.throttled["hwThermal"] == pytest.approx(100, abs=1)
    assert (seen.sm_clock_min_megahertz, seen.temperature_max_celsius) == (990, 91)


def test_trace_that_went_round_holds_the_latest_readings() -> None:
    descriptor = new_trace()
    try:
        writer, watch = TraceWriter(descriptor), TraceWatch(descriptor)
        assert watch.reason is not None
        for number in range(CAPACITY + 10):
            writer.add(DeviceSample(number, power_milliwatts=number, temperature_celsius=-3), 5, 1_000)
        assert watch.reason is None
        assert watch.between(CAPACITY + 8, 10**9) == tuple(
            DeviceSample(n, power_milliwatts=n, temperature_celsius=-3) for n in (CAPACITY + 8, CAPACITY + 9)
        )
        assert watch.between(0, 10**9)[0].nanoseconds == 11
        assert watch.cost_ppm() == 5_000
        writer.refuse("no meter: x")
        assert watch.reason == "no meter: x"
    finally:
        os.close(descriptor)


def test_probe_takes_the_averaged_power_of_a_driver_without_the_instant_one() -> None:
    nvml, handle = open_device({}, lambda: NvmlReplay({**H100, "fields": 3}))
    assert NvmlProbe(nvml, handle).read(7) == DeviceSample(7, 71_250, 1980, 1980, 31, 1)


@pytest.mark.parametrize(
    ("refusal", "asked"),
    [
        pytest.param(pynvml.NVML_ERROR_NOT_SUPPORTED, 1, id="a driver without it is not asked again"),
        pytest.param(pynvml.NVML_ERROR_UNKNOWN, 3, id="one refused reading is not the end"),
        pytest.param(pynvml.NVML_ERROR_IN_USE, 3, id="nor a driver that is busy"),
    ],
)
def test_probe_gives_the_instant_power_up_only_where_it_is_not_supported(refusal: int, asked: int) -> None:
    device: dict[str, Any] = {**H100, "fields": refusal}
    asks: list[int] = []

    class Counted(NvmlReplay):
        def nvmlDeviceGetFieldValues(self, handle: dict[str, Any], fieldIds: list[int]) -> Any:  # noqa: N802, N803
            asks.append(1)
            return super().nvmlDeviceGetFieldValues(handle, fieldIds)

    nvml, handle = open_device({}, lambda: Counted(device))
    probe = NvmlProbe(nvml, handle)
    powers = [probe.read(number).power_milliwatts for number in range(2)]
    del device["fields"]
    powers.append(probe.read(2).power_milliwatts)
    assert (len(asks), powers) == (asked, [71_250] * 3)
