"""Trials over seeds: every one as a dot, mean and interval of each recipe, lines between equal seeds."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from .fonts import legible
from .names import shortened, text_width
from .style import BLUE, GREEN, GREY, ORANGE, Figure, style, words

STRIP_COLOURS = ("#222222", BLUE, ORANGE, GREEN, "#4a9fd0", "#a65a8c")
_WIDTH = 9.0  # inches
_SIZE = 10.0  # of labels, in points
_LABEL = 260.0  # points that a label may take
_HALF = 0.26  # of a row: how far dots lie from its middle at most
_INTERVAL_AT = 0.34  # of a row, below its middle


@dataclass(frozen=True)
class Strip:
    """A recipe's values by seed, their mean, and its interval where there is one."""

    label: str
    values: Mapping[int, float]
    mean: float
    low: float | None
    high: float | None


def trials(strips: Sequence[Strip], title: str, what: str, *, share: bool) -> Figure:
    """A row for each recipe, the first at the top; `what` names the values, fractions in per cent where `share`."""
    labels = [shortened(legible(one.label), _SIZE, _LABEL) for one in strips]
    figure = Figure(_WIDTH, 1.4 + 0.85 * len(strips), title)
    axes = figure.subplots()
    style(axes, what)
    colours = [STRIP_COLOURS[number % len(STRIP_COLOURS)] for number in range(len(strips))]
    draw_strips(axes, strips, colours, GREY, width=_WIDTH * 72 - max(text_width(one, _SIZE) for one in labels) - 40)
    axes.set_yticks(range(len(strips)), labels if len(strips) > 1 else [""], fontsize=_SIZE, **words(*labels))
    scale(axes, share=share)
    return figure


def draw_strips(
    axes: Axes, strips: Sequence[Strip], colours: Sequence[str], thread: str, *, width: float, size: float = 5.5
) -> None:
    """Draw the rows from above; dots have `size` points of the axes' `width`, `thread` colours the lines of seeds."""
    ends = [end for one in strips for end in (*one.values.values(), one.low, one.high) if end is not None]
    low, high = min(ends), max(ends)
    room = (high - low) * 0.04 or max(abs(high), 1.0) * 0.01
    axes.set_xlim(low - room, high + room)
    apart = (high - low + 2 * room) * size / width
    places = [swarm(one.values, apart) for one in strips]
    faint = min(0.45, 6 / max(len(one.values) for one in strips))  # fifty lines are still to leave the dots visible
    for number, (upper, lower) in enumerate(itertools.pairwise(strips)):
        for seed in upper.values.keys() & lower.values.keys():
            across = upper.values[seed], lower.values[seed]
            down = number + places[number][seed], number + 1 + places[number + 1][seed]
            axes.plot(across, down, color=thread, linewidth=0.7, alpha=faint, zorder=1)
    for number, (one, colour) in enumerate(zip(strips, colours, strict=True)):
        dots = [(value, number + places[number][seed]) for seed, value in one.values.items()]
        axes.plot(*zip(*dots, strict=True), "o", color=colour, markersize=size, alpha=0.75, markeredgewidth=0, zorder=2)
        below = number + _INTERVAL_AT
        if one.low is not None and one.high is not None:
            axes.plot((one.low, one.high), (below, below), color=colour, linewidth=2.2, solid_capstyle="butt", zorder=3)
        axes.plot(one.mean, below, "D", color=colour, markersize=size + 1, markeredgewidth=0, zorder=3)
    axes.set_ylim(len(strips) - 0.4, -0.5)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)


def scale(axes: Axes, *, share: bool) -> None:
    """A few round numbers below, in per cent where the values are shares."""
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    if share:
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))


def swarm(values: Mapping[int, float], apart: float) -> dict[int, float]:
    """How far below the middle of its row each dot lies, so that none covers another: in parts of a row.

    Dots nearer than `apart` are piled; a pile that is too high for its row is pressed together.
    """
    levels: dict[int, int] = {}
    last: dict[int, float] = {}  # the rightmost value on each level
    for seed, value in sorted(values.items(), key=lambda pair: (pair[1], pair[0])):
        level = next(one for one in range(len(values)) if one not in last or value - last[one] >= apart)
        levels[seed], last[level] = level, value
    highest = (max(levels.values(), default=0) + 1) // 2
    step = min(0.11, _HALF / max(highest, 1))
    return {seed: step * (-1) ** level * ((level + 1) // 2) for seed, level in levels.items()}
