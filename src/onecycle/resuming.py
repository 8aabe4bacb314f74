"""How a training that was stopped is taken up again: its newest checkpoint, and its files cut back to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .epochs import Epochs
from .errors import UserError
from .observer import Observer
from .recipes import Recipe
from .run import Run
from .state import TrainingState


def newest(run: Run, observer: Observer) -> dict[str, Any]:
    """The newest checkpoint that is whole; empty where the training ended before the first."""
    if run.saved:
        return run.checkpoints.newest(observer.on_message)
    observer.on_message("there is no checkpoint yet, the training begins with its first step")
    return {}


def restore(run: Run, state: TrainingState, epochs: Epochs, saved: dict[str, Any]) -> None:
    """Put a checkpoint into the state. Raises UserError where it is another training's."""
    try:
        state.restore(saved)
        if not epochs.start(state.epoch) <= state.step <= epochs.steps:
            raise ValueError(f"step {state.step} is not of epoch {state.epoch + 1}")
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{run.checkpoints.path}: the checkpoint does not fit this training, or is of another net ({reason}); the "
            "net, images and recipe that it began with are needed"
        ) from None


def take_up(
    run: Run, recipe: Recipe, state: TrainingState, tables: str, resumed_on: Mapping[str, Any], observer: Observer
) -> None:
    """Drop what was written after the checkpoint, and note that the training goes on.

    `tables` is the digest of both tables that the checkpoint has noted, "" where it has none.
    """
    run.remove_left_over()
    run.cut_back(state.epoch, state.step)
    if tables not in ("", run.tables_digest()):
        names = f"{run.path}: metrics.csv or steps.csv"
        observer.on_message(f"{names} is not what was written before the checkpoint; its curves may be wrong")
    best = int(state.best["epoch"]) if state.best else None
    if run.remove_best_but(best) and best != state.epoch:  # or else it is written anew in a moment
        state.best = None
        observer.on_message("the weights that did best were of an epoch after the checkpoint, and are removed")
    run.add_resumption(recipe, {"step": state.step, **resumed_on})
