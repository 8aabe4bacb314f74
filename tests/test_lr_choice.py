"""What is chosen from a sweep: the rules, their warnings, and noise that is told from a fall."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onecycle import UserError, lr_range
from onecycle.lr_range import Sweep, choose, descent
from onecycle.lr_range.descent import SMOOTHING_DECADES, local_line
from onecycle.lr_range.noise import batch_noise


def curve(x: np.ndarray, middle: float = -2.0, width: float = 0.25, wall: float = 0.0) -> np.ndarray:
    """A loss over log10 of the rate: 2.3, falling by 1 around `middle`, rising steeply at `wall`."""
    return np.asarray(2.3 - 1 / (1 + np.exp(-(x - middle) / width)) + np.exp((x - wall) / 0.1))


def made(start: float, end: float, steps: int, loss: Callable[..., np.ndarray] = curve, noise: float = 0.0) -> Sweep:
    x = np.linspace(start, end, steps)
    losses = loss(x) + np.random.default_rng(0).normal(0, 1, steps) * noise
    return Sweep(0, tuple(10**x), tuple(losses), "range")


def test_each_rule_finds_what_it_is_named_after() -> None:
    found = choose([made(-5, 0, 400)])
    log = {rule: np.log10(rates[0]) for rule, rates in found.suggestions.items()}
    x = np.linspace(-5, 0.0, 100_001)
    exact = curve(x)
    lowest = x[exact.argmin()]
    assert log["steepest"] == pytest.approx(-2.0, abs=0.1)
    assert log["minimum"] == pytest.approx(lowest, abs=0.15)
    assert log["minimum/10"] == pytest.approx(lowest - 1, abs=0.15)
    # A logistic fall is done to a tenth and to nine tenths log(9) widths before and after its middle.
    assert log["onset"] == pytest.approx(-2 - 0.25 * np.log(9), abs=0.15)
    assert log["slowing"] == pytest.approx(-2 + 0.25 * np.log(9), abs=0.15)
    assert (found.lr_max, found.lr_min) == (found.suggestions["minimum"][0], found.suggestions["onset"][0])


def test_valley_is_the_middle_of_the_longest_falling_subsequence() -> None:
    one = descent(made(-5, -0.2, 100))
    losses = one.losses
    length, before = [1] * 100, [-1] * 100
    for i in range(100):  # as fastai finds it
        for j in range(i):
            if losses[j] > losses[i] and length[j] + 1 > length[i]:
                length[i], before[i] = length[j] + 1, j
    last = first = int(np.argmax(length))
    while before[first] >= 0:
        first = before[first]
    fastai = one.log_lrs[first + (last - first) // 3 + (last - first) // 6]
    valley = np.log10(choose([made(-5, -0.2, 100)], rule="valley").lr_max)
    assert valley == pytest.approx(fastai, abs=0.1)


@settings(max_examples=40, deadline=None)
@given(
    start=st.floats(-6, -4.3),
    end=st.floats(-0.4, 0.05),
    steps=st.integers(60, 400),
    rule=st.sampled_from(["steepest", "minimum", "slowing"]),
)
def test_the_choice_does_not_depend_on_where_the_sweep_begins_and_ends(
    start: float, end: float, steps: int, rule: str
) -> None:
    usual = choose([made(-5, 0, 100)], rule=rule)
    other = choose([made(start, end, steps)], rule=rule)
    assert np.log10(other.lr_max / usual.lr_max) == pytest.approx(0, abs=0.15)
    assert np.log10(other.lr_min / usual.lr_min) == pytest.approx(0, abs=0.15)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(10, 80))
def test_the_smoothed_loss_is_a_weighted_line_at_each_place(seed: int, count: int) -> None:
    random_ = np.random.default_rng(seed)
    x, y = np.linspace(-5, 0, count), random_.normal(2, 0.5, count)
    values, slopes, *errors = local_line(x, y)
    width = max(SMOOTHING_DECADES, 1.5 * 5 / (count - 1))
    for place in range(count):
        # polyfit squares its weights
        slope, value = np.polyfit(x - x[place], y, 1, w=np.exp(-0.25 * ((x - x[place]) / width) ** 2))
        assert values[place] == pytest.approx(value, abs=1e-8)
        assert slopes[place] == pytest.approx(slope, abs=1e-7)
    for line, error in zip((0, 1), errors, strict=True):
        each = np.array([local_line(x, one)[line] for one in np.eye(count)])  # what one y adds
        np.testing.assert_allclose(error, np.sqrt((each**2).sum(0)))


@pytest.mark.parametrize(
    ("deeper", "noise", "first"),
    [
        (-0.02, 0.0, True),
        (0.02, 0.0, True),
        (0.8, 0.0, True),
        (1.2, 0.0, False),
        (0.5, 0.02, True),
        (0.5, 0.3, False),
    ],
)
def test_the_first_dip_counts_where_it_is_no_wiggle_of_the_noise_and_most_of_the_fall(
    deeper: float, noise: float, first: bool
) -> None:
    def dips(x: np.ndarray) -> np.ndarray:
        return np.asarray(2.3 - np.exp(-((x + 3) ** 2) / 0.1) - (1 + deeper) * np.exp(-((x + 1) ** 2) / 0.1))

    found = choose([made(-5, 0, 200, dips, noise)])
    assert np.log10(found.lr_max) == pytest.approx(-3 if first else -1, abs=0.15)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_second_fall_behind_norms_does_not_count(optimizer: str) -> None:
    [stored] = (Path(__file__).parents[1] / "benchmarks" / "results").glob("lr_range_whitened_convnet_*.json")
    found = choose(lr_range.LrRange.from_dict(json.loads(stored.read_text())[optimizer]).sweeps)
    assert found.lr_max < min(one.lrs[int(np.argmin(one.losses))] for one in found.sweeps)


def test_noise_moves_the_choice_little() -> None:
    rates = [choose([made(-5, 0, 100, noise=noise)]).lr_max for noise in (0.0, 0.03, 0.06)]
    assert max(rates) / min(rates) < 2


def test_the_choice_is_the_middle_of_the_sweeps() -> None:
    each = [made(-5, 0, 100, lambda x, m=middle: curve(x, m)) for middle in (-3.0, -2.0, -1.9)]
    found = choose(each, rule="slowing")
    assert choose((one for one in each), rule="slowing") == found
    assert choose(each[0], rule="slowing") == choose(each[:1], rule="slowing")
    assert found.lr_max == pytest.approx(sorted(found.suggestions["slowing"])[1])
    assert found.stability["lr_max_spread"] == pytest.approx(
        max(found.suggestions["slowing"]) / min(found.suggestions["slowing"])
    )
    assert not found.stability["stable"]
    assert any(line.startswith("lr_max is unstable, the sweeps choose") for line in found.warnings)
    assert choose([each[1], each[1]]).stability["stable"] is True
    assert choose([each[1]]).stability["stable"] is None


def test_a_choice_at_the_end_of_the_range_warns() -> None:
    found = choose([made(-5, -1.8, 60, lambda x: curve(x, middle=-1.5))])
    assert found.warnings == [f"lr_max {found.lr_max:.2g} is near the end of the sweeps: sweep further up"]


def test_a_choice_at_the_start_of_the_range_warns() -> None:
    found = choose([made(-2.6, 0, 60)])
    assert found.warnings == [f"lr_min {found.lr_min:.2g} is near the start of the sweeps: sweep from further down"]
    assert found.stability["stable"] is False
    assert not choose([made(-2.6, 0, 60), made(-5, 0, 60)]).warnings


def test_an_unknown_rule_is_refused() -> None:
    for options in ({"rule": "valey"}, {"rule_min": "slowing"}):
        with pytest.raises(UserError, match=r"the rule '.*' of lr_m.. is unknown; "):
            choose([made(-5, 0, 100)], **options)
    with pytest.raises(UserError, match="there is no sweep"):
        choose([])


def test_a_notebook_shows_the_table() -> None:
    found = choose([made(-5, 0, 100), made(-5, 0, 100, lambda x: curve(x, -3, wall=-1))])
    shown = found._repr_html_()
    assert "<th>largest/smallest</th>" in shown and "minimum -&gt; lr_max" in shown
    assert shown.startswith(f"<div>lr_min {found.lr_min:.3g}, lr_max {found.lr_max:.3g} found by the rule minimum")
    assert "<div>warning: lr_max is unstable" in shown


@settings(max_examples=50, deadline=None)
@given(slope=st.floats(-1, 1), count=st.integers(60, 200), far=st.floats(1, 1e6))
def test_the_noise_is_told_from_the_course(slope: float, count: int, far: float) -> None:
    found = []
    for seed in range(60):
        losses = 2.3 + slope * np.arange(count) + np.random.default_rng(seed).normal(0, 0.1, count)
        losses[-count // 10 :] *= far  # as where a sweep diverges
        found.append(batch_noise(losses))
    assert np.mean(found) == pytest.approx(0.1, rel=0.3)


def test_two_losses_show_no_noise() -> None:
    assert batch_noise([2.3, 2.2]) == 0


@pytest.mark.parametrize("count", [20, 40, 100, 400])
def test_noise_alone_is_hardly_ever_taken_for_a_fall(count: int) -> None:
    random_ = np.random.default_rng(0)
    rates = tuple(np.geomspace(1e-5, 1, count))

    def falls() -> bool:
        try:
            choose([Sweep(0, rates, tuple(random_.normal(2.3, 0.3, count)), "range") for _ in range(3)])
        except UserError as error:
            assert "within the noise of their batches" in str(error) or "the loss never falls" in str(error)
            return False
        return True

    assert sum(falls() for _ in range(200)) <= 6


@pytest.mark.parametrize("steps", [20, 40, 100])
def test_a_fall_well_above_the_noise_is_found_in_few_steps_too(steps: int) -> None:
    for seed in range(20):
        noise = np.random.default_rng(seed).normal(0, 0.1, steps)
        one = made(-5, 0, steps, lambda x, noise=noise: curve(x) + noise)
        assert np.log10(choose([one]).lr_max) == pytest.approx(-1, abs=0.7)


@pytest.mark.parametrize("level", [2.3, 0.0, -50.0])
def test_a_loss_of_any_sign_is_read_alike(level: float) -> None:
    usual = choose([made(-5, 0, 100, noise=0.03)])
    moved = choose([made(-5, 0, 100, lambda x: curve(x) + level - 2.3, noise=0.03)])
    assert np.log10(moved.lr_max / usual.lr_max) == pytest.approx(0, abs=0.25)
    assert np.log10(moved.lr_min / usual.lr_min) == pytest.approx(0, abs=0.25)


@pytest.mark.parametrize("loss", [lambda x: np.full_like(x, 2.3), lambda x: 2.3 + (x + 5) * 0.1])
def test_a_loss_that_never_falls_is_refused(loss: Callable[..., np.ndarray]) -> None:
    with pytest.raises(UserError, match=r"the loss never falls .*, from a rate of 1e-05 to 0.1: 2.3\d? at first"):
        choose([made(-5, -1, 60, loss, noise=0.01)])


def test_a_loss_that_rises_at_once_is_refused() -> None:
    one = Sweep(0, tuple(np.geomspace(1, 2, 8)), tuple(np.linspace(2, 9, 8)), "diverged")
    with pytest.raises(UserError, match=r"the loss rises after 8 steps .* from a rate of 1 to 2; begin it at a lower"):
        choose([one])
    with pytest.raises(UserError, match="the loss is not finite after 0 steps of the sweep, at the first step"):
        choose([Sweep(0, (), (), "not finite")])


@pytest.mark.parametrize("steps", [8, 14, 40])
def test_a_sweep_that_begins_too_high_is_to_begin_lower(steps: int) -> None:
    one = Sweep(0, tuple(np.geomspace(1, 9, steps)), tuple(np.linspace(2, 9, steps)), "diverged")
    with pytest.raises(UserError, match="begin it at a lower rate"):
        choose([one])
