"""Which units of one cell stand against which of another, or why none can.

What is compared with what follows from the metric's pairing and from where shards ran, never from the figures:

| method | when |
|---|---|
| `PairedByPrompt` | the metric is of quality: means of the same prompts |
| `PairedByDevice` | pairing Node: shards of the same number on the same node (on the same GPU, where nodes are not known); reused ones of whichever number |
| `WithinDevices` | both sides ran on the same two devices or more: differences within devices |
| `WelchOnShards` | every shard on a device of its own, or all shards of both sides on one |
| `WelchOnDevices` | anything else: means of devices |
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from .contrasts import Contrast, blocked, paired, welch
from .metrics import Metric, Pairing
from .moments import mean_of
from .observations import CellObservations, ShardObservation
from .units import Scope, device_of, prompt_means, scope_of
from .verdicts import Method, Reason

FEWEST_UNITS = 2
UNITS_TO_START = 3
"""Shards each to ask for where the spread between processes is not known yet."""


@dataclass(frozen=True)
class Sides:
    """What is compared: `units` of each side, in the metric's unit."""

    method: Method
    units: tuple[int, int]
    scope: Scope
    subject: Sequence[float]
    reference: Sequence[float]
    contrast: Callable[[Callable[[float], float]], Contrast]
    """The contrast of the units, each transformed first."""


@dataclass(frozen=True)
class Blocked:
    """Why nothing can be compared or concluded, and what would help."""

    reason: Reason
    message: str | None = None
    decides: str | None = None
    more_shards: int | None = None


def sides_of(
    subject: CellObservations, reference: CellObservations, metric: Metric, pairing: Pairing
) -> Sides | Blocked:
    """Return what stands against what, by the pairing and by where shards ran."""
    if pairing == Pairing.PROMPT:
        return _by_prompt(subject, reference, metric)
    mine, other = _means(subject, metric), _means(reference, metric)
    fewest = min(len(mine), len(other))
    if fewest < FEWEST_UNITS:
        more = UNITS_TO_START - fewest
        return Blocked(
            Reason.ONE_SHARD,
            "the spread between processes is not known from one",
            f"{more} more shards each, to begin with",
            more,
        )
    if pairing == Pairing.NODE:
        return _by_node(mine, other)
    return _by_placement(mine, other)


_Mean = tuple[ShardObservation, float]


def _means(cell: CellObservations, metric: Metric) -> list[_Mean]:
    return [(shard, reading.mean) for shard, reading in cell.reading(metric)]


def _by_prompt(subject: CellObservations, reference: CellObservations, metric: Metric) -> Sides | Blocked:
    mine, other = prompt_means(subject, metric), prompt_means(reference, metric)
    shared = [prompt for prompt in mine if prompt in other]
    if len(shared) < FEWEST_UNITS:
        text = f"{len(shared)} prompts are in both"
        return Blocked(Reason.ONE_PROMPT, text, "more prompts that both sides have")
    first, second = [mine[prompt] for prompt in shared], [other[prompt] for prompt in shared]
    return _paired(Method.PAIRED_BY_PROMPT, Scope.PROMPTS, first, second)


def _by_node(mine: list[_Mean], other: list[_Mean]) -> Sides | Blocked:
    runs = {shard.run_uid for shard, _ in mine} | {shard.run_uid for shard, _ in other}
    if len(runs) > 1:
        return Blocked(Reason.NO_PAIRS, "the sides are of different runs", "pairing None, or one run with both cells")
    pairs = _pairs_by_node(mine, other)
    if len(pairs) < FEWEST_UNITS:
        return _too_few_pairs(mine, other, len(pairs))
    scope = scope_of(tuple(shard for (shard, _), _ in pairs))
    return _paired(Method.PAIRED_BY_DEVICE, scope, [a for (_, a), _ in pairs], [b for _, (_, b) in pairs])


def _pairs_by_node(mine: list[_Mean], other: list[_Mean]) -> list[tuple[_Mean, _Mean]]:
    """Return shards of the same number, then those that different requests measured: their numbers say nothing of each other."""
    pairs: list[tuple[_Mean, _Mean]] = []
    for fits in (_is_same_number, _is_of_another_request):
        for each in mine:
            taken = {id(entry) for pair in pairs for entry in pair}
            twins = (twin for twin in other if id(twin) not in taken and fits(each[0], twin[0]))
            twin = next((twin for twin in twins if _share_a_node(each[0], twin[0])), None)
            if twin is not None and id(each) not in taken:
                pairs.append((each, twin))
    return pairs


