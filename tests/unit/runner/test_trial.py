"""The trial protocol over scripted ports: order, what is counted and what is not, and every way to end."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from support.requests import CELL, request_document
from support.scripted_model import (
    FakeClock,
    FakeHost,
    FakeMeter,
    FakeWatch,
    ScriptedModel,
    clip,
    fail,
    miscounted,
    not_finite,
    raise_error,
)

from vidbench_api.measured import ArtifactsFacts, Environment, SeriesName, ValidityVerdict
from vidbench_api.message import decode, encode
from vidbench_api.names import ExitCode, Outcome, Reason, Validity
from vidbench_api.verdict import LoadPhase, Phase, Stage, Verdict
from vidbench_runner.core.endings import Interruption, StorageFailure, exit_code_of
from vidbench_runner.core.plan import Attempt, plan_trial
from vidbench_runner.core.sample import MeasuredSample
from vidbench_runner.core.trial import Trial, World
from vidbench_runner.ports import (
    AcceleratorMemory,
    ClipQuality,
    DeviceReading,
    DeviceSample,
    HostLook,
    HostReading,
    LoadedModel,
    ModelFailure,
    ModelRequest,
)

ATTEMPT = Attempt("0123456789abcdef", CELL, 1, 1)


@dataclass
class Recorder:
    """Listener and keeper in one."""

    snapshots: list[Verdict] = field(default_factory=list)
    beats: list[tuple[Stage, str]] = field(default_factory=list)
    errors: list[BaseException] = field(default_factory=list)
    kept: list[tuple[MeasuredSample, Any]] = field(default_factory=list)
    facts: ArtifactsFacts | None = None
    storing: BaseException | None = None

    def beat(self, stage: Stage, word: str) -> None:
        self.beats.append((stage, word))

    def snapshot(self, verdict: Verdict) -> None:
        self.snapshots.append(verdict)

    def failed(self, error: BaseException) -> None:
        self.errors.append(error)

    def keep(self, sample: MeasuredSample, frames: Any) -> None:
        self.kept.append((sample, frames))

    def store(self) -> ArtifactsFacts | None:
        if self.storing is not None:
            raise self.storing
        return self.facts


def trial(model: ScriptedModel, recorder: Recorder, document: Any = None, **world: Any) -> Trial:
    request = document or request_document()
    defaults: dict[str, Any] = {
        "model": model,
        "meter": FakeMeter(),
        "clock": FakeClock(),
        "host": FakeHost(),
        "watch": FakeWatch(),
        "listener": recorder,
        "keeper": recorder,
        "environment": Environment(device="cpu", cpu="test"),
    }
    return Trial(plan_trial(request, ATTEMPT), World(**(defaults | world)))


def run(*actions: Any, **world: Any) -> tuple[Verdict, Recorder, ScriptedModel]:
    recorder = world.pop("recorder", None) or Recorder()
    model = world.pop("model", None) or ScriptedModel(actions=iter(actions))
    return trial(model, recorder, **world).run(), recorder, model


def test_trial_loads_checks_every_clip_warms_up_and_samples_in_the_order_of_the_request() -> None:
    document = request_document(
        prompts=[{"id": "cat", "text": "a cat"}, {"id": "dog", "text": "a dog"}],
        seeds={"base": 7, "count": 2},
        warmup=2,
    )
    verdict, _, model = run(document=document)
    checks = ["check 7", "check 8", "check 7", "check 8"]
    warmups = ["generate 7", "generate 8"]
    assert model.calls == ["load wan", *checks, *warmups, "generate 7", "generate 8", "generate 7", "generate 8"]
    assert (verdict.outcome, verdict.samples_done, verdict.final) == (Outcome.SUCCEEDED, 4, True)
    assert verdict.validity is not None
    assert verdict.validity.state is Validity.VALID
    assert (verdict.reason, verdict.message, verdict.stage, verdict.phase) == (None, None, None, None)


def test_trial_keeps_warmups_out_of_the_statistics_but_in_the_record() -> None:
    slow_first = [lambda request: clip(request, slower=900_000_000), lambda request: clip(request, slower=5_000_000)]
    verdict, recorder, _ = run(*slow_first, document=request_document(warmup=2))
    latency = verdict.find_series(SeriesName.LATENCY)
    assert latency is not None
    assert latency.statistics.count == 3
    assert latency.statistics.max == 41_503
    assert verdict.setup is not None
    assert verdict.setup.warmups == 2
    assert verdict.setup.first_warmup_microseconds == 941_503
    assert verdict.setup.warmup_microseconds == 941_503 + 46_503
    assert [(sample.warmup, sample.number) for sample, _ in recorder.kept] == [
        (True, 0), (True, 1), (False, 0), (False, 1), (False, 2),
    ]  # fmt: skip


def test_trial_reports_after_the_look_the_load_each_warmup_and_each_sample_and_is_partial_until_the_last() -> None:
    _, recorder, _ = run()
    assert [snapshot.samples_done for snapshot in recorder.snapshots] == [0, 0, 0, 1, 2, 3]
    assert [snapshot.final for snapshot in recorder.snapshots] == [False] * 6
    states = [snapshot.validity.state for snapshot in recorder.snapshots if snapshot.validity is not None]
    assert states == [Validity.PARTIAL] * 5 + [Validity.VALID]
    assert recorder.snapshots[0].health is not None
    assert recorder.snapshots[1].setup is not None
    assert recorder.snapshots[1].setup.load_microseconds == 5_000_000
    assert recorder.snapshots[-2].find_series(SeriesName.LATENCY) is not None


def test_trial_phases_add_up_to_the_latency_to_the_microsecond_and_unseen_ones_are_absent() -> None:
    verdict, _, _ = run()
    latency = verdict.find_series(SeriesName.LATENCY)
    phases = [SeriesName(name) for name in ("prepare", "textEncode", "denoise", "vaeDecode", "postprocess", "other")]
    columns = [verdict.find_series(phase) for phase in phases]
    assert latency is not None
    sums = [sum(column.values[index] for column in columns if column is not None) for index in range(3)]
    assert tuple(sums) == latency.values == (41_503, 41_503, 41_503)
    assert verdict.find_series(SeriesName.IMAGE_ENCODE) is None
    assert verdict.unmeasured["imageEncode"] == verdict.unmeasured["audio"] == "not_seen"


def test_trial_phase_seen_in_some_samples_only_makes_no_column() -> None:
    def without_postprocess(request: Any) -> Any:
        made = clip(request)
        phases = dict(made.phase_nanoseconds)
        lost = phases[Phase.POSTPROCESS] or 0
        phases[Phase.POSTPROCESS] = None
        return replace(made, phase_nanoseconds=phases, latency_nanoseconds=made.latency_nanoseconds - lost)

    verdict, _, _ = run(clip, clip, without_postprocess)
    assert verdict.find_series(SeriesName.POSTPROCESS) is None
    assert verdict.unmeasured["postprocess"] == "not_in_every_sample"


def test_trial_states_calls_frames_steps_and_the_root_digest_of_the_measured_frames() -> None:
    verdict, recorder, _ = run()
    means = {series.name.value: series.statistics.mean for series in verdict.series}
    assert means["denoiserCalls"] == 2
    assert means["vaeDecodeCalls"] == 1
    assert means["frames"] == 5
    assert means["step"] == 15_000
    assert verdict.expected_calls == {"denoiserCalls": 2, "vaeDecodeCalls": 1}
    frames = b"".join(frames.tobytes() for sample, frames in recorder.kept if not sample.warmup)
    assert verdict.output_digest == hashlib.sha256(frames).hexdigest()
    assert len({sample.digest for sample, _ in recorder.kept}) == 3, "the warm-up has the first sample's seed"


def test_trial_digest_does_not_depend_on_how_the_frames_lie_in_memory() -> None:
    def strided(request: Any) -> Any:
        made = clip(request)
        return replace(made, frames=made.frames.transpose(3, 2, 1, 0).copy().transpose(3, 2, 1, 0))

    assert run()[0].output_digest == run(strided, strided, strided, strided)[0].output_digest


@pytest.mark.parametrize(
    ("action", "outcome", "reason", "phase"),
    [
        pytest.param(not_finite, Outcome.FAILED, "NaNOutput", None, id="NaN is a failure"),
        pytest.param(
            fail(Reason.OUT_OF_MEMORY_CUDA, Phase.VAE_DECODE), Outcome.OUT_OF_MEMORY, "OutOfMemoryCuda", "vae_decode",
            id="the GPU is full in the decoder",
        ),
        pytest.param(
            fail(Reason.GENERATION_FAILED, Phase.DENOISE), Outcome.FAILED, "GenerationFailed", "denoise", id="a call fails"
        ),
        pytest.param(raise_error(MemoryError("x")), Outcome.OUT_OF_MEMORY, "OutOfMemoryHost", None, id="host memory"),
        pytest.param(raise_error(KeyError("x")), Outcome.FAILED, "InternalError", None, id="a bug of ours"),
        pytest.param(raise_error(Interruption()), Outcome.FAILED, "Interrupted", None, id="told to stop"),
        pytest.param(
            raise_error(ModelFailure("NoSuchReason", "x")), Outcome.FAILED, "InternalError", None, id="unknown reason"
        ),
    ],
)  # fmt: skip
def test_trial_failure_in_a_sample_keeps_what_was_measured(
    action: Any, outcome: Outcome, reason: str, phase: str | None
) -> None:
    verdict, recorder, model = run(clip, clip, action)
    assert (verdict.outcome, verdict.reason, verdict.phase) == (outcome, reason, phase)
    assert (verdict.samples_done, verdict.final, verdict.stage) == (1, True, "sampling")
    assert verdict.message is not None
    assert "sample 2 of 3" in verdict.message
    assert verdict.validity is not None
    assert verdict.validity.state is Validity.PARTIAL
    latency = verdict.find_series(SeriesName.LATENCY)
    assert latency is not None
    assert latency.statistics.count == 1
    assert model.calls.count("generate 9") == 0, "nothing is generated after a failure"
    assert len(recorder.errors) == 1


@pytest.mark.parametrize(
    ("model", "reason", "stage"),
    [
        pytest.param(
            ScriptedModel(load_action=lambda: fail(Reason.MODEL_LOAD_FAILED)(None)),  # type: ignore[arg-type, return-value]
            "ModelLoadFailed", "loading", id="the model does not load",
        ),
        pytest.param(ScriptedModel(check_action=fail(Reason.INVALID_ARGUMENTS)), "InvalidArguments", "loading", id="a clip is refused"),
        pytest.param(ScriptedModel(actions=iter([not_finite])), "NaNOutput", "warming_up", id="NaN in the warm-up"),
    ],
)  # fmt: skip
def test_trial_failure_before_the_first_sample_has_no_figures(model: ScriptedModel, reason: str, stage: str) -> None:
    verdict, _, _ = run(model=model)
    assert (verdict.reason, verdict.stage, verdict.samples_done, verdict.series) == (reason, stage, 0, ())
    assert verdict.output_digest is None
    assert verdict.memory is not None, "what was in use when it failed"
    assert verdict.memory.cgroup == 2**31
    assert not [call for call in model.calls if call == "generate 8"]


FULL = AcceleratorMemory(78 * 2**30, 79 * 2**30, None)


@pytest.mark.parametrize(
    ("model", "stage", "phase"),
    [
        pytest.param(
            ScriptedModel(load_action=lambda: run_out(LoadPhase.TO_DEVICE)), "loading", "to_device", id="does not fit"
        ),
        pytest.param(ScriptedModel(actions=iter([lambda _: run_out(Phase.DENOISE)])), "warming_up", "denoise", id="warm-up"),
        pytest.param(
            ScriptedModel(actions=iter([clip, lambda _: run_out(Phase.VAE_DECODE)])), "sampling", "vae_decode", id="sample"
        ),
        pytest.param(
            ScriptedModel(actions=iter([clip, clip, lambda _: run_out(Phase.TEXT_ENCODE)])), "sampling", "text_encode",
            id="second sample",
        ),
    ],
)  # fmt: skip
def test_trial_that_runs_out_of_memory_says_where_and_how_much_there_was(
    model: ScriptedModel, stage: str, phase: str
) -> None:
    meter = FakeMeter(base=DeviceReading(memory_used_bytes=80 * 2**30))
    verdict, _, _ = run(model=model, meter=meter)
    assert (verdict.outcome, verdict.reason) == (Outcome.OUT_OF_MEMORY, "OutOfMemoryCuda")
    assert (verdict.stage, verdict.phase) == (stage, phase)
    assert verdict.memory is not None
    assert (verdict.memory.allocated, verdict.memory.reserved, verdict.memory.device) == (
        78 * 2**30, 79 * 2**30, 80 * 2**30,
    )  # fmt: skip
    assert decode(encode(verdict)).memory == verdict.memory


def run_out(phase: Phase | LoadPhase) -> Any:
    raise ModelFailure(Reason.OUT_OF_MEMORY_CUDA, "CUDA out of memory", phase=phase, memory=FULL)


def limited(**limits: int) -> Any:
    return request_document(runnerClass={"image": "r", "health": limits})


def looks(*scratch_mebibytes: int) -> Any:
    return FakeHost(looks=iter([HostLook(3, 2**36, 2**30, number * 2**20) for number in scratch_mebibytes]))


def test_trial_does_not_begin_on_a_host_beyond_the_limits_of_its_class() -> None:
    verdict, recorder, model = run(document=limited(minFreeScratchMebibytes=1000), host=looks(999))
    assert model.calls == []
    assert (verdict.outcome, verdict.reason, verdict.stage) == (Outcome.FAILED, "HostUnhealthy", "starting")
    assert verdict.message == "starting: 999 MiB of scratch are free, below health.minFreeScratchMebibytes: 1000"
    assert verdict.health is not None
    assert verdict.health.before is not None
    assert verdict.health.before.scratch_free_bytes == 999 * 2**20
    assert verdict.health.after is None
    assert exit_code_of(verdict) is ExitCode.HOST_UNHEALTHY
    assert recorder.kept == []


def test_trial_whose_host_is_beyond_a_limit_in_the_end_is_measured_and_invalid() -> None:
    verdict, _, _ = run(document=limited(minFreeScratchMebibytes=1000), host=looks(1000, 900))
    assert (verdict.outcome, verdict.samples_done) == (Outcome.SUCCEEDED, 3)
    assert verdict.validity == ValidityVerdict(state=Validity.INVALID, reasons=("DiskLow",))
    assert verdict.health is not None
    assert verdict.health.after is not None
    assert verdict.health.after.scratch_free_bytes == 900 * 2**20
    assert verdict.unmeasured["healthGpu"] == "no_gpu"


def test_trial_without_limits_keeps_the_history_all_the_same() -> None:
    verdict, _, _ = run(host=looks(5, 4))
    assert verdict.validity is not None
    assert verdict.validity.state is Validity.VALID
    assert verdict.health is not None
    found = [look.scratch_free_bytes for look in (verdict.health.before, verdict.health.after) if look is not None]
    assert found == [5 * 2**20, 4 * 2**20]


def test_trial_that_fails_is_looked_at_afterwards_too() -> None:
    verdict, _, _ = run(clip, fail(Reason.DEVICE_FAULT, Phase.DENOISE), host=looks(5, 4))
    assert verdict.health is not None
    assert verdict.health.after is not None
    assert verdict.stage is Stage.SAMPLING


def test_trial_told_to_stop_while_it_looks_at_the_host_keeps_what_was_measured() -> None:
    class Interrupting(FakeHost):
        def look(self) -> HostLook:
            if self.reads > 1:
                raise Interruption
            return super().look()

    verdict, _, _ = run(host=Interrupting())
    assert (verdict.final, verdict.outcome, verdict.samples_done) == (True, Outcome.SUCCEEDED, 3)
    assert verdict.health is not None
    assert verdict.health.after is None


def test_trial_check_sees_every_clip_before_any_time_is_spent() -> None:
    def refuse_last(request: Any) -> None:
        if request.seed == 9:
            raise ModelFailure(Reason.INVALID_ARGUMENTS, "not 9")

    model = ScriptedModel(check_action=refuse_last)
    run(model=model)
    assert model.calls == ["load wan", "check 7", "check 8", "check 9"]


def _delivering(frames: int) -> Any:
    return lambda request: clip(request, delivered_frames=frames)


@pytest.mark.parametrize(
    ("actions", "reasons"),
    [
        pytest.param((clip, clip, miscounted), ("CallCountMismatch",), id="a call was missed by the seam"),
        pytest.param((miscounted, clip, clip), (), id="only the warm-up miscounted"),
        pytest.param((clip, _delivering(5), _delivering(4)), ("FramesDiffer",), id="frames differ between samples"),
        pytest.param((clip, *[_delivering(4)] * 3), ("OffGridFrames",), id="all samples have other frames than asked, alike"),
        pytest.param((clip, lambda request: clip(request, delivered_width=8)), ("SizeDiffers",), id="another size"),
    ],
)  # fmt: skip
def test_trial_validity_of_a_finished_shard(actions: Any, reasons: tuple[str, ...]) -> None:
    verdict, _, _ = run(*actions)
    assert verdict.outcome is Outcome.SUCCEEDED
    assert verdict.validity is not None
    assert verdict.validity.reasons == reasons
    assert verdict.validity.state is (Validity.INVALID if reasons else Validity.VALID)


def test_trial_reports_delivered_frames_beside_the_requested_ones() -> None:
    verdict, _, _ = run(*[_delivering(4)] * 4)
    assert verdict.clip is not None
    assert (verdict.clip.frames_requested, verdict.clip.frames_delivered) == (5, 4)


@pytest.mark.parametrize(
    ("gpus", "device", "pretended", "valid"),
    [
        pytest.param(1, "cpu", False, False, id="a GPU was given and the CPU ran"),
        pytest.param(1, "cpu", True, True, id="the GPU is pretended"),
        pytest.param(1, "cuda", False, True, id="the GPU ran"),
        pytest.param(0, "cpu", False, True, id="the CPU was asked for"),
    ],
)
def test_trial_shard_with_a_gpu_that_ran_on_the_cpu_is_invalid(
    gpus: int, device: str, pretended: bool, valid: bool
) -> None:
    document = request_document(hardware=[{"name": "cpu", "gpus": gpus}])
    verdict, _, _ = run(model=ScriptedModel(device=device), document=document, pretended_gpus=pretended)
    assert verdict.validity is not None
    assert (verdict.validity.state is Validity.VALID) == valid
    assert verdict.validity.reasons == (() if valid else ("NoAccelerator",))


def energy_of(meter: FakeMeter, window: int) -> tuple[Verdict, Recorder]:
    clock = FakeClock()
    model = ScriptedModel(on_generate=lambda: clock.advance(window))
    verdict, recorder, _ = run(model=model, meter=meter, clock=clock)
    return verdict, recorder


def test_trial_energy_is_the_counter_between_the_two_readings_of_a_sample() -> None:
    verdict, _ = energy_of(FakeMeter(DeviceReading(name="H100", uuid="GPU-1"), step=2_500), 2_000_000_000)
    energy = verdict.find_series(SeriesName.ENERGY)
    assert energy is not None
    assert energy.values == (2_500, 2_500, 2_500)


@pytest.mark.parametrize(
    ("base", "step", "window", "reason"),
    [
        pytest.param(DeviceReading(reason="no_gpu"), 0, 2_000_000_000, "no_gpu", id="no GPU"),
        pytest.param(DeviceReading(mig=True), 10, 2_000_000_000, "mig", id="MIG: the counter is the whole card's"),
        pytest.param(DeviceReading(), 10, 999_999_999, "window_below_1s", id="shorter than the counter's steps allow"),
        pytest.param(DeviceReading(), -10, 2_000_000_000, "counter_reset", id="the driver was reloaded"),
    ],
)
def test_trial_energy_that_says_nothing_is_absent_with_a_reason(
    base: DeviceReading, step: int, window: int, reason: str
) -> None:
    verdict, _ = energy_of(FakeMeter(base, step=step), window)
    assert verdict.find_series(SeriesName.ENERGY) is None
    assert verdict.unmeasured["energy"] == reason


def test_trial_memory_is_the_peak_of_the_samples_with_reasons_for_what_is_missing() -> None:
    def with_memory(allocated: int) -> Any:
        return lambda request: clip(request, memory_allocated_bytes=allocated, memory_reserved_bytes=None)

    verdict, _, _ = run(clip, with_memory(5), with_memory(9), with_memory(7))
    assert verdict.memory is not None
    assert (verdict.memory.allocated, verdict.memory.reserved, verdict.memory.device) == (9, None, None)
    assert (verdict.memory.host, verdict.memory.cgroup) == (2**30, 2**31)
    assert verdict.unmeasured["memoryReserved"] == "cpu"
    assert verdict.unmeasured["memoryDevice"] == "no_gpu"


@dataclass
class LimitedHost(FakeHost):
    """A host whose processor time is limited; who works in it says how often that was felt."""

    periods: int = 0
    throttled: int = 0

    def work(self, periods: int, throttled: int) -> None:
        self.periods += periods
        self.throttled += throttled

    def read(self) -> HostReading:
        return HostReading(cpu_periods=self.periods, cpu_throttled_periods=self.throttled)

    def look(self) -> HostLook:
        self.work(50, 50)
        return super().look()


@dataclass
class WorkingRecorder(Recorder):
    """Works as hard as it can whenever it is told to keep or to store."""

    host: LimitedHost = field(default_factory=LimitedHost)

    def keep(self, sample: MeasuredSample, frames: Any) -> None:
        self.host.work(50, 50)

    def store(self) -> ArtifactsFacts | None:
        self.host.work(50, 50)
        return None


@dataclass
class WorkingAssessor:
    host: LimitedHost

    def assess(self, _frames: Any, _progress: Any) -> ClipQuality:
        self.host.work(50, 50)
        return ClipQuality({}, {})


@pytest.mark.parametrize(
    ("throttled", "reasons"),
    [
        pytest.param(0, (), id="only the work around the samples"),
        pytest.param(5, ("CpuThrottled",), id="the samples themselves"),
    ],
)
def test_trial_counts_throttled_periods_of_generating_alone(throttled: int, reasons: tuple[str, ...]) -> None:
    host = LimitedHost()
    model = ScriptedModel(on_generate=lambda: host.work(100, throttled))
    recorder = WorkingRecorder(host=host)
    verdict, _, _ = run(model=model, recorder=recorder, host=host, assessor=WorkingAssessor(host))
    samples, warmups = 3, 1
    around = (samples + warmups) * 2 + 3
    assert host.throttled == around * 50 + (samples + warmups) * throttled, "the work was done"
    assert verdict.cpu_throttled_periods == samples * throttled
    assert verdict.validity is not None
    assert verdict.validity.reasons == reasons


def test_trial_whose_host_tells_no_throttling_has_none_with_a_reason() -> None:
    class Silent(FakeHost):
        def read(self) -> HostReading:
            return HostReading()

    verdict, _, _ = run(host=Silent())
    assert (verdict.cpu_throttled_periods, verdict.unmeasured["cpuThrottledPeriods"]) == (None, "not_read")


def test_trial_environment_names_the_gpu_only_when_it_ran() -> None:
    reading = DeviceReading(name="H100", uuid="GPU-1", driver="580", power_limit_milliwatts=700_000)
    document = request_document(hardware=[{"name": "cpu", "gpus": 1}])
    on_gpu, _, _ = run(model=ScriptedModel(device="cuda"), meter=FakeMeter(reading), document=document)
    on_cpu, _, _ = run(meter=FakeMeter(reading), document=document)
    assert on_gpu.environment is not None
    assert (on_gpu.environment.device, on_gpu.environment.gpu_uuid, on_gpu.environment.device_count) == (
        "H100",
        "GPU-1",
        1,
    )
    assert on_cpu.environment is not None
    assert (on_cpu.environment.device, on_cpu.environment.gpu_uuid, on_cpu.environment.device_count) == ("cpu", None, 0)


def test_trial_stored_artifacts_are_in_the_verdict() -> None:
    facts = ArtifactsFacts(uri="claim://c/x", digest="d")
    verdict, _, _ = run(recorder=Recorder(facts=facts))
    assert verdict.artifacts == facts


def test_trial_storage_failure_keeps_the_measurement() -> None:
    verdict, _, _ = run(recorder=Recorder(storing=StorageFailure("disk full")))
    assert (verdict.outcome, verdict.reason, verdict.stage) == (Outcome.FAILED, "StorageFailed", "storing")
    assert verdict.samples_done == 3
    assert verdict.validity is not None
    assert verdict.validity.state is Validity.VALID
    assert verdict.find_series(SeriesName.LATENCY) is not None


def test_trial_storage_bug_is_a_storage_failure() -> None:
    verdict, _, _ = run(recorder=Recorder(storing=RuntimeError("fsspec has a bug")))
    assert verdict.reason == "StorageFailed"


def test_trial_storage_failure_does_not_hide_why_the_trial_failed() -> None:
    verdict, _, _ = run(clip, clip, not_finite, recorder=Recorder(storing=StorageFailure("disk full")))
    assert (verdict.reason, verdict.stage) == ("NaNOutput", "sampling")
    assert verdict.unmeasured["artifacts"] == "disk full"


def test_trial_beats_name_the_stages_in_order() -> None:
    _, recorder, _ = run()
    stages = list(dict.fromkeys(stage for stage, _ in recorder.beats))
    assert stages == [Stage.STARTING, Stage.LOADING, Stage.WARMING_UP, Stage.SAMPLING, Stage.STORING]


def test_trial_states_that_weights_were_drawn_and_that_nothing_was_loaded() -> None:
    @dataclass
    class Drawn(ScriptedModel):
        def load(self, request: ModelRequest) -> LoadedModel:
            loaded = super().load(request)
            return replace(loaded, load_nanoseconds=None, weights="Random", synthetic_tokenizer=True)

    on_gpu = trial(Drawn(device="cuda"), Recorder()).run()
    assert on_gpu.unmeasured["toDeviceMicroseconds"] == "random_weights", "there was no load that it could be in"
    verdict = trial(Drawn(), Recorder()).run()
    assert verdict.unmeasured["toDeviceMicroseconds"] == "cpu"
    assert verdict.loaded is not None
    assert verdict.setup is not None
    assert (verdict.loaded.weights, verdict.loaded.tokenizer) == ("Random", "Synthetic")
    assert (verdict.setup.load_microseconds, verdict.unmeasured["loadMicroseconds"]) == (None, "random_weights")
    assert verdict.unmeasured["fetchMicroseconds"] == "random_weights"
    plain, _, _ = run()
    assert plain.loaded is not None
    assert (plain.loaded.weights, plain.loaded.tokenizer) == (None, None)
    assert "loadMicroseconds" not in plain.unmeasured
    assert (plain.unmeasured["fetchMicroseconds"], plain.unmeasured["toDeviceMicroseconds"]) == ("in_load", "cpu")


def test_what_was_fetched_stands_apart_from_the_load() -> None:
    @dataclass
    class Downloaded(ScriptedModel):
        def load(self, request: ModelRequest) -> LoadedModel:
            return replace(super().load(request), fetch_nanoseconds=7_000_999, fetch_bytes=123)

    verdict = trial(Downloaded(), Recorder()).run()
    assert verdict.setup is not None
    assert (verdict.setup.fetch_microseconds, verdict.setup.fetch_bytes) == (7_000, 123)
    assert "fetchMicroseconds" not in verdict.unmeasured


@pytest.mark.parametrize(
    ("wanted", "others", "valid"),
    [
        pytest.param("Require", 1, False, id="somebody else is there"),
        pytest.param("Require", 0, True, id="nobody is there"),
        pytest.param("Require", None, True, id="it cannot be told"),
        pytest.param("Ignore", 1, True, id="nobody minds"),
    ],
)
def test_trial_on_a_gpu_that_others_use_counts_only_where_that_is_ignored(
    wanted: str, others: int | None, valid: bool
) -> None:
    class Meter(FakeMeter):
        def read(self) -> DeviceReading:
            before = not self.reads
            return replace(super().read(), other_processes=0 if before else others)

    verdict, _, _ = run(meter=Meter(), document=request_document(exclusiveGpu=wanted))
    assert verdict.validity is not None
    assert (verdict.outcome, verdict.validity.state is Validity.VALID) == (Outcome.SUCCEEDED, valid)
    assert verdict.validity.reasons == (() if valid else ("OtherProcesses",))


@pytest.mark.parametrize(("wanted", "begins"), [("Require", False), ("Ignore", True)])
def test_trial_does_not_begin_on_a_gpu_that_others_use(wanted: str, begins: bool) -> None:
    meter = FakeMeter(DeviceReading(other_processes=2))
    verdict, _, model = run(meter=meter, document=request_document(exclusiveGpu=wanted))
    assert bool(model.calls) == begins
    if not begins:
        assert (verdict.outcome, verdict.reason) == (Outcome.FAILED, "HostUnhealthy")
        assert verdict.message == "starting: 2 other processes use the GPU, and validity.exclusiveGpu is Require"


def test_trial_on_a_watched_gpu_reports_energy_without_rest_throttling_and_steadiness() -> None:
    clock = FakeClock()
    watch = FakeWatch(reason=None, clock=clock)
    model = ScriptedModel(device="cuda", on_generate=lambda: clock.advance(2_000_000_000))
    readings = [
        DeviceSample(at, 70_000 if at < 3_000_000_000 else 600_000, 1980, 2619, 61, 0x4 if at > 11_000_000_000 else 0)
        for at in range(0, 20_000_000_000, 100_000_000)
    ]
    watch.readings = readings
    document = request_document(hardware=[{"name": "cpu", "gpus": 1}], seeds={"base": 7, "count": 6})
    meter = FakeMeter(DeviceReading(name="H100", uuid="GPU-1"), step=1_200_000)
    verdict, recorder, _ = run(model=model, document=document, watch=watch, meter=meter, clock=clock)
    net, energy = verdict.find_series(SeriesName.ENERGY_NET), verdict.energy
    assert energy is not None
    assert net is not None
    assert (energy.idle_milliwatts, energy.disagreement_ppm, energy.per_frame_millijoules) == (70_000, 0, 240_000)
    assert net.values == (1_200_000 - 140_000,) * 6
    assert verdict.watch is not None
    assert (verdict.watch.sm_clock_megahertz, verdict.watch.memory_clock_megahertz) == (1980, 2619)
    assert (verdict.watch.throttled_ppm, verdict.watch.sampler_ppm) == ({"swPowerCap": 492_063}, 120)
    assert verdict.steadiness is not None
    assert verdict.validity is not None
    assert (verdict.validity.state, verdict.validity.notes) == (Validity.VALID, ("SwPowerCap",))
    assert not {"energy", "energyNet", "watch", "steadiness"} & set(verdict.unmeasured)
    line = recorder.kept[-1][0].to_line()
    assert MeasuredSample.from_line(line).watch == recorder.kept[-1][0].watch
    assert decode(encode(verdict)).energy == energy


def test_trial_that_nobody_watches_says_why_and_does_not_rest() -> None:
    clock = FakeClock()
    verdict, _, _ = run(watch=FakeWatch(reason="no meter: x", clock=clock), clock=clock)
    assert clock.now == 0
    assert (verdict.watch, verdict.energy, verdict.steadiness) == (None, None, None)
    assert (verdict.unmeasured["watch"], verdict.unmeasured["energyNet"]) == ("no meter: x", "no_gpu")
    assert verdict.unmeasured["steadiness"] == "fewer_than_6_samples"
