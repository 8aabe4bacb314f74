from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import example, given, settings
from hypothesis import strategies as st

from onecycle.stats import mcnemar, paired_difference_interval, spread, wilson_interval

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
