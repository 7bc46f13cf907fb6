"""Formulas against statsmodels, scipy, or a closed form; and cases of textbooks."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
from scipy import stats
from statsmodels.regression.linear_model import OLS
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestIndPower, TTestPower
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

from vidbench_analysis import power
from vidbench_analysis.contrasts import blocked, paired, ratio_bounds, welch
from vidbench_analysis.distributions import t_quantile, t_two_sided
from vidbench_analysis.effects import cliffs_delta, hedges_correction, hedges_g
from vidbench_analysis.multiplicity import holm
from vidbench_analysis.percentiles import floor_of, percentile
from vidbench_analysis.power import Design
from vidbench_analysis.ranks import mann_whitney, wilcoxon
from vidbench_analysis.resampling import bootstrap_t, generator_for
from vidbench_analysis.steadiness import autocorrelation, effective_samples, outliers
from vidbench_analysis.stopping import expected_half_width, needed_for_half_width

FIRST = [20.4, 24.2, 15.4, 21.4, 20.2, 18.5, 21.5]
SECOND = [20.2, 16.9, 18.5, 17.3, 20.5]


def test_welch_is_statsmodels() -> None:
    contrast = welch(FIRST, SECOND)
    means = CompareMeans(DescrStatsW(FIRST), DescrStatsW(SECOND))
    statistic, p, freedom = means.ttest_ind(usevar="unequal")
    assert contrast.freedom == pytest.approx(freedom)
    assert contrast.difference / contrast.error == pytest.approx(statistic)
    assert t_two_sided(contrast.difference / contrast.error, contrast.freedom) == pytest.approx(p)
    half = t_quantile(0.975, contrast.freedom) * contrast.error
    expected = means.tconfint_diff(usevar="unequal")
    assert (contrast.difference - half, contrast.difference + half) == pytest.approx(expected)


def test_pairs_of_the_sleep_data_are_those_of_student() -> None:
    """Student (1908), Table: hours of sleep gained by two drugs; t = 4.06 with 9 degrees, p = 0.0028."""
    dextro = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
    laevo = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
    contrast = paired(laevo, dextro)
    assert contrast.difference == pytest.approx(1.58)
    assert contrast.difference / contrast.error == pytest.approx(4.0621, abs=1e-4)
    assert t_two_sided(contrast.difference / contrast.error, contrast.freedom) == pytest.approx(0.002833, abs=1e-6)


def test_blocks_are_least_squares() -> None:
    subject = {"g1": [10.2, 10.9], "g2": [12.1], "g3": [9.0, 9.4, 9.9]}
    reference = {"g1": [9.8], "g2": [11.0, 11.9], "g3": [8.8, 9.1]}
    found = blocked(subject, reference)
    assert found is not None
    rows, values = [], []
    for side, cells in ((1.0, subject), (0.0, reference)):
        for block, figures in cells.items():
            for figure in figures:
                rows.append([side, *(float(block == name) for name in ("g1", "g2", "g3"))])
                values.append(figure)
    fitted = OLS(values, rows).fit()
    assert found.difference == pytest.approx(fitted.params[0])
    assert found.error == pytest.approx(fitted.bse[0])
    assert found.freedom == fitted.df_resid


def test_one_of_each_in_every_block_is_a_paired_test() -> None:
    names = ["a", "b", "c", "d"]
    subject, reference = [5.1, 7.2, 6.6, 8.0], [5.0, 6.8, 6.1, 7.9]
    in_blocks = blocked(
        {name: [value] for name, value in zip(names, subject, strict=True)},
        {name: [value] for name, value in zip(names, reference, strict=True)},
    )
    pairs = paired(subject, reference)
    assert in_blocks is not None
    assert (in_blocks.difference, in_blocks.error) == pytest.approx((pairs.difference, pairs.error))
    assert in_blocks.freedom == pairs.freedom
    assert blocked({"a": [1.0]}, {"a": [2.0]}) is None


def test_fiellers_ends_are_where_the_test_turns() -> None:
    contrast = welch(FIRST, SECOND)
    quantile = t_quantile(0.975, contrast.freedom)
    bounds = ratio_bounds(contrast, quantile)
    assert bounds is not None
    for ratio in bounds:
        error = math.sqrt(contrast.subject_variance + ratio**2 * contrast.reference_variance)
        assert abs(contrast.subject - ratio * contrast.reference) / error == pytest.approx(quantile)
    assert ratio_bounds(welch([1.0, 2.0, 3.0], [-1.0, 0.1, 1.0]), 3.0) is None


@pytest.mark.parametrize("count", [1, 2, 5, 12])
def test_holm_is_statsmodels(count: int) -> None:
    p_values = (np.random.default_rng(count).random(count) ** 3).round(2).tolist()
    found = holm({str(number): p for number, p in enumerate(p_values)})
    assert list(found.values()) == pytest.approx(multipletests(p_values, method="holm")[1].tolist())


def test_a_hypothesis_without_p_still_counts() -> None:
    assert holm({"a": 0.02, "b": None}) == {"a": 0.04, "b": None}
    assert holm({"a": 0.02, "b": math.nan}) == {"a": 0.04, "b": None}


def test_hedges_g_of_a_worked_example() -> None:
    """Borenstein et al. (2009), chapter 4: means 103 and 100, sds 5.5 and 4.5, n = 50 each: d 0.5970, g 0.5924."""
    assert 0.5970 * hedges_correction(98) == pytest.approx(0.5924, abs=1e-4)


def test_hedges_g_is_the_pooled_difference() -> None:
    pooled = math.sqrt((6 * statistics.variance(FIRST) + 4 * statistics.variance(SECOND)) / 10)
    raw = (statistics.fmean(FIRST) - statistics.fmean(SECOND)) / pooled
    assert hedges_g(FIRST, SECOND) == pytest.approx(raw * (1 - 3 / (4 * 10 - 1)), rel=1e-3)
    assert hedges_g([1.0, 1.0], [1.0, 1.0]) is None
    assert hedges_g([1.0], [1.0, 2.0]) is None


def test_cliffs_delta_is_mann_whitneys_u() -> None:
    u = stats.mannwhitneyu(FIRST, SECOND).statistic
    assert cliffs_delta(FIRST, SECOND) == pytest.approx(2 * u / (len(FIRST) * len(SECOND)) - 1)
    assert cliffs_delta([2.0, 3.0], [1.0]) == 1.0


def test_ranks_are_silent_where_no_data_could_reach_the_level() -> None:
    assert mann_whitney([1, 2, 3], [4, 5, 6]).reason == "TooFew"
    assert mann_whitney([1, 2, 3], [4, 5, 6]).smallest == pytest.approx(0.1)
    assert mann_whitney([1, 2, 3, 4], [5, 6, 7, 8]).p == pytest.approx(2 / 70)
    assert wilcoxon([2, 4, 6, 8, 10], [1, 2, 3, 4, 5]).smallest == 0.0625
    assert wilcoxon([2, 4, 6, 8, 10], [1, 2, 3, 4, 5]).reason == "TooFew"
    assert wilcoxon([2, 4, 6, 8, 10, 12], [1, 2, 3, 4, 5, 6]).p == pytest.approx(2 / 64)
    assert wilcoxon([1, 2], [1, 2]).reason == "NoVariance"
    assert mann_whitney([1.0] * 5, [1.0] * 5).reason == "NoVariance"


def test_signed_ranks_of_darwins_plants() -> None:
    """Darwin's 15 pairs of cross- and self-fertilised maize (eighths of an inch): W- = 24, exact p 0.0413."""
    differences = [49.0, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]
    assert wilcoxon(differences, [0.0] * 15).p == pytest.approx(0.04126, abs=1e-4)


