"""Schedules against PyTorch's own schedulers, NumPy's interpolation and their definitions."""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.optim.lr_scheduler import CyclicLR, LRScheduler, OneCycleLR, ReduceLROnPlateau

from onecycle import optim, recipe
from onecycle.errors import UserError
from onecycle.schedule import Plateau, Schedule, constant, cyclic, momentum_at, one_cycle, piecewise_linear, plateau

Shape = Literal["linear", "cosine"]
many = settings(max_examples=100, deadline=None)
rates = st.floats(0, 1)
CYCLE: dict[str, Any] = {"epochs": 3, "lr_min": 0.1, "lr_max": 0.2}


def parameter_and_optimizer(lr: float = 1.0) -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)


def rates_of_torch(make: Callable[[torch.optim.Optimizer], LRScheduler], steps: int) -> list[float]:
    """The rate of each step, with the scheduler stepped after the optimiser."""
    optimizer = parameter_and_optimizer()
    scheduler = make(optimizer)
    found = []
    for step in range(steps):
        found.append(float(optimizer.param_groups[0]["lr"]))
        if step < steps - 1:
            optimizer.step()
            scheduler.step()
    return found


def problems(call: Callable[[], object]) -> tuple[str, ...]:
    with pytest.raises(UserError) as caught:
        call()
    assert all("\n" not in line for line in caught.value.problems)
    return caught.value.problems


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


# --- one cycle ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", ["linear", "cosine"])
@pytest.mark.parametrize(
    ("epochs", "steps_per_epoch", "peak_epoch"),
    [(24, 98, 5), (24, 7, 5), (6, 23, 2), (3, 10, 0.5), (2, 2, 1), (9, 8, 8.75)],
)
@pytest.mark.parametrize(("lr_min", "lr_max", "lr_final"), [(5e-6, 5e-3, 5e-6), (0.01, 0.4, 1e-5), (1e-3, 0.05, 0.02)])
def test_one_cycle_equals_torch(
    shape: Shape,
    epochs: int,
    steps_per_epoch: int,
    peak_epoch: float,
    lr_min: float,
    lr_max: float,
    lr_final: float,
) -> None:
    schedule = one_cycle(
        steps_per_epoch,
        epochs=epochs,
        peak_epoch=peak_epoch,
        lr_min=lr_min,
        lr_max=lr_max,
        lr_final=lr_final,
        shape=shape,
    )
    steps = epochs * steps_per_epoch
    expected = rates_of_torch(
        lambda optimizer: OneCycleLR(
            optimizer,
            max_lr=lr_max,
            total_steps=steps,
            pct_start=peak_epoch / epochs,
            anneal_strategy="linear" if shape == "linear" else "cos",
            cycle_momentum=False,
            div_factor=lr_max / lr_min,
            final_div_factor=lr_min / lr_final,
            three_phase=False,
        ),
        steps,
    )
    assert [schedule(step) for step in range(steps)] == pytest.approx(expected, rel=1e-6)


@many
@given(
    epochs=st.integers(1, 40),
    steps_per_epoch=st.integers(1, 200),
    place=st.floats(0.01, 0.99),
    ends=st.tuples(rates, rates, rates),
    shape=st.sampled_from(["linear", "cosine"]),
)
def test_one_cycle_reaches_its_three_points(
    epochs: int, steps_per_epoch: int, place: float, ends: tuple[float, float, float], shape: Shape
) -> None:
    lr_min, lr_final, lr_max = *sorted(ends[:2]), max(ends)
    peak_epoch = place * epochs
    last, peak = epochs * steps_per_epoch - 1, round(peak_epoch * steps_per_epoch) - 1
    assume(0 < peak < last)
    schedule = one_cycle(
        steps_per_epoch,
        epochs=epochs,
        peak_epoch=peak_epoch,
        lr_min=lr_min,
        lr_max=lr_max,
        lr_final=lr_final,
        shape=shape,
    )
    assert schedule(0) == pytest.approx(lr_min, rel=1e-9, abs=1e-16)
    assert schedule(peak) == pytest.approx(lr_max, rel=1e-12)
    assert schedule(last) == lr_final
    values = [schedule(step) for step in range(last + 1)]
    assert max(values) <= lr_max * (1 + 1e-12)
    assert np.all(np.diff(values[: peak + 1]) >= -1e-12)
    assert np.all(np.diff(values[peak:]) <= 1e-12)


@pytest.mark.parametrize("shape", ["linear", "cosine"])
def test_the_assignment_has_its_peak_in_the_last_step_of_the_fifth_epoch(shape: Shape) -> None:
    schedule = one_cycle(98, epochs=24, peak_epoch=5, lr_min=5e-6, lr_max=5e-3, shape=shape)
    values = [schedule(step) for step in range(24 * 98)]
    assert int(np.argmax(values)) == 5 * 98 - 1
    assert values[5 * 98 - 1] == pytest.approx(5e-3, rel=1e-15)
    # The pitfall of a schedule stepped once an epoch: here one epoch alone covers a fifth of the way up.
    assert values[98] - values[0] > (0.09 if shape == "cosine" else 0.19) * 5e-3


