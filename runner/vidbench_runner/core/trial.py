"""The trial: load, check every clip, warm up, take the samples, and say after each boundary what is known so far.

Order and timing of everything that is measured are decided here, over the ports alone. Between the two clock readings
of a sample nothing of this module runs. Hashing, storing and reporting happen when a sample is over.
Knows no torch, no NVML, no file and no process.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from vidbench_api.health import Health
from vidbench_api.measured import (
    ArtifactsFacts,
    ClipFacts,
    EnergyFacts,
    Environment,
    Memory,
    ModelFacts,
    Series,
    Setup,
    StopReason,
)
from vidbench_api.measured import (
    Protocol as ProtocolFacts,
)
from vidbench_api.names import Reason
from vidbench_api.services import ServiceFacts
from vidbench_api.verdict import Stage, Verdict
from vidbench_runner.core.columns import (
    NANOSECONDS_PER_MICROSECOND,
    REASON_CHARACTERS,
    SERIES_OF_CALLS,
    latency_microseconds,
)
from vidbench_runner.core.compilation import compilation_of
from vidbench_runner.core.device_watch import Unwatched, device_facts, watched
from vidbench_runner.core.endings import (
    Ending,
    Interruption,
    OutOfTime,
    StorageFailure,
    concluded,
    ending_of,
    shortened,
)
from vidbench_runner.core.energy import NANOSECONDS_PER_SECOND, Sharing, energy_facts, energy_of, idle_power
from vidbench_runner.core.health import Look, look_of, reasons_against, refusal_of
from vidbench_runner.core.peaks import Failure, cold_memory, peak_memory
from vidbench_runner.core.plan import PlannedSample, TrialPlan
from vidbench_runner.core.protocol import NEVER_TIMED, instrument_ppm, plan_columns, protocol_of, reproducibility_of
from vidbench_runner.core.quality import NOT_ASSESSED, NOTHING_TO_SEE, absent, quality_facts
from vidbench_runner.core.sample import MeasuredSample
from vidbench_runner.core.service import service_facts
from vidbench_runner.core.steadiness import FEW_SAMPLES
from vidbench_runner.core.stopping import TimeLeft, reached_ppm, stop_reason
from vidbench_runner.core.validity import CpuThrottling, Evidence, judge, throttling_between
from vidbench_runner.core.warming import WarmupReading, is_flat, needs_warmup
from vidbench_runner.ports import (
    ClipAssessor,
    ClipQuality,
    Clock,
    DeviceMeter,
    DeviceReading,
    DeviceWatch,
    HostMeter,
    LoadedModel,
    ModelFailure,
    VideoModel,
)

MAX_COMPONENTS = 16
IDLE_NANOSECONDS = 2_000_000_000
"""Over which the power at rest is read."""

REST_NANOSECONDS = IDLE_NANOSECONDS + 1_000_000_000
"""The device rests after the load: its power needs about a second to settle."""


class Listener(Protocol):
    """Hears how a trial goes."""

    def beat(self, stage: Stage, word: str) -> None:
        """Hear that a boundary was reached; cheap."""
        ...

    def snapshot(self, verdict: Verdict) -> None:
        """Hear what is known so far; not final."""
        ...

    def failed(self, error: BaseException) -> None:
        """Hear of the exception that ended the trial, while it is handled."""
        ...


class SampleKeeper(Protocol):
    """Keeps raw samples and clips."""

    def keep(self, sample: MeasuredSample, frames: Any) -> None:
        """Take a sample over. What cannot be kept is said by `store`, so that it does not cost the measurement."""
        ...

    def store(self) -> ArtifactsFacts | None:
        """Store everything taken so far; None where nothing is to be stored. Raises StorageFailure."""
        ...


@dataclass(frozen=True)
class World:
    """Everything that a trial runs against."""

    model: VideoModel
    meter: DeviceMeter
    clock: Clock
    host: HostMeter
    listener: Listener
    keeper: SampleKeeper
    environment: Environment
    """What is known before the load; the device is filled in after it."""

    watch: DeviceWatch = field(default_factory=Unwatched)
    deadline_nanoseconds: int | None = None
    """When the shard is ended, on `clock`: no sample is begun that would not end before. None: there is no limit."""

    assessor: ClipAssessor | None = None
    """Looks at every clip's frames; None: nobody does, and the columns of quality say so."""

    pretended_gpus: bool = False
    """Whether the pod's GPUs are known not to exist, as on a test cluster: then running on the CPU is no defect."""


