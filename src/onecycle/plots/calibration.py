"""Whether a net's confidence can be trusted."""

from __future__ import annotations

import numpy as np
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from ..evaluation import Calibration
from .style import BLUE, ORANGE, Figure, style


def reliability(calibration: Calibration, title: str) -> Figure:
    """The reliability diagram: the share of images that is right over confidence, and how many images there are.

    Bars that end below the diagonal are of answers that are less often right than the net is sure of them. Guo et al.,
    2017, https://arxiv.org/abs/1706.04599, figure 4.
    """
    left, width = calibration.edges[:-1], np.diff(calibration.edges)
    filled = calibration.counts > 0
    confidence, accuracy = calibration.confidence[filled], calibration.accuracy[filled]
    figure = Figure(6, 7.4, f"{title}\n{calibration.in_words()}")
    right, images = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1.1])

    style(right, "share that is right; dashed: as often right as sure")
    right.bar(left[filled], accuracy, width[filled], align="edge", color=BLUE, edgecolor="white")
    right.plot([0, 1], [0, 1], color="black", linewidth=1, linestyle=(0, (5, 4)))
    right.vlines(confidence, accuracy, confidence, color=ORANGE, linewidth=2)
    right.plot(confidence, confidence, "o", color=ORANGE, markersize=4)
    right.set_ylim(0, 1.02)
    right.yaxis.set_major_formatter(PercentFormatter(1.0))

    style(images, "images")
    images.bar(left, calibration.counts, width, align="edge", color=BLUE, edgecolor="white")
    images.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    images.yaxis.set_major_formatter(FuncFormatter(lambda count, _: f"{count:,.0f}"))
    images.set_xlim(0, 1)
    images.xaxis.set_major_formatter(PercentFormatter(1.0))
    images.set_xlabel("confidence: the probability of the class predicted")
    return figure
