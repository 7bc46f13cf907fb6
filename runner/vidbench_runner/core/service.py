"""What the answers of a `/v1/videos` server mean, and what they say together. Pure: no network, no clock.

The shape is that of SGLang and vLLM-Omni: a job has an `id` and a `status`; vLLM-Omni also tells `inference_time_s`. Answers
come from a server and are hostile until parsed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Literal

from vidbench_api.names import Reason
from vidbench_api.services import HttpSource, ServiceFacts
from vidbench_runner.core.endings import shortened
from vidbench_runner.core.purse import Purse
from vidbench_runner.core.sample import MeasuredSample
from vidbench_runner.ports import ClipRequest, ModelFailure

LONGEST_WAIT_SECONDS: Final = 60.0
"""A server that wants to be left alone for longer is taken as not available."""

_LARGEST_COST: Final = 999_999
_WAITING = frozenset({"queued", "pending"})
_RUNNING = frozenset({"in_progress", "processing", "running"})
_COMPLETED = frozenset({"completed", "succeeded"})
_FAILED = frozenset({"failed", "cancelled", "canceled", "expired", "deleted"})
_RESERVED = frozenset(
    {"model", "prompt", "negative_prompt", "size", "num_frames", "num_inference_steps", "seed", "fps", "n"}
)
"""Fields that the request itself decides: an argument of that name would measure something else than it says."""


class Step(StrEnum):
    """The calls that a clip takes."""

    SUBMIT = "submit"
    POLL = "poll"
    DOWNLOAD = "download"


class JobState(StrEnum):
    """Where a job is."""

    WAITING = "waiting"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"


@dataclass(frozen=True)
class Job:
    """What an answer says of a job."""

    id: str
    state: JobState
    word: str
    """The state, as the server calls it."""

    error: str | None = None
    run_seconds: float | None = None


def parse_job(text: str) -> Job:
    """Return the job that an answer tells of.

    Raises:
        ModelFailure: ServiceUnavailable, if it tells of none, or in words that are not known.
    """
    try:
        wire = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _foreign("is not JSON") from error
    if not isinstance(wire, dict) or not isinstance(wire.get("id"), str) or not wire["id"]:
        raise _foreign("has no id")
    if not _is_plain(wire["id"]):
        raise _foreign("has an id that is no plain word")
    state = _state(wire.get("status"))
    return Job(wire["id"], state, wire["status"], _error(wire.get("error")), _seconds(wire.get("inference_time_s")))


def _is_plain(identity: str) -> bool:
    """Whether an id can stand in a path as it is."""
    return (
        len(identity) <= 128
        and all(letter.isascii() and (letter.isalnum() or letter in "-_.") for letter in identity)
        and set(identity) != {"."}
    )


def _state(status: Any) -> JobState:
    for words, state in (
        (_WAITING, JobState.WAITING),
        (_RUNNING, JobState.RUNNING),
        (_COMPLETED, JobState.COMPLETED),
        (_FAILED, JobState.FAILED),
    ):
        if isinstance(status, str) and status.lower() in words:
            return state
    raise _foreign(f"has the status {shortened(str(status), 32)!r}")


def _error(error: Any) -> str | None:
    if isinstance(error, dict):
        error = error.get("message")
    return shortened(error, 160) if isinstance(error, str) and error else None


def _seconds(value: Any) -> float | None:
    known = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e6
    return float(value) if known else None


def _foreign(what: str) -> ModelFailure:
    return ModelFailure(Reason.SERVICE_UNAVAILABLE, f"the server speaks another protocol: a job {what}")


def failure_of_job(job: Job) -> ModelFailure:
    """Return the failure that a failed or cancelled job is."""
    why = job.error or "the server does not say why"
    return ModelFailure(Reason.GENERATION_FAILED, f"job {job.id} is {job.word}: {why}")


def failure_of_answer(step: Step, status: int, text: str) -> ModelFailure:
    """Return the failure that an answer's status is, where it is the last word."""
    said = f"{step.value}: the server answered {status}: {shortened(text, 120) or 'without a word'}"
    if status in (401, 403):
        return ModelFailure(
            Reason.MODEL_ACCESS_DENIED, f"{said}; see the Secret that the RunnerClass ties to this endpoint"
        )
    if status == 404 and step is Step.SUBMIT:
        return ModelFailure(Reason.MODEL_NOT_FOUND, f"{said}; see source.http.model and endpoint of the VideoModel")
    if status in (400, 422) and step is Step.SUBMIT:
        return ModelFailure(Reason.INVALID_ARGUMENTS, said)
    if 300 <= status < 400:
        return ModelFailure(
            Reason.SERVICE_UNAVAILABLE,
            f"{step.value}: the server answered {status}; redirections are not followed, as they would take the key along",
        )
    return ModelFailure(Reason.SERVICE_UNAVAILABLE, said)


