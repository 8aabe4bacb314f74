"""Statistics: a few measurements, an interval of a share, and the comparison of two answers to the same questions.

`only_first` and `only_second` count the images that one of two nets alone gets right.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist


@dataclass(frozen=True)
class Spread:
    """Of n values: the mean, the sample's standard deviation, the mean's 95% interval. One value has a mean alone."""

    n: int
    mean: float
    deviation: float | None
    low: float | None
    high: float | None


def spread(values: Sequence[float]) -> Spread:
    """The interval is Student's, for independent values: mean plus or minus t x deviation / sqrt(n)."""
    n, mean = len(values), statistics.fmean(values)
    if n < 2:
        return Spread(n, mean, None, None, None)
    deviation = statistics.stdev(values)
    half = _t_quantile(0.975, n - 1) * deviation / math.sqrt(n)
    return Spread(n, mean, deviation, mean - half, mean + half)


def wilson_interval(right: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """The Wilson score interval of a share of which right/n was seen; (0, 1) where n is 0.

    Without correction for continuity. It stays within 0..1 and keeps its coverage near the ends: Brown, Cai & DasGupta,
    2001, https://doi.org/10.1214/ss/1009213286.
    """
    if n == 0:
        return 0.0, 1.0
    z = _quantile(confidence)
    centre = (right + z**2 / 2) / (n + z**2)
    half = z * math.sqrt(right * (n - right) / n + z**2 / 4) / (n + z**2)
    # Its ends are exactly 0 and 1 there; the rounding of the sums above is not to be seen.
    return (0.0 if right == 0 else centre - half), (1.0 if right == n else centre + half)


def mcnemar(only_first: int, only_second: int) -> float:
    """The two-sided p of McNemar's exact test: whether two nets do equally well on the same images.

    It is the binomial test of only_first among only_first + only_second at 1/2, in whole numbers up to the last
    division, so that no count is too large for it.
    """
    n, fewer = only_first + only_second, min(only_first, only_second)
    ways = total = 1
    for taken in range(fewer):
        ways = ways * (n - taken) // (taken + 1)
        total += ways
    return min(1.0, 2 * total / (1 << n))


def paired_difference_interval(
    only_first: int, only_second: int, n: int, confidence: float = 0.95
) -> tuple[float, float]:
    """The interval of the first net's accuracy minus the second's, both measured on the same `n` images.

    The adjusted Wald interval of Bonett & Price, 2012, https://doi.org/10.3102/1076998611411915: one image is added to
    each of both counts, and cut off at -1 and 1. Of those that Fagerland, Lydersen & Laake recommend, 2014,
    https://doi.org/10.1002/sim.6148, it is the one in closed form. Where hardly an image tells the nets apart it is
    rather too wide, where the plain Wald interval would shrink to a point.
    """
    first, second = (only_first + 1) / (n + 2), (only_second + 1) / (n + 2)
    difference = first - second
    half = _quantile(confidence) * math.sqrt((first + second - difference**2) / (n + 2))
    return max(-1.0, difference - half), min(1.0, difference + half)


def _quantile(confidence: float) -> float:
    """Standard deviations on each side of the mean of a normal distribution that hold this share of it."""
    return NormalDist().inv_cdf((1 + confidence) / 2)


def _t_quantile(probability: float, freedom: int) -> float:
    """The quantile of Student's t at a probability from 0.5 on, by bisection."""
    low, high = 0.0, 1.0
    while _t_probability(high, freedom) < probability:
        low, high = high, 2 * high
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if _t_probability(middle, freedom) < probability else (low, middle)
    return high


def _t_probability(t: float, freedom: int) -> float:
    """That Student's t of so many degrees of freedom is below `t`, from 0 on: the finite sums of its integral.

    Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4.
    """
    angle = math.atan(t / math.sqrt(freedom))
    square = math.cos(angle) ** 2
    odd = freedom % 2
    term = math.cos(angle) if odd else 1.0
    total = 0.0
    for k in range(1 if odd else 0, freedom - 1, 2):
        total += term
        term *= square * (k + 1) / (k + 2)
    within = 2 / math.pi * (angle + math.sin(angle) * total) if odd else math.sin(angle) * total
    return (1 + within) / 2
