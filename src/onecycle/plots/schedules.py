"""The learning rate that a recipe asks for, before anything is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .. import registry
from ..errors import UserError
from ..recipes import Recipe, recipe
from ..schedule import Plateau, rates_to_find
from .style import BLUE, Figure, count_epochs, style

_MOST_POINTS = 20_000


def schedule(name: str | Path | Recipe, *, steps_per_epoch: int = 100, **changes: Any) -> Figure:
    """The learning rate of each step of a recipe; `name` and `changes` are as for `onecycle.recipe`.

    Raises UserError where the rates are yet to be found, or depend on the losses of a training.
    """
    wanted = recipe(name, **changes)
    if steps_per_epoch < 1:
        raise UserError(f"steps_per_epoch {steps_per_epoch} is below 1")
    open_keys = rates_to_find(wanted.schedule.options)
    if open_keys:
        keys = ", ".join(f"schedule.{key}" for key in open_keys)
        raise UserError(f"recipe {wanted.name}: {keys} is yet to be found; give a number, such as find_lr finds")
    rates_of = registry.load("schedule", wanted.schedule.name)(steps_per_epoch, **wanted.schedule.options)
    if isinstance(rates_of, Plateau):
        raise UserError(f"recipe {wanted.name}: the schedule plateau depends on the losses of a training")
    last = wanted.epochs * steps_per_epoch - 1
    steps = np.unique(np.linspace(0, last, min(last + 1, _MOST_POINTS)).round().astype(np.int64))
    rates = np.array([rates_of(int(step)) for step in steps])
    at = (steps + 1) / steps_per_epoch
    peak = int(rates.argmax())
    figure = Figure(8, 3.4, f"{wanted.name}: {wanted.schedule.name.replace('_', ' ')}, {wanted.epochs} epochs")
    axes = figure.subplots()
    highest = f"highest {rates[peak]:.3g} at epoch {at[peak]:.3g}"
    style(axes, f"learning rate of each step: {rates[0]:.3g} at first, {highest}, {rates[-1]:.3g} at last")
    count_epochs(axes)
    axes.plot(at, rates, color=BLUE)
    axes.set_xlim(0, wanted.epochs)
    axes.set_ylim(0, max(rates) * 1.08 or 1)
    return figure
