"""Quality in the result: columns and their units, the raw record, when it may be compared, and what it does to validity."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import clips
from support.requests import CELL, request_document
from support.scripted_model import FakeClock, FakeHost, FakeMeter, ScriptedModel, clip

from vidbench_api.measured import Environment, SeriesName
from vidbench_api.message import decode, encode
from vidbench_api.names import Outcome, Validity
from vidbench_api.verdict import Stage, Verdict
from vidbench_runner.artifacts import NoArtifacts
from vidbench_runner.core.columns import columns_of
from vidbench_runner.core.energy import Energy
from vidbench_runner.core.plan import Attempt, TrialPlan, plan_trial
from vidbench_runner.core.quality import NOT_ASSESSED, NOT_STORED, QUALITY_COLUMNS, absent, quality_facts
from vidbench_runner.core.sample import MeasuredSample
from vidbench_runner.core.stored import rebuilt
from vidbench_runner.core.trial import Trial, World
from vidbench_runner.core.validity import Evidence, judge
from vidbench_runner.ports import ClipQuality, DeviceReading, Progress
from vidbench_runner.quality.assessment import FrameAssessor

ATTEMPT = Attempt("0123456789abcdef", CELL, 1, 1)
NOISE = plan_trial(request_document(), ATTEMPT)
"""Of the tiny backend."""


def of_backend(name: str) -> TrialPlan:
    return replace(NOISE, model=replace(NOISE.model, backend=name))


PRETRAINED = of_backend("diffusers")


def seen(blank: bool = False, static: bool = False, **figures: float) -> ClipQuality:
    """Quality with 0 for what is not given."""
    return ClipQuality(
        {name: figures.get(name.value, 0.0) for name in QUALITY_COLUMNS}, {}, blank, static, 0.25, nanoseconds=1_500_000
    )


def sample(number: int, quality: ClipQuality) -> MeasuredSample:
    planned = NOISE.samples[number]
    made = replace(clip(planned.clip), frames=None, expected_calls={})
    energy = Energy(None, 5, "cpu")
    return MeasuredSample(number, False, planned.prompt, planned.clip.seed, made, "d", energy, DeviceReading(), quality)


def test_quality_columns_are_whole_numbers_of_their_units() -> None:
    columns = columns_of([sample(0, seen(warpingError=0.0123456, dynamicDegree=4.0006, sceneCuts=2.0))])
    series = {entry.name: entry for entry in columns.series}
    assert (series[SeriesName.WARPING_ERROR].unit, series[SeriesName.WARPING_ERROR].values) == (
        "partsPerMillion",
        (12_346,),
    )
    assert (series[SeriesName.DYNAMIC_DEGREE].unit, series[SeriesName.DYNAMIC_DEGREE].values) == (
        "millipixels",
        (4_001,),
    )
    assert (series[SeriesName.SCENE_CUTS].unit, series[SeriesName.SCENE_CUTS].values) == ("count", (2,))


def test_quality_columns_stand_in_the_order_of_the_contract_behind_all_others() -> None:
    assert list(QUALITY_COLUMNS) == list(SeriesName)[-len(QUALITY_COLUMNS) :]


def test_quality_that_is_absent_has_its_reason_and_some_of_it_makes_no_column() -> None:
    assert columns_of([sample(0, absent("one_frame"))]).unmeasured["flicker"] == "one_frame"
    some = columns_of([sample(0, seen()), sample(1, absent("one_frame"))])
    assert some.unmeasured["flicker"] == "not_in_every_sample"
    assert not {entry.name for entry in some.series} & set(QUALITY_COLUMNS)


FINITE = st.floats(0, 1e6, allow_nan=False)


@given(
    st.dictionaries(st.sampled_from(list(QUALITY_COLUMNS)), FINITE), st.none() | st.booleans(), st.none() | st.booleans(),
    st.none() | FINITE, st.integers(0, 10**12),
)  # fmt: skip
def test_quality_comes_back_from_the_raw_record(
    figures: Any, blank: Any, static: Any, occluded: Any, taken: int
) -> None:
    reasons = {name: "why" for name in QUALITY_COLUMNS if name not in figures}
    made = sample(0, ClipQuality(figures, reasons, blank, static, occluded, taken))
    assert replace(MeasuredSample.from_line(json.loads(json.dumps(made.to_line()))), clip=made.clip) == made


@pytest.mark.parametrize(
    ("field_name", "value"),
    [
        ("figures", {"nonsense": 1}), ("figures", {"flicker": float("nan")}), ("figures", []), ("blank", "no"),
        ("reasons", {"nonsense": "x"}), ("nanoseconds", None), ("occluded", "x"),
    ],
)  # fmt: skip
def test_quality_that_is_none_is_refused_in_the_raw_record(field_name: str, value: Any) -> None:
    line = sample(0, seen()).to_line()
    line["quality"][field_name] = value
    with pytest.raises((ValueError, KeyError, TypeError, AttributeError)):
        MeasuredSample.from_line(line)


def test_quality_was_not_stored_by_runners_of_before() -> None:
    line = sample(0, seen()).to_line()
    del line["quality"]
    assert MeasuredSample.from_line(line).quality == NOT_STORED


@pytest.mark.parametrize(
    ("plan", "comparable", "reason"),
    [
        pytest.param(PRETRAINED, True, None, id="a pretrained model"),
        pytest.param(NOISE, False, "random_weights", id="random weights"),
        pytest.param(of_backend("http"), False, "encoded_video", id="frames that went through an encoder"),
    ],
)
def test_quality_of_random_weights_is_marked(plan: TrialPlan, comparable: bool, reason: str | None) -> None:
    facts = quality_facts(plan.model, [sample(0, seen()), sample(1, seen())])
    assert facts is not None
    assert (facts.comparable, facts.reason, facts.microseconds) == (comparable, reason, 3000)
    assert quality_facts(plan.model, [sample(0, NOT_ASSESSED)]) is None


@pytest.mark.parametrize(
    ("plan", "qualities", "reasons"),
    [
        pytest.param(PRETRAINED, [seen(), seen(), seen()], (), id="all show something that moves"),
        pytest.param(PRETRAINED, [seen(), seen(blank=True), seen()], ("BlankOutput",), id="one is blank"),
        pytest.param(PRETRAINED, [seen(), seen(), seen(static=True)], ("StaticOutput",), id="one is static"),
        pytest.param(PRETRAINED, [seen(True, True)] * 3, ("BlankOutput", "StaticOutput"), id="both"),
        pytest.param(PRETRAINED, [absent("failed: X")] * 3, (), id="nobody could look"),
        pytest.param(NOISE, [seen(True, True)] * 3, (), id="random weights show nothing that counts"),
        pytest.param(of_backend("http"), [seen(blank=True)] * 3, ("BlankOutput",), id="a service sends black"),
    ],
)
def test_quality_of_nothing_to_see_is_invalid(
    plan: TrialPlan, qualities: list[ClipQuality], reasons: tuple[str, ...]
) -> None:
    verdict = judge(Evidence(plan, [sample(n, quality) for n, quality in enumerate(qualities)]))
    assert verdict.reasons == reasons
    assert verdict.state is (Validity.INVALID if reasons else Validity.VALID)


def test_quality_rebuilt_from_stored_samples_keeps_its_mark_and_its_reasons() -> None:
    lines = "".join(json.dumps(sample(n, seen(blank=n == 1)).to_line()) + "\n" for n in range(2))
    verdict = rebuilt(PRETRAINED, lines, "claim://x")
    assert verdict.validity is not None
    assert verdict.validity.reasons[0] == "BlankOutput"
    assert verdict.quality is not None
    assert verdict.quality.comparable


# -- in a trial


@dataclass
class Listener:
    """Remembers beats."""

    beats: list[tuple[Stage, str]] = field(default_factory=list)

    def beat(self, stage: Stage, word: str) -> None:
        self.beats.append((stage, word))

    def snapshot(self, verdict: Verdict) -> None:
        """Forget it."""

    def failed(self, error: BaseException) -> None:
        raise error


@dataclass
class Looker:
    """A `ClipAssessor` that says what it is told and remembers what it was shown, and when."""

    clock: FakeClock
    shown: list[Any] = field(default_factory=list)

    def assess(self, frames: Any, progress: Progress) -> ClipQuality:
        progress("flow 1")
        self.shown.append(frames)
        return seen(flicker=0.5)


def run(plan: TrialPlan, assessor: Any, *actions: Any) -> tuple[Verdict, Listener]:
    listener = Listener()
    world = World(
        model=ScriptedModel(actions=iter(actions)), meter=FakeMeter(), clock=FakeClock(), host=FakeHost(),
        listener=listener, keeper=NoArtifacts(), environment=Environment(device="cpu"), assessor=assessor,
    )  # fmt: skip
    return Trial(plan, world).run(), listener


def test_quality_of_every_clip_is_looked_at_warm_ups_too_and_only_samples_make_columns() -> None:
    looker = Looker(FakeClock())
    verdict, listener = run(PRETRAINED, looker)
    assert verdict.outcome is Outcome.SUCCEEDED
    flicker = verdict.find_series(SeriesName.FLICKER)
    assert flicker is not None
    assert flicker.values == (500_000,) * len(NOISE.samples)
    assert len(looker.shown) > len(NOISE.samples), "no sample starts on a device that had less rest"
    assert (Stage.WARMING_UP, "quality flow 1") in listener.beats
    assert (Stage.SAMPLING, "quality flow 1") in listener.beats
    assert verdict.quality is not None
    assert verdict.quality.microseconds == 1_500 * len(NOISE.samples)
    back = decode(encode(verdict))
    assert (back.quality, back.find_series(SeriesName.FLICKER)) == (verdict.quality, flicker)


def test_quality_of_a_mock_is_not_looked_at() -> None:
    looker = Looker(FakeClock())
    verdict, _ = run(of_backend("mock"), looker)
    assert (looker.shown, verdict.quality, verdict.unmeasured["flicker"]) == ([], None, "mock")


def test_quality_without_an_assessor_says_so() -> None:
    verdict, _ = run(PRETRAINED, None)
    assert verdict.unmeasured["flicker"] == "not_assessed"
    assert verdict.quality is None


def test_quality_through_and_through_finds_the_blank_clip() -> None:
    """The scripted model makes frames of one level; noise replaces those of two samples."""

    def noisy(request: Any) -> Any:
        return clip(request, frames=clips.noise(request.frames, request.height, request.width, request.seed))

    warmups = PRETRAINED.warmups.min
    verdict, _ = run(PRETRAINED, FrameAssessor(FakeClock()), *[noisy] * (warmups + 2))
    assert verdict.validity is not None
    assert verdict.validity.reasons == ("BlankOutput", "StaticOutput")
    verdict, _ = run(PRETRAINED, FrameAssessor(FakeClock()), *[noisy] * 99)
    assert verdict.validity is not None
    assert verdict.validity.state is Validity.VALID
