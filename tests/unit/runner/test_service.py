"""What answers of a server mean, without a server: tables, and anything at all as an answer."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.requests import CELL, request_document
from support.scripted_model import clip

from vidbench_api.names import Reason
from vidbench_api.services import HttpSource
from vidbench_runner.core.energy import Energy
from vidbench_runner.core.plan import Attempt, plan_trial
from vidbench_runner.core.purse import Purse
from vidbench_runner.core.sample import MeasuredSample
from vidbench_runner.core.service import (
    JobState,
    Step,
    form_of,
    is_tried_again,
    parse_job,
    seed_honoured,
    service_facts,
    wait_seconds,
)
from vidbench_runner.ports import DeviceReading, ModelFailure, ServiceCall

CLIP = plan_trial(request_document(), Attempt("d", CELL, 1, 1)).samples[0].clip
SOURCE = HttpSource(
    endpoint="http://a/v1", model="wan", price_per_video="0.1", currency="EUR", max_cost_per_attempt="0.3"
)


def sample(prompt: str, seed: int, digest: str) -> MeasuredSample:
    made = replace(clip(CLIP), frames=None, service=ServiceCall(f"id-{seed}", None, 5, 1, 0))
    return MeasuredSample(0, False, prompt, seed, made, digest, Energy(None, 1, "cpu"), DeviceReading())


@pytest.mark.parametrize(
    ("asked", "honoured"),
    [
        pytest.param([], "Unknown", id="nothing was asked"),
        pytest.param([("cat", 1, "a"), ("cat", 2, "b")], "Unknown", id="nothing was asked twice"),
        pytest.param([("cat", 1, "a"), ("cat", 1, "a"), ("cat", 2, "b")], "Yes", id="twice the same, and another"),
        pytest.param([("cat", 1, "a"), ("cat", 1, "a")], "Unknown", id="one seed alone: it may be ignored"),
        pytest.param(
            [("cat", 1, "a"), ("cat", 1, "a"), ("dog", 1, "b")], "Unknown", id="one seed alone, whatever the prompts"
        ),
        pytest.param([("cat", 1, "a"), ("cat", 1, "b")], "No", id="twice another"),
        pytest.param([("cat", 1, "a"), ("cat", 2, "a")], "No", id="another seed makes no difference"),
        pytest.param([("cat", 1, "a"), ("cat", 1, "a"), ("cat", 2, "a")], "No", id="the same, whatever the seed"),
        pytest.param([("cat", 1, "a"), ("dog", 1, "a")], "Unknown", id="two prompts say nothing of seeds"),
    ],
)
def test_seed_is_honoured_as_far_as_answers_show_it(asked: list[tuple[str, int, str]], honoured: str) -> None:
    assert seed_honoured([sample(*entry) for entry in asked]) == honoured


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("queued", JobState.WAITING), ("pending", JobState.WAITING), ("in_progress", JobState.RUNNING),
        ("Completed", JobState.COMPLETED), ("failed", JobState.FAILED), ("cancelled", JobState.FAILED),
        ("expired", JobState.FAILED),
    ],
)  # fmt: skip
def test_job_is_where_its_word_says(status: str, state: JobState) -> None:
    job = parse_job(json.dumps({"id": "v-1", "status": status, "error": {"message": "m"}, "inference_time_s": 2}))
    assert (job.state, job.word, job.error, job.run_seconds) == (state, status, "m", 2.0)


@pytest.mark.parametrize("time", [True, "3", -1, 0, 1e9, None, [], float("nan")])
def test_time_that_is_none_is_not_told(time: Any) -> None:
    assert parse_job(json.dumps({"id": "v", "status": "queued", "inference_time_s": time})).run_seconds is None


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@given(
    st.text() | ANYTHING.map(json.dumps)
    | st.fixed_dictionaries({"id": ANYTHING, "status": ANYTHING, "error": ANYTHING}).map(json.dumps)
)  # fmt: skip
def test_answer_is_a_job_or_a_failure_with_its_reason(text: str) -> None:
    job, reason = None, None
    try:
        job = parse_job(text)
    except ModelFailure as failure:
        reason = failure.reason
    if job is None:
        assert reason == Reason.SERVICE_UNAVAILABLE
    else:
        assert "/" not in job.id
        assert set(job.id) != {"."}


@pytest.mark.parametrize(
    ("step", "status", "again"),
    [
        (Step.SUBMIT, 429, True), (Step.SUBMIT, 503, True), (Step.SUBMIT, 500, False), (Step.SUBMIT, 504, False),
        (Step.POLL, 429, True), (Step.POLL, 500, True), (Step.POLL, 404, False), (Step.DOWNLOAD, 502, True),
        (Step.DOWNLOAD, 403, False),
    ],
)  # fmt: skip
def test_only_what_cannot_cost_twice_is_tried_again(step: Step, status: int, again: bool) -> None:
    assert is_tried_again(step, status) is again


@pytest.mark.parametrize(
    ("retry_after", "errors", "seconds"),
    [
        ("7", 1, 7.0), ("0", 3, 0.0), ("61", 1, None), ("99999999999999", 1, None), (None, 1, 1.0), (None, 2, 2.0),
        (None, 50, 30.0), ("Wed, 21 Oct 2026 07:28:00 GMT", 1, 1.0), ("-1", 1, 1.0), ("²", 1, 1.0),
    ],
)  # fmt: skip
def test_wait_is_what_the_server_asks_for_within_reason(
    retry_after: str | None, errors: int, seconds: float | None
) -> None:
    assert wait_seconds(retry_after, errors) == seconds


def test_purse_refuses_the_job_that_would_be_too_much_and_counts_no_cents_away() -> None:
    purse = Purse(SOURCE)
    for _ in range(3):
        assert purse.refusal() is None, "three times 0.1 are 0.3, whatever floats say"
        purse.pay()
    assert "0.3" in (purse.refusal() or "")
    assert Purse(SOURCE.model_copy(update={"max_cost_per_attempt": None}), 1000).refusal() is None


def test_facts_say_what_was_asked_and_at_what_cost() -> None:
    facts = service_facts(SOURCE, Purse(SOURCE, 2), [sample("cat", 1, "a")])
    assert (facts.videos, facts.cost, facts.currency, facts.last_request) == (2, "0.2", "EUR", "id-1")


def test_form_leaves_out_what_is_not_given_and_keeps_texts_as_they_are() -> None:
    assert form_of({"prompt": "a", "seed": 7, "on": True, "none": None}) == {
        "prompt": (None, "a"), "seed": (None, "7"), "on": (None, "true"),
    }  # fmt: skip


def test_sample_of_a_service_comes_back_from_the_raw_record() -> None:
    before = sample("cat", 1, "a")
    before = replace(before, clip=replace(before.clip, phases_reason="unsupported", denoiser_forward_calls=None))
    after = MeasuredSample.from_line(json.loads(json.dumps(before.to_line())))
    assert (after.clip.service, after.clip.phases_reason) == (before.clip.service, "unsupported")