def _is_same_number(mine: ShardObservation, other: ShardObservation) -> bool:
    return mine.request == other.request and mine.shard == other.shard


def _is_of_another_request(mine: ShardObservation, other: ShardObservation) -> bool:
    return mine.request != other.request


def _too_few_pairs(mine: list[_Mean], other: list[_Mean], pairs: int) -> Blocked:
    more = UNITS_TO_START - pairs
    text = f"{pairs} shards of both ran on the same node"
    if len({shard.request for shard, _ in (*mine, *other)}) > 1:
        text += "; some were reused from an earlier run, which chose its own nodes"
        return Blocked(Reason.NO_PAIRS, text, "reuse.policy: Never, or measurement.pairing: None")
    return Blocked(Reason.NO_PAIRS, text, f"{more} more shards each that share a node", more)


def _share_a_node(mine: ShardObservation, other: ShardObservation) -> bool:
    """Whether two shards ran on one node, whichever of its GPUs each had; where a node is not known, on one GPU."""
    if mine.node is not None and other.node is not None:
        return mine.node == other.node
    return mine.device is not None and mine.device == other.device


def _paired(method: Method, scope: Scope, mine: Sequence[float], other: Sequence[float]) -> Sides:
    return Sides(
        method,
        (len(mine), len(other)),
        scope,
        mine,
        other,
        lambda scaled: paired([scaled(value) for value in mine], [scaled(value) for value in other]),
    )


def _by_placement(mine: list[_Mean], other: list[_Mean]) -> Sides | Blocked:
    first, second = _by_device(mine, "subject"), _by_device(other, "reference")
    scope = min(scope_of(tuple(s for s, _ in mine)), scope_of(tuple(s for s, _ in other)), key=_WIDTH.index)
    if first.keys() == second.keys() and len(first) > 1:
        within = _within_devices(first, second, scope)
        if within is not None:
            return within
    alone = len(first) == len(mine) and len(second) == len(other)
    if alone or (first.keys() == second.keys() and len(first) == 1):
        values, others = [value for _, value in mine], [value for _, value in other]
        return _welch(Method.WELCH_ON_SHARDS, scope, values, others)
    if min(len(first), len(second)) < FEWEST_UNITS:
        return Blocked(
            Reason.ONE_DEVICE,
            "one side ran on one device alone, the other on others",
            "measurement.pairing: Node, or shards on more devices",
        )
    values, others = _means_of(first), _means_of(second)
    return _welch(Method.WELCH_ON_DEVICES, scope, values, others)


_WIDTH = (Scope.PROCESS, Scope.PROMPT, Scope.DEVICES, Scope.PROMPTS, Scope.PRODUCT)


def _by_device(means: list[_Mean], side: str) -> dict[str, list[float]]:
    """A shard whose device nobody knows shares it with no other, of neither side."""
    found: dict[str, list[float]] = defaultdict(list)
    for shard, value in means:
        found[shard.device or f"unknown, {side} {device_of(shard)}"].append(value)
    return dict(found)


def _means_of(by_device: Mapping[str, Sequence[float]]) -> list[float]:
    return [mean_of(values) for values in by_device.values()]


def _within_devices(
    mine: Mapping[str, Sequence[float]], other: Mapping[str, Sequence[float]], scope: Scope
) -> Sides | None:
    def contrast(scaled: Callable[[float], float]) -> Contrast | None:
        return blocked(
            {device: [scaled(value) for value in values] for device, values in mine.items()},
            {device: [scaled(value) for value in values] for device, values in other.items()},
        )

    if contrast(float) is None:
        return None
    counts = sum(map(len, mine.values())), sum(map(len, other.values()))

    def known(scaled: Callable[[float], float]) -> Contrast:
        found = contrast(scaled)
        assert found is not None  # noqa: S101  (degrees of freedom do not depend on the values)
        return found

    firsts = [value for values in mine.values() for value in values]
    seconds = [value for values in other.values() for value in values]
    return Sides(Method.WITHIN_DEVICES, counts, scope, firsts, seconds, known)


def _welch(method: Method, scope: Scope, mine: Sequence[float], other: Sequence[float]) -> Sides:
    return Sides(
        method,
        (len(mine), len(other)),
        scope,
        mine,
        other,
        lambda scaled: welch([scaled(value) for value in mine], [scaled(value) for value in other]),
    )
