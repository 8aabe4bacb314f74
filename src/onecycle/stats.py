"""Statistics: a few measurements and their differences, and two answers to the same questions.

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
    """Of n values: the mean, the sample's standard deviation, the mean's 95% interval. One value has a mean alone.

    Of values that are all the same, as of few images they may be by chance, the interval is empty and says nothing.
    """

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


@dataclass(frozen=True)
class PairedDifference:
    """Of n pairs: the differences' mean, sample deviation and 95% interval, and the two-sided p of two tests.

    `t_p` is that of the paired t-test, `wilcoxon_p` that of Wilcoxon's signed ranks. One pair has a mean alone.
    """

    n: int
    mean: float
    deviation: float | None
    low: float | None
    high: float | None
    t_p: float | None
    wilcoxon_p: float | None


def paired_difference(first: Sequence[float], second: Sequence[float]) -> PairedDifference:
    """The first of each pair minus the second, to twelve decimals.

    Where all differences are the same, as small counts may be by chance, there is neither interval nor t_p.
    """
    # Rounded, as 0.95 - 0.94 is not quite 0.94 - 0.93: equal differences are to be seen as equal.
    differences = [round(one - other, 12) for one, other in zip(first, second, strict=True)]
    found = spread(differences)
    if found.deviation is None:
        return PairedDifference(found.n, found.mean, None, None, None, None, None)
    if found.deviation == 0:
        return PairedDifference(found.n, found.mean, 0.0, None, None, None, wilcoxon_signed_rank(differences))
    t = abs(found.mean) / (found.deviation / math.sqrt(found.n))
    t_p = 2 * (1 - _t_cdf(t, found.n - 1))
    return PairedDifference(
        found.n, found.mean, found.deviation, found.low, found.high, t_p, wilcoxon_signed_rank(differences)
    )


def wilcoxon_signed_rank(differences: Sequence[float]) -> float:
    """The two-sided p of Wilcoxon's signed-rank test: whether the differences lie evenly about zero.

    As SciPy's default has it: zeros are left out, equal sizes share their mean rank; exact up to 50 differences, with
    zeros or equal sizes up to 13, and beyond by the normal distribution with the variance corrected for ties. Wilcoxon,
    1945, https://doi.org/10.2307/3001968.
    """
    nonzero = sorted((one for one in differences if one), key=abs)
    sizes = [abs(one) for one in nonzero]
    counts = [sizes.count(size) for size in dict.fromkeys(sizes)]
    doubled = _doubled_ranks(counts)
    positive = sum(rank for rank, one in zip(doubled, nonzero, strict=True) if one > 0)
    n = len(nonzero)
    simple = n == len(differences) and all(count == 1 for count in counts)
    if len(differences) <= (50 if simple else 13):
        ways = _ways(doubled)
        tail = min(sum(ways[: positive + 1]), sum(ways[positive:]))
        return min(1.0, 2 * tail / (1 << n))
    if not n:
        return 1.0
    ties = sum(count**3 - count for count in counts)
    deviation = math.sqrt((n * (n + 1) * (2 * n + 1) - ties / 2) / 24)
    z = abs(positive / 2 - n * (n + 1) / 4) / deviation
    return min(1.0, 2 * NormalDist().cdf(-z))


def holm(p_values: Sequence[float]) -> list[float]:
    """Each p as it stands after Holm's correction for as many tests as there are.

    Holm, 1979, https://www.jstor.org/stable/4615733.
    """
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for place, number in enumerate(sorted(range(len(p_values)), key=lambda one: p_values[one])):
        highest = max(highest, min(1.0, (len(p_values) - place) * p_values[number]))
        corrected[number] = highest
    return corrected


def sample_size(difference: float, deviation: float, *, paired: bool, power: float = 0.8) -> int:
    """How many pairs, or values in each of two groups, Student's t-test needs to detect a difference at two-sided 5%.

    `deviation` is that of the differences of pairs, or that within a group. The least number at which the power,
    from the noncentral t distribution, is at least what is asked for: Julious, 2004,
    https://doi.org/10.1002/sim.1783. From 1,000 on by the normal distribution.
    """
    if deviation == 0:
        return 2
    effect = abs(difference) / deviation
    quantiles = NormalDist().inv_cdf(0.975) + NormalDist().inv_cdf(power)
    least = (1 if paired else 2) * (quantiles / effect) ** 2  # too few, as t's quantiles are larger
    if least >= 1000:
        return math.ceil(least + 2)
    n = max(2, math.floor(least))
    while _power(n, effect, paired=paired) < power:
        n += 1
    return n


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
    while _t_cdf(high, freedom) < probability:
        low, high = high, 2 * high
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if _t_cdf(middle, freedom) < probability else (low, middle)
    return high


def _t_cdf(t: float, freedom: int) -> float:
    """P(T < t) of Student's t, for t >= 0: the finite sums of its integral.

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


def _doubled_ranks(counts: Sequence[int]) -> list[int]:
    """Twice the rank of each value, of groups of equal ones: whole numbers."""
    ranks: list[int] = []
    for count in counts:
        ranks += [2 * len(ranks) + count + 1] * count
    return ranks


def _ways(ranks: Sequence[int]) -> list[int]:
    """In how many ways some of the ranks sum to 0, 1, ... all of them."""
    ways = [1] + [0] * sum(ranks)
    reached = 0
    for rank in ranks:
        reached += rank
        for total in range(reached, rank - 1, -1):
            ways[total] += ways[total - rank]
    return ways


def _power(n: int, effect: float, *, paired: bool) -> float:
    """The probability that Student's two-sided 5% t-test detects an effect with n pairs, or n values a group.

    `effect` is in standard deviations. That of the noncentral t beyond the test's bounds, integrated over the deviation
    that may be measured.
    """
    freedom, shift = (n - 1, effect * math.sqrt(n)) if paired else (2 * n - 2, effect * math.sqrt(n / 2))
    bound = _t_quantile(0.975, freedom) / math.sqrt(freedom)
    low, high, steps = max(0.0, math.sqrt(freedom) - 8), math.sqrt(freedom) + 8, 400
    width = (high - low) / steps
    beyond = NormalDist().cdf
    total = 0.0
    for place in range(steps + 1):
        chi = low + place * width
        simpson = 1 if place in (0, steps) else 4 if place % 2 else 2
        seen = beyond(shift - bound * chi) + beyond(-shift - bound * chi)
        total += simpson * _chi_pdf(chi, freedom) * seen
    return total * width / 3


def _chi_pdf(chi: float, freedom: int) -> float:
    """The density of the chi distribution."""
    if chi == 0:
        return math.sqrt(2 / math.pi) if freedom == 1 else 0.0
    logarithm = (freedom - 1) * math.log(chi) - chi**2 / 2 - (freedom / 2 - 1) * math.log(2) - math.lgamma(freedom / 2)
    return math.exp(logarithm)
