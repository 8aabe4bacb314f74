"""Small charts that are part of a page: SVG in the page's own font and colours, one unit to a pixel."""

from __future__ import annotations

import contextlib
import html
import io
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

WIDTH = 344  # pixels: a phone's, and a third of the page's 1,100 with the gaps between
SIZE = 12.5  # of letters, in pixels
# Stand for the page's colours, which differ in the light and in the dark: each is replaced by var(--name).
COLOURS = {
    "blue": "#0072b2",
    "orange": "#d55e00",
    "green": "#009e73",
    "sky": "#56b4e9",
    "purple": "#cc79a7",
    "ink": "#010101",
    "muted": "#555556",
    "faint": "#aaaaab",
    "line": "#dddddc",
}
SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": SIZE,
    "axes.linewidth": 1.0,
    "axes.edgecolor": COLOURS["line"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "text.parse_math": False,
}


@dataclass(frozen=True)
class Reading:
    """What a chart says at one place of its x-axis: `x` as a value, `at` in pixels.

    `dots` are points to mark there: pixels from the top, and the name of a colour in COLOURS.
    """

    x: float
    at: float
    text: str
    dots: tuple[tuple[float, str], ...] = ()


@dataclass(frozen=True)
class Chart:
    """A chart as SVG, and what can be read off it; `top` and `bottom` are the ends of its area in pixels."""

    svg: Markup
    readings: tuple[Reading, ...] = ()
    top: float = 0
    bottom: float = 0

    def readings_as_dict(self) -> dict[str, Any]:
        """Plain values for the page's script."""
        return {
            "top": self.top,
            "bottom": self.bottom,
            "first": min((one.x for one in self.readings), default=0),
            "last": max((one.x for one in self.readings), default=0),
            "readings": [
                {"x": one.x, "at": round(one.at, 1), "text": one.text, "dots": [list(dot) for dot in one.dots]}
                for one in self.readings
            ],
        }


class Canvas:
    """A figure of `height` pixels with one pair of axes, `margins` (left, top, right, bottom) pixels from its edges."""

    def __init__(self, height: float, margins: tuple[float, float, float, float]) -> None:
        left, top, right, bottom = margins
        self._height, self._top, self._bottom = height, top, height - bottom
        # 72 dots an inch make a point, matplotlib's unit of sizes, a pixel.
        self.figure = Figure(figsize=(WIDTH / 72, height / 72), dpi=72)
        FigureCanvasSVG(self.figure)
        area = (WIDTH - left - right) / WIDTH, (height - top - bottom) / height
        self.axes: Axes = self.figure.add_axes((left / WIDTH, bottom / height, *area))
        style(self.axes)

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Where a point of the axes lies, in pixels from the left and from the top; once the limits are set."""
        across, up = self.axes.transData.transform((x, y))
        return round(float(across), 1), round(self._height - float(up), 1)

    def chart(self, prefix: str, title: str, description: str, readings: Sequence[Reading] = ()) -> Chart:
        """The chart, whose `title` and `description` tell in words what it shows; `prefix` is its own in the page."""
        svg = to_svg(self.figure, prefix, title, description)
        return Chart(svg, tuple(readings), self._top, self._bottom)


@contextlib.contextmanager
def canvas(height: float, margins: tuple[float, float, float, float]) -> Iterator[Canvas]:
    """A `Canvas` to draw on while matplotlib's settings are those of these charts."""
    with mpl.rc_context(SETTINGS):
        yield Canvas(height, margins)


def style(axes: Axes) -> None:
    """No frame but the foot, faint lines across, small muted numbers."""
    axes.spines["left"].set_visible(False)
    axes.set_facecolor("none")
    axes.grid(axis="y", color=COLOURS["line"], linewidth=1)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, pad=6, labelcolor=COLOURS["muted"], labelsize=SIZE)


def to_svg(figure: Figure, prefix: str, title: str, description: str) -> Markup:
    """A figure of 72 dots an inch as an <svg> element: real text, colours of the page, ids that begin with `prefix`."""
    file = io.StringIO()
    no_metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": prefix}), warnings.catch_warnings():
        # The page draws the text, in fonts of its own; here it is only measured.
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from", UserWarning)
        figure.savefig(file, format="svg", transparent=True, metadata=no_metadata)
    text = file.getvalue()
    text = text[text.index("<svg") :]
    names = {colour: name for name, colour in COLOURS.items()}
    text = re.sub("|".join(names), lambda found: f"var(--{names[found.group()]})", text)
    text = re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL)  # would hold for the whole page
    text = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", text)  # before matplotlib 3.11
    text = re.sub(r"font-family: [^;\"]*(; )?", "", text)
    text = re.sub(r'\bid="', f'id="{prefix}-', text)
    text = re.sub(r'(href="#|url\(#)', rf"\1{prefix}-", text)
    width, height = (f"{inches * 72:g}" for inches in figure.get_size_inches())
    words = f"<title>{html.escape(title)}</title><desc>{html.escape(description)}</desc>"
    label = html.escape(f"{title}. {description}")
    head = f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" aria-label="{label}">'
    return Markup(re.sub(r"<svg[^>]*>", lambda _: head + words, text, count=1))
