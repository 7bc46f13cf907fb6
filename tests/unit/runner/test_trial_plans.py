"""The plans of a trial over scripted ports: by precision, until flat, within the deadline, and reruns to the bit."""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import replace
from typing import Any

import numpy as np
from support.requests import CELL, request_document
from support.scripted_model import FakeClock, FakeHost, FakeMeter, FakeWatch, ScriptedModel, clip

from vidbench_api.measured import ArtifactsFacts, ColdMemory, Environment, Protocol, Reproducibility, StopReason
from vidbench_api.message import decode, encode
from vidbench_api.names import Outcome, Reason, Validity
from vidbench_api.verdict import Stage, Verdict
from vidbench_runner.core.plan import Attempt, plan_trial
from vidbench_runner.core.protocol import instrument_ppm
from vidbench_runner.core.sample import MeasuredSample
from vidbench_runner.core.trial import Trial, World
from vidbench_runner.ports import DeviceReading

MILLISECOND = 1_000_000


class Deaf:
    """A listener and keeper that only counts."""

    def __init__(self) -> None:
        self.kept = 0

    def beat(self, stage: Stage, word: str) -> None: ...

    def snapshot(self, verdict: Verdict) -> None: ...

    def failed(self, error: BaseException) -> None: ...

    def keep(self, sample: MeasuredSample, frames: Any) -> None:
        self.kept += 1

    def store(self) -> ArtifactsFacts | None:
        return None


class Keeping(Deaf):
    """A keeper that keeps."""

    def __init__(self) -> None:
        super().__init__()
        self.samples: list[tuple[MeasuredSample, Any]] = []

    def keep(self, sample: MeasuredSample, frames: Any) -> None:
        self.samples.append((sample, frames))


def run(
    *slower_milliseconds: int, world: dict[str, Any] | None = None, **document: Any
) -> tuple[Verdict, ScriptedModel]:
    """Run a trial whose clips take 41.5 ms and the given milliseconds more, the last of them for ever."""
    clock = FakeClock()

    def made(slower: int) -> Any:
        def action(request: Any) -> Any:
            clock.advance(41 * MILLISECOND + slower * MILLISECOND)
            return clip(request, slower=slower * MILLISECOND)

        return action

    times = itertools.chain(
        slower_milliseconds, itertools.repeat(slower_milliseconds[-1] if slower_milliseconds else 0)
    )
    model = ScriptedModel(actions=(made(slower) for slower in times))
    defaults: dict[str, Any] = {
        "model": model, "meter": FakeMeter(), "clock": clock, "host": FakeHost(), "watch": FakeWatch(), "listener": Deaf(), "keeper": Deaf(),
        "environment": Environment(device="cpu"),
    }  # fmt: skip
    plan = plan_trial(request_document(**document), Attempt("0123456789abcdef", CELL, 1, 1))
    return Trial(plan, World(**(defaults | (world or {})))).run(), model


def stated(verdict: Verdict) -> Protocol:
    """What the verdict says of its plan, without the cost of the instrument."""
    assert verdict.protocol is not None
    return verdict.protocol.model_copy(update={"instrument_ppm": None})


BY_PRECISION = {
    "plan": "Precision",
    "sampleLimits": {"min": 5, "max": 12},
    "precision": {"metric": "latency", "halfWidth": "1%"},
}


def test_plan_precision_stops_once_the_mean_is_known_and_takes_the_clips_in_turns() -> None:
    verdict, model = run(0, 9, 1, 0, 0, 0, 0, **BY_PRECISION)
    assert verdict.protocol is not None
    assert verdict.protocol.stopped_by is StopReason.MAXIMUM, "9 ms more, once, is too wide for twelve samples"
    assert verdict.samples_done == 12
    quiet, model = run(0, **BY_PRECISION)
    assert stated(quiet) == Protocol(plan="Precision", stopped_by="Precision", metric="latency", half_width_ppm=0)
    assert [call for call in model.calls if call.startswith("generate")][1:] == [
        "generate 7", "generate 8", "generate 9", "generate 7", "generate 8",
    ]  # fmt: skip
    assert [call for call in model.calls if call.startswith("check")] == ["check 7", "check 8", "check 9"]
    assert quiet.validity is not None
    assert (quiet.samples_done, quiet.outcome, quiet.validity.state) == (5, Outcome.SUCCEEDED, Validity.VALID)


def test_plan_precision_without_its_figure_takes_the_maximum() -> None:
    verdict, _ = run(0, **BY_PRECISION | {"precision": {"metric": "energy"}})
    assert stated(verdict) == Protocol(plan="Precision", stopped_by="Maximum", metric="energy")
    assert verdict.samples_done == 12


def test_plan_precision_at_the_deadline_is_complete_from_the_minimum_on() -> None:
    noisy = [0, *[0, 30] * 20]
    enough, _ = run(*noisy, world={"deadline_nanoseconds": 500 * MILLISECOND}, **BY_PRECISION)
    assert enough.protocol is not None
    assert enough.protocol.stopped_by is StopReason.DEADLINE
    assert enough.protocol.half_width_ppm is not None
    assert enough.protocol.half_width_ppm > 10_000
    assert 5 <= enough.samples_done < 12
    assert enough.validity is not None
    assert (enough.outcome, enough.validity.state) == (Outcome.SUCCEEDED, Validity.VALID)