def is_tried_again(step: Step, status: int) -> bool:
    """Whether an answer of this status is no last word.

    A submission that was refused for load has made no job; after any other error it may have, and another would cost again.
    """
    if step is Step.SUBMIT:
        return status in (429, 503)
    return status == 429 or status >= 500


def wait_seconds(retry_after: str | None, errors: int) -> float | None:
    """Return how long to wait after the `errors`-th error in a row; None where the server wants more than is waited.

    A `Retry-After` that is no number of seconds is not gone by: it would be a date by the server's clock.
    """
    if retry_after is not None and retry_after.isascii() and retry_after.isdigit():
        asked = float(retry_after[:9])
        return asked if asked <= LONGEST_WAIT_SECONDS else None
    return min(30.0, 0.5 * 2.0 ** min(errors, 10))


def body_of(http: HttpSource, clip: ClipRequest, frames_per_second: int) -> dict[str, Any]:
    """Return what a job is submitted with. The clip's arguments come last; `check_arguments` has refused what they may not say."""
    body: dict[str, Any] = {
        "model": http.model,
        "prompt": clip.prompt,
        "size": f"{clip.width}x{clip.height}",
        "num_frames": clip.frames,
        "fps": frames_per_second,
        "num_inference_steps": clip.steps,
        "seed": clip.seed,
    }
    if clip.negative_prompt is not None:
        body["negative_prompt"] = clip.negative_prompt
    return body | dict(clip.arguments)


def form_of(body: Mapping[str, Any]) -> dict[str, tuple[None, str]]:
    """Return a body as the fields of a form: texts as they are, the rest as JSON."""
    return {
        name: (None, value if isinstance(value, str) else json.dumps(value))
        for name, value in body.items()
        if value is not None
    }


def check_arguments(arguments: Mapping[str, Any]) -> None:
    """Refuse arguments that would say another thing than the request.

    Raises:
        ModelFailure: InvalidArguments.
    """
    wrong = sorted(set(arguments) & _RESERVED)
    if wrong:
        raise ModelFailure(
            Reason.INVALID_ARGUMENTS,
            f"arguments[{wrong[0]}]: the request decides that field; use clip, steps, prompts and seeds of the run",
        )


def seed_honoured(samples: Sequence[MeasuredSample]) -> Literal["Yes", "No", "Unknown"]:
    """Return whether the seed decides the frames, as far as what was asked shows it.

    No, if the same prompt and seed gave other frames, or another seed the same ones. Yes, if something was asked twice, and
    a prompt with two seeds: a server that always makes the same video would look the same with one.
    """
    answers: dict[tuple[str, int], set[str]] = {}
    for sample in samples:
        answers.setdefault((sample.prompt, sample.seed), set()).add(sample.digest)
    if any(len(digests) > 1 for digests in answers.values()):
        return "No"
    by_prompt: dict[str, list[str]] = {}
    for (prompt, _), digests in answers.items():
        by_prompt.setdefault(prompt, []).extend(digests)
    if any(len(set(digests)) < len(digests) for digests in by_prompt.values()):
        return "No"
    asked_twice = len(samples) > len(answers)
    with_two_seeds = any(len(digests) > 1 for digests in by_prompt.values())
    return "Yes" if asked_twice and with_two_seeds else "Unknown"


def service_facts(http: HttpSource, purse: Purse, samples: Sequence[MeasuredSample]) -> ServiceFacts:
    """Return what a result says of the service that its samples, warm-ups first, came from."""
    cost = purse.cost
    calls = [sample.clip.service for sample in samples if sample.clip.service is not None]
    return ServiceFacts(
        endpoint=http.endpoint,
        model=http.model,
        resolution_microseconds=http.poll_milliseconds * 1000,
        seed_honoured=seed_honoured(samples),
        videos=purse.jobs,
        cost=None if cost is None else f"{min(cost, _LARGEST_COST):f}",
        currency=http.currency,
        last_request=calls[-1].request_id[:128] if calls else None,
    )
