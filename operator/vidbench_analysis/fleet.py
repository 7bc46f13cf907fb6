"""How much of a figure's spread is the nodes', the GPUs' and the processes', and which nodes stand out.

Random effects by analysis of variance, in closed form. On the logarithms of shard means where the metric is a ratio, so
that standard deviations are coefficients of variation (0.01 is 1 %).
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from .distributions import f_quantile, f_upper
from .metrics import Metric, Scale
from .multiplicity import holm
from .observations import CellObservations, ShardObservation
from .resampling import generator_for

FEWEST_NODES = 5
"""Below, the median of the others says too little of one."""

_NULL_REPEATS = 20_000
_ROUNDING = 1e-9
"""Of means that are the same but for the order in which they were added up."""


@dataclass(frozen=True)
class Level:
    """What a level (node, gpu) adds to the spread.

    `deviation` is its standard deviation (0 where the estimate of the variance was negative), `share` of all variance,
    between `low` and `high`; `p` is against "it adds nothing" (F). `groups` are how many of it were seen. Where there are
    nodes and GPUs, no interval of a share is exact, and `low` and `high` are None.
    """

    name: str
    groups: int
    deviation: float
    share: float
    low: float | None
    high: float | None
    p: float


@dataclass(frozen=True)
class Components:
    """The levels that could be told apart, and what is left: the spread between processes on one GPU.

    Without levels `reason` says why: NoRepeats (no GPU with two shards), OneGroup, or NoVariance.
    """

    metric: str
    levels: tuple[Level, ...]
    process_deviation: float | None
    shards: int
    reason: str | None = None


def one_way(
    groups: Mapping[str, Sequence[float]],
    name: str = "gpu",
    confidence: float = 0.95,
    blocks: Mapping[str, str] | None = None,
) -> Level | None:
    """Return what groups add to the spread of their values; None without two groups, a repeat, and some spread.

    Its share is of the variance of these values: of theirs between groups and of theirs within, and of nothing above. With `blocks` (of each group) groups are held against the mean of their block. The variance between groups is
    (MS between - MS within) / n0, n0 = (N - sum over groups of n^2 / n of the block) / (groups - blocks) (Searle, Casella
    and McCulloch 1992, 3.6 and 3.7). The interval of its share is exact for groups of one size (their 3.5) and takes n0 for
    that size otherwise.
    """
    blocks = blocks if blocks is not None else dict.fromkeys(groups, "")
    members: dict[str, list[float]] = defaultdict(list)
    for group, values in groups.items():
        members[blocks[group]].extend(values)
    count = sum(map(len, groups.values()))
    between_freedom, within_freedom = len(groups) - len(members), count - len(groups)
    if between_freedom < 1 or within_freedom < 1:
        return None
    means = {group: statistics.fmean(values) for group, values in groups.items()}
    centres = {block: statistics.fmean(values) for block, values in members.items()}
    within = sum((value - means[group]) ** 2 for group, values in groups.items() for value in values) / within_freedom
    if within == 0:
        return None
    between = sum(len(groups[group]) * (means[group] - centres[blocks[group]]) ** 2 for group in groups)
    ratio = between / between_freedom / within
    same = sum(len(values) ** 2 / len(members[blocks[group]]) for group, values in groups.items())
    size = (count - same) / between_freedom
    variance = max(0.0, (ratio - 1) * within / size)
    tail = (1 - confidence) / 2
    low, high = (
        ratio / f_quantile(probability, between_freedom, within_freedom) - 1 for probability in (1 - tail, tail)
    )
    return Level(
        name=name,
        groups=len(groups),
        deviation=math.sqrt(variance),
        share=variance / (variance + within),
        low=max(0.0, low / (size + low)),
        high=max(0.0, high / (size + high)),
        p=f_upper(ratio, between_freedom, within_freedom),
    )


def variance_components(cell: CellObservations, metric: Metric, confidence: float = 0.95) -> Components:
    """Return how the spread of a cell's shards divides over nodes, GPUs and processes.

    GPUs are compared within their nodes, by their shards; nodes by the means of their GPUs, where they have several: the
    spread of GPUs is in what nodes are measured against.
    """
    found = [(shard, _scaled(reading.mean, metric)) for shard, reading in cell.reading(metric)]
    by_gpu: dict[str, list[float]] = defaultdict(list)
    node_of: dict[str, str] = {}
    for shard, value in found:
        if shard.device is not None:
            by_gpu[shard.device].append(value)
            node_of[shard.device] = shard.node or shard.device
    if len(by_gpu) < 2:
        return Components(metric.name, (), _deviation(found), len(found), "OneGroup")
    freedom = sum(len(values) - 1 for values in by_gpu.values())
    if freedom < 1:
        return Components(metric.name, (), None, len(found), "NoRepeats")
    squares = sum((value - statistics.fmean(values)) ** 2 for values in by_gpu.values() for value in values)
    if squares == 0:
        return Components(metric.name, (), 0.0, len(found), "NoVariance")
    by_node: dict[str, list[float]] = defaultdict(list)
    for gpu, values in by_gpu.items():
        by_node[node_of[gpu]].append(statistics.fmean(values))
    nodes = one_way(by_node, "node", confidence) if len(by_node) > 1 else None
    gpus = one_way(by_gpu, "gpu", confidence, node_of if nodes else None)
    levels = tuple(level for level in (nodes, gpus) if level is not None)
    return Components(metric.name, _of_all(levels, squares / freedom), math.sqrt(squares / freedom), len(found))


def _of_all(levels: tuple[Level, ...], between_processes: float) -> tuple[Level, ...]:
    """Return several levels with shares of the variance of all of them and of processes.

    Alone a level knows of less: nodes of the spread of means of GPUs, in which processes are averaged, GPUs of what is
    within nodes. The intervals are of those shares, so that none is left.
    """
    if len(levels) < 2:
        return levels
    total = between_processes + sum(level.deviation**2 for level in levels)
    return tuple(replace(level, share=level.deviation**2 / total, low=None, high=None) for level in levels)


def _deviation(found: Sequence[tuple[ShardObservation, float]]) -> float | None:
    values = [value for _, value in found]
    return statistics.stdev(values) if len(values) > 1 else None


def _scaled(value: float, metric: Metric) -> float:
    return math.log(value) if metric.scale == Scale.RATIO and value > 0 else value


@dataclass(frozen=True)
class NodeStanding:
    """How a node stands among the others.

    `deviation` is from the median node, on the metric's scale (0.02: 2 % more). `p` is adjusted over all nodes (Holm);
    `stands_out` is at 5 %. Without p `reason` says why: NoSpread, where most nodes have the very same mean.
    """

    node: str
    shards: int
    deviation: float
    p: float | None
    stands_out: bool
    reason: str | None = None


def standing_of_nodes(
    cells: Sequence[CellObservations], metric: Metric, alpha: float = 0.05
) -> tuple[NodeStanding, ...]:
    """Return every node's standing over the cells that ran on it, by name; empty below five nodes.

    Each cell is first centred on the median of its nodes. A node is held against the median of all, in median absolute
    deviations, so that a few bad nodes do not hide each other; p is the share of nodes of a normal fleet of the same size
    and numbers of shards that are as far out, by simulation from a seed of the input.
    """
    values: dict[str, list[float]] = defaultdict(list)
    for cell in cells:
        by_node: dict[str, list[float]] = defaultdict(list)
        for shard, reading in cell.reading(metric):
            if shard.node is not None:
                by_node[shard.node].append(_scaled(reading.mean, metric))
        centre = statistics.median(statistics.fmean(means) for means in by_node.values()) if len(by_node) > 1 else None
        if centre is not None:
            for node, means in by_node.items():
                values[node].extend(mean - centre for mean in means)
    if len(values) < FEWEST_NODES:
        return ()
    means_of = {node: statistics.fmean(values[node]) for node in sorted(values)}
    median = statistics.median(means_of.values())
    away = {node: mean - median for node, mean in means_of.items()}
    if statistics.median(map(abs, away.values())) <= _ROUNDING:
        # No distance is near or far where most have none: the deviations speak for themselves.
        return tuple(NodeStanding(node, len(values[node]), away[node], None, False, "NoSpread") for node in away)
    adjusted = holm(
        dict(zip(away, _shares_of_fleets(list(away.values()), [len(values[n]) for n in away]), strict=True))
    )
    return tuple(
        NodeStanding(node, len(values[node]), away[node], p, p is not None and p < alpha)
        for node, p in adjusted.items()
    )


def _shares_of_fleets(away: Sequence[float], shards: Sequence[int]) -> list[float]:
    """The share of nodes of normal fleets that are at least so far out.

    How much of a node's variance falls with its shards is not known. It lies between all of it (nodes are the same,
    processes differ) and nothing (nodes differ): the larger p of the two is taken, so that neither a node of few shards
    among many nor one of many among few stands out by its number.
    """
    same = [1] * len(shards)
    equal = _null_shares(away, same)
    if len(set(shards)) == 1:
        return equal
    return [max(pair) for pair in zip(equal, _null_shares(away, shards), strict=True)]


def _null_shares(away: Sequence[float], weights: Sequence[int]) -> list[float]:
    """The share of fleets' nodes of the same weight that are so far out, where variances go with 1 / weight."""
    import numpy as np

    count, of = len(away), np.asarray(weights)
    roots = np.sqrt(of)
    fleets = generator_for("fleet", count).standard_normal((_NULL_REPEATS, count)) / roots
    scaled = roots * np.abs(fleets - np.median(fleets, axis=1, keepdims=True))
    scaled /= np.median(scaled, axis=1, keepdims=True)
    seen = roots * np.abs(np.asarray(away))
    seen /= np.median(seen)
    shares = np.empty(count)
    for weight in np.unique(of):
        alike = np.sort(scaled[:, of == weight].ravel())
        beyond = alike.size - np.searchsorted(alike, seen[of == weight], side="left")
        shares[of == weight] = (beyond + 1) / (alike.size + 1)
    return [float(share) for share in shares]
