"""How a training went: accuracy, loss and learning rate over one axis of epochs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from matplotlib.ticker import MaxNLocator, PercentFormatter

from ...evaluation import percent
from ..comparison import spread
from .drawing import COLOURS, Canvas, Chart, Reading, canvas

Rows = Sequence[Mapping[str, float]]

_HEIGHT = 216  # pixels
_RIGHT = 66  # pixels beside a chart for the names of its lines
_SETS = {"train": ("training", "blue"), "test": ("test", "orange"), "val": ("held out", "green")}
_APART = 17  # pixels from one name to the next
_ABOVE_AXIS = 6  # pixels between the lowest name and the axis
_MOST_READINGS = 250


@dataclass(frozen=True)
class Marks:
    """Where the learning rate was highest and where the training was resumed, in epochs; the axis ends at `epochs`."""

    epochs: float
    peak: float | None = None
    resumed: tuple[float, ...] = ()


def accuracy_curves(metrics: Rows, marks: Marks) -> Chart:
    """Accuracy on each set after every epoch, from the rows of metrics.csv."""
    with canvas(_HEIGHT, (44, 12, _RIGHT, 26)) as drawn:
        drawn.axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        return _curves(drawn, metrics, marks, "accuracy", percent)


def loss_curves(metrics: Rows, marks: Marks) -> Chart:
    """Cross-entropy in nats on each set after every epoch."""
    with canvas(_HEIGHT, (44, 12, _RIGHT, 26)) as drawn:
        return _curves(drawn, metrics, marks, "loss", lambda value: f"{value:.3f}")


def learning_rate(steps: Rows, at: Sequence[float], marks: Marks) -> Chart:
    """The learning rate of every optimiser step; `at` says how many epochs had passed after each."""
    rates = [row["lr"] for row in steps]
    with canvas(_HEIGHT, (50, 12, _RIGHT - 6, 26)) as drawn:
        axes = drawn.axes
        _epochs(drawn, marks)
        axes.set_ylim(0, max(rates) * 1.12 or 1)
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.plot(at, rates, color=COLOURS["ink"], linewidth=1.5)
        _mark(drawn, marks)
        if marks.peak is not None:
            axes.annotate(
                f"{max(rates):.3g}",
                (marks.peak, max(rates)),
                xytext=(6, 2),
                textcoords="offset points",
                color=COLOURS["ink"],
            )
        some = range(0, len(steps), -(-len(steps) // _MOST_READINGS))
        readings = [
            Reading(at[step], left, f"epoch {at[step]:.1f}: {rates[step]:.3g}", ((top, "ink"),))
            for step, (left, top) in ((step, drawn.place(at[step], rates[step])) for step in some)
        ]
        high, last = max(rates), rates[-1]
        peak = f", highest at epoch {marks.peak:.3g}" if marks.peak is not None else ""
        words = f"From {rates[0]:.3g} to {last:.3g} in {len(steps):,} steps; at most {high:.3g}{peak}."
        return drawn.chart("rate", "Learning rate of each step", words, readings)


def _curves(drawn: Canvas, metrics: Rows, marks: Marks, what: str, form: Callable[[float], str]) -> Chart:
    axes = drawn.axes
    lines = {}
    for name in _SETS:
        points = [(row["epoch"], row[f"{name}_{what}"]) for row in metrics if f"{name}_{what}" in row]
        if points:
            lines[name] = points
    for name, points in lines.items():
        colour = COLOURS[_SETS[name][1]]
        if len(points) == 1:  # one point makes no line, and at the last epoch the edge would halve it
            axes.plot(*points[0], "o", color=colour, markersize=4, clip_on=False)
        else:
            axes.plot(*zip(*points, strict=True), color=colour, linewidth=1.6)
    values = [value for points in lines.values() for _, value in points]
    if what == "loss":
        axes.set_ylim(0, max(values) * 1.06 or 1)
    else:
        spread = max(values) - min(values)
        axes.set_ylim(max(0, min(values) - 0.08 * spread - 0.005), min(1.004, max(values) + 0.08 * spread + 0.005))
    _epochs(drawn, marks)
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
    _mark(drawn, marks)
    _name_lines(drawn, {_SETS[name]: points[-1] for name, points in lines.items()})
    words = "; ".join(
        f"{_SETS[name][0]} from {form(points[0][1])} after epoch {points[0][0]:.0f} to {form(points[-1][1])} after "
        f"epoch {points[-1][0]:.0f}"
        for name, points in lines.items()
    )
    title = "Accuracy after each epoch" if what == "accuracy" else "Cross-entropy after each epoch, in nats"
    return drawn.chart(what, title, f"{words.capitalize()}.", _readings(drawn, metrics, what, form))


def _readings(drawn: Canvas, metrics: Rows, what: str, form: Callable[[float], str]) -> list[Reading]:
    readings = []
    for row in metrics:
        known = {name: row[f"{name}_{what}"] for name in _SETS if f"{name}_{what}" in row}
        places = {name: drawn.place(row["epoch"], value) for name, value in known.items()}
        texts = [f"{_SETS[name][0]} {form(value)}" for name, value in known.items()]
        readings.append(
            Reading(
                row["epoch"],
                drawn.place(row["epoch"], 0)[0],
                f"epoch {row['epoch']:.0f}: {', '.join(texts)}",
                tuple((top, _SETS[name][1]) for name, (_, top) in places.items()),
            )
        )
    return readings


def _epochs(drawn: Canvas, marks: Marks) -> None:
    """The x-axis: whole epochs, from 0 to the last."""
    axes = drawn.axes
    axes.set_xlim(0, marks.epochs)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 4, 5, 10]))
    axes.annotate(
        "epoch",
        (1, 0),
        xycoords="axes fraction",
        xytext=(10, -6),
        textcoords="offset points",
        va="top",
        color=COLOURS["muted"],
    )


def _mark(drawn: Canvas, marks: Marks) -> None:
    """Thin lines down the chart, behind the curves."""
    if marks.peak is not None:
        drawn.axes.axvline(marks.peak, color=COLOURS["faint"], linewidth=1, zorder=0.9)
    for epoch in marks.resumed:
        drawn.axes.axvline(epoch, color=COLOURS["purple"], linewidth=1, dashes=(4, 3), zorder=0.9)


def _name_lines(drawn: Canvas, ends: Mapping[tuple[str, str], tuple[float, float]]) -> None:
    """The name of each line beside its end, moved where they would overlap, or touch what stands below the axis."""
    last = max(epoch for epoch, _ in ends.values())
    tops = [drawn.place(*end)[1] for end in ends.values()]
    bottom, top = (drawn.place(last, limit)[1] for limit in drawn.axes.get_ylim())
    places = spread(tops, _APART, top, bottom - _ABOVE_AXIS)
    for ((name, colour), (_, value)), at, moved in zip(ends.items(), tops, places, strict=True):
        drawn.axes.annotate(
            name,
            (last, value),
            xytext=(7, at - moved),
            textcoords="offset points",
            va="center_baseline",
            color=COLOURS[colour],
        )
