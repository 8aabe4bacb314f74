"""Schedules against PyTorch's own schedulers, NumPy's interpolation and their definitions."""

from __future__ import annotations

import json
import math
import pickle
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recipe_problems import problems
from torch.optim.lr_scheduler import CyclicLR, ReduceLROnPlateau
from torch_schedules import parameter_and_optimizer, rates_of_torch

from onecycle.schedule import Plateau, Schedule, constant, cyclic, one_cycle, piecewise_linear, plateau

CYCLE: dict[str, Any] = {"epochs": 3, "lr_min": 0.1, "lr_max": 0.2}
many = settings(max_examples=100, deadline=None)
rates = st.floats(0, 1)


@pytest.mark.parametrize(
    "schedule",
    [
        one_cycle(10, **CYCLE, peak_epoch=1),
        piecewise_linear(10, epochs=3, knots=((0, 0.1), (2, 0.3))),
        cyclic(10, **CYCLE, half_cycle_epochs=1, mode="triangular2"),
        constant(10, epochs=3, lr=0.1),
        plateau(10, epochs=3, lr=0.1),
    ],
)
def test_schedules_go_through_pickle(schedule: Schedule) -> None:
    there = pickle.loads(pickle.dumps(schedule))
    assert [there(step) for step in range(31)] == [schedule(step) for step in range(31)]


# --- cyclic ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["triangular", "triangular2"])
@pytest.mark.parametrize(("steps_per_epoch", "half_cycle_epochs"), [(10, 2), (98, 2), (7, 1), (4, 0.25), (6, 1.5)])
@pytest.mark.parametrize(("lr_min", "lr_max"), [(1e-4, 1e-2), (0.0, 0.1)])
def test_cyclic_equals_torch(
    mode: Literal["triangular", "triangular2"],
    steps_per_epoch: int,
    half_cycle_epochs: float,
    lr_min: float,
    lr_max: float,
) -> None:
    schedule = cyclic(
        steps_per_epoch, epochs=9, lr_min=lr_min, lr_max=lr_max, half_cycle_epochs=half_cycle_epochs, mode=mode
    )
    expected = rates_of_torch(
        lambda optimizer: CyclicLR(
            optimizer,
            base_lr=lr_min,
            max_lr=lr_max,
            step_size_up=round(half_cycle_epochs * steps_per_epoch),
            mode=mode,
            cycle_momentum=False,
        ),
        9 * steps_per_epoch,
    )
    assert [schedule(step) for step in range(9 * steps_per_epoch)] == pytest.approx(expected, rel=1e-6, abs=1e-12)


@many
@given(
    epochs=st.integers(1, 30),
    steps_per_epoch=st.integers(1, 50),
    half=st.floats(1e-3, 50),
    ends=st.tuples(rates, rates),
    mode=st.sampled_from(["triangular", "triangular2"]),
    beyond=st.integers(0, 10**9),
)
def test_cyclic_stays_between_its_end_points_and_keeps_its_last_value(
    epochs: int,
    steps_per_epoch: int,
    half: float,
    ends: tuple[float, float],
    mode: Literal["triangular", "triangular2"],
    beyond: int,
) -> None:
    low, high = sorted(ends)
    schedule = cyclic(steps_per_epoch, epochs=epochs, lr_min=low, lr_max=high, half_cycle_epochs=half, mode=mode)
    values = [schedule(step) for step in range(epochs * steps_per_epoch)]
    assert values[0] == low
    assert min(values) >= low
    assert max(values) <= high * (1 + 1e-9)
    assert schedule(epochs * steps_per_epoch - 1 + beyond) == values[-1]


def test_cyclic_names_all_problems_at_once() -> None:
    found = problems(lambda: cyclic(10, epochs=-1, lr_min=-0.5, lr_max=-1, half_cycle_epochs=0))
    text = "\n".join(found)
    assert all(key in text for key in ("epochs -1", "lr_min -0.5", "lr_max -1", "half_cycle_epochs 0", "below lr_min"))


@pytest.mark.parametrize("half_cycle_epochs", [1e308, math.inf, math.nan, 1_000_001])
def test_cyclic_refuses_a_half_cycle_that_would_overflow(half_cycle_epochs: float) -> None:
    (line,) = problems(lambda: cyclic(98, epochs=3, lr_min=0.1, lr_max=0.2, half_cycle_epochs=half_cycle_epochs))
    assert f"half_cycle_epochs {half_cycle_epochs} " in line
    assert "at most 1000000" in line
    assert cyclic(98, epochs=3, lr_min=0.1, lr_max=0.2, half_cycle_epochs=1_000_000)(0) == 0.1


def test_more_epochs_than_can_be_counted_are_refused() -> None:
    (line,) = problems(lambda: one_cycle(98, epochs=10**5000, peak_epoch=1e308, lr_min=0.1, lr_max=0.2))
    assert "schedule.epochs is above 1000000" in line
    assert one_cycle(98, epochs=1_000_000, peak_epoch=999_999, lr_min=0.1, lr_max=0.2)(0) == 0.1


# --- piecewise linear and constant -------------------------------------------------------------------------------


