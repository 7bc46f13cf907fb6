"""What an attempt leaves among its artifacts for a harvest: its whole verdict with a checksum, and its samples' lines. Pure.

The termination message is short and dies with its pod; the stored verdict is whole and does not. Where only the samples'
lines are there, the attempt was killed between storing them and its verdict: what they hold is a verdict that is not final.
What is read was written by a pod: it is hostile until it is parsed, and it must be this attempt's.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic import ValidationError

from vidbench_api.identity import canonical_json, digest_of
from vidbench_api.measured import ArtifactsFacts, ClipFacts, ValidityVerdict
from vidbench_api.names import Validity
from vidbench_api.validity import ValidityReason
from vidbench_api.verdict import Stage, Verdict
from vidbench_runner.core.compilation import compilation_of
from vidbench_runner.core.peaks import cold_memory, peak_memory
from vidbench_runner.core.plan import Attempt, TrialPlan
from vidbench_runner.core.protocol import plan_columns, protocol_of, reproducibility_of
from vidbench_runner.core.quality import quality_facts
from vidbench_runner.core.sample import MeasuredSample
from vidbench_runner.core.validity import Evidence, judge
from vidbench_runner.ports import DeviceReading, HostReading

SCHEMA = "vidbench.io/stored-verdict/1"
VERDICT_FILE = "verdict.json"
SAMPLES_FILE = "samples.jsonl"
LOST = "lost with the verdict"
REBUILT = "rebuilt from the stored samples: the attempt was killed before it stored its verdict"


class StoredError(ValueError):
    """A stored document that cannot be used. The message says why, without repeating it."""


def document_of(verdict: Verdict) -> str:
    """Return the text of the stored verdict."""
    body = verdict.to_wire()
    return json.dumps({"schema": SCHEMA, "sha256": digest_of(canonical_json(body)), "verdict": body}, indent=1) + "\n"


def verdict_of(text: str, attempt: Attempt) -> Verdict:
    """Return the verdict of a stored document.

    Raises:
        StoredError: it is cut, changed, of another attempt, or no final verdict.
    """
    wire = _object(text, VERDICT_FILE)
    if wire.get("schema") != SCHEMA:
        raise StoredError(f"{VERDICT_FILE} is not of the schema {SCHEMA}")
    body = wire.get("verdict")
    try:
        if digest_of(canonical_json(body)) != wire.get("sha256"):
            raise StoredError(f"{VERDICT_FILE} has another checksum than it says: it was cut or changed")
        verdict = Verdict.model_validate(body)
    except ValidationError as error:
        raise StoredError(f"{VERDICT_FILE} is no verdict: {error.error_count()} schema errors") from error
    if Attempt(verdict.request_digest, verdict.cell, verdict.shard, verdict.attempt) != attempt:
        raise StoredError(f"{VERDICT_FILE} is of another attempt")
    if not verdict.final or verdict.outcome is None:
        raise StoredError(f"{VERDICT_FILE} is not final")
    return verdict


def rebuilt(plan: TrialPlan, lines: str, uri: str) -> Verdict:
    """Return what the stored lines of an attempt's samples say: Partial, not final, or Invalid where they contradict it.

    Raises:
        StoredError: a line is none, or is none that this attempt's plan has.
    """
    taken = [_sample(line, number) for number, line in enumerate(lines.splitlines(), 1)]
    warmups = [sample for sample in taken if sample.warmup]
    samples = [sample for sample in taken if not sample.warmup]
    _check(plan, samples)
    columns = plan_columns(plan, samples)
    memory, unmeasured = peak_memory(
        warmups, samples, None, taken[-1].device if taken else DeviceReading(), HostReading()
    )
    judged = judge(Evidence(plan, samples))
    partial = ValidityVerdict(state=Validity.PARTIAL, reasons=(ValidityReason.VERDICT_LOST.value,))
    wanted = plan.samples[0].clip
    attempt = plan.attempt
    return Verdict(
        request_digest=attempt.request_digest,
        cell=attempt.cell,
        shard=attempt.shard,
        attempt=attempt.attempt,
        message=REBUILT,
        stage=Stage.STORING,
        validity=judged if judged.state is Validity.INVALID else partial,
        samples_done=len(samples),
        protocol=protocol_of(plan, columns.series),
        reproducibility=reproducibility_of(plan, samples),
        clip=ClipFacts(
            height=wanted.height,
            width=wanted.width,
            frames_requested=wanted.frames,
            frames_delivered=samples[0].clip.delivered_frames if samples else None,
            steps=wanted.steps,
        ),
        compilation=compilation_of(warmups, samples),
        memory=memory,
        memory_cold=cold_memory(warmups),
        artifacts=ArtifactsFacts(uri=uri, digest=digest_of(lines)),
        quality=quality_facts(plan.model, samples),
        series=columns.series,
        unmeasured=dict(columns.unmeasured)
        | unmeasured
        | dict.fromkeys(
            ("setup", "environment", "loaded", "health", "watch", "outputDigest", "cpuThrottledPeriods"), LOST
        ),
    )


def _check(plan: TrialPlan, samples: list[MeasuredSample]) -> None:
    """Refuse samples that the plan does not have, or not in its order."""
    planned = [(sample.prompt, sample.clip.seed) for sample in plan.samples]
    found = [(sample.prompt, sample.seed) for sample in samples]
    if found != planned[: len(found)]:
        raise StoredError(f"{SAMPLES_FILE} does not hold the samples that the request asks for")


def _sample(line: str, number: int) -> MeasuredSample:
    try:
        return MeasuredSample.from_line(_object(line, f"line {number} of {SAMPLES_FILE}"))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, StoredError):
            raise
        raise StoredError(f"line {number} of {SAMPLES_FILE} is no sample: {type(error).__name__}") from error


def _object(text: str, what: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise StoredError(f"{what} is not JSON: it was cut or changed") from error
    if not isinstance(value, dict):
        raise StoredError(f"{what} is no JSON object")
    return value
