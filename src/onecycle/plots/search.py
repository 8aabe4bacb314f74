"""A search for a recipe: how its trials went, and what each key has to do with it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, Protocol

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from ..errors import UserError
from .fonts import legible
from .names import shortened
from .style import BLUE, GREY, ORANGE, Figure, style, words

Scale = Literal["log", "linear", "choices"]
_COLUMNS: Final = 4
_SIDE: Final = 3.1  # inches of a panel
_LETTERS: Final = 9.0  # points
_CHOICE_WIDTH: Final = 0.8  # of the room that there is for the name of a value


class Tried(Protocol):
    """What is drawn of a trial."""

    @property
    def number(self) -> int:
        """From 0."""

    @property
    def state(self) -> str:
        """complete, pruned, failed or running."""

    @property
    def changes(self) -> Mapping[str, Any]:
        """Its values by dotted key."""

    @property
    def accuracy(self) -> float | None:
        """On the held-out part."""


def search_history(trials: Sequence[Tried], title: str = "") -> Figure:
    """The held-out accuracy of each trial, and the best so far; pruned ones where they stood when they ended.

    Raises UserError where no trial was measured.
    """
    whole, pruned = _measured(trials)
    figure = Figure(9, 4.2, title)
    axes = figure.subplots()
    style(axes, "held-out accuracy of each trial")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("trial")
    _dots(axes, whole, pruned, lambda one: one.number)
    best: list[float] = []
    for one in whole:
        best.append(max([_accuracy(one), *best[-1:]]))
    if whole:
        numbers = [*(one.number for one in whole), max(one.number for one in trials)]
        axes.plot(
            numbers,
            [*best, best[-1]],
            drawstyle="steps-post",
            color=ORANGE,
            linewidth=1.4,
            zorder=1,
            label="best so far",
        )
    failed = [one.number for one in trials if one.state == "failed"]
    if failed:
        bottom = axes.get_ylim()[0]
        axes.plot(failed, [bottom] * len(failed), "x", color=GREY, clip_on=False, label="failed", linestyle="none")
        axes.set_ylim(bottom=bottom)
    axes.legend(frameon=False, fontsize=_LETTERS, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def search_slices(
    trials: Sequence[Tried], scales: Mapping[str, Scale], names: Mapping[str, str], title: str = ""
) -> Figure:
    """The held-out accuracy over the values of each key, a panel a key; `names` are what the keys are called.

    What a panel shows is mixed with the other keys' effects. Raises UserError where no trial was measured.
    """
    whole, pruned = _measured(trials)
    rows, columns = math.ceil(len(scales) / _COLUMNS), min(len(scales), _COLUMNS)
    figure = Figure(max(_SIDE * columns, 6.0), _SIDE * rows + 0.7, title)
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False).ravel()
    for axes, (key, scale) in zip(panels, scales.items(), strict=False):
        name = shortened(legible(names[key]), 11, _SIDE * 60)
        style(axes, "")
        axes.set_title(name, loc="left", fontsize=11, color=GREY, **words(name))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        if scale == "choices":
            _choices(axes, whole, pruned, key)
        else:
            _dots(axes, whole, pruned, lambda one, key=key: one.changes[key])  # type: ignore[misc]
            axes.set_xscale(scale)
    for axes in panels[len(scales) :]:
        axes.set_axis_off()
    for axes in panels[: len(scales) : columns]:
        axes.set_ylabel("held-out accuracy")
    if pruned and whole:
        panels[0].legend(frameon=False, fontsize=_LETTERS, loc="best")
    return figure


def _choices(axes: Axes, whole: Sequence[Tried], pruned: Sequence[Tried], key: str) -> None:
    """Values side by side, in the order of numbers where they are such."""
    known: dict[str, Any] = {_text(one.changes[key]): one.changes[key] for one in (*whole, *pruned)}
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in known.values())
    texts = sorted(known, key=lambda text: known[text] if numbers else text)
    _dots(axes, whole, pruned, lambda one: texts.index(_text(one.changes[key])))
    room = _CHOICE_WIDTH * _SIDE * 60 / len(texts)
    shown = [shortened(legible(text), _LETTERS, room) for text in texts]
    axes.set_xticks(range(len(texts)), shown, fontsize=_LETTERS, **words(*shown))
    axes.set_xlim(-0.6, len(texts) - 0.4)


def _dots(axes: Axes, whole: Sequence[Tried], pruned: Sequence[Tried], place: Callable[[Tried], float]) -> None:
    for some, colour, filled, label in ((pruned, GREY, "none", "pruned"), (whole, BLUE, BLUE, "to its end")):
        if some:
            places, values = [place(one) for one in some], [_accuracy(one) for one in some]
            axes.plot(
                places, values, "o", color=colour, markerfacecolor=filled, markersize=5, linestyle="none", label=label
            )


def _measured(trials: Sequence[Tried]) -> tuple[list[Tried], list[Tried]]:
    whole = [one for one in trials if one.state == "complete" and one.accuracy is not None]
    pruned = [one for one in trials if one.state == "pruned" and one.accuracy is not None]
    if not whole and not pruned:
        raise UserError("no trial of the search was measured; there is nothing to draw")
    return whole, pruned


def _accuracy(one: Tried) -> float:
    assert one.accuracy is not None, "only what was measured is drawn"
    return one.accuracy


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
