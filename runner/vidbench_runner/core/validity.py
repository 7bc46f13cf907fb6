"""Whether a shard's figures may be believed: Valid, Invalid with reasons, or Partial.

A thing apart from the outcome: a shard may succeed and be Invalid. An output that is not finite is no matter of
validity: such a sample is a failure and never gets here.
"""

from __future__ import annotations

from collections.abc import Sequence

from vidbench_api.measured import ValidityVerdict
from vidbench_api.names import Validity
from vidbench_api.validity import ValidityReason
from vidbench_runner.core.plan import TrialPlan
from vidbench_runner.core.quality import shows_the_model
from vidbench_runner.core.sample import MeasuredSample


def judge(
    plan: TrialPlan,
    samples: Sequence[MeasuredSample],
    *,
    lacks_accelerator: bool,
    health_reasons: Sequence[str] = (),
) -> ValidityVerdict:
    """Return whether the measured samples may be believed as this plan's result; `health_reasons` speak against its host."""
    wanted = plan.samples[0].clip
    wrong: list[str] = []
    if any(sample.clip.call_mismatches for sample in samples):
        wrong.append(ValidityReason.CALL_COUNT_MISMATCH)
    if len({sample.clip.delivered_frames for sample in samples}) > 1:
        wrong.append(ValidityReason.FRAMES_DIFFER)
    sizes = {(sample.clip.delivered_height, sample.clip.delivered_width) for sample in samples}
    if sizes - {(wanted.height, wanted.width)}:
        wrong.append(ValidityReason.SIZE_DIFFERS)
    if any(sample.clip.compilations for sample in samples):
        wrong.append(ValidityReason.COMPILED_IN_SAMPLE)
    if lacks_accelerator:
        wrong.append(ValidityReason.NO_ACCELERATOR)
    if plan.exclusive_gpu and any(sample.device.other_processes for sample in samples):
        wrong.append(ValidityReason.OTHER_PROCESSES)
    if shows_the_model(plan.model):
        # What random weights show says nothing of whether they were timed rightly.
        wrong.extend([ValidityReason.BLANK_OUTPUT] if any(sample.quality.blank for sample in samples) else [])
        wrong.extend([ValidityReason.STATIC_OUTPUT] if any(sample.quality.static for sample in samples) else [])
    wrong.extend(health_reasons)
    fewer = [ValidityReason.FEWER_SAMPLES.value] if len(samples) < plan.quota.required else []
    if wrong:
        return ValidityVerdict(state=Validity.INVALID, reasons=(*wrong, *fewer))
    return ValidityVerdict(state=Validity.PARTIAL if fewer else Validity.VALID, reasons=tuple(fewer))