class Trial:
    """One attempt at one shard. Use `run` once; it returns the final verdict whatever happens."""

    def __init__(self, plan: TrialPlan, world: World) -> None:
        self._plan = plan
        self._world = world
        self._stage = Stage.STARTING
        self._loaded: LoadedModel | None = None
        self._warmups: list[MeasuredSample] = []
        self._samples: list[MeasuredSample] = []
        self._turn: int | None = None
        self._stopped_by: StopReason | None = None
        self._root = hashlib.sha256()
        self._throttling: list[CpuThrottling | None] = []
        """An entry for each measured sample; None where the host did not tell."""
        self._idle_milliwatts: int | None = None
        self._failure: Failure | None = None
        self._before: Look | None = None
        self._after: Look | None = None
        self._reading = DeviceReading(reason="not_read")

    def run(self) -> Verdict:
        """Run the trial; return its final verdict. Raises nothing but what ends a process."""
        ending: Ending | None = None
        try:
            self._check_host()
            self._load()
            self._warm_up()
            self._measure()
        except (Exception, Interruption) as error:  # noqa: BLE001 - every failure becomes a verdict with its reason
            self._world.listener.failed(error)
            ending = replace_message(ending_of(error), self._where())
            self._failure = Failure(getattr(error, "memory", None), self._world.meter.read())
        failed_in = self._stage
        self._look_after()
        artifacts, storage_ending = self._store()
        verdict = self.verdict()
        if artifacts is not None:
            verdict = verdict.model_copy(update={"artifacts": artifacts})
        if storage_ending is not None and ending is not None:
            unstored = {"artifacts": shortened(storage_ending.message)}
            verdict = verdict.model_copy(update={"unmeasured": dict(verdict.unmeasured) | unstored})
        if ending is not None:
            verdict = verdict.model_copy(update={"stage": failed_in})
        return concluded(verdict, ending or storage_ending)

    def verdict(self) -> Verdict:
        """Return what is known so far; not final."""
        attempt, columns = self._plan.attempt, plan_columns(self._plan, self._samples, self._idle_milliwatts)
        evidence = self._evidence()
        memory, unmeasured = self._memory()
        if self._samples and evidence.cpu is None:
            unmeasured["cpuThrottledPeriods"] = "not_read"
        if self._loaded is not None and self._loaded.opaque_reason is not None:
            unmeasured["loaded"] = self._loaded.opaque_reason
        return Verdict(
            request_digest=attempt.request_digest,
            cell=attempt.cell,
            shard=attempt.shard,
            attempt=attempt.attempt,
            stage=self._stage,
            validity=judge(evidence),
            samples_done=len(self._samples),
            protocol=self._protocol(columns.series),
            reproducibility=reproducibility_of(self._plan, self._samples),
            setup=self._setup(),
            environment=self._environment(),
            loaded=self._model_facts(),
            clip=self._clip_facts(),
            compilation=compilation_of(self._warmups, self._samples),
            memory=memory,
            memory_cold=None if self._plan.reruns else cold_memory(self._warmups),
            energy=self._energy(),
            watch=device_facts(evidence.watched, self._world.watch.cost_ppm()),
            steadiness=evidence.steadiness,
            health=self._health(),
            expected_calls=self._expected_calls(),
            cpu_throttled_periods=evidence.cpu.throttled if evidence.cpu is not None else None,
            service=self._service(),
            output_digest=self._root.hexdigest() if self._samples else None,
            quality=quality_facts(self._plan.model, self._samples),
            series=columns.series,
            unmeasured=dict(columns.unmeasured)
            | unmeasured
            | self._unseen_health()
            | self._unwatched(evidence)
            | self._unseen_load(),
        )

    def _check_host(self) -> None:
        """Look at the host before anything is loaded; raises HostUnfit."""
        self._world.listener.beat(self._stage, "look at the host")
        device = self._world.meter.read()
        self._before = look_of(self._world.host.look(), device)
        self._world.listener.snapshot(self.verdict())
        others = device.other_processes if self._plan.exclusive_gpu else None
        refusal = refusal_of(self._plan.health, self._before.health, others)
        if refusal is not None:
            raise refusal

    def _look_after(self) -> None:
        """Look again, if the shard began at all: what a refused one would see is what it saw."""
        if self._loaded is None and self._stage is Stage.STARTING:
            return
        self._world.listener.beat(self._stage, "look at the host")
        try:
            self._after = look_of(self._world.host.look(), self._world.meter.read())
        except Interruption:
            # What is left is to store and to report what was measured: that is what an interruption leads to as well.
            return

    def _health(self) -> Health | None:
        if self._before is None:
            return None
        return Health(before=self._before.health, after=self._after.health if self._after is not None else None)

    def _unseen_health(self) -> dict[str, str]:
        looks = [look for look in (self._before, self._after) if look is not None]
        return {name: reason for look in looks for name, reason in look.unmeasured.items()}

    def _load(self) -> None:
        self._enter(Stage.LOADING, "load")
        self._loaded = self._world.model.load(self._plan.model)
        self._reading = self._world.meter.read()
        for number, sample in enumerate(self._plan.samples[: self._plan.clips], 1):
            self._world.listener.beat(self._stage, f"check {number}")
            self._world.model.check(sample.clip)
        self._rest()
        self._world.listener.snapshot(self.verdict())

    def _rest(self) -> None:
        """Let the loaded device rest, and see what it takes: before the warm-up, as no pause may come after it."""
        if self._world.watch.reason is not None or self._loaded is None or self._loaded.device == "cpu":
            return
        self._world.listener.beat(self._stage, "rest")
        self._world.watch.rest(REST_NANOSECONDS)
        end = self._world.clock.nanoseconds()
        self._idle_milliwatts = idle_power(self._world.watch.between(end - IDLE_NANOSECONDS, end))

    def _warm_up(self) -> None:
        while needs_warmup(self._warmup_readings(), self._plan.warmups):
            number = len(self._warmups)
            self._enter(Stage.WARMING_UP, f"warm-up {number + 1}")
            self._warmups.append(self._generate(self._plan.warmup(number), number, warmup=True))
            self._world.listener.snapshot(self.verdict())

    def _warmup_readings(self) -> list[WarmupReading]:
        return [
            WarmupReading(sample.clip.latency_nanoseconds, sample.device.temperature_celsius)
            for sample in self._warmups
        ]

    def _protocol(self, series: Sequence[Series]) -> ProtocolFacts:
        cost = self._loaded.timed_call_nanoseconds if self._loaded is not None else None
        return protocol_of(
            self._plan,
            series,
            self._stopped_by,
            warm=None if self._plan.warmups.fixed else is_flat(self._warmup_readings()),
            instrument=None if self._plan.reruns else instrument_ppm(self._samples, cost),
        )

    def _measure(self) -> None:
        while (stop := self._stop()) is None:
            number = len(self._samples)
            self._enter(Stage.SAMPLING, f"sample {number + 1}")
            self._samples.append(self._generate(self._plan.samples[number], number, warmup=False))
            self._world.listener.snapshot(self.verdict())
        self._stopped_by = stop
        if stop is StopReason.DEADLINE and len(self._samples) < self._plan.quota.required:
            raise OutOfTime(self._time_text())

    def _stop(self) -> StopReason | None:
        plan = self._plan
        reached = reached_ppm(plan.quota.target, plan_columns(plan, self._samples).series)
        return stop_reason(plan.quota, len(self._samples), reached, self._time())

    def _time(self) -> TimeLeft:
        deadline = self._world.deadline_nanoseconds
        return TimeLeft(None if deadline is None else deadline - self._world.clock.nanoseconds(), self._turn)

    def _time_text(self) -> str:
        time = self._time()
        turn, left = ((figure or 0) / NANOSECONDS_PER_SECOND for figure in (time.turn, time.left))
        return (
            f"another one takes about {turn:.1f} s and {left:.1f} s are left of timeouts.shardSeconds:"
            f" {len(self._samples)} of at least {self._plan.quota.required} samples were measured"
        )

    def _generate(self, planned: PlannedSample, number: int, *, warmup: bool) -> MeasuredSample:
        world = self._world
        host_before = world.host.read()
        before, started = world.meter.read(), world.clock.nanoseconds()
        clip = world.model.generate(planned.clip)
        ended, after = world.clock.nanoseconds(), world.meter.read()
        if not warmup:
            # Here, as hashing, looking at the frames and storing them are none of a sample's work.
            self._throttling.append(throttling_between(host_before, world.host.read()))
        if not clip.finite:
            raise ModelFailure(
                Reason.NAN_OUTPUT,
                f"the output of prompt {planned.prompt!r}, seed {planned.clip.seed} has values that are not finite",
            )
        frames, readings = clip.frames, world.watch.between(started, ended)
        roots = () if warmup else (self._root,)
        digest, latents = hashlib.sha256(), hashlib.sha256()
        for part in clip.latents:
            self._hash(part, (latents, *roots))
        self._hash(frames, (digest, *roots))
        sample = MeasuredSample(
            number=number,
            warmup=warmup,
            prompt=planned.prompt,
            seed=planned.clip.seed,
            clip=replace(clip, frames=None, latents=()),
            digest=digest.hexdigest(),
            energy=energy_of(before, after, (started, ended), readings, clip.phase_stretches, self._sharing()),
            device=after,
            quality=self._assess(frames),
            latents_digest=latents.hexdigest() if clip.latents else None,
            watch=watched(readings),
        )
        self._reading = after
        world.listener.beat(self._stage, f"{sample.name} done")
        world.keeper.keep(sample, frames)
        self._turn = world.clock.nanoseconds() - started
        return sample

    def _assess(self, frames: Any) -> ClipQuality:
        """Look at the frames of warm-ups as well, so that no sample starts on a device that had less rest than the others."""
        if self._world.assessor is None or self._plan.reruns:
            return NOT_ASSESSED
        if (reason := NOTHING_TO_SEE.get(self._plan.model.backend)) is not None:
            return absent(reason)
        return self._world.assessor.assess(
            frames, lambda word: self._world.listener.beat(self._stage, f"quality {word}")
        )

    def _hash(self, frames: Any, hashes: Iterable[Any]) -> None:
        view = memoryview(frames)
        content = view if view.c_contiguous else view.tobytes()
        for entry in hashes:
            self._world.listener.beat(self._stage, "hash")
            entry.update(content)

    def _store(self) -> tuple[ArtifactsFacts | None, Ending | None]:
        self._enter(Stage.STORING, "store")
        try:
            return self._world.keeper.store(), None
        except (Exception, Interruption) as error:  # noqa: BLE001 - what was measured is reported all the same
            self._world.listener.failed(error)
            known = isinstance(error, StorageFailure | Interruption)
            return None, ending_of(error) if known else Ending(Reason.STORAGE_FAILED, ending_of(error).message)

    def _enter(self, stage: Stage, word: str) -> None:
        self._stage = stage
        self._world.listener.beat(stage, word)

    def _where(self) -> str:
        if self._stage is Stage.WARMING_UP:
            return f"warm-up {len(self._warmups) + 1} of {self._plan.warmups.max}"
        if self._stage is Stage.SAMPLING:
            return f"sample {len(self._samples) + 1} of {len(self._plan.samples)}"
        return self._stage.value

    def _lacks_accelerator(self) -> bool:
        on_cpu = self._loaded is not None and self._loaded.device == "cpu"
        return on_cpu and self._plan.gpus > 0 and not self._world.pretended_gpus

    def _setup(self) -> Setup | None:
        loaded = self._loaded
        if loaded is None:
            return None
        if self._plan.reruns:
            return Setup(warmups=len(self._warmups))
        warmups = [latency_microseconds(sample) for sample in self._warmups]
        return Setup(
            fetch_microseconds=_microseconds(loaded.fetch_nanoseconds),
            fetch_bytes=loaded.fetch_bytes,
            load_microseconds=_microseconds(loaded.load_nanoseconds),
            to_device_microseconds=_microseconds(loaded.to_device_nanoseconds),
            warmups=len(warmups),
            first_warmup_microseconds=warmups[0] if warmups else None,
            warmup_microseconds=sum(warmups) if warmups else None,
        )

    def _unseen_load(self) -> dict[str, str]:
        """Return why parts of the setup were not seen; of what a service does, `loaded` says it."""
        loaded = self._loaded
        if loaded is None or loaded.opaque_reason is not None:
            return {}
        unseen = "random_weights" if loaded.load_nanoseconds is None else "in_load"
        reasons = {
            "fetchMicroseconds": (loaded.fetch_nanoseconds, unseen),
            "loadMicroseconds": (loaded.load_nanoseconds, "random_weights"),
            "toDeviceMicroseconds": (loaded.to_device_nanoseconds, "cpu" if loaded.device == "cpu" else unseen),
        }
        return {name: reason for name, (figure, reason) in reasons.items() if figure is None}

    def _environment(self) -> Environment:
        loaded, reading = self._loaded, self._reading
        if loaded is None or loaded.device == "cpu":
            return self._world.environment
        if loaded.opaque_reason is not None:
            return self._world.environment.model_copy(update={"device": loaded.device})
        return self._world.environment.model_copy(
            update={
                "device": (reading.name or loaded.device)[:128],
                "device_count": 1,
                "gpu_uuid": reading.uuid,
                "driver": reading.driver,
                "power_limit_milliwatts": reading.power_limit_milliwatts,
            }
        )

    def _model_facts(self) -> ModelFacts | None:
        loaded = self._loaded
        if loaded is None or loaded.opaque_reason is not None:
            return None
        largest = sorted(loaded.component_dtypes, key=lambda name: -loaded.component_parameters.get(name, 0))
        return ModelFacts(
            pipeline_class=loaded.pipeline_class,
            parameters=sum(loaded.component_parameters.values()),
            dtypes={name: loaded.component_dtypes[name][:64] for name in sorted(largest[:MAX_COMPONENTS])},
            frame_grid=loaded.frame_grid,
            weights="Random" if loaded.weights == "Random" else None,
            tokenizer="Synthetic" if loaded.synthetic_tokenizer else None,
            inputs=None if loaded.inputs == ("Prompt",) else loaded.inputs,
        )

    def _service(self) -> ServiceFacts | None:
        http, purse = self._plan.model.http, self._loaded.purse if self._loaded is not None else None
        if http is None or purse is None:
            return None
        return service_facts(http, purse, [*self._warmups, *self._samples])

    def _clip_facts(self) -> ClipFacts:
        wanted = self._plan.samples[0].clip
        seen = self._samples or self._warmups
        return ClipFacts(
            height=wanted.height,
            width=wanted.width,
            frames_requested=wanted.frames,
            frames_delivered=seen[0].clip.delivered_frames if seen else None,
            steps=wanted.steps,
        )

    def _expected_calls(self) -> dict[str, int]:
        if not self._samples:
            return {}
        expected = self._samples[0].clip.expected_calls
        return {name.value: expected[phase] for phase, name in SERIES_OF_CALLS.items() if phase in expected}

    def _memory(self) -> tuple[Memory | None, dict[str, str]]:
        if self._loaded is None and self._failure is None:
            return None, {}
        if self._plan.reruns and self._failure is None:
            return None, {"memory": NEVER_TIMED}
        return peak_memory(
            self._warmups,
            self._samples,
            self._failure,
            self._reading,
            self._world.host.read(),
            self._plan.model.memory_cap_bytes,
        )

    def _throttled(self) -> CpuThrottling | None:
        """While the samples were generated; None without any, or where the host did not tell it of each."""
        seen = self._throttling[: len(self._samples)]
        told = [entry for entry in seen if entry is not None]
        if not told or len(told) < len(seen):
            return None
        return CpuThrottling(sum(entry.periods for entry in told), sum(entry.throttled for entry in told))

    def _sharing(self) -> Sharing:
        return Sharing(self._plan.gpus, self._plan.shared_resource)

    def _evidence(self) -> Evidence:
        return Evidence(
            self._plan,
            self._samples,
            lacks_accelerator=self._lacks_accelerator(),
            health_reasons=reasons_against(self._plan.health, self._health() or Health()),
            cpu=self._throttled(),
        )

    def _energy(self) -> EnergyFacts | None:
        if not self._samples or self._plan.reruns:
            return None
        frames, steps = self._samples[0].clip.delivered_frames, self._plan.samples[0].clip.steps
        return energy_facts([sample.energy for sample in self._samples], frames, steps, self._idle_milliwatts)

    def _unwatched(self, evidence: Evidence) -> dict[str, str]:
        """Return why there is nothing about the device and about steadiness, once there are samples."""
        if not self._samples:
            return {}
        readings = sum(sample.readings for sample in evidence.watched)
        reason = shortened(self._world.watch.reason or "no_readings", REASON_CHARACTERS)
        unwatched = {} if readings else {"watch": reason}
        timed = evidence.steadiness is not None or self._plan.reruns
        few = {} if timed else {"steadiness": FEW_SAMPLES}
        return unwatched | few


def _microseconds(nanoseconds: int | None) -> int | None:
    return None if nanoseconds is None else nanoseconds // NANOSECONDS_PER_MICROSECOND


def replace_message(ending: Ending, where: str) -> Ending:
    """Return the ending with the place in front of its message."""
    return replace(ending, message=f"{where}: {ending.message}")
