"""What a run promises in advance: baselines, gates and hypotheses. Immutable with the spec: that is the pre-registration.

Says what is to hold and by which test; how it is tested is in `vidbench_analysis`, what came of it in `run_status.py`.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from .base import ATOMIC_MAP, SET, ApiModel, LabelKey, LabelValue, Name, Rule, map_list, rules
from .names import LABEL_BASELINE

MAX_GATES: Final = 16
MAX_EVIDENCE: Final = 8
"""Cells that the status shows of a gate or hypothesis: the rows have the figures of all."""

TIMES: Final = (
    "latency", "denoise", "vaeDecode", "step", "textEncode", "serviceQueue", "serviceRun", "load", "coldPass",
)  # fmt: skip
MEMORIES: Final = ("memoryAllocated", "memoryReserved", "memory")
ENERGIES: Final = ("energy", "energyNet")
UNDIRECTED: Final = ("dynamicDegree", "sceneCuts", "sharpness", "brightness", "contrast")
"""More of it is neither better nor worse."""

Metric = Literal[
    "latency", "denoise", "vaeDecode", "step", "textEncode", "serviceQueue", "serviceRun", "load", "coldPass",
    "memoryAllocated", "memoryReserved", "memory", "energy", "energyNet",
    "videosPerHour", "videoSecondsPerSecond", "costPerVideo", "carbonPerVideo",
    "dynamicDegree", "sceneCuts", "sharpness", "brightness", "contrast", "warpingError", "flicker", "frozenFrames",
    "clipped", "blackFrames", "duplicateFrames", "drift2", "drift5", "drift10", "drift20", "drift50",
]  # fmt: skip
"""Figures that a statement may be about. `vidbench_analysis.metrics` says of each what it is and which way is better."""

Test = Literal["NoWorseThan", "AtMost", "AtLeast", "Equivalent"]
BOUND_TESTS: Final = ("AtMost", "AtLeast")
"""Tests against a bound; the others are against other results and need a margin."""

_NUMBER = r"(0|[1-9][0-9]*)(\.[0-9]+)?"
_ABOVE_ZERO = r"(0\.[0-9]*[1-9][0-9]*|[1-9][0-9]*(\.[0-9]+)?)"
_SHARE = r"(0\.[0-9]*[1-9][0-9]*|[1-9][0-9]?(\.[0-9]+)?)"
"""Above 0 and below 100."""

_FACTORS: Final = {"ms": 1e3, "s": 1e6, "MiB": 2.0**20, "GiB": 2.0**30, "kJ": 1e6, "J": 1e3}
"""To the units of results: microseconds, bytes, millijoules. Of two units, the one that ends like the other comes first."""

_UNIT = f"({'|'.join(_FACTORS)})"
_WHERE = Field(max_length=64, json_schema_extra=SET)


class ResultSelector(ApiModel):
    """Results by their labels."""

    match_labels: Annotated[
        dict[LabelKey, LabelValue], Field(min_length=1, max_length=8, json_schema_extra=ATOMIC_MAP)
    ] = Field(description="Labels that a BenchmarkResult must have, all of them.")


class Baseline(ApiModel):
    """Earlier results of the run's namespace to compare with. Only valid ones of shards that succeeded count."""

    name: Name
    selector: ResultSelector | None = Field(
        default=None, description=f"Default: the label {LABEL_BASELINE} with the baseline's name as its value."
    )
    across: Literal["None", "Model", "Hardware", "Variant"] = Field(
        default="None",
        description="What the baseline has another name for: a cell is compared with results of the same model, hardware and"
        " variant, but for this one. None: all three names are the same.",
    )


class Where(ApiModel):
    """The cells that are meant: those of these names. An empty list means all."""

    models: Annotated[tuple[Name, ...], _WHERE] = ()
    hardware: Annotated[tuple[Name, ...], Field(max_length=16, json_schema_extra=SET)] = ()
    variants: Annotated[tuple[Name, ...], _WHERE] = ()

    def selects(self, model: str, hardware: str, variant: str) -> bool:
        """Whether a cell of these names is meant."""
        lists = ((self.models, model), (self.hardware, hardware), (self.variants, variant))
        return all(not names or name in names for names, name in lists)


class Against(ApiModel):
    """What is compared with: a baseline, another variant of the same model and hardware, or a number."""

    model_config = ApiModel.model_config | {
        "json_schema_extra": rules(
            Rule(
                "[has(self.baseline), has(self.variant), has(self.bound)].filter(x, x).size() == 1",
                "exactly one of baseline, variant and bound is given",
            )
        )
    }
    baseline: Name | None = None
    variant: Name | None = Field(
        default=None, description="A variant of this run: each other cell is compared with its cell of that variant."
    )
    bound: Annotated[str, Field(min_length=1, max_length=24, pattern=rf"^{_NUMBER}{_UNIT}?$")] | None = Field(
        default=None,
        description="A number and its unit, e.g. 12.5s, 350J, 40GiB; without a unit for metrics that have none.",
    )


def _cel_list(words: tuple[str, ...]) -> str:
    return f"[{', '.join(repr(word) for word in words)}]"


def _unit_fits(text: str) -> str:
    """CEL: whether a number has the unit that the metric needs."""
    kinds = (("s", TIMES), ("B", MEMORIES), ("J", ENERGIES))
    return " && ".join(f"({text}.endsWith('{end}') == (self.metric in {_cel_list(names)}))" for end, names in kinds)


