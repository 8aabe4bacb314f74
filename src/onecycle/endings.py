"""How a training ends: what is said where it ends early, and what the net's description holds where it does not."""

from __future__ import annotations

import signal
from typing import Any

from .data import ImageSet
from .errors import Stopped, TrainingFailed
from .recipes import Recipe
from .run import Run


def failure(run: Run, recipe: Recipe, what: str, place: str, lr: float) -> TrainingFailed:
    """The error for numbers that went wrong at a place, such as "step 7 of 20": where the rate to lower stands."""
    paths = run.checkpoints.paths()
    rate = next(key for key in ("lr_max", "lr", "knots") if key in recipe.schedule.options)
    again = f"onecycle train --resume {run.path} --set schedule.{rate}=..."
    way_out = f"there is no checkpoint yet, begin anew with a lower rate: {again}"
    if paths:
        way_out = f"the last good checkpoint is {paths[-1]}, go on from it with a lower rate: {again}"
    return TrainingFailed(f"{what} at {place}, learning rate {lr:.3g}; {way_out}")


def stopped(run: Run, number: signal.Signals, place: str) -> Stopped:
    """The error for a signal: where to go on."""
    go_on = f"onecycle train --resume {run.path}"
    if run.finished:
        without = f"stopped by {number.name} before its pictures and report were written"
        return Stopped(f"{run.path}: the training has ended; {without}; write them with: {go_on}", number)
    return Stopped(f"stopped by {number.name} after {place}; saved, go on with: {go_on}", number)


def description(recipe: Recipe, test: ImageSet) -> dict[str, Any]:
    """What model.json holds: all that is needed to build the net and feed it."""
    mean, std = recipe.data.statistics
    return {
        "model": recipe.model.model_dump(),
        "classes": list(test.classes),
        "image_size": test.image_size,
        "mean": mean,
        "std": std,
    }
