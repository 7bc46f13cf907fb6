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
from vidbench_api.measured import ArtifactsFacts, ClipFacts, EnergyFacts, Memory, SeriesName, ValidityVerdict
from vidbench_api.names import Validity
from vidbench_api.validity import ValidityReason
from vidbench_api.verdict import Stage, Verdict
from vidbench_runner.core.columns import Columns
from vidbench_runner.core.compilation import compilation_of
from vidbench_runner.core.energy import energy_facts
from vidbench_runner.core.peaks import cold_memory, peak_memory
from vidbench_runner.core.plan import Attempt, TrialPlan
from vidbench_runner.core.protocol import NEVER_TIMED, plan_columns, protocol_of, reproducibility_of
from vidbench_runner.core.quality import quality_facts
from vidbench_runner.core.sample import MeasuredSample
from vidbench_runner.core.steadiness import FEW_SAMPLES
from vidbench_runner.core.validity import Evidence, judge
from vidbench_runner.ports import DeviceReading, HostReading

SCHEMA = "vidbench.io/stored-verdict/1"
VERDICT_FILE = "verdict.json"
SAMPLES_FILE = "samples.jsonl"
LOST = "lost with the verdict"
_LOST_PARTS = (
    "setup", "environment", "loaded", "health", "watch", "expectedCalls", "outputDigest", "cpuThrottledPeriods",
)  # fmt: skip
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
    memory, unmeasured = _memory(plan, warmups, samples)
    evidence = Evidence(plan, samples)
    judged = judge(evidence)
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
        memory_cold=None if plan.reruns else cold_memory(warmups),
        energy=_energy(plan, samples),
        steadiness=evidence.steadiness,
        artifacts=ArtifactsFacts(uri=uri, digest=digest_of(lines)),
        quality=quality_facts(plan.model, samples),
        series=columns.series,
        unmeasured=dict(columns.unmeasured)
        | unmeasured
        | _unsteady(evidence)
        | _without_idle_power(columns)
        | dict.fromkeys((*_LOST_PARTS, *(("service",) if plan.model.http is not None else ())), LOST),
    )


def _memory(
    plan: TrialPlan, warmups: list[MeasuredSample], samples: list[MeasuredSample]
) -> tuple[Memory | None, dict[str, str]]:
    """The peaks of the device; those of the host were in the verdict alone."""
    if plan.reruns:
        return None, {"memory": NEVER_TIMED}
    seen = samples or warmups
    last = seen[-1].device if seen else DeviceReading(reason=LOST)
    memory, reasons = peak_memory(warmups, samples, None, last, HostReading(), plan.model.memory_cap_bytes)
    return memory, reasons | dict.fromkeys(("memoryHost", "memoryCgroup"), LOST)


def _energy(plan: TrialPlan, samples: list[MeasuredSample]) -> EnergyFacts | None:
    if not samples or plan.reruns:
        return None
    energies = [sample.energy for sample in samples]
    return energy_facts(energies, samples[0].clip.delivered_frames, plan.samples[0].clip.steps, None)


def _unsteady(evidence: Evidence) -> dict[str, str]:
    few = bool(evidence.latencies) and evidence.steadiness is None
    return {"steadiness": FEW_SAMPLES} if few else {}


def _without_idle_power(columns: Columns) -> dict[str, str]:
    """The power at rest was in the verdict alone: what an energy would be without it is lost with it."""
    measured = any(series.name is SeriesName.ENERGY for series in columns.series)
    return {SeriesName.ENERGY_NET.value: LOST} if measured else {}


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
