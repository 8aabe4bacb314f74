"""Did the training go well?"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..epochs import positions
from ..errors import UserError
from ..evaluation import percent
from ..plots import inline
from ..run import Run
from ..sealing import damaged

Rows = Sequence[Mapping[str, float]]


@dataclass(frozen=True)
class Training:
    """Charts by their titles, sentences on them, and the range test where there was one."""

    charts: dict[str, inline.Chart]
    sentences: tuple[str, ...]
    sweep: inline.Chart | None
    sweep_sentences: tuple[str, ...]


@dataclass(frozen=True)
class Progress:
    """How far a training came that has not ended: `steps` None where an epoch's are not known, or are not all equal."""

    step: int
    steps: int | None
    epoch: int
    epochs: int
    running: bool
    resume: str


def training(run: Run) -> Training | None:
    """Curves from metrics.csv and steps.csv; None where there is not one step yet."""
    metrics, steps = run.metrics(), run.steps()
    if not steps:
        return None
    at = positions(steps, len(metrics))
    resumed = [one["step"] for one in run.environment.get("resumed", [])]
    marks = inline.Marks(
        epochs=run.recipe.epochs if metrics else 1,
        peak=_peak(steps, at),
        resumed=tuple(at[step - 1] for step in resumed if 0 < step <= len(at)),
    )
    charts = {}
    if metrics:
        charts["Accuracy"] = inline.accuracy_curves(metrics, marks)
        charts["Loss, nats"] = inline.loss_curves(metrics, marks)
    charts["Learning rate"] = inline.learning_rate(steps, at, marks)
    sentences = [*_gap(metrics, run), *_marks_in_words(marks), *_smoothing(run)]
    sweep, sweep_sentences = _sweep(run)
    return Training(charts, tuple(sentences), sweep, tuple(sweep_sentences))


def progress(run: Run, *, running: bool) -> Progress | None:
    """How far the training came; None where it has ended."""
    if run.finished:
        return None
    metrics, steps = run.metrics(), run.steps()
    epochs = run.recipe.epochs
    per_epoch = None if run.recipe.data.hardest else steps_per_epoch(metrics, steps)
    return Progress(
        step=int(steps[-1]["step"]) if steps else 0,
        steps=None if per_epoch is None else per_epoch * epochs,
        epoch=int(steps[-1]["epoch"]) if steps else 1,
        epochs=epochs,
        running=running,
        resume=shlex.join(["onecycle", "train", "--resume", str(run.path)]),
    )


def steps_per_epoch(metrics: Rows, steps: Rows) -> int | None:
    """Optimiser steps of a whole epoch; None where none is whole yet."""
    return sum(row["epoch"] == 1 for row in steps) if metrics else None


def is_training(run: Run) -> bool:
    """Whether a process holds the folder's lock, as a training does."""
    if run.finished or not (run.path / ".lock").exists():
        return False
    try:
        with run.locked():
            return False
    except UserError:
        return True


def _peak(steps: Rows, at: Sequence[float]) -> float | None:
    """Where the rate was highest, in epochs; None where it does not rise to a peak and fall again."""
    rates = [row["lr"] for row in steps]
    highest = max(range(len(rates)), key=rates.__getitem__)
    return at[highest] if max(rates[0], rates[-1]) < rates[highest] else None


def _gap(metrics: Rows, run: Run) -> list[str]:
    measured = [row for row in metrics if "test_accuracy" in row]
    if not measured:
        return []
    last = measured[-1]
    train, test = last["train_accuracy"], last["test_accuracy"]
    trained_on = (
        "the training images" if not run.recipe.data.hardest else "those of the training images that it took up"
    )
    after = f"In epoch {last['epoch']:.0f}, {percent(train)} of {trained_on} were right, augmented as they are"
    if abs(train - test) < 0.0005:
        return [f"{after}, and as many of the test images: there is no gap."]
    points = f"{100 * abs(train - test):.1f} points"
    if train > test:
        return [f"{after}, and {percent(test)} of the test images: a gap of {points}."]
    return [f"{after}, and {percent(test)} of the test images, which are not augmented: {points} more."]


def _marks_in_words(marks: inline.Marks) -> list[str]:
    sentences = []
    if marks.peak is not None:
        sentences.append(f"The grey line marks the peak of the learning rate, at epoch {marks.peak:.3g}.")
    if marks.resumed:
        epochs = ", ".join(f"{epoch:.3g}" for epoch in marks.resumed)
        lines = "line marks" if len(marks.resumed) == 1 else "lines mark"
        sentences.append(f"The dashed {lines} where the training was resumed, at epoch {epochs}.")
    return sentences


def _smoothing(run: Run) -> list[str]:
    loss = run.recipe.loss
    of_training = [f"includes label smoothing of {loss.label_smoothing:g}"] if loss.label_smoothing else []
    if loss.class_weights == "balanced":
        of_training.append("weighs all classes the same, however many images they have")
    return [f"The training loss {' and '.join(of_training)}; the others do not."] if of_training else []


def _own_rates(run: Run, found: Mapping[str, Any]) -> str:
    """What is to be said of a range test whose choice the recipe does not have, or not all of it."""
    options = run.recipe.schedule.options
    own = [key for key in ("lr_min", "lr_max") if "lr_max" not in options or options.get(key) != found[key]]
    if len(own) == 1 and isinstance(options.get(own[0]), int | float):
        return f" The recipe has {options[own[0]]:.2g} as its {own[0]} instead."
    return " The recipe has rates of its own instead." if own else ""


def _sweep(run: Run) -> tuple[inline.Chart | None, list[str]]:
    if not run.has("lr_range.json"):
        return None, []
    found = run.lr_range
    try:
        sweeps = len(found["sweeps"])
        sentences = [
            f"Before the training, {sweeps} sweep{'s' if sweeps != 1 else ''} of a rising learning rate chose "
            f"{found['lr_min']:.2g} to begin with and {found['lr_max']:.2g} for the peak.{_own_rates(run, found)}",
            *(f"The choice is in doubt: {warning}." for warning in found["warnings"]),
        ]
        return inline.lr_range(found), sentences
    except (KeyError, TypeError, ValueError, IndexError):
        raise damaged(run.path / "lr_range.json") from None
