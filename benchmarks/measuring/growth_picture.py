"""The picture of how the cost of training grows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from onecycle.plots.style import BLUE, GREEN, GREY, ORANGE, style
from onecycle.plots.style import Figure as Page

from .growth import AUGMENTING, BATCH, PLANNING, SIDE, WIDTH

_COLOURS = (BLUE, ORANGE, GREEN)
_AXES = {BATCH: "images in a batch", WIDTH: "width, times the net's own", SIDE: "pixels a side"}
_SET = "images in the set"

Rows = Sequence[Mapping[str, Any]]


def draw(rows: Rows, machine: str) -> Figure:
    """Above images/s, below GFLOP/s, of batch, width and side; at the right an epoch's own cost, by the set's size."""
    figure = Page(15, 6.5, f"Cost of training on {machine}")
    recipes = list(dict.fromkeys(row["recipe"] for row in rows))
    colours = {name: _COLOURS[number % len(_COLOURS)] for number, name in enumerate(recipes)}
    axes = figure.subplots(2, 4)
    for column, (varied, label) in enumerate(_AXES.items()):
        above, below = axes[0, column], axes[1, column]
        of_kind = [row for row in rows if row["varied"] == varied]
        for name in recipes:
            own = [row for row in of_kind if row["recipe"] == name]
            _line(above, own, "images_per_second", colours[name], name)
            _line(below, own, "gflops", colours[name], name)
        if of_kind:
            rate = max(row["matrix_gflops"] for row in of_kind)
            below.axhline(rate, color=GREY, linestyle=":", linewidth=1.2, label="matrix product")
        if varied != BATCH:  # the two that the cost is a power of
            above.set_yscale("log")
        _dress(above, "images/s of a step", label, of_kind)
        _dress(below, "GFLOP/s of a step", label, of_kind)
        below.set_ylim(bottom=0)
    _of_the_set(axes[0, 3], axes[1, 3], rows, colours)
    handles, labels = axes[1, 0].get_legend_handles_labels()
    extra, words = axes[0, 3].get_legend_handles_labels()
    figure.legend([*handles, *extra], [*labels, *words], loc="outside lower center", ncols=6, frameon=False)
    return figure


def _of_the_set(above: Axes, below: Axes, rows: Rows, colours: Mapping[str, str]) -> None:
    """Seconds of an epoch's own cost, and for how much of its steps' time that stands."""
    shown = [row for row in rows if row["varied"] in (PLANNING, AUGMENTING)]
    for name, colour in colours.items():
        for varied, line in ((AUGMENTING, "-"), (PLANNING, "--")):
            own = [row for row in shown if row["recipe"] == name and row["varied"] == varied]
            _line(above, own, "seconds", colour, "", line)
            speed = _speed(rows, name)
            if own and speed:
                shares = [100 * row["seconds"] / (row["value"] / speed) for row in own]
                below.plot([row["value"] for row in own], shares, line, marker="o", markersize=3, color=colour)
    above.plot([], [], "-", color=GREY, label="plan and augmentation")
    above.plot([], [], "--", color=GREY, label="plan alone")
    above.set_yscale("log")
    _dress(above, "seconds an epoch, net left out", _SET, shown)
    _dress(below, "% of the time of the epoch's steps", _SET, shown)
    below.set_ylim(bottom=0)


def _speed(rows: Rows, name: str) -> float | None:
    """Images/s of the recipe's steps at its own batch, width and the largest side up to 32 pixels."""
    own = [row for row in rows if row["recipe"] == name and row["varied"] == SIDE and row["side"] <= 32]
    return max(own, key=lambda row: row["side"])["images_per_second"] if own else None


def _line(axes: Axes, rows: Rows, what: str, colour: str, label: str, line: str = "-") -> None:
    if rows:
        values = [row[what] for row in rows]
        axes.plot([row["value"] for row in rows], values, line, marker="o", markersize=3, color=colour, label=label)


def _dress(axes: Axes, title: str, label: str, rows: Rows) -> None:
    """Titles, and a tick at each value that was measured where there is room."""
    style(axes, title)
    axes.set_xlabel(label)
    axes.set_xscale("log", base=2)
    axes.set_xticks(sorted({row["value"] for row in rows}))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(_tick))
    if axes.get_yscale() == "log":
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(FuncFormatter(_tick))
        axes.yaxis.set_minor_locator(NullLocator())


def _tick(value: float, place: int | None) -> str:
    return f"{value / 1000:g}k" if value and value % 1000 == 0 else f"{value:g}"
