"""Runs side by side: their curves in one picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from ..errors import UserError
from .fonts import legible
from .names import shortened
from .style import BLUE, GREEN, ORANGE, Figure, count_epochs, style, words

if TYPE_CHECKING:
    from ..comparison import ComparedRun, Comparison

_COLOURS = ("#222222", BLUE, ORANGE, GREEN, "#4a9fd0", "#a65a8c")  # the last two darker than Okabe's and Ito's
DASHES = ("solid", (0, (5, 2)), (0, (1.5, 1.5)))  # tell runs of one colour apart
_HEIGHT = 4.4  # inches
_SIZE = 9.5  # of letters, in points
_LINE = 13.0  # points from one name to the next
_ROOM = 222.0  # points from the lower to the upper end of the axes, about
_LEADER = {"arrowstyle": "-", "linewidth": 0.6, "shrinkA": 1, "shrinkB": 3, "relpos": (0, 0.5)}
_NAME_WIDTH = 170.0  # points


def comparison_curves(comparison: Comparison) -> Figure:
    """Accuracy and loss on the test set of every run after each epoch, each line with its name at its end.

    Raises UserError where no run has a metrics.csv that says them.
    """
    runs = comparison.runs
    if not any("test_loss" in row for run in runs for row in run.metrics):
        raise UserError("none of the runs has test results of epochs in its metrics.csv; there is nothing to draw")
    figure = Figure(11.5, _HEIGHT, f"{len(runs)} runs on the same {comparison.images:,} test images")
    accuracy, loss = figure.subplots(1, 2)
    style(accuracy, "test accuracy after each epoch")
    accuracy.yaxis.set_major_formatter(PercentFormatter(1.0))
    _lines(accuracy, runs, "test_accuracy", "{:.2%}", [""] * len(runs))
    style(loss, "test loss after each epoch: cross-entropy, nats")
    _lines(loss, runs, "test_loss", "{:.3f}", [f"  {_name(run.label)}" for run in runs])
    for axes in (accuracy, loss):
        count_epochs(axes)
    return figure


def spread(values: Sequence[float], apart: float, low: float, high: float) -> list[float]:
    """The places of names beside `values`: at least `apart` from each other, in the same order, from `low` to `high`.

    Where there is room for all they stay within these ends, otherwise they begin at `low`.
    """
    order = sorted(range(len(values)), key=lambda one: values[one])
    places = [0.0] * len(values)
    floor = low
    for one in order:
        places[one] = max(values[one], floor)
        floor = places[one] + apart
    ceiling = high
    for number, one in reversed(list(enumerate(order))):
        places[one] = max(min(places[one], ceiling), low + number * apart)
        ceiling = places[one] - apart
    return places


def _lines(axes: Axes, runs: Sequence[ComparedRun], column: str, form: str, names: Sequence[str]) -> None:
    ends = []
    for number, (run, name) in enumerate(zip(runs, names, strict=True)):
        points = [(row["epoch"], row[column]) for row in run.metrics if column in row]
        if points:
            colour, dashes = _look(number)
            axes.plot(*zip(*points, strict=True), color=colour, linestyle=dashes, linewidth=1.6, zorder=3 - number / 99)
            axes.plot(*points[-1], "o", color=colour, markersize=4)
            ends.append((*points[-1], f"{run.letter}  {form.format(points[-1][1])}{name}", colour))
    axes.set_xlim(0, 1.02 * max(epoch for epoch, *_ in ends))
    low, high = axes.get_ylim()
    line = (high - low) * _LINE / _ROOM
    places = spread([value for _, value, *_ in ends], line, low + line / 2, high - line / 2)
    for (epoch, value, text, colour), place in zip(ends, places, strict=True):
        axes.annotate(
            text,
            (epoch, value),
            xytext=(1.09, place),
            textcoords=axes.get_yaxis_transform(),
            color=colour,
            fontsize=_SIZE,
            va="center",
            annotation_clip=False,
            arrowprops={**_LEADER, "color": colour},
            **words(text),
        )


def _name(label: str) -> str:
    return shortened(legible(label), _SIZE, _NAME_WIDTH)


def _look(number: int) -> tuple[str, str | tuple[int, tuple[float, float]]]:
    """Colour and dashes of a run's line."""
    dashes, colour = divmod(number, len(_COLOURS))
    return _COLOURS[colour], DASHES[dashes]
