"""Every reason of the contract fires on its trace and is silent on the clean one.

`TRACES` must have an entry for every member of `ValidityReason`: a reason that nobody can show does not get in.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.builders import Scene, ended_pod, finished
from support.requests import CELL, request_document
from support.scripted_model import clip as made_clip
from unit.runner.nvml_replay import H100, NvmlReplay
from unit.runner.nvml_stories import FULL, THROTTLED, WRONG_COUNTER, Load, Story
from unit.runner.test_energy import read

from vidbench_api.health import Health, HealthFinding, HealthLimits
from vidbench_api.measured import ValidityVerdict
from vidbench_api.names import Validity
from vidbench_api.validity import ROW_OF_REASON, VALIDITY_ROWS, Effect, ValidityReason
from vidbench_api.verdict import Phase
from vidbench_operator.core.evidence import Expected, classify
from vidbench_operator.core.results import make_result
from vidbench_runner.core.device_watch import watched
from vidbench_runner.core.health import look_of, reasons_against
from vidbench_runner.core.plan import Attempt, plan_trial
from vidbench_runner.core.sample import MeasuredSample
from vidbench_runner.core.stored import rebuilt
from vidbench_runner.core.validity import RULES, CpuThrottling, Evidence, judge
from vidbench_runner.meters.nvml import detect_meter
from vidbench_runner.ports import CallMismatch, DeviceReading, HostLook

PLAN = plan_trial(
    request_document(seeds={"base": 7, "count": 10}, exclusiveGpu="Require"), Attempt("0123456789abcdef", CELL, 1, 1)
)
SECONDS = (3.000_3, 2.999_8, 3.000_1, 2.999_9, 3.000_2, 3.000_0, 2.999_7, 3.000_4, 2.999_6, 3.000_05)
STEADY_LOAD = Story((Load(0, 650, temperature=64, reasons=0x1),), 60)


def sample(number: int, seconds: float, story: Story, **clip_changes: Any) -> MeasuredSample:
    """A sample that a GPU generated while a story went on: number n from second 5 + 3.2 n on."""
    seen = read(story, 5 + 3.2 * number, 5 + 3.2 * number + seconds)
    planned = PLAN.samples[number]
    return MeasuredSample(
        number=number,
        warmup=False,
        prompt=planned.prompt,
        seed=planned.clip.seed,
        clip=replace(made_clip(planned.clip), latency_nanoseconds=round(seconds * 1e9), frames=None, **clip_changes),
        digest="0" * 64,
        energy=seen.energy(),
        device=replace(seen.after, other_processes=0),
        watch=watched(seen.readings),
    )


def samples(story: Story = STEADY_LOAD, seconds: tuple[float, ...] = SECONDS) -> tuple[MeasuredSample, ...]:
    return tuple(sample(number, each, story) for number, each in enumerate(seconds))


LIMITS = HealthLimits(
    max_gpu_temperature_celsius=80,
    min_free_scratch_mebibytes=1024,
    min_available_memory_mebibytes=1024,
    max_host_cpu_percent=20,
    max_foreign_gpu_memory_mebibytes=512,
)
WELL = HostLook(cpu_percent=3, memory_available_bytes=2**36, cgroup_memory_bytes=2**30, scratch_free_bytes=2**33)


def held_against(host: HostLook = WELL, **gpu: Any) -> tuple[str, ...]:
    """What two looks at host and GPU, by the real meter, say against a shard: the first at a sound one, the second changed so."""
    device = {**H100, "nvmlDeviceGetComputeRunningProcesses": [gpu_process(os.getpid(), 0)], "xids": []}
    meter = detect_meter({}, lambda: NvmlReplay(device), holds_context=lambda: True)
    before = look_of(WELL, meter.read())
    device.update(gpu)
    after = look_of(host, meter.read())
    assert (before.unmeasured, after.unmeasured) == ({}, {})
    return reasons_against(LIMITS, Health(before=before.health, after=after.health))


def gpu_process(pid: int, mebibytes: int) -> SimpleNamespace:
    return SimpleNamespace(pid=pid, usedGpuMemory=mebibytes << 20)


CLEAN = Evidence(PLAN, samples(), health_reasons=held_against(), cpu=CpuThrottling(300, 0))


def with_clip(last: dict[str, Any], others: dict[str, Any] | None = None) -> Evidence:
    """The clean evidence with another clip: of the last sample, and perhaps of all."""
    changed = [replace(each, clip=replace(each.clip, **(others or {}))) for each in CLEAN.samples]
    changed[-1] = replace(changed[-1], clip=replace(changed[-1].clip, **last))
    return replace(CLEAN, samples=tuple(changed))


def on(story: Story) -> Evidence:
    return replace(CLEAN, samples=samples(story))


def throttled_by(reasons: int) -> Evidence:
    """A hundredth of the readings and a few more: 7 of some 300."""
    bits = (
        Load(0, 650, temperature=64),
        Load(20, 650, temperature=64, reasons=reasons),
        Load(20.7, 650, temperature=64),
    )
    return on(Story(bits, 60))


def taking(*seconds: float) -> Evidence:
    return replace(CLEAN, samples=samples(seconds=tuple(seconds)))


def with_others() -> Evidence:
    last = replace(CLEAN.samples[-1], device=DeviceReading(other_processes=1))
    return replace(CLEAN, samples=(*CLEAN.samples[:-1], last))


def showing(**seen: bool) -> Evidence:
    """A trained model, whose last sample shows this."""
    trained = replace(PLAN, model=replace(PLAN.model, backend="diffusers"))
    last = replace(CLEAN.samples[-1], quality=replace(CLEAN.samples[-1].quality, **seen))
    return replace(CLEAN, plan=trained, samples=(*CLEAN.samples[:-1], last))


def lost_verdict() -> ValidityVerdict | None:
    return rebuilt(PLAN, "", "claim://store").validity


def operators_word(verdict: Any) -> ValidityVerdict:
    """What the operator says of a pod that left this."""
    scene = Scene.of()
    job = finished(scene.job())
    pod = ended_pod(job, verdict(scene), 137 if verdict(scene).outcome is None else 0)
    expected = Expected(scene.cell.id, 1, 1, scene.document.digest)
    end = classify(job, pod, expected)
    return make_result(scene.run, scene.document, scene.cell, scene.shard(), job, end).validity


def unwell(host: HostLook = WELL, **gpu: Any) -> Evidence:
    """The clean evidence, from a host that was sound before the load and is no more."""
    return replace(CLEAN, health_reasons=held_against(host, **gpu))


SHARED = [gpu_process(os.getpid(), 0), gpu_process(4711, 600)]
WARM = Story((Load(0, 650, temperature=58), Load(20, 650, temperature=66)), 60)
SLOWER = Story((Load(0, 650, sm_clock=1980), Load(20, 650, sm_clock=1755)), 60)

TRACES: dict[ValidityReason, Evidence | Callable[[], ValidityVerdict | None]] = {
    ValidityReason.CALL_COUNT_MISMATCH: with_clip({"call_mismatches": (CallMismatch(Phase.DENOISE, 2, 3),)}),
    ValidityReason.FRAMES_DIFFER: with_clip({"delivered_frames": 4}),
    ValidityReason.OFF_GRID_FRAMES: with_clip({"delivered_frames": 4}, {"delivered_frames": 4}),
    ValidityReason.SIZE_DIFFERS: with_clip({"delivered_width": 8}),
    ValidityReason.BLANK_OUTPUT: showing(blank=True),
    ValidityReason.STATIC_OUTPUT: showing(static=True),
    ValidityReason.COMPILED_IN_SAMPLE: with_clip({"compilations": 1}),
    ValidityReason.NO_ACCELERATOR: replace(CLEAN, lacks_accelerator=True),
    ValidityReason.OTHER_PROCESSES: with_others(),
    ValidityReason.HARDWARE_THERMAL: throttled_by(0x48),
    ValidityReason.SOFTWARE_THERMAL: throttled_by(0x20),
    ValidityReason.POWER_BRAKE: throttled_by(0x88),
    ValidityReason.HARDWARE_SLOWDOWN: throttled_by(0x8),
    ValidityReason.POWER_CAP: throttled_by(0x4),
    ValidityReason.CLOCK_DRIFT: on(SLOWER),
    ValidityReason.TEMPERATURE_DRIFT: on(WARM),
    ValidityReason.ENERGY_DISAGREES: on(replace(STEADY_LOAD, counter_error=0.08)),
    ValidityReason.GPU_TOO_HOT: unwell(nvmlDeviceGetTemperature=91),
    ValidityReason.DISK_LOW: unwell(replace(WELL, scratch_free_bytes=2**29)),
    ValidityReason.MEMORY_LOW: unwell(replace(WELL, memory_available_bytes=2**29)),
    ValidityReason.CPU_BUSY: unwell(replace(WELL, cpu_percent=64)),
    ValidityReason.GPU_SHARED: unwell(nvmlDeviceGetComputeRunningProcesses=SHARED),
    ValidityReason.ECC_ERRORS: unwell(nvmlDeviceGetTotalEccErrors=2),
    ValidityReason.XID_ERRORS: unwell(xids=[79]),
    ValidityReason.CPU_THROTTLED: replace(CLEAN, cpu=CpuThrottling(300, 4)),
    ValidityReason.COLD_SHAPE: taking(3.7, *SECONDS[1:]),
    ValidityReason.NOT_STEADY: taking(*(2.95 + 0.01 * number for number in range(10))),
    ValidityReason.AUTOCORRELATED: taking(3.0, 3.02, 3.03, 3.03, 3.02, 3.0, 2.98, 2.97, 2.97, 2.98),
    ValidityReason.OUTLIERS: taking(*SECONDS[:4], 3.12, *SECONDS[5:]),
    ValidityReason.FEWER_SAMPLES: replace(CLEAN, samples=CLEAN.samples[:9]),
    ValidityReason.VERDICT_LOST: lost_verdict,
    ValidityReason.NOT_FINAL: lambda: operators_word(lambda scene: scene.written_ahead()),
    ValidityReason.NOT_MEASURED: lambda: operators_word(lambda scene: scene.verdict(samples_done=0, series=())),
    ValidityReason.NOT_STATED: lambda: operators_word(lambda scene: scene.verdict(validity=None)),
}


@pytest.mark.parametrize("reason", list(ValidityReason))
def test_reason_fires_on_its_trace_and_is_silent_on_the_clean_one(reason: ValidityReason) -> None:
    trace = TRACES[reason]
    verdict = judge(trace) if isinstance(trace, Evidence) else trace()
    assert verdict is not None
    row = ROW_OF_REASON[reason]
    assert reason.value in (verdict.notes if row.effect is Effect.NOTE else verdict.reasons)
    expected = {Effect.INVALID: Validity.INVALID, Effect.PARTIAL: Validity.PARTIAL, Effect.NOTE: Validity.VALID}
    assert verdict.state is expected[row.effect]
    clean = judge(CLEAN)
    assert (clean.state, clean.reasons, clean.notes) == (Validity.VALID, (), ())


def test_every_reason_has_a_trace_and_a_row_and_nothing_else_has() -> None:
    assert set(TRACES) == set(ValidityReason)
    assert sorted(row.reason for row in VALIDITY_ROWS) == sorted(ValidityReason)
    assert {finding.value for finding in HealthFinding} <= set(ValidityReason)


@pytest.mark.parametrize("reason", list(RULES))
def test_a_trace_shows_its_reason_and_hardly_another(reason: ValidityReason) -> None:
    trace = TRACES[reason]
    assert isinstance(trace, Evidence)
    verdict = judge(trace)
    also = {
        # A slow ramp is a dependence on the sample before; a first sample that is cold is an outlier.
        ValidityReason.NOT_STEADY: {ValidityReason.AUTOCORRELATED},
        ValidityReason.COLD_SHAPE: {ValidityReason.OUTLIERS},
    }
    assert {*verdict.reasons, *verdict.notes} <= {reason, *also.get(reason, set())}


def test_samples_that_were_not_watched_are_not_held_against_a_shard() -> None:
    bare = tuple(
        replace(each, watch=watched(()), device=DeviceReading(reason="no_gpu"), energy=replace(each.energy, millijoules=None))
        for each in CLEAN.samples
    )  # fmt: skip
    assert judge(Evidence(PLAN, bare)).state is Validity.VALID


def test_times_of_a_plan_that_is_never_timed_are_not_judged() -> None:
    repro = replace(PLAN, plan="Repro")
    for reason in (ValidityReason.NOT_STEADY, ValidityReason.COLD_SHAPE, ValidityReason.OUTLIERS):
        trace = TRACES[reason]
        assert isinstance(trace, Evidence)
        assert judge(replace(trace, plan=repro)).state is Validity.VALID


def test_others_on_the_gpu_are_ignored_where_that_is_asked_for() -> None:
    evidence = with_others()
    assert judge(replace(evidence, plan=replace(PLAN, exclusive_gpu=False))).state is Validity.VALID


@pytest.mark.parametrize(
    ("periods", "throttled", "fires"), [(0, 0, False), (100, 1, False), (100, 2, True), (0, 5, False)]
)
def test_cpu_throttling_counts_from_more_than_a_hundredth_of_the_periods(
    periods: int, throttled: int, fires: bool
) -> None:
    verdict = judge(replace(CLEAN, cpu=CpuThrottling(periods, throttled)))
    assert ("CpuThrottled" in verdict.reasons) == fires


@pytest.mark.parametrize(("seconds", "fires"), [(0.2, False), (0.7, True)])
def test_throttling_counts_from_more_than_a_hundredth_of_the_readings(seconds: float, fires: bool) -> None:
    story = Story((Load(0, 650), Load(20, 650, reasons=0x40), Load(20 + seconds, 650)), 60)
    assert ("HwThermalThrottle" in judge(on(story)).reasons) == fires


def test_a_story_of_full_load_is_valid_and_says_that_power_is_capped() -> None:
    verdict = judge(on(FULL))
    assert (verdict.state, verdict.notes) == (Validity.VALID, ("SwPowerCap",))
    assert judge(on(THROTTLED)).state is Validity.INVALID
    assert "EnergyDisagrees" in judge(on(WRONG_COUNTER)).notes


@given(st.sets(st.sampled_from(list(RULES))))
def test_the_state_follows_from_the_effects_of_what_fires(fired: set[ValidityReason]) -> None:
    effects = {ROW_OF_REASON[reason].effect for reason in fired}
    with pytest.MonkeyPatch.context() as patch:
        for reason in RULES:
            patch.setitem(RULES, reason, lambda _evidence, fires=reason in fired: fires)  # type: ignore[arg-type]
        verdict = judge(CLEAN)
    assert (verdict.state is Validity.VALID) == (effects <= {Effect.NOTE})
    assert (verdict.state is Validity.INVALID) == (Effect.INVALID in effects)
    assert len(verdict.reasons) <= 16
