"""The learning-rate range test: the loss over the rate, and both ends that were chosen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from .drawing import COLOURS, WIDTH, Canvas, Chart, Reading, canvas

_SWEEPS = ("blue", "sky", "purple")
_NAME_WIDTH = 90  # pixels


def lr_range(found: Mapping[str, Any]) -> Chart:
    """Every sweep's loss over its rates, from the content of lr_range.json."""
    sweeps = found["sweeps"]
    ends = {"lr_min": float(found["lr_min"]), "lr_max": float(found["lr_max"])}
    with canvas(216, (44, 30, 14, 26)) as drawn:
        axes = drawn.axes
        axes.set_xscale("log")
        axes.set_xlim(min(one["lrs"][0] for one in sweeps), max(one["lrs"][-1] for one in sweeps))
        low = min(min(one["losses"]) for one in sweeps)
        high = max(float(np.median(one["losses"][:5])) for one in sweeps)
        axes.set_ylim(low - 0.08 * (high - low), high + 0.3 * (high - low) + 1e-6)
        for number, one in enumerate(sweeps):
            axes.plot(one["lrs"], one["losses"], color=COLOURS[_SWEEPS[number % len(_SWEEPS)]], linewidth=1.2)
        _name_ends(drawn, ends)
        axes.xaxis.set_major_locator(LogLocator(numticks=6))
        axes.xaxis.set_major_formatter(lambda rate, _: f"{rate:g}")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_locator(MaxNLocator(4))
        first = sweeps[0]
        words = (
            f"{len(sweeps)} sweeps from a rate of {first['lrs'][0]:.2g} to {first['lrs'][-1]:.2g}; the loss falls from "
            f"{high:.2f} to {low:.2f}. Chosen: lr_min {ends['lr_min']:.2g}, lr_max {ends['lr_max']:.2g}."
        )
        return drawn.chart("sweep", "Loss of each batch while the learning rate rises", words, _readings(drawn, first))


def _name_ends(drawn: Canvas, ends: Mapping[str, float]) -> None:
    """Both ends that were chosen: a line down the chart, its name above on the outer side where there is room."""
    for (name, rate), outer in zip(ends.items(), ("right", "left"), strict=True):
        drawn.axes.axvline(rate, color=COLOURS["ink"], linewidth=1)
        left, _ = drawn.place(rate, 0)
        room = left if outer == "right" else WIDTH - left
        align = outer if room > _NAME_WIDTH else {"right": "left", "left": "right"}[outer]
        drawn.axes.annotate(
            f"{name} {rate:.2g}",
            (rate, 1),
            xycoords=("data", "axes fraction"),
            xytext=(-3 if align == "right" else 3, 5),
            textcoords="offset points",
            ha=align,
            color=COLOURS["ink"],
        )


def _readings(drawn: Canvas, sweep: Mapping[str, Any]) -> list[Reading]:
    highest = drawn.axes.get_ylim()[1]
    readings = []
    for rate, loss in zip(sweep["lrs"], sweep["losses"], strict=True):
        left, top = drawn.place(rate, min(loss, highest))
        readings.append(Reading(rate, left, f"rate {rate:.2g}: loss {loss:.3f}", ((top, _SWEEPS[0]),)))
    return readings
