"""What an attempt leaves for a harvest: it comes back whole, or is refused; it never comes back as something else."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.requests import CELL, request_document
from support.scripted_model import clip

from vidbench_api.measured import SeriesName
from vidbench_api.message import decode, encode
from vidbench_api.names import Outcome, Reason, Validity
from vidbench_api.verdict import Phase, Stage, Verdict
from vidbench_runner.core.columns import columns_of
from vidbench_runner.core.endings import Ending, blank_verdict, concluded
from vidbench_runner.core.energy import Energy
from vidbench_runner.core.plan import Attempt, plan_trial
from vidbench_runner.core.protocol import NEVER_TIMED
from vidbench_runner.core.sample import MeasuredSample
from vidbench_runner.core.stored import LOST, StoredError, document_of, rebuilt, verdict_of
from vidbench_runner.ports import CallMismatch, DeviceReading

ATTEMPT = Attempt("0123456789abcdef", CELL, 1, 2)
PLAN = plan_trial(request_document(), ATTEMPT)
REQUEST = PLAN.samples[0].clip
URI = "claim://results/team/nightly/0123abcd/1/2"
_COUNT = st.integers(0, 2**50)
_MAYBE = st.none() | _COUNT


def sample(number: int, *, warmup: bool = False, slower: int = 0, **changes: Any) -> MeasuredSample:
    made = replace(clip(REQUEST, slower=slower, **changes), frames=None, expected_calls={})
    device = DeviceReading(memory_used_bytes=9, temperature_celsius=40)
    return MeasuredSample(number, warmup, "cat", 7 + number, made, f"digest-{number}", Energy(None, 5, "cpu"), device)


def lines_of(*samples: MeasuredSample) -> str:
    return "".join(json.dumps(entry.to_line(), sort_keys=True) + "\n" for entry in samples)


def final(**changes: Any) -> Verdict:
    return concluded(blank_verdict(ATTEMPT).model_copy(update={"samples_done": 3} | changes), None)


@pytest.mark.parametrize(
    "verdict",
    [
        pytest.param(final(series=columns_of([sample(0), sample(1, slower=5000)]).series), id="a success"),
        pytest.param(
            concluded(blank_verdict(ATTEMPT), Ending(Reason.OUT_OF_MEMORY_CUDA, "full", Phase.VAE_DECODE.value)),
            id="a finding",
        ),
    ],
)
def test_stored_verdict_comes_back_whole(verdict: Verdict) -> None:
    assert verdict_of(document_of(verdict), ATTEMPT) == verdict


GOOD = document_of(final())
BAD: list[Any] = [
    pytest.param("", "not JSON", id="empty"),
    pytest.param(GOOD[: len(GOOD) // 2], "not JSON", id="cut"),
    pytest.param("[]", "no JSON object", id="a list"),
    pytest.param("{}", "not of the schema", id="another document"),
    pytest.param(GOOD.replace('"samplesDone": 3', '"samplesDone": 9'), "checksum", id="changed"),
    pytest.param(GOOD.replace('"verdict"', '"verdikt"'), "checksum", id="without a verdict"),
    pytest.param(document_of(final().model_copy(update={"attempt": 3})), "another attempt", id="a later attempt"),
    pytest.param(document_of(final().model_copy(update={"request_digest": "f" * 16})), "another attempt", id="another request"),
    pytest.param(document_of(blank_verdict(ATTEMPT)), "not final", id="written ahead"),
    pytest.param("[" * 100_000, "not JSON", id="deep"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "words"), BAD)
def test_stored_verdict_that_is_not_this_attempts_is_refused(text: str, words: str) -> None:
    with pytest.raises(StoredError, match=words):
        verdict_of(text, ATTEMPT)


@given(st.integers(0, len(GOOD) - 1), st.characters(codec="ascii"))
def test_stored_verdict_with_any_character_changed_is_the_same_or_refused(position: int, letter: str) -> None:
    changed = GOOD[:position] + letter + GOOD[position + 1 :]
    try:
        assert verdict_of(changed, ATTEMPT) == final()
    except StoredError:
        return


@given(
    latency=st.integers(0, 10**9), allocated=_MAYBE, calls=st.integers(0, 99), steps=st.lists(_COUNT, max_size=4),
    energy=_MAYBE, temperature=st.none() | st.integers(0, 100), warmup=st.booleans(),
)  # fmt: skip
def test_sample_comes_back_from_its_line(
    latency: int, allocated: int | None, calls: int, steps: list[int], energy: int | None, temperature: int | None, *, warmup: bool
) -> None:  # fmt: skip
    made = sample(
        1, warmup=warmup, slower=latency, memory_allocated_bytes=allocated, memory_reserved_after_bytes=allocated, step_nanoseconds=tuple(steps),
        call_mismatches=(CallMismatch(Phase.DENOISE, 2, calls),),
    )  # fmt: skip
    made = replace(made, energy=Energy(energy, 7, None), device=DeviceReading(temperature_celsius=temperature))
    assert MeasuredSample.from_line(json.loads(json.dumps(made.to_line({"file": "x"})))) == made


def test_samples_without_a_verdict_are_a_partial_one_that_is_not_final() -> None:
    verdict = rebuilt(PLAN, lines_of(sample(0, warmup=True), sample(0), sample(1, slower=900)), URI)
    assert (verdict.final, verdict.outcome, verdict.samples_done, verdict.stage) == (False, None, 2, Stage.STORING)
    assert verdict.validity is not None
    assert (verdict.validity.state, verdict.validity.reasons) == (Validity.PARTIAL, ("VerdictLost",))
    assert verdict.series == columns_of([sample(0), sample(1, slower=900)]).series
    assert verdict.memory is not None
    assert verdict.memory.device == 9
    assert verdict.artifacts is not None
    assert verdict.artifacts.uri == URI
    assert verdict.unmeasured["environment"] == "lost with the verdict"
    assert decode(encode(verdict)).find_series(SeriesName.LATENCY) == verdict.find_series(SeriesName.LATENCY)


CAPPED = plan_trial(request_document(cell={"memoryCapMebibytes": 24_576}), ATTEMPT)


def with_energy(number: int) -> MeasuredSample:
    return replace(sample(number), energy=Energy(1000, 5, None))


def test_what_was_lost_with_the_verdict_is_named_so_and_what_the_samples_tell_is_told() -> None:
    verdict = rebuilt(CAPPED, lines_of(*(with_energy(number) for number in range(3))), URI)
    lost = {name for name, reason in verdict.unmeasured.items() if reason == LOST}
    assert lost == {
        "setup", "environment", "loaded", "health", "watch", "expectedCalls", "outputDigest", "cpuThrottledPeriods",
        "memoryHost", "memoryCgroup", "energyNet",
    }  # fmt: skip
    assert verdict.memory is not None
    assert (verdict.memory.cap, verdict.memory.device, verdict.memory.host) == (24 * 2**30, 9, None)
    assert verdict.energy is not None
    assert (verdict.energy.per_frame_millijoules, verdict.energy.idle_milliwatts) == (200, None)
    assert (verdict.steadiness, verdict.unmeasured["steadiness"]) == (None, "fewer_than_6_samples")


def test_steadiness_comes_from_the_samples() -> None:
    plan = plan_trial(request_document(seeds={"base": 7, "count": 6}), ATTEMPT)
    verdict = rebuilt(plan, lines_of(*(sample(number) for number in range(6))), URI)
    assert verdict.steadiness is not None
    assert "steadiness" not in verdict.unmeasured


def test_energy_that_was_not_measured_is_not_called_lost() -> None:
    verdict = rebuilt(PLAN, lines_of(sample(0)), URI)
    assert verdict.energy is None
    assert (verdict.unmeasured["energy"], verdict.unmeasured["energyNet"]) == ("cpu", "cpu")


def test_reruns_have_no_memory_without_a_verdict_either() -> None:
    plan = plan_trial(request_document(plan="Repro"), ATTEMPT)
    verdict = rebuilt(plan, lines_of(sample(0, warmup=True), sample(0), sample(1)), URI)
    assert (verdict.memory, verdict.memory_cold, verdict.energy) == (None, None, None)
    assert verdict.unmeasured["memory"] == NEVER_TIMED
    assert not {"memoryHost", "memoryDevice", "steadiness"} & set(verdict.unmeasured)


def test_service_without_a_verdict_is_lost_too() -> None:
    source = {"http": {"endpoint": "http://a/v1", "model": "wan"}}
    plan = plan_trial(request_document(cell={"backend": "http", "source": source}), ATTEMPT)
    assert rebuilt(plan, lines_of(sample(0)), URI).unmeasured["service"] == LOST


def test_all_samples_without_a_verdict_are_not_taken_for_a_success() -> None:
    verdict = rebuilt(PLAN, lines_of(sample(0), sample(1), sample(2)), URI)
    assert verdict.samples_done == len(PLAN.samples)
    assert verdict.validity is not None
    assert verdict.validity.state is Validity.PARTIAL
    assert verdict.outcome is not Outcome.SUCCEEDED


def test_samples_that_contradict_the_request_stay_invalid() -> None:
    wrong = replace(sample(0), clip=replace(sample(0).clip, delivered_height=8))
    verdict = rebuilt(PLAN, lines_of(wrong), URI)
    assert verdict.validity is not None
    assert verdict.validity.state is Validity.INVALID
    assert "SizeDiffers" in verdict.validity.reasons


WHOLE = lines_of(sample(0), sample(1))
BAD_LINES: list[Any] = [
    pytest.param(WHOLE[:-40], "line 2", id="cut"),
    pytest.param("nonsense\n", "line 1 .* not JSON", id="nonsense"),
    pytest.param("{}\n", "line 1 .* no sample: KeyError", id="no sample"),
    pytest.param(WHOLE.replace("sample/1", "sample/2"), "no sample: ValueError", id="a later schema"),
    pytest.param(WHOLE.replace('"frames": 5', '"frames": "5"'), "no sample: TypeError", id="a text for a number"),
    pytest.param(lines_of(sample(1)), "does not hold the samples", id="not from the first one on"),
    pytest.param(lines_of(sample(0), sample(0)), "does not hold the samples", id="one of them twice"),
    pytest.param(lines_of(*(sample(number) for number in range(4))), "does not hold the samples", id="too many"),
]


@pytest.mark.parametrize(("lines", "words"), BAD_LINES)
def test_lines_that_are_not_this_attempts_samples_are_refused(lines: str, words: str) -> None:
    with pytest.raises(StoredError, match=words):
        rebuilt(PLAN, lines, URI)
