"""Statistics against SciPy, published figures and simulations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from onecycle.stats import (
    holm,
    mcnemar,
    paired_difference,
    paired_difference_interval,
    sample_size,
    spread,
    wilcoxon_signed_rank,
    wilson_interval,
)

counts = st.tuples(st.integers(0, 3000), st.integers(0, 3000))


@given(counts, st.sampled_from([0.5, 0.9, 0.95, 0.999]))
@example((0, 1), 0.95)
@example((1, 0), 0.95)
@settings(deadline=None)
def test_the_interval_of_a_share_is_that_of_scipy(one: tuple[int, int], confidence: float) -> None:
    right, wrong = one
    if right + wrong == 0:
        assert wilson_interval(0, 0, confidence) == (0, 1)
        return
    expected = scipy.stats.binomtest(right, right + wrong).proportion_ci(confidence, method="wilson")
    found = wilson_interval(right, right + wrong, confidence)
    assert found == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert 0 <= found[0] <= right / (right + wrong) <= found[1] <= 1


@pytest.mark.parametrize("n", [1, 60, 7919])
def test_the_interval_of_all_or_nothing_ends_where_shares_end(n: int) -> None:
    assert wilson_interval(0, n)[0] == 0
    assert wilson_interval(n, n)[1] == 1


@given(counts)
@example((5, 5))
@example((0, 0))
@settings(deadline=None)
def test_mcnemars_p_is_that_of_scipys_binomial_test(one: tuple[int, int]) -> None:
    # scipy calls a test of no draws an error; no difference was seen, so that p is 1.
    expected = scipy.stats.binomtest(one[0], sum(one)).pvalue if any(one) else 1.0
    assert mcnemar(*one) == pytest.approx(expected, rel=1e-9)
    assert mcnemar(*one) == mcnemar(*reversed(one))


def test_mcnemars_test_of_many_images_is_near_its_normal_limit() -> None:
    z = (10_500 - 10_000 - 1) / math.sqrt(20_500)
    assert mcnemar(10_000, 10_500) == pytest.approx(2 * scipy.stats.norm.sf(z), rel=1e-3)
    assert mcnemar(0, 5000) == 0.0  # too small for a float


def test_the_paired_interval_is_the_published_one() -> None:
    # The example of ci.prop.ps in Bonett's R package statpsych.
    assert paired_difference_interval(26, 4, 48) == pytest.approx((0.2548067, 0.6251933), abs=5e-8)


@given(counts, st.integers(0, 3000))
@example((0, 0), 0)
@example((1, 0), 0)
def test_the_paired_interval_turns_with_the_nets_and_ends_at_one(one: tuple[int, int], same: int) -> None:
    n = sum(one) + same
    low, high = paired_difference_interval(*one, n)
    assert -1 <= low <= (one[0] - one[1]) / max(n, 1) <= high <= 1
    assert paired_difference_interval(*reversed(one), n) == pytest.approx((-high, -low))
    wide = paired_difference_interval(*one, n, confidence=0.99)
    assert wide[0] <= low
    assert high <= wide[1]


@pytest.mark.parametrize("only", [(0.02, 0.02), (0.05, 0.01), (0.1, 0.1), (0.2, 0.05)])
@pytest.mark.parametrize("n", [60, 150, 400])
def test_the_paired_interval_holds_the_truth_as_often_as_it_says(only: tuple[float, float], n: int) -> None:
    """Over all outcomes, each with its probability: nothing is drawn."""
    first, second = (one.ravel() for one in np.mgrid[: n + 1, : n + 1])
    rest = n - first - second
    chances = scipy.stats.multinomial.pmf(np.stack([first, second, rest], axis=1), n, [*only, 1 - sum(only)])
    likely = np.flatnonzero(chances > 1e-8)
    intervals = [paired_difference_interval(int(first[one]), int(second[one]), n) for one in likely]
    low, high = np.array(intervals).T
    truth = only[0] - only[1]
    covered = chances[likely][(low <= truth) & (truth <= high)].sum()
    few = n * sum(only) < 8  # images that tell the nets apart: so few make it wider than need be
    assert 0.945 < covered < (1 if few else 0.98)


@pytest.mark.parametrize("values", [[0.94, 0.93], [1.0, 2.0, 4.0], [3.0, 1.0, 4.0, 1.0, 5.0], list(range(50))])
def test_the_interval_of_a_mean_is_that_of_scipy(values: list[float]) -> None:
    found = spread(values)
    low, high = scipy.stats.t.interval(0.95, len(values) - 1, np.mean(values), scipy.stats.sem(values))
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-9)
    assert (found.n, found.mean, found.deviation) == pytest.approx(
        (len(values), np.mean(values), np.std(values, ddof=1))
    )


def test_one_value_has_no_interval() -> None:
    found = spread([2.0])
    assert (found.n, found.mean, found.deviation, found.low, found.high) == (1, 2.0, None, None, None)


differences = st.lists(
    st.one_of(st.integers(-20, 20).map(lambda one: one / 100), st.floats(-10, 10).map(lambda one: round(one, 6))),
    min_size=2,
    max_size=60,
)


THIRTEEN = [3.0, -1.0, 1.0, *map(float, range(-4, 6))]


@given(differences)
@example([0.0, 0.0, 0.0])
@example([0.01] * 14)
@example([float(one) for one in range(1, 51)])
@example([float(one) for one in range(1, 52)])
@example(THIRTEEN)
@settings(deadline=None, max_examples=60)
def test_wilcoxons_p_is_that_of_scipys_default(found: list[float]) -> None:
    sizes = {abs(one) for one in found}
    slow = 8 <= len(found) <= 13 and not (len(sizes) == len(found) and 0 not in sizes)  # for SciPy, which tries all
    assume(not slow or found == THIRTEEN)
    if not any(found):  # SciPy calls it NaN beyond 13; nothing differs, so that p is 1
        assert wilcoxon_signed_rank(found) == 1
        return
    expected = scipy.stats.wilcoxon(found).pvalue
    assert wilcoxon_signed_rank(found) == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert wilcoxon_signed_rank([-one for one in found]) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@given(differences, st.integers(0, 2**32))
@example([0.01, 0.01, 0.01], 0)
@example([0.0, 0.0], 0)
@settings(deadline=None)
def test_a_paired_difference_is_that_of_scipy(found: list[float], seed: int) -> None:
    second = np.random.default_rng(seed).integers(0, 1000, len(found)) / 1000
    first = second + np.array(found)
    paired = paired_difference(first.tolist(), second.tolist())
    assert (paired.n, paired.mean) == (len(found), pytest.approx(np.mean(found), abs=1e-11))
    if len(set(found)) == 1:  # of such pairs a t-test would be sure beyond all doubt
        assert (paired.deviation, paired.low, paired.high, paired.t_p) == (0, None, None, None)
        assert paired.wilcoxon_p == wilcoxon_signed_rank(np.round(first - second, 12).tolist())
        return
    assert paired.low is not None and paired.high is not None
    expected = scipy.stats.ttest_rel(np.round(first - second, 12), np.zeros(len(found)))
    interval = expected.confidence_interval(0.95)
    assert paired.t_p == pytest.approx(expected.pvalue, abs=1e-9)
    assert (paired.low, paired.high) == pytest.approx((interval.low, interval.high), rel=1e-9, abs=1e-11)
    assert paired.wilcoxon_p == wilcoxon_signed_rank(np.round(first - second, 12).tolist())


def test_one_pair_has_a_difference_alone_and_pairs_are_pairs() -> None:
    one = paired_difference([0.95], [0.94])
    assert (one.n, one.deviation, one.low, one.t_p, one.wilcoxon_p) == (1, None, None, None, None)
    assert paired_difference([0.95, 0.94], [0.94, 0.93]).deviation == 0  # though 0.95 - 0.94 is not 0.94 - 0.93
    with pytest.raises(ValueError, match="shorter"):
        paired_difference([0.95, 0.94], [0.94])


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holms_correction_rejects_what_holms_procedure_rejects(p_values: list[float]) -> None:
    """Step by step, as in the paper: the k-th smallest of m against alpha / (m - k + 1), until one is above."""
    corrected = holm(p_values)
    for alpha in (0.001, 0.05, 0.3):
        rejected = set()
        for place, number in enumerate(sorted(range(len(p_values)), key=lambda one: p_values[one])):
            if p_values[number] * (len(p_values) - place) > alpha:
                break
            rejected.add(number)
        assert {number for number, p in enumerate(corrected) if p <= alpha} == rejected
    assert all(p <= after <= 1 for p, after in zip(p_values, corrected, strict=True))


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("effect", [5.0, 2.0, 1.2, 0.8, 0.5, 0.2, 0.1])
@pytest.mark.parametrize("power", [0.8, 0.9])
def test_the_number_needed_is_the_least_whose_power_is_that_of_scipys_noncentral_t(
    effect: float, paired: bool, power: float
) -> None:
    def seen(n: int) -> float:
        freedom = n - 1 if paired else 2 * n - 2
        shift = effect * math.sqrt(n if paired else n / 2)
        bound = scipy.stats.t.ppf(0.975, freedom)
        return float(scipy.stats.nct.sf(bound, freedom, shift) + scipy.stats.nct.cdf(-bound, freedom, shift))

    n = sample_size(0.01 * effect, 0.01, paired=paired, power=power)
    assert sample_size(-0.01 * effect, 0.01, paired=paired, power=power) == n
    assert seen(n) >= power
    if 2 < n < 1000:
        assert seen(n - 1) < power
    else:
        assert seen(n - 3) < power or n == 2


def test_without_spread_two_show_any_difference() -> None:
    assert sample_size(0.001, 0.0, paired=True) == sample_size(0.001, 0.0, paired=False) == 2
    # As in any table: 64 a group see half a standard deviation, 34 pairs do.
    assert (sample_size(0.5, 1, paired=False), sample_size(0.5, 1, paired=True)) == (64, 34)
