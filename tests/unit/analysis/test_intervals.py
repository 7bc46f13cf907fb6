"""A mean with its interval, and what the interval says of itself."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from support.cells import cell_of

from vidbench_analysis.intervals import Doubt, IntervalMethod, estimate
from vidbench_analysis.metrics import find_metric
from vidbench_analysis.observations import CellObservations
from vidbench_analysis.units import Scope

LATENCY = find_metric("latency")


def test_shard_means_count_once_each() -> None:
    shards = [[100.0, 102.0], [104.0, 106.0, 108.0], [99.0]]
    found = estimate(cell_of(shards), LATENCY)
    expected = stats.t.interval(0.95, 2, np.mean([101, 106, 99]), stats.sem([101, 106, 99]))
    assert (found.low, found.high) == pytest.approx(expected)
    assert (found.clusters, found.shards, found.samples) == (3, 3, 6)
    assert (found.method, found.scope, found.is_nominal) == (IntervalMethod.T_ON_SHARDS, Scope.PRODUCT, True)


def test_one_shard_is_an_interval_of_its_process_alone() -> None:
    values = [100.0, 103.0, 99.0, 102.0, 98.0, 101.0]
    found = estimate(cell_of([values]), LATENCY)
    assert (found.within_process, found.doubts) == (True, (Doubt.WITHIN_PROCESS,))
    assert (found.method, found.is_nominal) == (IntervalMethod.T_WITHIN_PROCESS, False)
    expected = stats.t.interval(0.95, 5, np.mean(values), stats.sem(values))
    assert (found.low, found.high) == pytest.approx(expected)


def test_samples_that_depend_on_each_other_are_worth_fewer() -> None:
    drifting = [100.0, 100.1, 100.3, 100.2, 100.4, 100.6, 100.5, 100.8, 100.9, 101.0]
    found = estimate(cell_of([drifting]), LATENCY)
    assert found.effective_samples is not None
    assert found.effective_samples < 4
    naive = stats.t.interval(0.95, 9, np.mean(drifting), stats.sem(drifting))
    assert found.low is not None
    assert found.low < naive[0]


def test_one_sample_has_no_interval() -> None:
    found = estimate(cell_of([[100.0]]), LATENCY)
    assert (found.mean, found.low, found.reason, found.is_nominal) == (100.0, None, "OneShard", False)


def test_several_shards_a_gpu_count_by_gpu_from_three_on() -> None:
    devices = ["g1", "g1", "g2", "g2", "g3"]
    found = estimate(cell_of([100.0, 102.0, 110.0, 112.0, 120.0], devices=devices), LATENCY)
    expected = stats.t.interval(0.95, 2, np.mean([101, 111, 120]), stats.sem([101, 111, 120]))
    assert (found.low, found.high) == pytest.approx(expected)
    assert (found.method, found.clusters, found.scope) == (IntervalMethod.T_ON_DEVICES, 3, Scope.PRODUCT)


def test_two_gpus_are_spoken_of_as_these_two() -> None:
    devices = ["g1", "g1", "g2", "g2"]
    found = estimate(cell_of([100.0, 102.0, 110.0, 112.0], devices=devices), LATENCY)
    # Pooled variance within GPUs 2, two degrees: the mean of two means of two.
    half = stats.t.ppf(0.975, 2) * np.sqrt(2 * (1 / 2 + 1 / 2) / 4)
    assert (found.low, found.high) == pytest.approx((106 - half, 106 + half))
    assert (found.method, found.scope) == (IntervalMethod.T_WITHIN_DEVICES, Scope.DEVICES)
    assert found.devices == ("g1", "g2")


def test_from_forty_clusters_on_they_are_resampled() -> None:
    values = np.random.default_rng(1).exponential(1.0, 40) + 10
    found = estimate(cell_of(values.tolist()), LATENCY)
    assert found.method == IntervalMethod.BOOTSTRAP_ON_SHARDS
    assert found == estimate(cell_of(values.tolist()), LATENCY)
    assert estimate(cell_of(values[:39].tolist()), LATENCY).method == IntervalMethod.T_ON_SHARDS


def test_quality_counts_prompts() -> None:
    warping = find_metric("warpingError")
    prompts = ["a", "b", "c", "a", "b", "c"]
    found = estimate(cell_of([[1.0, 2.0, 4.0, 3.0, 2.0, 6.0]] * 2, metric="warpingError", prompts=prompts), warping)
    expected = stats.t.interval(0.95, 2, np.mean([2, 2, 5]), stats.sem([2, 2, 5]))
    assert (found.low, found.high) == pytest.approx(expected)
    assert (found.clusters, found.scope, found.within_process) == (3, Scope.PROMPTS, False)


def test_an_outlier_puts_the_interval_in_doubt() -> None:
    steady = [100.0, 100.1, 99.9, 100.0, 100.2]
    found = estimate(cell_of([steady, steady, [*steady, 180.0]]), LATENCY)
    assert (found.outlier_share, found.largest) == (pytest.approx(1 / 16), 180.0)
    assert (found.doubts, found.is_nominal) == ((Doubt.OUTLIERS,), False)


def test_nothing_says_why() -> None:
    assert estimate(CellObservations("a", ()), LATENCY).reason == "NoResults"
    assert estimate(cell_of([[1.0]], metric="warpingError"), find_metric("warpingError")).reason == "PromptsUnknown"