@pytest.mark.parametrize("count", [3, 6, 12])
def test_power_of_pairs_is_statsmodels(count: int) -> None:
    # statsmodels adds the wrong tail, which is nothing at such effects.
    expected = TTestPower().power(effect_size=1.5, nobs=count, alpha=0.05, alternative="two-sided")
    assert power.power_of_difference(0.015, 0.01, count, design=Design.PAIRED) == pytest.approx(expected, abs=1e-3)


def test_power_of_many_is_statsmodels() -> None:
    expected = TTestIndPower().power(effect_size=0.4, nobs1=60, alpha=0.05, alternative="two-sided")
    assert power.power_of_difference(0.004, 0.01, 60) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("each", [3, 4, 10])
def test_power_of_few_is_that_of_welchs_test(each: int) -> None:
    draws = np.random.default_rng(each).standard_normal((2, 40_000, each))
    tests = stats.ttest_ind(draws[0] + 2.0, draws[1], axis=1, equal_var=False)
    seen = float(np.mean((tests.pvalue < 0.05) & (tests.statistic > 0)))
    assert power.power_of_difference(2.0, 1.0, each) == pytest.approx(seen, abs=0.01)


@pytest.mark.parametrize(("each", "against"), [(12, 3), (3, 12), (10, 2)])
def test_power_against_fewer_or_more_is_that_of_welchs_test(each: int, against: int) -> None:
    rng = np.random.default_rng(each)
    first, second = rng.standard_normal((40_000, each)) + 2.0, rng.standard_normal((40_000, against))
    tests = stats.ttest_ind(first, second, axis=1, equal_var=False)
    seen = float(np.mean((tests.pvalue < 0.05) & (tests.statistic > 0)))
    assert power.power_of_difference(2.0, 1.0, each, against=against) == pytest.approx(seen, abs=0.01)
    assert power.power_of_difference(2.0, 1.0, each, against=each) == power.power_of_difference(2.0, 1.0, each)
    assert power.power_of_difference(2.0, 1.0, each, against=1) == 0