def test_a_shard_without_time_for_the_next_sample_ends_partial_with_what_was_measured() -> None:
    verdict, model = run(0, world={"deadline_nanoseconds": 150 * MILLISECOND})
    assert (verdict.outcome, verdict.reason) == (Outcome.FAILED, Reason.SHARD_DEADLINE)
    assert verdict.message is not None
    assert "sample 3 of 3: another one takes about 0.0 s" in verdict.message
    assert "2 of at least 3 samples" in verdict.message
    assert verdict.validity is not None
    assert (verdict.samples_done, verdict.validity.state) == (2, Validity.PARTIAL)
    assert sum(call.startswith("generate") for call in model.calls) == 3, "a warm-up and two samples: none in vain"
    assert stated(verdict) == Protocol(plan="Fixed", stopped_by="Deadline")


def test_warm_ups_go_on_until_two_are_alike_and_the_verdict_says_whether_they_were() -> None:
    warm, _ = run(900, 50, 20, 0, 0, warmup=2, warmupMax=8)
    assert warm.setup is not None
    assert warm.setup.warmups == 5
    assert warm.protocol is not None
    assert warm.protocol.warm is True
    restless, _ = run(*range(900, 0, -100), warmup=2, warmupMax=4)
    assert restless.setup is not None
    assert restless.setup.warmups == 4
    assert restless.protocol is not None
    assert restless.protocol.warm is False
    fixed, _ = run(0)
    assert fixed.protocol is not None
    assert fixed.protocol.warm is None


def test_plan_repro_compares_reruns_and_reports_no_time_at_all() -> None:
    verdict, model = run(0, plan="Repro")
    assert verdict.reproducibility == Reproducibility(reruns=3, equal=3)
    assert (verdict.samples_done, verdict.series, verdict.memory) == (6, (), None)
    assert verdict.setup is not None
    assert verdict.setup.warmup_microseconds is None
    assert "never" not in verdict.unmeasured.get("latency", "")
    assert verdict.unmeasured["series"].startswith("plan Repro")
    assert verdict.validity is not None
    assert verdict.validity.state is Validity.VALID
    assert decode(encode(verdict)).reproducibility == verdict.reproducibility
    assert model.requests[0].deterministic is True


def test_plan_repro_names_the_first_clip_whose_bits_differ() -> None:
    drift = itertools.count()

    def drifting(request: Any) -> Any:
        made = clip(request)
        return replace(made, frames=made.frames + np.uint8(next(drift) > 4 and request.seed > 7))

    verdict, _ = run(world={"model": ScriptedModel(actions=itertools.repeat(drifting))}, plan="Repro")
    assert verdict.reproducibility == Reproducibility(reruns=3, equal=1, first_difference="prompt cat, seed 8")
    assert verdict.outcome is Outcome.SUCCEEDED, "that bits differ is a finding"


def test_the_verdict_says_what_the_timed_calls_cost_and_nothing_where_none_are_timed() -> None:
    verdict, _ = run(0)
    assert verdict.protocol is not None
    # One text encode, two denoiser calls, one decode, one postprocess, of 3 µs each, in 41.503 ms.
    assert verdict.protocol.instrument_ppm == 362
    assert instrument_ppm([], 3_000) is None
    rerun, _ = run(0, plan="Repro")
    assert rerun.protocol == Protocol(plan="Repro", stopped_by="AllDone")


def test_the_cap_of_a_variant_reaches_the_model_and_the_report() -> None:
    verdict, model = run(0, cell={"memoryCapMebibytes": 24_576})
    assert model.requests[0].memory_cap_bytes == 24 * 2**30
    assert verdict.memory is not None
    assert verdict.memory.cap == 24 * 2**30
    uncapped, _ = run(0)
    assert uncapped.memory is not None
    assert uncapped.memory.cap is None


def test_memory_of_the_cold_pass_stands_apart_from_that_of_the_samples() -> None:
    def peaks(*bytes_allocated: int) -> Any:
        return iter(
            [(lambda request, size=size: clip(request, memory_allocated_bytes=size)) for size in bytes_allocated]
        )

    model = ScriptedModel(actions=peaks(900, 100, 110, 120))
    verdict, _ = run(world={"model": model, "meter": FakeMeter(base=DeviceReading(memory_used_bytes=5_000))})
    assert verdict.memory_cold == ColdMemory(allocated=900, device=5_000)
    assert verdict.memory is not None
    assert verdict.memory.allocated == 120
    on_cpu, _ = run(0)
    assert on_cpu.memory_cold is None


def test_the_root_digest_is_over_latents_and_frames_of_the_samples_and_the_record_holds_one_of_each() -> None:
    keeper = Keeping()

    def with_latents(request: Any) -> Any:
        return clip(request, latents=(np.full(8, request.seed, dtype=np.uint8), np.full(4, 1, dtype=np.uint8)))

    model = ScriptedModel(actions=itertools.repeat(with_latents))
    verdict, _ = run(world={"model": model, "keeper": keeper})
    root = hashlib.sha256()
    for sample, frames in keeper.samples:
        latents = bytes([sample.seed] * 8 + [1] * 4)
        assert sample.latents_digest == hashlib.sha256(latents).hexdigest()
        assert sample.clip.latents == (), "they are not held on to"
        assert MeasuredSample.from_line(sample.to_line()).latents_digest == sample.latents_digest
        if not sample.warmup:
            root.update(latents + frames.tobytes())
    assert verdict.output_digest == root.hexdigest()


def test_plan_repro_sees_latents_that_differ_although_the_frames_were_rounded_to_the_same() -> None:
    drift = itertools.count()

    def drifting(request: Any) -> Any:
        return clip(request, latents=(np.full(8, next(drift), dtype=np.uint8),))

    verdict, _ = run(world={"model": ScriptedModel(actions=itertools.repeat(drifting))}, plan="Repro")
    assert verdict.reproducibility == Reproducibility(reruns=3, equal=0, first_difference="prompt cat, seed 7")
