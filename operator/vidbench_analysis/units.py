"""Which values are independent: from the shards of a cell to the units that intervals and tests count.

Samples of one process are not independent, so that a shard counts once, by its mean. Shards on the same GPU are not
independent either as soon as one speaks of more than that GPU. The unit follows from where shards ran and from nothing
that was measured:

- every shard on a device of its own, all on one device, or devices unknown: the shard;
- several shards on some of three devices or more: the device, by the mean of its shards' means;
- several shards on two devices: the shard within its device: the statement is about these two.

For metrics of quality the unit is the prompt, by the mean over its samples: a second process generates the same clip.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from enum import StrEnum

from .metrics import Metric, Pairing, Reading
from .moments import mean_of
from .observations import CellObservations, ShardObservation

DEVICES_FOR_A_PRODUCT = 3


class Unit(StrEnum):
    """What is counted once."""

    SHARD = "Shard"
    DEVICE = "Device"
    SHARD_IN_DEVICE = "ShardInDevice"
    PROMPT = "Prompt"


class Scope(StrEnum):
    """What a figure speaks of."""

    PROCESS = "Process"
    """The one process that was seen: another one may differ by more than the interval says."""

    DEVICES = "Devices"
    """The GPUs that were seen (or nodes, or devices that nobody named)."""

    PRODUCT = "Product"
    """GPUs of this product: three or more of one were seen."""

    PROMPT = "Prompt"
    """The one prompt that was seen."""

    PROMPTS = "Prompts"
    """Prompts like those that were seen."""


@dataclass(frozen=True)
class Units:
    """The values that are counted, in a fixed order.

    `groups` are parallel to `values`: for shards within devices the device, else empty. `keys` name the units: shard keys,
    device names or prompt ids. `shards` and `samples` say from how many the values come.
    """

    unit: Unit
    scope: Scope
    values: tuple[float, ...]
    keys: tuple[str, ...]
    groups: tuple[str, ...] = ()
    shards: int = 0
    samples: int = 0


def units_of(cell: CellObservations, metric: Metric) -> Units | None:
    """Return the units of a cell's metric; None where no shard has it, or prompts are needed and not known."""
    found = cell.reading(metric)
    if not found:
        return None
    samples = sum(reading.count for _, reading in found)
    if metric.pairing == Pairing.PROMPT:
        means = prompt_means(cell, metric)
        if not means:
            return None
        scope = Scope.PROMPTS if len(means) > 1 else Scope.PROMPT
        values, keys = tuple(means.values()), tuple(means)
        return Units(Unit.PROMPT, scope, values, keys, shards=len(found), samples=samples)
    return _of_shards(found, samples)


def _of_shards(found: tuple[tuple[ShardObservation, Reading], ...], samples: int) -> Units:
    by_device: dict[str, list[float]] = defaultdict(list)
    for shard, reading in found:
        by_device[device_of(shard)].append(reading.mean)
    count, scope = len(found), scope_of(tuple(shard for shard, _ in found))
    if count == len(by_device) or len(by_device) == 1:
        values, keys = tuple(reading.mean for _, reading in found), tuple(name_of(shard) for shard, _ in found)
        return Units(Unit.SHARD, scope, values, keys, shards=count, samples=samples)
    if len(by_device) >= DEVICES_FOR_A_PRODUCT:
        values = tuple(mean_of(means) for means in by_device.values())
        return Units(Unit.DEVICE, scope, values, tuple(by_device), shards=count, samples=samples)
    return Units(
        Unit.SHARD_IN_DEVICE,
        scope,
        tuple(reading.mean for _, reading in found),
        tuple(name_of(shard) for shard, _ in found),
        tuple(device_of(shard) for shard, _ in found),
        shards=count,
        samples=samples,
    )


def name_of(shard: ShardObservation) -> str:
    """Return a name of the shard that no other has."""
    return "/".join(shard.key)


def device_of(shard: ShardObservation) -> str:
    """Return the shard's device; one of its own where nobody knows it."""
    return shard.device or f"unknown:{name_of(shard)}"


def scope_of(shards: tuple[ShardObservation, ...]) -> Scope:
    """Return what figures of these shards speak of."""
    if len(shards) < 2:
        return Scope.PROCESS
    devices = {shard.gpu_uuid for shard in shards if shard.gpu_uuid is not None}
    products = {shard.product for shard in shards}
    one_product = len(products) == 1 and None not in products
    return Scope.PRODUCT if one_product and len(devices) >= DEVICES_FOR_A_PRODUCT else Scope.DEVICES


def prompt_means(cell: CellObservations, metric: Metric) -> dict[str, float]:
    """Return the mean of each prompt over its seeds and shards, by prompt id, sorted; empty where prompts are not known."""
    by_prompt: dict[str, list[float]] = defaultdict(list)
    for shard, reading in cell.reading(metric):
        if shard.prompts is None or len(shard.prompts) != len(reading.values):
            return {}
        for prompt, value in zip(shard.prompts, reading.values, strict=True):
            by_prompt[prompt].append(value)
    return {prompt: mean_of(by_prompt[prompt]) for prompt in sorted(by_prompt)}
