"""The distributions against scipy.stats."""

from __future__ import annotations

import pytest
from scipy import stats

from vidbench_analysis import distributions as ours

CASES = [
    (ours.t_quantile(0.975, 3.7), stats.t.ppf(0.975, 3.7)),
    (ours.t_two_sided(2.1, 5.5), 2 * stats.t.sf(2.1, 5.5)),
    (ours.t_two_sided(-2.1, 5.5), 2 * stats.t.sf(2.1, 5.5)),
    (ours.t_upper(1.3, 4), stats.t.sf(1.3, 4)),
    (ours.normal_cumulative(-1.3), stats.norm.cdf(-1.3)),
    (ours.f_quantile(0.025, 3, 7), stats.f.ppf(0.025, 3, 7)),
    (ours.f_upper(2.5, 3, 7), stats.f.sf(2.5, 3, 7)),
    (ours.binomial_cumulative(3, 10, 0.2), stats.binom.cdf(3, 10, 0.2)),
    (ours.binomial_cumulative(-1, 10, 0.2), 0.0),
]


@pytest.mark.parametrize(("mine", "theirs"), CASES)
def test_a_distribution_is_scipys(mine: float, theirs: float) -> None:
    assert mine == pytest.approx(float(theirs), rel=1e-9)


@pytest.mark.parametrize(("successes", "trials"), [(0, 10), (3, 10), (10, 10)])
def test_the_interval_of_a_share_is_scipys(successes: int, trials: int) -> None:
    expected = stats.binomtest(successes, trials).proportion_ci(method="exact")
    assert ours.clopper_pearson(successes, trials) == pytest.approx((expected.low, expected.high))
