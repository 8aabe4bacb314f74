"""Trials over seeds, as part of a page."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from ..fonts import one_line
from ..names import shortened
from ..trials import Strip, draw_strips, scale
from .comparison import run_colour
from .drawing import COLOURS, SETTINGS, SIZE, Chart, style, to_svg

_WIDTH = 700  # pixels
_ROW = 74
_MARGINS = (8, 26)  # pixels above, and below for the numbers


def trials(strips: Sequence[Strip], prefix: str, title: str, description: str, *, share: bool) -> Chart:
    """A row for each recipe, the first at the top, its label above it; as `plots.trials`."""
    height = _ROW * len(strips) + sum(_MARGINS)
    with mpl.rc_context(SETTINGS):
        figure = Figure(figsize=(_WIDTH / 72, height / 72), dpi=72)
        FigureCanvasSVG(figure)
        top, bottom = _MARGINS
        axes = figure.add_axes((0.01, bottom / height, 0.98, (height - top - bottom) / height))
        style(axes)
        colours = [COLOURS[run_colour(number)] for number in range(len(strips))]
        draw_strips(axes, strips, colours, COLOURS["muted"], width=0.98 * _WIDTH, size=6)
        axes.grid(axis="x", color=COLOURS["line"], linewidth=1)
        axes.set_yticks([])
        for number, (one, colour) in enumerate(zip(strips, colours, strict=True)):
            if len(strips) > 1:
                place = axes.get_yaxis_transform()
                axes.text(
                    0, number - 0.42, _name(one.label), transform=place, color=colour, va="center", fontweight="bold"
                )
        scale(axes, share=share)
        return Chart(to_svg(figure, prefix, title, description))


def _name(label: str) -> str:
    """As much of it as there is room for."""
    with warnings.catch_warnings():
        # The page draws the text, in fonts of its own; here it is only measured.
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from", UserWarning)
        return shortened(one_line(label), SIZE, 0.9 * _WIDTH)  # bold letters are a tenth wider
