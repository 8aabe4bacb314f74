"""How a training ends: what is said where it ends early, and what is written where it does not."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .data import ImageSet
from .errors import Stopped, TrainingFailed, UserError
from .recipes import Recipe
from .run import Run
from .state import TrainingState


def failed_error(run: Run, recipe: Recipe, what: str, place: str, lr: float) -> TrainingFailed:
    """The error for a loss or weights that are not finite, at a place such as "step 7 of 20".

    It says which rate to lower, and where to go on.
    """
    paths = run.checkpoints.paths()
    rate = next((key for key in ("lr_max", "lr", "knots") if key in recipe.schedule.options), None)
    # A schedule from outside the package may have none of these.
    again = f": onecycle train --resume {run.path} --set schedule.{rate}=..." if rate else ""
    way_out = f"there is no checkpoint yet, begin anew with a lower rate{again}"
    if paths:
        way_out = f"the last good checkpoint is {paths[-1]}, go on from it with a lower rate{again}"
    return TrainingFailed(f"{what} at {place}, learning rate {lr:.3g}; {way_out}")


def stopped_error(run: Run, number: signal.Signals, place: str) -> Stopped:
    """The error for a signal: where to go on."""
    go_on = f"onecycle train --resume {run.path}"
    if run.finished:
        without = f"stopped by {number.name} before its pictures and report were written"
        return Stopped(f"{run.path}: the training has ended; {without}; write them with: {go_on}", number)
    return Stopped(f"stopped by {number.name} after {place}; saved, go on with: {go_on}", number)


def lost_error(run: Run, what: UserError) -> UserError:
    """The error for a process that is lost: where the training can go on."""
    go_on = f"go on with the same command and --resume {run.path}"
    paths = run.checkpoints.paths()
    return UserError(f"{what}; {f'{paths[-1]} is kept' if paths else 'there is no checkpoint yet'}; {go_on}")


def write_results(
    run: Run,
    recipe: Recipe,
    state: TrainingState,
    test: ImageSet,
    logits_nk: Tensor,
    result: Mapping[str, Any],
    *,
    device: str,
    images: int,
    compile_seconds: float,
    wall_seconds: float,
) -> None:
    """Write weights, predictions and the summary, which comes last.

    `logits_nk` [n, classes] are those of the test set and `result` what was measured on them; `device` is in
    words; `images` counts the training images of all epochs, each as often as it was seen; `compile_seconds` are of
    this process.
    """
    run.write_model(state.evaluated_net, description(recipe, test))
    run.write_predictions(logits_nk, torch.from_numpy(test.labels))
    run.write_summary(
        {
            "recipe": recipe.name,
            "data": recipe.data.label,
            "seed": recipe.seed,
            "epochs": recipe.epochs,
            "steps": state.step,
            "device": device,
            "precision": recipe.precision,
            "parameters": sum(parameter.numel() for parameter in state.net.parameters()),
            "train_seconds": round(state.train_seconds, 3),
            "compile_seconds": round(compile_seconds, 3),
            "wall_seconds": round(wall_seconds, 3),
            "images_per_second": round(images / state.train_seconds, 2),
            "test": dict(result),
            **({"best": state.best} if state.best else {}),
        }
    )


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