def test_no_annihilation_is_the_default() -> None:
    options: dict[str, Any] = {"epochs": 3, "peak_epoch": 1, "lr_min": 1e-4, "lr_max": 1e-2}
    default, named = one_cycle(10, **options), one_cycle(10, **options, lr_final="lr_min")
    assert default(29) == named(29) == 1e-4
    assert all(default(step) >= 1e-4 for step in range(40))
    assert one_cycle(10, **options, lr_final=1e-6)(29) == 1e-6


@many
@given(
    epochs=st.integers(1, 30),
    steps_per_epoch=st.integers(1, 50),
    place=st.floats(0, 1, exclude_min=True, exclude_max=True),
    ends=st.tuples(rates, rates, rates),
    shape=st.sampled_from(["linear", "cosine"]),
    beyond=st.integers(0, 10**9),
)
def test_one_cycle_stays_between_its_end_points_and_keeps_its_last_value(
    epochs: int, steps_per_epoch: int, place: float, ends: tuple[float, float, float], shape: Shape, beyond: int
) -> None:
    lr_max = max(ends)
    peak_epoch = place * epochs
    assume(0 < peak_epoch < epochs)
    schedule = one_cycle(
        steps_per_epoch,
        epochs=epochs,
        peak_epoch=peak_epoch,
        lr_min=ends[0],
        lr_max=lr_max,
        lr_final=ends[1],
        shape=shape,
    )
    last = epochs * steps_per_epoch - 1
    values = [schedule(step) for step in range(last + 1)]
    assert min(values) >= 0
    assert min(values) >= min(ends[:2]) * (1 - 1e-9) - 1e-16
    assert max(values) <= lr_max * (1 + 1e-9)
    assert schedule(last + beyond) == values[-1]


@pytest.mark.parametrize(("epochs", "named"), [(0, "epochs 0"), (-3, "epochs -3"), (5, "peak_epoch 5")])
def test_one_cycle_names_all_problems_at_once(epochs: int, named: str) -> None:
    found = problems(lambda: one_cycle(10, epochs=epochs, peak_epoch=5, lr_min=-1.0, lr_max=-2.0, lr_final=-3.0))
    parts = [named, "lr_min -1", "lr_max -2", "lr_final -3", "below lr_min"]
    assert len(found) == len(parts)
    assert all(part in "\n".join(found) for part in parts)


@pytest.mark.parametrize("peak_epoch", [0, -1, 24, 24.5, 1e9, math.nan, math.inf])
def test_one_cycle_refuses_a_peak_outside_the_epochs(peak_epoch: float) -> None:
    found = problems(lambda: one_cycle(10, epochs=24, peak_epoch=peak_epoch, lr_min=0.1, lr_max=0.2))
    assert len(found) == 1
    assert "peak_epoch" in found[0]
    assert "24" in found[0]


@pytest.mark.parametrize(("lr_min", "lr_final"), [(0.3, 0.1), (0.1, 0.3)])
def test_one_cycle_refuses_an_end_above_the_maximum(lr_min: float, lr_final: float) -> None:
    found = problems(lambda: one_cycle(10, epochs=24, lr_min=lr_min, lr_max=0.2, lr_final=lr_final))
    assert len(found) == 1
    assert "lr_max 0.2" in found[0]
    assert "0.3" in found[0]


# --- the momentum, which goes the other way ----------------------------------------------------------------------


