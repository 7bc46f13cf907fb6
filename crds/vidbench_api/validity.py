"""Every reason for which figures may not be believed, or only with a note: what it does, what shows it, and why. Data.

The runner finds what it can see of its own measurement, the operator what only it can; both speak these words.
docs/validity.md is generated from the table. Which values fire a rule is decided in the runner (`core/validity.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ValidityReason(StrEnum):
    """Why a shard is not Valid, or what a reader of its figures should know."""

    CALL_COUNT_MISMATCH = "CallCountMismatch"
    FRAMES_DIFFER = "FramesDiffer"
    SIZE_DIFFERS = "SizeDiffers"
    COMPILED_IN_SAMPLE = "CompiledInSample"
    BLANK_OUTPUT = "BlankOutput"
    STATIC_OUTPUT = "StaticOutput"
    OFF_GRID_FRAMES = "OffGridFrames"
    NO_ACCELERATOR = "NoAccelerator"

    HARDWARE_THERMAL = "HwThermalThrottle"
    SOFTWARE_THERMAL = "SwThermalThrottle"
    POWER_BRAKE = "HwPowerBrake"
    HARDWARE_SLOWDOWN = "HwSlowdown"
    POWER_CAP = "SwPowerCap"
    CLOCK_DRIFT = "ClockDrift"
    TEMPERATURE_DRIFT = "TemperatureDrift"
    ENERGY_DISAGREES = "EnergyDisagrees"

    OTHER_PROCESSES = "OtherProcesses"
    ECC_ERRORS = "EccErrors"
    XID_ERRORS = "XidErrors"
    GPU_TOO_HOT = "GpuTooHot"
    GPU_SHARED = "GpuShared"
    CPU_BUSY = "CpuBusy"
    MEMORY_LOW = "MemoryLow"
    DISK_LOW = "DiskLow"
    CPU_THROTTLED = "CpuThrottled"

    COLD_SHAPE = "ColdShape"
    NOT_STEADY = "NotSteady"
    AUTOCORRELATED = "Autocorrelated"
    OUTLIERS = "Outliers"

    FEWER_SAMPLES = "FewerSamplesThanPlanned"
    VERDICT_LOST = "VerdictLost"
    NOT_FINAL = "NotFinal"
    NOT_MEASURED = "NotMeasured"
    NOT_STATED = "NotStated"


class Effect(StrEnum):
    """What a reason does to the state of a shard."""

    INVALID = "Invalid"
    PARTIAL = "Partial"
    NOTE = "Note"
    """Stands among the notes; the figures count."""


@dataclass(frozen=True)
class ReasonRow:
    """One reason. `passes` says whether another attempt may be without it: only then measuring again is of use."""

    reason: ValidityReason
    effect: Effect
    passes: bool
    evidence: str
    threshold: str
    why: str


_INVALID, _PARTIAL, _NOTE = Effect.INVALID, Effect.PARTIAL, Effect.NOTE

VALIDITY_ROWS: tuple[ReasonRow, ...] = (
    ReasonRow(ValidityReason.CALL_COUNT_MISMATCH, _INVALID, False, "calls of each phase, in every sample", "not as many as the class is known to make", "A call was missed or other work was done: the phases cannot be trusted."),
    ReasonRow(ValidityReason.FRAMES_DIFFER, _INVALID, False, "delivered frames of each sample", "not all the same", "Clips of different lengths are not one quantity."),
    ReasonRow(ValidityReason.SIZE_DIFFERS, _INVALID, False, "height and width of the delivered frames", "not those of the cell", "The figures would be of another cell."),
    ReasonRow(ValidityReason.COMPILED_IN_SAMPLE, _INVALID, False, "graphs that torch compiled in a measured sample", "any", "Its time is not that of the compiled model: more warm-ups may cure it."),
    ReasonRow(ValidityReason.BLANK_OUTPUT, _INVALID, False, "standard deviation of every channel of every frame of each sample", "none above 1 of 255; not with random weights", "Something broke, an overflow in a half-precision decoder perhaps: such a clip is no work of the model."),
    ReasonRow(ValidityReason.STATIC_OUTPUT, _INVALID, False, "every value of every frame of a sample against its first frame", "none differs by more than 1 of 255; not with random weights", "A picture was repeated: no video was generated."),
    ReasonRow(ValidityReason.OFF_GRID_FRAMES, _INVALID, False, "delivered frames of each sample", "not as many as the cell asks for", "The pipeline rounds to its grid (`loaded.frameGrid`): the figures would be of another cell. Ask for what it delivers."),
    ReasonRow(ValidityReason.NO_ACCELERATOR, _INVALID, False, "device of the loaded model", "cpu, although the shard was given GPUs", "The figures would be of other hardware."),
    ReasonRow(ValidityReason.OTHER_PROCESSES, _INVALID, True, "compute processes on the device that are not the runner's, after every sample", "any, with `validity.exclusiveGpu: Require`", "They take turns with the runner on the device, and use its memory and power."),
    ReasonRow(ValidityReason.HARDWARE_THERMAL, _INVALID, True, "clocks event reasons of NVML, ten readings a second, bit 0x40", "more than 1 % of the readings", "The GPU halves its clocks because it is too hot: that is the rack's figure, not the model's."),
    ReasonRow(ValidityReason.SOFTWARE_THERMAL, _INVALID, True, "the same, bit 0x20", "more than 1 % of the readings", "The driver lowers the clocks because GPU or memory are too hot."),
    ReasonRow(ValidityReason.POWER_BRAKE, _INVALID, True, "the same, bit 0x80", "more than 1 % of the readings", "The power supply asks the GPU to slow down."),
    ReasonRow(ValidityReason.HARDWARE_SLOWDOWN, _INVALID, True, "the same, bit 0x8 without 0x40 and 0x80", "more than 1 % of the readings", "The hardware lowers the clocks for a cause that it does not tell."),
    ReasonRow(ValidityReason.CLOCK_DRIFT, _INVALID, True, "median SM clock of each sample", "highest and lowest more than 5 % apart", "The samples ran at different speeds: they are not one quantity."),
    ReasonRow(ValidityReason.ECC_ERRORS, _INVALID, True, "uncorrected ECC errors before and after", "more after than before", "The device computed with wrong values, or retired memory meanwhile."),
    ReasonRow(ValidityReason.XID_ERRORS, _INVALID, True, "Xid events that the driver told of", "any", "The driver reported a fault of the device."),
    ReasonRow(ValidityReason.GPU_TOO_HOT, _INVALID, True, "temperature after the last sample", "`health.maxGpuTemperatureCelsius` of the RunnerClass", "The admin's limit."),
    ReasonRow(ValidityReason.GPU_SHARED, _INVALID, True, "memory that others use on the GPU, after the last sample", "`health.maxForeignGpuMemoryMebibytes` of the RunnerClass", "The admin's limit."),
    ReasonRow(ValidityReason.CPU_BUSY, _INVALID, True, "busy share of the host's processors after the last sample", "`health.maxHostCpuPercent` of the RunnerClass", "The admin's limit."),
    ReasonRow(ValidityReason.MEMORY_LOW, _INVALID, True, "available memory of the host after the last sample", "`health.minAvailableMemoryMebibytes` of the RunnerClass", "The admin's limit."),
    ReasonRow(ValidityReason.DISK_LOW, _INVALID, True, "free scratch space after the last sample", "`health.minFreeScratchMebibytes` of the RunnerClass", "The admin's limit."),
    ReasonRow(ValidityReason.CPU_THROTTLED, _INVALID, True, "`nr_throttled` of `nr_periods` of the container's cgroup, while samples were generated", "more than 1 %", "The CPU limit stopped the process that feeds the GPU: that is the limit's figure. `resources.cpuLimit: None`, or more of it."),
    ReasonRow(ValidityReason.COLD_SHAPE, _INVALID, True, "latency of the first sample", "the slowest, and above the median of the others by more than 20 % and 5 robust deviations; from 3 samples on", "It still compiled, tuned or allocated for this shape: warm up more (`measurement.warmup`)."),
    ReasonRow(ValidityReason.NOT_STEADY, _INVALID, True, "latency over the samples' numbers", "Mann-Kendall p below 1 % and a Theil-Sen drift above 1 %; from 6 samples on", "A mean of samples that still change is a mean of nothing. A trend that is sure but small is no defect."),
    ReasonRow(ValidityReason.FEWER_SAMPLES, _PARTIAL, False, "number of samples", "fewer than planned", "What was measured counts, with a wider interval."),
    ReasonRow(ValidityReason.VERDICT_LOST, _PARTIAL, False, "what the attempt left", "its stored samples, and no verdict", "What else would speak against them is not known."),
    ReasonRow(ValidityReason.NOT_FINAL, _PARTIAL, False, "the verdict", "written ahead, and none after it", "The runner was ended in the middle."),
    ReasonRow(ValidityReason.NOT_MEASURED, _INVALID, False, "number of samples", "none", "There is nothing to believe."),
    ReasonRow(ValidityReason.NOT_STATED, _INVALID, False, "the verdict", "says nothing about validity", "Nobody looked."),
    ReasonRow(ValidityReason.POWER_CAP, _NOTE, False, "clocks event reasons of NVML, bit 0x4", "more than 1 % of the readings", "Normal at full load: the power limit is a property of the hardware. It stands in `environment.powerLimitMilliwatts`."),
    ReasonRow(ValidityReason.TEMPERATURE_DRIFT, _NOTE, False, "median temperature of each sample", "highest and lowest more than 5 °C apart", "A hotter GPU takes more power for the same work; whether it also got slower is what NotSteady and ClockDrift look at."),
    ReasonRow(ValidityReason.ENERGY_DISAGREES, _NOTE, False, "the counter, and the integral of the sampled power, over all samples", "more than 5 % apart; from 10 s on", "One of the two sensors is off. Energy is doubtful then, times are not, and another attempt would show the same."),
    ReasonRow(ValidityReason.AUTOCORRELATED, _NOTE, False, "autocorrelation of the latencies at lag 1", "above 1.96 / sqrt(n); from 6 samples on", "The mean is right and the interval too narrow: `steadiness.effectiveSamples` says by how much."),
    ReasonRow(ValidityReason.OUTLIERS, _NOTE, False, "distance of each latency from the median", "more than 5 robust deviations and 3 %, any sample; from 6 samples on", "A few slow samples are part of the truth: they count in the mean, and `steadiness.outliers` says how many."),
)  # fmt: skip

ROW_OF_REASON: dict[str, ReasonRow] = {row.reason.value: row for row in VALIDITY_ROWS}


def is_worth_another_attempt(reasons: tuple[str, ...]) -> bool:
    """Whether all that makes a measurement Invalid may be gone in another attempt. A word that is not known may not."""
    rows = [ROW_OF_REASON.get(reason) for reason in reasons]
    against = [row for row in rows if row is None or row.effect is Effect.INVALID]
    return bool(against) and all(row is not None and row.passes for row in against)