@many
@given(
    found_knots=st.lists(st.tuples(st.integers(0, 300).map(lambda n: n / 10), rates), min_size=1, max_size=6),
    steps_per_epoch=st.integers(1, 100),
    steps=st.lists(st.integers(0, 5000), min_size=1, max_size=30),
)
def test_piecewise_linear_equals_numpy_interp(
    found_knots: list[tuple[float, float]], steps_per_epoch: int, steps: list[int]
) -> None:
    knots = tuple(sorted(dict(found_knots).items()))
    schedule = piecewise_linear(steps_per_epoch, epochs=30, knots=knots)
    within = np.minimum(steps, 30 * steps_per_epoch - 1)
    expected = np.interp(within / steps_per_epoch, *zip(*knots, strict=True))
    found = [schedule(step) for step in steps]
    assert found == pytest.approx(expected.tolist(), rel=1e-9, abs=1e-12)
    assert min(found) >= 0
    low, high = min(rate for _, rate in knots), max(rate for _, rate in knots)
    assert low - 1e-12 <= min(found) <= max(found) <= high + 1e-12


def test_piecewise_linear_is_flat_outside_its_knots() -> None:
    schedule = piecewise_linear(10, epochs=6, knots=((1, 0.1), (3, 0.4), (5, 0.0)))
    assert [schedule(step) for step in (0, 10, 20, 30, 40, 50, 59, 10**9)] == pytest.approx(
        [0.1, 0.1, 0.25, 0.4, 0.2, 0.0, 0.0, 0.0]
    )


def test_piecewise_linear_keeps_its_last_value_beyond_the_epochs() -> None:
    schedule = piecewise_linear(10, epochs=2, knots=((0, 0.0), (4, 0.4)))
    assert schedule(19) == pytest.approx(0.19)
    assert {schedule(step) for step in (19, 20, 30, 40, 10**9)} == {schedule(19)}


@pytest.mark.parametrize("knots", [((2, 0.1), (1, 0.2)), ((1, 0.1), (1, 0.2))])
def test_piecewise_linear_refuses_knots_that_do_not_rise(knots: tuple[tuple[float, float], ...]) -> None:
    (line,) = problems(lambda: piecewise_linear(10, epochs=3, knots=knots))
    assert "knots" in line
    assert "do not rise" in line


def test_piecewise_linear_names_all_problems_at_once() -> None:
    assert len(problems(lambda: piecewise_linear(10, epochs=0, knots=()))) == 2
    found = problems(lambda: piecewise_linear(10, epochs=0, knots=((2, -0.1), (1, 0.2))))
    assert len(found) == 3
    assert all(key in "\n".join(found) for key in ("epochs 0", "do not rise", "negative"))


def test_constant_is_the_same_everywhere() -> None:
    schedule = constant(10, epochs=3, lr=0.02)
    assert {schedule(step) for step in (0, 1, 29, 30, 10**9)} == {0.02}
    assert len(problems(lambda: constant(10, epochs=0, lr=-1))) == 2


# --- plateau -----------------------------------------------------------------------------------------------------

losses = st.lists(st.floats(0, 3) | st.sampled_from([0.5, 1.0, 1.0 - 1e-5, math.nan, math.inf]), max_size=60)
plateau_options = st.fixed_dictionaries(
    {
        "lr": st.floats(1e-2, 1),
        "lr_min": st.sampled_from([0.0, 1e-4, 1e-2]),
        "factor": st.floats(0.05, 0.95),
        "patience": st.integers(0, 4),
        "threshold": st.sampled_from([0.0, 1e-4, 0.1]),
    }
)


@many
@given(losses=losses, options=plateau_options)
def test_plateau_equals_torch(losses: list[float], options: dict[str, Any]) -> None:
    schedule = plateau(10, epochs=24, **options)
    optimizer = parameter_and_optimizer(options["lr"])
    # eps, below which torch leaves a drop out, is 0 here.
    reference = ReduceLROnPlateau(
        optimizer,
        factor=options["factor"],
        patience=options["patience"],
        threshold=options["threshold"],
        min_lr=options["lr_min"],
        eps=0,
    )
    for step, loss in enumerate(losses):
        assert schedule(step * 10) == schedule(step * 10 + 9)
        schedule.observe(loss)
        reference.step(loss)
        assert schedule(step * 10 + 10) == optimizer.param_groups[0]["lr"]


@many
@given(losses=losses, options=plateau_options, place=st.integers(0, 60))
def test_plateau_goes_on_from_its_state_at_any_point(losses: list[float], options: dict[str, Any], place: int) -> None:
    undisturbed = plateau(10, epochs=24, **options)
    stopped = plateau(10, epochs=24, **options)
    for loss in losses[:place]:
        undisturbed.observe(loss)
        stopped.observe(loss)
    resumed = plateau(10, epochs=24, **options)
    resumed.restore(json.loads(json.dumps(stopped.state(), allow_nan=False)))
    assert resumed(0) == undisturbed(0)
    for loss in losses[place:]:
        undisturbed.observe(loss)
        resumed.observe(loss)
        assert resumed(0) == undisturbed(0)
    assert resumed.state() == undisturbed.state()


@many
@given(losses=losses, options=plateau_options)
def test_plateau_never_rises_and_never_falls_below_its_floor(losses: list[float], options: dict[str, Any]) -> None:
    schedule: Plateau = plateau(10, epochs=24, **options)
    before = schedule(0)
    for loss in losses:
        schedule.observe(loss)
        assert options["lr_min"] <= schedule(0) <= before
        before = schedule(0)


def test_plateau_names_all_problems_at_once() -> None:
    found = problems(lambda: plateau(10, epochs=0, lr=-1, lr_min=-2, factor=1, patience=-1))
    assert len(found) == 5
    assert all(key in "\n".join(found) for key in ("epochs 0", "lr -1", "lr_min -2", "factor 1", "patience -1"))


def test_plateau_refuses_a_floor_above_its_rate() -> None:
    (line,) = problems(lambda: plateau(10, epochs=3, lr=1e-3, lr_min=1e-2, patience=0))
    assert "lr_min 0.01" in line
