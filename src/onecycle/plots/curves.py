"""How a training went, epoch by epoch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from ..epochs import positions
from ..errors import UserError
from ..run import Run
from .style import BLUE, GREEN, GREY, ORANGE, Figure, count_epochs, style, title_of

_COLOURS = {"train": BLUE, "test": ORANGE, "val": GREEN}
_NAMES = {"train": "training", "test": "test", "val": "held out"}


def curves(run: Run) -> Figure:
    """Accuracy, loss and learning rate of a run side by side on one axis of epochs; dotted where it was resumed.

    The training loss includes label smoothing where the recipe has it; the others never do. Raises UserError where
    the run has no epoch yet, or its files are gone.
    """
    metrics, steps = run.metrics(), run.steps()
    if not metrics or not steps:
        raise UserError(f"{run.path}: metrics.csv or steps.csv is missing or empty; there is nothing to draw")
    at = positions(steps, len(metrics))
    last = max(metrics[-1]["epoch"], at[-1])
    resumed = [at[min(one["step"], len(at)) - 1] if one["step"] else 0.0 for one in run.environment.get("resumed", [])]
    figure = Figure(13, 4, title_of(run))
    accuracy, loss, lr = figure.subplots(1, 3)
    style(accuracy, "accuracy")
    accuracy.yaxis.set_major_formatter(PercentFormatter(1.0))
    _lines(accuracy, metrics, "accuracy", "{:.2%}")
    style(loss, "cross-entropy, nats")
    _lines(loss, metrics, "loss", "{:.3f}", bottom=0)
    style(lr, "learning rate of each step" + ("; dotted: resumed" if resumed else ""))
    _learning_rate(lr, steps, at)
    for axes in (accuracy, loss, lr):
        count_epochs(axes)
        axes.set_xlim(0, last * 1.02)
        for epoch in resumed:
            axes.axvline(epoch, color=GREY, linewidth=1, linestyle=":")
    return figure


def _lines(axes: Axes, metrics: Sequence[dict[str, float]], what: str, form: str, bottom: float | None = None) -> None:
    ends: list[tuple[float, str, str]] = []
    for name, colour in _COLOURS.items():
        points = [(row["epoch"], row[f"{name}_{what}"]) for row in metrics if f"{name}_{what}" in row]
        if points:
            epochs, values = zip(*points, strict=True)
            axes.plot(epochs, values, color=colour, marker="o", markersize=3)
            ends.append((values[-1], f"{_NAMES[name]}\n{form.format(values[-1])}", colour))
    axes.set_ylim(bottom=bottom)
    _label_ends(axes, ends)


def _learning_rate(axes: Axes, steps: Sequence[dict[str, float]], at: Sequence[float]) -> None:
    rates = [row["lr"] for row in steps]
    axes.plot(at, rates, color=BLUE)
    axes.set_ylim(0, max(rates) * 1.15 or 1)
    peak = int(np.argmax(rates))
    place = (at[peak], rates[peak])
    text = f"{rates[peak]:.3g} at epoch {at[peak]:.3g}"
    side = "left" if at[peak] < at[-1] / 4 else "right" if at[peak] > at[-1] * 3 / 4 else "center"
    axes.annotate(text, place, xytext=(0, 6), textcoords="offset points", ha=side, color=GREY)


def _label_ends(axes: Axes, ends: list[tuple[float, str, str]]) -> None:
    """Name each line beside its end, moved apart where the names would overlap."""
    low, high = axes.get_ylim()
    apart = (high - low) * 0.14
    places: list[float] = []
    for value, _, _ in sorted(ends):
        places.append(max([value, low + apart / 2, *(place + apart for place in places[-1:])]))
    too_high = max(0.0, max(places, default=low) - (high - apart / 3))
    for place, (_, text, colour) in zip(places, sorted(ends), strict=True):
        axes.annotate(
            text,
            (1.0, place - too_high),
            xycoords=("axes fraction", "data"),
            xytext=(8, 0),
            textcoords="offset points",
            color=colour,
            va="center",
            annotation_clip=False,
        )
