"""A learning-rate range test: what the sweeps saw, and what was chosen from them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter

from .style import BLUE, GREEN, GREY, ORANGE, Figure, style

if TYPE_CHECKING:
    from ..lr_range import LrRange

_SWEEP_COLOURS = (BLUE, "#56b4e9", "#999999")


def lr_range(found: LrRange) -> Figure:
    """Each sweep's loss over its rates, points and smoothed, with both chosen ends; below, what every rule says."""
    doubt = "; doubtful, see its warnings" if found.warnings else ""
    title = f"learning-rate range test: lr_min {found.lr_min:.2g}, lr_max {found.lr_max:.2g}{doubt}"
    figure = Figure(9, 5.2, title)
    loss, rules = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1.3])
    style(loss, "cross-entropy of each step's batch, nats")
    _sweeps(loss, found)
    style(rules, "what each rule chooses from each sweep")
    _rules(rules, found)
    for axes in (loss, rules):
        axes.axvspan(found.lr_min, found.lr_max, color=GREEN, alpha=0.08, linewidth=0)
        axes.axvline(found.lr_min, color=GREEN, linewidth=1.4)
        axes.axvline(found.lr_max, color=ORANGE, linewidth=1.4)
    for name, rate, colour, side in (
        ("lr_min", found.lr_min, GREEN, "right"),
        ("lr_max", found.lr_max, ORANGE, "left"),
    ):
        loss.annotate(
            f"{name}\n{rate:.2g}",
            (rate, 0.98),
            xycoords=("data", "axes fraction"),
            xytext=(-5 if side == "right" else 5, 0),
            textcoords="offset points",
            ha=side,
            va="top",
            color=colour,
            fontweight="bold",
        )
    rules.set_xscale("log")
    rules.xaxis.set_major_locator(LogLocator(numticks=20))
    rules.xaxis.set_minor_formatter(NullFormatter())
    rules.set_xlabel("learning rate")
    return figure


def _sweeps(axes: Axes, found: LrRange) -> None:
    tops: list[float] = []
    bottoms: list[float] = []
    for number, (one, descent) in enumerate(zip(found.sweeps, found.descents, strict=True)):
        colour = _SWEEP_COLOURS[number % len(_SWEEP_COLOURS)]
        axes.plot(one.lrs, one.losses, ".", color=colour, markersize=3, alpha=0.5)
        end = "" if one.end == "range" else f", {one.end}"
        axes.plot(one.lrs, descent.losses, color=colour, linewidth=1.8, label=f"seed {one.seed}{end}")
        tops.append(float(np.median(one.losses[:5])))
        bottoms.append(min(one.losses))
    low, high = min(bottoms), max(tops)
    axes.set_ylim(low - 0.08 * (high - low), high + 0.25 * (high - low))
    axes.legend(loc="lower left", frameon=False, fontsize=9)


def _rules(axes: Axes, found: LrRange) -> None:
    names = list(found.suggestions)
    for place, name in enumerate(names):
        chosen = name in (found.rule, found.rule_min)
        colour = GREY if not chosen else ORANGE if name == found.rule else GREEN
        rates = found.suggestions[name]
        axes.plot(rates, [place] * len(rates), "o", color=colour, markersize=5, alpha=0.8)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
