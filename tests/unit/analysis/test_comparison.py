"""Verdicts, and the intervals and tests behind them, against scipy and statsmodels."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.weightstats import ttost_ind
from support.cells import cell_of

from vidbench_analysis.comparison import Method, Reason, Verdict, compare
from vidbench_analysis.metrics import Margin, Pairing, find_metric

LATENCY = find_metric("latency")
TWO_PERCENT = Margin.parse("2%")
SUBJECT, REFERENCE = (103.0, 104.2, 105.1, 103.7, 104.4), (100.0, 100.9, 99.4, 101.2)


def test_welch_on_logarithms_of_shard_means_is_scipys() -> None:
    found = compare(cell_of(SUBJECT, label="a"), cell_of(REFERENCE, label="b"), LATENCY)
    expected = stats.ttest_ind(np.log(SUBJECT), np.log(REFERENCE), equal_var=False)
    low, high = np.exp(expected.confidence_interval(0.95))
    assert found.p == pytest.approx(expected.pvalue, rel=1e-9)
    assert found.ratio is not None
    assert (found.ratio.low, found.ratio.high) == pytest.approx((low, high), rel=1e-9)
    assert found.verdict == Verdict.WORSE
    assert found.method == Method.WELCH_ON_SHARDS


def test_equivalence_is_statsmodels_two_one_sided_tests() -> None:
    close = [value * 0.966 for value in SUBJECT]
    found = compare(cell_of(close, label="a"), cell_of(REFERENCE, label="b"), LATENCY, Margin.parse("5%"))
    edge = math.log(1.05)
    expected = ttost_ind(np.log(close), np.log(REFERENCE), -edge, edge, usevar="unequal")[0]
    assert found.p_equivalence == pytest.approx(expected, rel=1e-9)
    assert found.verdict == Verdict.EQUIVALENT


def test_one_shard_decides_nothing_and_says_how_many_more() -> None:
    found = compare(cell_of([[100.0, 101.0, 99.0]], label="a"), cell_of(REFERENCE, label="b"), LATENCY, TWO_PERCENT)
    assert (found.verdict, found.reason, found.more_shards) == (Verdict.INCONCLUSIVE, Reason.ONE_SHARD, 2)
    assert found.subject.within_process
    assert found.ratio is not None
    assert found.ratio.low is None


def test_shards_of_the_same_number_are_paired_on_their_device() -> None:
    devices = ["g1", "g2", "g3", "g4"]
    subject = cell_of([101.0, 111.5, 120.9, 131.2], devices=devices, label="a")
    reference = cell_of([100.0, 110.0, 120.0, 130.0], devices=devices, label="b")
    found = compare(subject, reference, LATENCY, pairing=Pairing.NODE)
    expected = stats.ttest_rel(np.log([101.0, 111.5, 120.9, 131.2]), np.log([100.0, 110.0, 120.0, 130.0]))
    assert found.p == pytest.approx(expected.pvalue, rel=1e-9)
    assert found.method == Method.PAIRED_BY_DEVICE
