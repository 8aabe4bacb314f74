"""Whether confidence can be trusted: the reliability diagram, and how many images there are at each confidence."""

from __future__ import annotations

import numpy as np
from matplotlib.ticker import FixedLocator, MaxNLocator, PercentFormatter, StrMethodFormatter

from ...evaluation import Calibration, percent
from .drawing import COLOURS, Canvas, Chart, Reading, canvas

_HEIGHT = 300  # pixels: a square of the axes
_MARGINS = (44, 12, 14, 42)


def reliability(calibration: Calibration) -> Chart:
    """Accuracy over confidence; on the diagonal both are equal, and the area of a dot is its number of images."""
    with canvas(_HEIGHT, _MARGINS) as drawn:
        axes = drawn.axes
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        axes.plot([0, 1], [0, 1], color=COLOURS["faint"], linewidth=1)
        filled = calibration.counts > 0
        confidence, accuracy = calibration.confidence[filled], calibration.accuracy[filled]
        counts = calibration.counts[filled]
        axes.vlines(confidence, confidence, accuracy, color=COLOURS["orange"], linewidth=1.2)
        sizes = 14 + 500 * counts / counts.sum()
        axes.scatter(confidence, accuracy, s=sizes, color=COLOURS["blue"], linewidth=0, zorder=3, clip_on=False)
        axes.text(0.03, 0.97, "right more often\nthan it says", color=COLOURS["muted"], va="top")
        axes.text(0.98, 0.04, "less often", color=COLOURS["muted"], ha="right")
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        _confidences(drawn)
        words = "; ".join(
            f"{one:.0%} sure: {right:.0%} right of {number:,}"
            for one, right, number in zip(confidence, accuracy, counts, strict=True)
        )
        return drawn.chart("reliability", "Accuracy over confidence", f"{words}.", _readings(drawn, calibration))


def confidences(calibration: Calibration) -> Chart:
    """How many images the net is how sure of, right ones and wrong ones apart."""
    counts = calibration.counts
    right = np.nan_to_num(calibration.accuracy) * counts
    left, width = calibration.edges[:-1], np.diff(calibration.edges)
    with canvas(_HEIGHT, (58, *_MARGINS[1:])) as drawn:
        axes = drawn.axes
        axes.set_xlim(0, 1)
        axes.set_ylim(0, counts.max() * 1.06)
        axes.bar(left, right, width * 0.86, align="edge", color=COLOURS["blue"])
        axes.bar(left, counts - right, width * 0.86, bottom=right, align="edge", color=COLOURS["orange"])
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        _confidences(drawn)
        readings = []
        for index, number in enumerate(counts):
            middle = float(calibration.edges[index : index + 2].mean())
            at, top = drawn.place(middle, float(number))
            text = f"{_range(calibration, index)} sure: {number:,} images, {number - round(right[index]):,.0f} wrong"
            readings.append(Reading(middle, at, text, ((top, "ink"),)))
        most = int(counts.argmax())
        words = (
            f"Most images, {counts[most]:,} of {counts.sum():,}, are those it is {_range(calibration, most)} sure of."
        )
        return drawn.chart("confidences", "Images at each confidence", words, readings)


def _confidences(drawn: Canvas) -> None:
    axes = drawn.axes
    axes.xaxis.set_major_locator(FixedLocator([0, 0.25, 0.5, 0.75, 1]))
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_xlabel("probability of the predicted class", color=COLOURS["muted"], labelpad=3)


def _readings(drawn: Canvas, calibration: Calibration) -> list[Reading]:
    readings = []
    for index in np.flatnonzero(calibration.counts):
        sure, right = float(calibration.confidence[index]), float(calibration.accuracy[index])
        at, top = drawn.place(sure, right)
        text = f"{percent(sure)} sure: {percent(right)} right of {calibration.counts[index]:,}"
        readings.append(Reading(sure, at, text, ((top, "blue"),)))
    return readings


def _range(calibration: Calibration, index: int) -> str:
    return f"{calibration.edges[index]:.0%} to {calibration.edges[index + 1]:.0%}"
