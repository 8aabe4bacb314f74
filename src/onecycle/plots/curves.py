"""How a training went, epoch by epoch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from ..errors import UserError
from ..run import Run
from .style import BLUE, GREEN, GREY, ORANGE, Figure, count_epochs, style, title_of

_COLOURS = {"train": BLUE, "test": ORANGE, "val": GREEN}
_NAMES = {"train": "training", "test": "test", "val": "held out"}


def curves(run: Run) -> Figure:
    """Accuracy, loss and learning rate of a run side by side on one axis of epochs.

    The training loss includes label smoothing where the recipe has it; the others never do. Raises UserError where
    the run has no epoch yet, or its files are gone.
    """
    metrics, steps = run.metrics(), run.steps()
    if not metrics or not steps:
        raise UserError(f"{run.path}: metrics.csv or steps.csv is missing or empty; there is nothing to draw")
    figure = Figure(13, 4, title_of(run))
    accuracy, loss, lr = figure.subplots(1, 3)
    style(accuracy, "accuracy")
    accuracy.yaxis.set_major_formatter(PercentFormatter(1.0))
    _lines(accuracy, metrics, "accuracy", "{:.2%}")
    style(loss, "cross-entropy, nats")
    _lines(loss, metrics, "loss", "{:.3f}", bottom=0)
    style(lr, "learning rate of each step")
    _learning_rate(lr, steps, epochs=metrics[-1]["epoch"])
    for axes in (accuracy, loss, lr):
        count_epochs(axes)
    return figure


def _lines(axes: Axes, metrics: Sequence[dict[str, float]], what: str, form: str, bottom: float | None = None) -> None:
    ends: list[tuple[float, str, str]] = []
    for name, colour in _COLOURS.items():
        points = [(row["epoch"], row[f"{name}_{what}"]) for row in metrics if f"{name}_{what}" in row]
        if points:
            epochs, values = zip(*points, strict=True)
            axes.plot(epochs, values, color=colour, marker="o", markersize=3)
            ends.append((values[-1], f"{_NAMES[name]}\n{form.format(values[-1])}", colour))
    last = metrics[-1]["epoch"]
    axes.set_xlim(0, last * 1.02)
    axes.set_ylim(bottom=bottom)
    _label_ends(axes, last, ends)


def _learning_rate(axes: Axes, steps: Sequence[dict[str, float]], epochs: float) -> None:
    steps_per_epoch = steps[-1]["step"] / epochs
    at = [row["step"] / steps_per_epoch for row in steps]
    rates = [row["lr"] for row in steps]
    axes.plot(at, rates, color=BLUE)
    axes.set_xlim(0, epochs * 1.02)
    axes.set_ylim(0, max(rates) * 1.15 or 1)
    peak = int(np.argmax(rates))
    place = (at[peak], rates[peak])
    text = f"{rates[peak]:.3g} at epoch {at[peak]:.3g}"
    axes.annotate(text, place, xytext=(0, 6), textcoords="offset points", ha="center", color=GREY)


def _label_ends(axes: Axes, last: float, ends: list[tuple[float, str, str]]) -> None:
    """Name each line at its end, moved apart where the names would overlap."""
    low, high = axes.get_ylim()
    apart = (high - low) * 0.14
    places: list[float] = []
    for value, _, _ in sorted(ends):
        places.append(max([value, *(place + apart for place in places[-1:])]))
    too_high = max(0.0, max(places, default=low) - (high - apart / 3))
    for place, (_, text, colour) in zip(places, sorted(ends), strict=True):
        axes.annotate(
            text,
            (last, place - too_high),
            xytext=(8, 0),
            textcoords="offset points",
            color=colour,
            va="center",
            annotation_clip=False,
        )
