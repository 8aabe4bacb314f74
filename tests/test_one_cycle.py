"""The one-cycle schedule and its momentum against torch's OneCycleLR and their definitions."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from recipe_problems import problems
from torch.optim.lr_scheduler import OneCycleLR
from torch_schedules import rates_of_torch

from onecycle import optim, recipe
from onecycle.schedule import constant, cyclic, momentum_at, one_cycle, plateau

Shape = Literal["linear", "cosine"]
many = settings(max_examples=100, deadline=None)
rates = st.floats(0, 1)
CYCLE: dict[str, Any] = {"epochs": 3, "lr_min": 0.1, "lr_max": 0.2}


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
