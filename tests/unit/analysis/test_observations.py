"""What counts of a cell's results, and what is said of the rest."""

from __future__ import annotations

from typing import Any

import pytest
from support.builders import Scene, latencies

from vidbench_analysis.metrics import METRICS, find_metric
from vidbench_analysis.observations import LeftOut, LeftOutReason, observe
from vidbench_api.figures import Figures
from vidbench_api.measured import Environment, Memory, QualityFacts, Series, SeriesName, Statistics, ValidityVerdict
from vidbench_api.names import Comparability, Outcome, Validity
from vidbench_api.result import BenchmarkResultSpec

SCENE = Scene.of()


def result(shard: int = 1, **changes: Any) -> BenchmarkResultSpec:
    return SCENE.result(shard=shard, **changes)


def test_a_valid_result_counts_with_its_samples_and_where_it_ran() -> None:
    environment = Environment(device="NVIDIA H100 80GB HBM3", device_count=1, gpu_uuid="GPU-1")
    cell = observe([result(environment=environment, memory=Memory(device=7, host=9))])
    (shard,) = cell.shards
    assert shard.readings["latency"].values == (2_000_000, 2_100_000, 2_200_000)
    assert (shard.readings["memory"].mean, shard.readings["memory"].basis) == (7, "device")
    assert (shard.device, cell.products) == ("GPU-1", ("NVIDIA H100 80GB HBM3",))
    assert set(shard.readings) | set(shard.absent) == set(METRICS)
    assert cell.left_out == ()


@pytest.mark.parametrize(
    ("device", "comparability", "memory", "basis"),
    [
        ("NVIDIA H100", Comparability.DEVICE, Memory(device=7, host=9), "device"),
        ("NVIDIA H100", Comparability.DEVICE, Memory(host=9), None),
        ("cpu", Comparability.DEVICE, Memory(host=9), "host"),
        ("cpu", Comparability.SERVICE, Memory(host=9), None),
        ("cpu", Comparability.SERVICE, None, None),
        (None, Comparability.DEVICE, Memory(host=9), None),
    ],
)
def test_memory_is_of_what_generates(
    device: str | None, comparability: Comparability, memory: Memory | None, basis: str | None
) -> None:
    """The memory of a host counts only where it is the device, and that of a service's client never."""
    environment = None if device is None else Environment(device=device)
    (shard,) = observe([result(environment=environment, memory=memory, comparability=comparability)]).shards
    found = shard.readings.get("memory")
    assert (found.basis if found else None) == basis
    assert shard.absent.get("memory") == (None if basis else "not_measured")


def test_what_does_not_count_is_named_with_its_reason() -> None:
    invalid = ValidityVerdict(state=Validity.INVALID, reasons=("Throttled",))
    cell = observe(
        [
            result(1),
            result(2, validity=invalid),
            result(3, outcome=Outcome.OUT_OF_MEMORY, reason="OutOfMemoryCuda"),
            result(4, validity=invalid, superseded=True),
            result(5, validity=ValidityVerdict(state=Validity.PARTIAL)),
            result(6, comparability=Comparability.MOCK),
            result(7),
            result(7),
            result(8, comparability=Comparability.SERVICE),
        ]
    )
    assert [shard.shard for shard in cell.shards] == [1, 7]
    assert cell.left_out == (
        LeftOut(LeftOutReason.DUPLICATE, 1),
        LeftOut(LeftOutReason.INVALID, 1, ("Throttled",)),
        LeftOut(LeftOutReason.MOCK, 1),
        LeftOut(LeftOutReason.OTHER_KIND, 1, ("Service",)),
        LeftOut(LeftOutReason.OUT_OF_MEMORY, 1, ("OutOfMemoryCuda",)),
        LeftOut(LeftOutReason.PARTIAL, 1),
        LeftOut(LeftOutReason.SUPERSEDED, 1, ("Throttled",)),
    )
    assert sum(left.count for left in cell.left_out) + len(cell.shards) == cell.results


def test_quality_of_random_weights_is_absent_and_their_time_is_not() -> None:
    flicker = Series(
        name=SeriesName.FLICKER, unit="partsPerMillion", statistics=Statistics.of([5, 6, 7]), values=(5, 6, 7)
    )
    facts = QualityFacts(comparable=True, microseconds=1)
    series = (latencies(1, 2, 3), flicker)
    random = observe([result(series=series, quality=facts, weights="Random")])
    assert random.why_absent(find_metric("flicker")) == "random_weights"
    assert random.reading(find_metric("latency"))
    trained = observe([result(series=series, quality=facts)])
    assert [reading.values for _, reading in trained.reading(find_metric("flicker"))] == [(5, 6, 7)]
    noise = QualityFacts(comparable=False, reason="encoded_video", microseconds=1)
    assert observe([result(series=series, quality=noise)]).why_absent(find_metric("flicker")) == "encoded_video"


def test_prompts_are_known_from_the_request() -> None:
    document = SCENE.document
    samples = {document.digest: document.samples()}
    with_prompts = observe([result()], samples=samples).shards[0].prompts
    assert with_prompts == tuple(sample.prompt for sample in document.samples())[:3]
    assert observe([result()]).shards[0].prompts is None


def test_a_figure_that_was_not_measured_says_why() -> None:
    cell = observe([result(unmeasured={"energy": "no_gpu"}, columns_dropped=("step",))])
    assert cell.why_absent(find_metric("energy")) == "no_gpu"
    assert cell.why_absent(find_metric("step")) == "dropped"
    assert cell.why_absent(find_metric("costPerVideo")) == "no_price"
    assert observe([result(figures=Figures(videos_per_hour=12.0))]).reading(find_metric("videosPerHour"))
