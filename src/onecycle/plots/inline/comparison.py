"""Curves of several runs over one axis of epochs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from matplotlib.ticker import MaxNLocator, PercentFormatter

from ..comparison import DASHES, spread
from .drawing import COLOURS, Canvas, Chart, Reading, canvas

if TYPE_CHECKING:
    from ...comparison import ComparedRun

_LOOKS = ("ink", "blue", "orange", "green", "sky", "purple")  # colours of the first runs; then again, with dashes
_HEIGHT = 216  # pixels, at least
_MARGINS = (44, 12, 84, 26)  # pixels: left, top, right, bottom
_LINE = 15.5  # pixels from one name to the next
_WHAT = {"accuracy": ("Test accuracy after each epoch", "{:.1%}"), "loss": ("Test loss after each epoch", "{:.3f}")}


def run_colour(number: int) -> str:
    """The colour of the run in this place, by its name in the page."""
    return _LOOKS[number % len(_LOOKS)]


def compared_curves(runs: Sequence[ComparedRun], what: Literal["accuracy", "loss"]) -> Chart | None:
    """Accuracy, or loss in nats, of every run on the test set after each epoch; None where none was evaluated."""
    title, form = _WHAT[what]
    lines = [_Line.of(number, run, f"test_{what}") for number, run in enumerate(runs)]
    lines = [line for line in lines if line.points]
    if not lines:
        return None
    _, top, _, bottom = _MARGINS
    with canvas(max(_HEIGHT, top + bottom + _LINE * len(lines)), _MARGINS) as drawn:
        for line in lines:
            colour = COLOURS[line.colour]
            drawn.axes.plot(*zip(*line.points, strict=True), color=colour, linestyle=line.dashes, linewidth=1.6)
            drawn.axes.plot(*line.end, "o", color=colour, markersize=4, clip_on=False)
        drawn.axes.set_xlim(0, max(line.end[0] for line in lines))
        drawn.axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 4, 5, 10]))
        drawn.axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
        if what == "accuracy":
            drawn.axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        drawn.axes.annotate(
            "epoch", (1, 0), xycoords="axes fraction", xytext=(12, -7.5), textcoords="offset points", va="top",
            color=COLOURS["muted"],
        )  # fmt: skip
        _name_ends(drawn, lines, form)
        ends = ", ".join(f"{line.letter} {form.format(line.end[1])}" for line in lines)
        return drawn.chart(f"compared-{what}", title, f"At the end of training: {ends}.", _readings(drawn, lines, form))


@dataclass(frozen=True)
class _Line:
    """A run's curve: points (epoch, value)."""

    letter: str
    colour: str
    dashes: str | tuple[int, tuple[float, float]]
    points: tuple[tuple[float, float], ...]

    @classmethod
    def of(cls, number: int, run: ComparedRun, column: str) -> _Line:
        points = tuple((row["epoch"], row[column]) for row in run.metrics if column in row)
        return cls(run.letter, run_colour(number), DASHES[number // len(_LOOKS)], points)

    @property
    def end(self) -> tuple[float, float]:
        return self.points[-1]


def _name_ends(drawn: Canvas, lines: Sequence[_Line], form: str) -> None:
    """Each line's letter and last value at the right, moved apart, with a thin line to where it ends."""
    low, high = drawn.axes.get_ylim()
    (_, bottom), (_, top) = drawn.place(0, low), drawn.place(0, high)
    ends = [drawn.place(*line.end) for line in lines]
    right = drawn.place(drawn.axes.get_xlim()[1], low)[0]
    places = spread([down for _, down in ends], _LINE, top + _LINE / 2, bottom - _LINE / 2)
    for line, (across, down), place in zip(lines, ends, places, strict=True):
        drawn.axes.annotate(
            f"{line.letter} {form.format(line.end[1])}",
            line.end,
            xytext=(right + 22 - across, down - place),
            textcoords="offset points",
            color=COLOURS[line.colour],
            va="center_baseline",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": COLOURS[line.colour],
                "linewidth": 0.7,
                "relpos": (0, 0.5),
                "shrinkA": 2,
                "shrinkB": 3,
            },
        )


def _readings(drawn: Canvas, lines: Sequence[_Line], form: str) -> list[Reading]:
    """What every run had after an epoch, for each epoch of any."""
    values = [dict(line.points) for line in lines]
    readings = []
    for epoch in sorted({epoch for line in values for epoch in line}):
        known = [(line, own[epoch]) for line, own in zip(lines, values, strict=True) if epoch in own]
        text = ", ".join(f"{line.letter} {form.format(value)}" for line, value in known)
        dots = tuple((drawn.place(epoch, value)[1], line.colour) for line, value in known)
        readings.append(Reading(epoch, drawn.place(epoch, 0)[0], f"epoch {epoch:.0f}: {text}", dots))
    return readings