def test_cohens_medium_effect_takes_64_each() -> None:
    """Cohen (1988), table 2.4.1: d = 0.5, 80 %, two-sided 5 %."""
    assert power.needed(lambda each: power.power_of_difference(0.5, 1.0, each)) == 64


def test_the_detectable_effect_has_the_power_asked_for() -> None:
    effect = power.detectable(0.01, 6)
    assert effect is not None
    assert power.power_of_difference(effect, 0.01, 6) == pytest.approx(0.8, abs=1e-6)
    assert power.detectable(0.01, 1) is None


def test_equivalence_at_the_edge_has_its_level_and_large_samples_the_normal_power() -> None:
    assert power.power_of_equivalence(0.02, 0.02, 0.01, 60) == pytest.approx(0.05, abs=1e-3)
    error = 0.01 * math.sqrt(2 / 400)
    normal = 2 * stats.norm.cdf(0.0022 / error - stats.norm.ppf(0.95)) - 1
    assert power.power_of_equivalence(0.0, 0.0022, 0.01, 400) == pytest.approx(normal, abs=5e-3)


def test_a_plan_that_cannot_be_met_is_none() -> None:
    assert power.needed(lambda each: 0.0) is None
    assert power.needed_to_decide(0.02, 0.0) == 2
    assert power.needed(lambda each: 1.0) == 2


def test_gates_plan_is_the_shifted_test() -> None:
    assert power.power_of_failure(0.05, 0.02, 0.02, 9) == pytest.approx(
        power.power_of_difference(0.03, 0.02, 9), abs=1e-12
    )
    assert power.power_of_pass(0.0, 0.02, 0.02, 9) == pytest.approx(power.power_of_failure(0.02, 0.0, 0.02, 9))


def test_percentiles_keep_their_floors() -> None:
    assert (floor_of(0.9), floor_of(0.99), floor_of(0.5)) == (64, 662, 10)
    assert percentile(range(63), 0.9).reason == "TooFewSamples"
    found = percentile([float(value) for value in range(64)], 0.9)
    assert found.value == pytest.approx(float(np.percentile(range(64), 90)))
    expected = stats.quantile_test(list(range(64)), p=0.9).confidence_interval(0.95)
    assert (found.low, found.high) == (expected.low, expected.high)
    with pytest.raises(ValueError, match="between 0 and 1"):
        floor_of(1.0)


def test_effective_samples_of_an_autoregression() -> None:
    values = [1.0, 2.0, 1.5, 2.5, 2.2, 3.0, 2.4, 3.1]
    deviations = np.array(values) - np.mean(values)
    expected = float(deviations[1:] @ deviations[:-1] / (deviations @ deviations))
    assert autocorrelation(values) == pytest.approx(expected)
    assert effective_samples(values) == pytest.approx(8 * (1 - expected) / (1 + expected))
    assert effective_samples([1.0, 2.0] * 4) == 8
    assert autocorrelation([2.0] * 8) == 0.0


def test_an_outlier_is_far_in_deviations_and_in_percent() -> None:
    steady = [100.0, 100.1, 99.9, 100.0, 100.2, 99.8]
    assert outliers([*steady, 104.0]) == 1
    assert outliers([*steady, 102.0]) == 0
    assert outliers([]) == 0


def test_stopping_by_width_is_its_own_inverse() -> None:
    count = needed_for_half_width(0.02, 0.01)
    assert count is not None
    width, before = expected_half_width(0.02, count), expected_half_width(0.02, count - 1)
    assert width is not None
    assert before is not None
    assert width <= 0.01 < before
    assert expected_half_width(0.02, 1) is None


def test_the_same_input_is_resampled_the_same_way() -> None:
    values = [float(value) for value in np.random.default_rng(3).exponential(1, 50)]
    assert bootstrap_t(values, 0.95) == bootstrap_t(list(values), 0.95)
    assert generator_for("a").integers(1 << 60) != generator_for("b").integers(1 << 60)


def test_bootstrap_t_is_t_for_normal_values_and_leans_to_the_tail_of_skewed_ones() -> None:
    rng = np.random.default_rng(7)
    normal = rng.normal(100, 1, 60)
    low, high = bootstrap_t(normal.tolist(), 0.95)
    expected = stats.t.interval(0.95, 59, normal.mean(), stats.sem(normal))
    assert (low, high) == pytest.approx(expected, abs=0.08)
    skewed = rng.exponential(1, 60)
    low, high = bootstrap_t(skewed.tolist(), 0.95)
    assert high - skewed.mean() > skewed.mean() - low
