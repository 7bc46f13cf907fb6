"""What a report says beside means and tests: percentiles, the frontier, and what nodes and GPUs add to the spread.

All of it is exploratory and says so. Nothing is computed here: `percentiles`, `frontiers` and `fleet` do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from vidbench_analysis.fleet import FEWEST_NODES, Components, Level, standing_of_nodes, variance_components
from vidbench_analysis.frontiers import Frontier, frontiers
from vidbench_analysis.metrics import METRICS, Metric
from vidbench_analysis.observations import CellObservations, PromptAndSeed
from vidbench_analysis.pareto import Place
from vidbench_analysis.percentiles import Percentile, floor_of, percentile
from vidbench_api.result import BenchmarkResultSpec

from .document import Block, Column, Heading, Paragraph, Table
from .figures import NOT_KNOWN, change_share, figure_text, p_text, share_text

SHARES = (0.5, 0.9, 0.99)
LATENCY = METRICS["latency"]
OBJECTIVES = (LATENCY, METRICS["memory"], METRICS["energy"])
"""What a frontier is over where nobody chose."""


def percentile_blocks(cells: Sequence[CellObservations]) -> Iterable[Block]:
    """Percentiles of latency by cell, where some cell has samples enough for one."""
    values = {cell.label: [value for _, reading in cell.reading(LATENCY) for value in reading.values] for cell in cells}
    if not any(len(found) >= floor_of(SHARES[0]) for found in values.values()):
        return
    yield Table(
        "latency: percentiles of samples of all shards, with bounds that take samples for independent",
        (
            Column("cell"),
            Column("samples", numeric=True),
            *(Column(f"p{share * 100:g}", numeric=True) for share in SHARES),
        ),
        tuple(
            (label, str(len(found)), *(percentile_text(percentile(found, share), LATENCY.unit) for share in SHARES))
            for label, found in values.items()
        ),
    )


def percentile_text(found: Percentile, unit: str) -> str:
    """Return a percentile with its bounds; below its floor, how many samples it takes."""
    if found.value is None:
        return f"from {found.floor} samples"
    low, high = figure_text(found.low, unit), figure_text(found.high, unit)
    return f"{figure_text(found.value, unit)} ({low} to {high})"


def frontier_blocks(
    cells: Mapping[str, Sequence[BenchmarkResultSpec]],
    samples: Mapping[str, Sequence[PromptAndSeed]] | None,
    objectives: Sequence[Metric] = OBJECTIVES,
) -> Iterable[Block]:
    """Which cells no other beats in everything; nothing for a single cell."""
    found = [each for each in frontiers(cells, objectives, samples) if len(each.places) > 1]
    if not found:
        return
    yield Heading("Exploration: the frontier")
    by_prompt = any(metric.is_quality for each in found for metric in each.objectives)
    yield Paragraph(
        "Cells that no other cell is at least as good as in everything and better than in something, among cells that make clips of one size. "
        + (
            "How sure that is, is not known: quality counts by prompt, and shards make the same clips."
            if by_prompt
            else "Membership is the share of resamples of shards in which that holds. What the clips look like is not in it."
        )
    )
    for each in found:
        yield _frontier_table(each)


def _frontier_table(found: Frontier) -> Table:
    return Table(
        f"{found.clip or 'clips of a size that is not known'}: {', '.join(metric.name for metric in found.objectives)}",
        (
            Column("cell"),
            *(Column(metric.name, numeric=True) for metric in found.objectives),
            Column("on the frontier"),
            Column("membership", numeric=True),
            Column("beaten by"),
            Column("reason"),
        ),
        tuple(_place_row(place, found.objectives) for place in found.places),
    )


def _place_row(place: Place, objectives: Sequence[Metric]) -> tuple[str, ...]:
    values = [figure_text(value, metric.unit) for value, metric in zip(place.values, objectives, strict=False)]
    return (
        place.label,
        *(values or [NOT_KNOWN] * len(objectives)),
        standing_text(place),
        membership_text(place),
        ", ".join(place.beaten_by),
        place.reason or "",
    )


def standing_text(place: Place) -> str:
    """Return whether a cell is on the frontier; `-` for one without a place."""
    return NOT_KNOWN if not place.values else "yes" if place.is_on else "no"


def membership_text(place: Place) -> str:
    """Return how sure a place is, in whole per cent."""
    return NOT_KNOWN if place.membership is None else f"{100 * place.membership:.0f} %"


def fleet_blocks(cells: Sequence[CellObservations], metric: Metric = LATENCY) -> Iterable[Block]:
    """What nodes and GPUs add to the spread of shards, and which nodes stand out; nothing where no cell can tell."""
    found = [(cell.label, variance_components(cell, metric)) for cell in cells]
    rows = tuple(row for label, components in found if components.levels for row in component_rows(label, components))
    standing = standing_of_nodes(cells, metric)
    if not rows and not standing:
        return
    yield Heading(f"Exploration: nodes and GPUs, by {metric.name}")
    if rows:
        yield Paragraph(
            "How much of the variance between shards is the nodes', the GPUs' and the processes' own (analysis of variance)."
        )
        yield Table(
            "Variance components",
            (
                Column("cell"),
                Column("level"),
                Column("seen", numeric=True),
                Column("standard deviation", numeric=True),
                Column("share of variance (95 % interval)", numeric=True),
                Column("p", numeric=True),
            ),
            rows,
        )
    if standing:
        yield Table(
            f"Nodes against the median node, over all cells (p by Holm; from {FEWEST_NODES} nodes on)",
            (
                Column("node"),
                Column("shards", numeric=True),
                Column("deviation", numeric=True),
                Column("p", numeric=True),
                Column("stands out"),
            ),
            tuple(
                (
                    node.node,
                    str(node.shards),
                    deviation_text(node.deviation, metric),
                    p_text(node.p),
                    "yes" if node.stands_out else "",
                )
                for node in standing
            ),
        )
    if any(node.reason for node in standing):
        yield Paragraph(
            "Most nodes have the very same mean: what is far has no measure, so that there is no p and no node stands out."
        )


def component_rows(label: str, found: Components) -> tuple[tuple[str, ...], ...]:
    """Return a row for each level of a cell, the spread between processes last."""
    metric = METRICS[found.metric]
    process = (label, "process", str(found.shards), deviation_text(found.process_deviation, metric).lstrip("+"))
    return (*(_level_row(label, level, metric) for level in found.levels), (*process, NOT_KNOWN, NOT_KNOWN))


def _level_row(label: str, level: Level, metric: Metric) -> tuple[str, ...]:
    return (
        label,
        level.name,
        str(level.groups),
        deviation_text(level.deviation, metric).lstrip("+"),
        _share_of_variance(level),
        p_text(level.p),
    )


def _share_of_variance(level: Level) -> str:
    if level.low is None or level.high is None:
        return f"{share_text(level.share)} (no interval)"
    return f"{share_text(level.share)} ({share_text(level.low)} to {share_text(level.high)})"


def deviation_text(value: float | None, metric: Metric) -> str:
    """Return a deviation: a share where the metric is a ratio, else in its unit."""
    if value is None:
        return NOT_KNOWN
    return change_share(value) if metric.scale == "Ratio" else figure_text(value, metric.unit)
