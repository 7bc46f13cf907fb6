"""How well the mean of a figure is known: the half-width of its 95 % interval over the samples of one process. Pure.

The interval is Student's: mean ± t(0.975, n - 1) · s / √n, with the standard deviation s of n samples
(NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.5.2). It speaks of this process alone: samples of one process are
not independent of each other, so that another process may lie outside of it.
"""

from __future__ import annotations

import math

from vidbench_api.measured import Statistics

PARTS_PER_MILLION = 1_000_000

STUDENT_975 = (
    12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281, 2.2010, 2.1788, 2.1604, 2.1448, 2.1314,
    2.1199, 2.1098, 2.1009, 2.0930, 2.0860, 2.0796, 2.0739, 2.0687, 2.0639, 2.0595, 2.0555, 2.0518, 2.0484, 2.0452, 2.0423,
    2.0395, 2.0369, 2.0345, 2.0322, 2.0301, 2.0281, 2.0262, 2.0244, 2.0227, 2.0211, 2.0195, 2.0181, 2.0167, 2.0154, 2.0141,
    2.0129, 2.0117, 2.0106, 2.0096, 2.0086, 2.0076, 2.0066, 2.0057, 2.0049, 2.0040, 2.0032, 2.0025, 2.0017, 2.0010, 2.0003,
    1.9996, 1.9990, 1.9983,
)  # fmt: skip
"""The 97.5 % points of Student's t for 1 to 63 degrees of freedom: a shard has at most 64 samples (NIST, 1.3.6.7.2)."""


def half_width_ppm(statistics: Statistics) -> int | None:
    """Return the half-width of the mean's 95 % interval in millionths of the mean, rounded up.

    None for a single sample, and for a mean that is not positive: a share of it says nothing.
    """
    count, deviation = statistics.count, statistics.standard_deviation
    if deviation is None or statistics.mean <= 0:
        return None
    t = STUDENT_975[min(count - 1, len(STUDENT_975)) - 1]
    return math.ceil(t * deviation / math.sqrt(count) / statistics.mean * PARTS_PER_MILLION)