def in_metric_unit(text: str) -> float:
    """Return a bound or margin in the unit of results: 12.5s is 12,500,000 (microseconds)."""
    unit = next((unit for unit in _FACTORS if text.endswith(unit)), "")
    return float(text.removesuffix(unit)) * _FACTORS.get(unit, 1.0)


class Statement(ApiModel):
    """What a gate and a hypothesis have in common."""

    model_config = ApiModel.model_config | {
        "json_schema_extra": rules(
            Rule(
                f"(self.test in {_cel_list(BOUND_TESTS)}) == has(self.against.bound)",
                "AtMost and AtLeast take against.bound; NoWorseThan and Equivalent take against.baseline or against.variant",
                ".against",
            ),
            Rule(
                f"(self.test in {_cel_list(BOUND_TESTS)}) != has(self.margin)",
                "NoWorseThan and Equivalent need a margin; AtMost and AtLeast take none",
            ),
            Rule(
                f"self.test != 'NoWorseThan' || !(self.metric in {_cel_list(UNDIRECTED)})",
                "of this metric more is neither better nor worse: ask for Equivalent, AtMost or AtLeast",
                ".test",
            ),
            Rule(
                f"!has(self.against.bound) || ({_unit_fits('self.against.bound')})",
                "against.bound has the unit of the metric: s or ms for times, MiB or GiB for memory, J or kJ for energy, else none",
                ".against.bound",
            ),
            Rule(
                f"!has(self.margin) || self.margin.endsWith('%') || ({_unit_fits('self.margin')})",
                "a margin is a share (2%) or has the unit of the metric: s or ms, MiB or GiB, J or kJ, else none",
                ".margin",
            ),
        )
    }
    name: Name
    metric: Metric
    where: Where = Field(default_factory=Where, description="Cells that it must hold for, each of them.")
    against: Against
    test: Test = Field(
        description="NoWorseThan: worse by less than the margin. Equivalent: neither worse nor better by the margin."
        " AtMost, AtLeast: the mean is on that side of the bound."
    )
    margin: Annotated[str, Field(max_length=24, pattern=rf"^({_SHARE}%|{_ABOVE_ZERO}{_UNIT}?)$")] | None = Field(
        default=None,
        description="What would not matter: a share of what is compared with (2%) or a number with the metric's unit. It must be"
        " well below the effect that is to be found.",
    )

    def is_about(self, model: str, hardware: str, variant: str) -> bool:
        """Whether it must hold for the cell of these names: what it is compared with is not meant."""
        return self.where.selects(model, hardware, variant) and variant != self.against.variant


class Gate(Statement):
    """A statement that decides: its verdict is in the condition GatesPassed."""

    on_inconclusive: Literal["Fail", "Pass"] = Field(
        default="Fail",
        description="What a verdict that the measurements do not allow counts as when the run has ended.",
    )


class Hypothesis(Statement):
    """A statement that is reported, with p values that are corrected for the number of hypotheses of its role."""

    role: Literal["Primary", "Secondary"] = "Primary"


class Analysis(ApiModel):
    """What is to be found out, said in advance. It decides nothing about the run."""

    hypotheses: Annotated[tuple[Hypothesis, ...], Field(max_length=MAX_GATES, json_schema_extra=map_list("name"))] = ()
    correction: Literal["Holm", "None"] = Field(
        default="Holm", description="For the comparisons of the hypotheses of one role together."
    )


def known_names_rules(field: str, what: str) -> tuple[Rule, ...]:
    """Return the rules of a run's spec that hold a list of statements to the names of the run."""
    path = f".{field.partition('.')[0]}"
    return (
        Rule(
            f"self.{field}.all(g, !has(g.against.baseline) || self.baselines.exists(b, b.name == g.against.baseline))",
            f"a {what} names a baseline that is not in this run",
            path,
        ),
        Rule(
            f"self.{field}.all(g, !has(g.against.variant) || self.variants.exists(v, v.name == g.against.variant))",
            f"a {what} is against a variant that is not in this run",
            path,
        ),
        Rule(
            f"self.{field}.all(g, !has(g.against.variant) || (g.where.variants.size() == 0 ? self.variants.size() > 1"
            " : g.where.variants.exists(v, v != g.against.variant)))",
            f"a {what} against a variant needs another variant that is compared with it",
            path,
        ),
        Rule(
            f"self.{field}.all(g, g.where.models.all(n, self.models.exists(m, m.name == n))"
            " && g.where.hardware.all(n, self.hardware.exists(h, h.name == n))"
            " && g.where.variants.all(n, self.variants.exists(v, v.name == n)))",
            f"a {what} names a model, hardware or variant that is not in this run",
            path,
        ),
    )


_STATEMENT_SIZE = (
    "240 + g.where.models.map(n, 3 + n.size()).sum() + g.where.hardware.map(n, 3 + n.size()).sum()"
    " + g.where.variants.map(n, 3 + n.size()).sum()"
)
GATES_SIZE: Final = (
    "self.baselines.map(b, 80 + (has(b.selector) ? b.selector.matchLabels.map(k,"
    " 6 + k.size() + b.selector.matchLabels[k].size()).sum() : 0)).sum()"
    f" + self.gates.map(g, {_STATEMENT_SIZE}).sum()"
    f" + self.analysis.hypotheses.map(g, {_STATEMENT_SIZE}).sum()"
)
"""CEL: at least the bytes of these fields' JSON; see the size of the whole spec."""