def of_torchs_kind(kind: str, net: torch.nn.Module) -> torch.optim.Optimizer:
    if kind == "sgd":
        return torch.optim.SGD(net.parameters(), lr=1.0, momentum=0.5, nesterov=True)
    return {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[kind](net.parameters(), lr=1.0, betas=(0.5, 0.97))


@pytest.mark.parametrize("shape", ["linear", "cosine"])
@pytest.mark.parametrize("kind", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize(("epochs", "steps_per_epoch", "peak_epoch"), [(24, 7, 5), (6, 23, 2), (3, 10, 0.5), (2, 2, 1)])
@pytest.mark.parametrize("momentum", [(0.85, 0.95), (0.0, 0.99), (0.9, 0.9)])
def test_momentum_equals_torch(
    shape: Shape, kind: str, epochs: int, steps_per_epoch: int, peak_epoch: float, momentum: tuple[float, float]
) -> None:
    """Set on optimisers of ours, against what torch's scheduler sets on its own."""
    schedule = one_cycle(
        steps_per_epoch,
        epochs=epochs,
        peak_epoch=peak_epoch,
        lr_min=0.01,
        lr_max=0.2,
        lr_final=0.001,
        shape=shape,
        momentum=momentum,
    )
    steps, net = epochs * steps_per_epoch, torch.nn.Linear(2, 2)
    reference = of_torchs_kind(kind, net)
    scheduler = OneCycleLR(
        reference,
        max_lr=0.2,
        total_steps=steps,
        pct_start=peak_epoch / epochs,
        anneal_strategy="linear" if shape == "linear" else "cos",
        cycle_momentum=True,
        base_momentum=momentum[0],
        max_momentum=momentum[1],
        div_factor=20,
        final_div_factor=10,
    )
    ours = {"sgd": optim.sgd, "adam": optim.adam, "adamw": optim.adamw}[kind](net, decay_norms_and_biases=False)
    for step in range(steps):
        found = momentum_at(schedule, step)
        assert found is not None
        optim.set_momentum(ours, found)
        (theirs,) = reference.param_groups
        expected = theirs["momentum"] if kind == "sgd" else theirs["betas"][0]
        for group in ours.param_groups:
            assert (group["momentum"] if kind == "sgd" else group["betas"][0]) == pytest.approx(expected, abs=1e-9)
            assert kind == "sgd" or group["betas"][1] == 0.999
        if step < steps - 1:
            reference.step()
            scheduler.step()


@many
@given(
    epochs=st.integers(2, 40),
    steps_per_epoch=st.integers(2, 50),
    ends=st.tuples(st.floats(0, 0.999), st.floats(0, 0.999)),
    shape=st.sampled_from(["linear", "cosine"]),
    beyond=st.integers(0, 10**9),
)
def test_momentum_is_lowest_where_the_rate_is_highest(
    epochs: int, steps_per_epoch: int, ends: tuple[float, float], shape: Shape, beyond: int
) -> None:
    low, high = sorted(ends)
    schedule = one_cycle(
        steps_per_epoch, epochs=epochs, peak_epoch=1, lr_min=0, lr_max=1, shape=shape, momentum=(low, high)
    )
    last = epochs * steps_per_epoch - 1
    values = [schedule.momentum(step) for step in range(last + 1)]
    assert all(value is not None and low - 1e-12 <= value <= high + 1e-12 for value in values)
    assert values[0] == pytest.approx(high) and values[steps_per_epoch - 1] == pytest.approx(low)
    assert values[-1] == high == schedule.momentum(last + beyond)


def test_without_momentum_the_optimisers_is_left_alone() -> None:
    options: dict[str, Any] = {"epochs": 3, "peak_epoch": 1, "lr_min": 0.1, "lr_max": 0.2}
    assert momentum_at(one_cycle(10, **options), 5) is None
    assert momentum_at(one_cycle(10, **options, momentum=None), 5) is None
    for other in (constant(10, epochs=3, lr=0.1), plateau(10, epochs=3, lr=0.1), cyclic(10, **CYCLE)):
        assert momentum_at(other, 5) is None
    with_it, without = one_cycle(10, **options, momentum=(0.8, 0.9)), one_cycle(10, **options)
    assert [with_it(step) for step in range(31)] == [without(step) for step in range(31)]


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"schedule.momentum": [0.95, 0.85]}, ["schedule.momentum [0.95, 0.85] falls", "the smaller one"]),
        ({"schedule.momentum": [0.85, 1.0]}, ["schedule.momentum", "less than 1"]),
        ({"schedule.momentum": [-0.1, 0.9]}, ["schedule.momentum", "greater than or equal to 0"]),
        ({"schedule.momentum": 0.9}, ["schedule.momentum", "two numbers"]),
        ({"schedule.momentum": [0.8, 0.9, 0.8]}, ["schedule.momentum", "two numbers"]),
        (
            {"schedule.momentum": [0.85, 0.95], "optimizer.name": "muon"},
            ["schedule.momentum does not go with optimizer muon", "adam, adamw or sgd, or null"],
        ),
        (
            {"schedule": {"name": "constant", "epochs": 2, "lr": 0.1, "momentum": [0.8, 0.9]}},
            ["schedule.momentum", "unknown key"],
        ),
    ],
    ids=str,
)
def test_a_momentum_that_cannot_be_is_refused_in_one_line(changes: dict[str, Any], parts: list[str]) -> None:
    (line,) = problems(lambda: recipe("custom_resnet", **changes))
    assert all(part in line for part in parts), line


def test_a_momentum_goes_through_yaml(tmp_path: Path) -> None:
    wanted = recipe("custom_resnet", **{"schedule.momentum": [0.85, 0.95], "optimizer.name": "sgd"})
    (tmp_path / "stored.yaml").write_text(wanted.to_yaml())
    assert recipe(tmp_path / "stored.yaml") == wanted
    assert recipe(wanted, **{"schedule.momentum": None, "optimizer.name": "muon"}).optimizer.name == "muon"


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
