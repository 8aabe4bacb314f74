"""What all pictures share: the figure, the colours, the axes, the file."""

from __future__ import annotations

import io
import textwrap
from pathlib import Path
from typing import Final

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as MatplotlibFigure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path
from matplotlib.ticker import MaxNLocator

from ..errors import UserError
from ..files import atomic_path
from ..run import Run

BLUE, ORANGE, GREEN, GREY = "#0072b2", "#d55e00", "#009e73", "#555555"  # Okabe and Ito: safe for the colour-blind
_FORMATS: Final = (".png", ".svg", ".pdf", ".jpg")
_TITLE_SIZE: Final = 13  # points
_FILE_DPI: Final = 144
_SCREEN_DPI: Final = 96  # a browser's pixels an inch


class Figure(MatplotlibFigure):
    """A figure that a notebook shows by itself where it is the last value of a cell, without pyplot."""

    def __init__(self, width: float, height: float, title: str = "") -> None:
        """Width and height are in inches."""
        super().__init__(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(self)
        if title:
            letters = int(width * 72 / (0.58 * _TITLE_SIZE))
            lines = [line for part in title.splitlines() for line in textwrap.wrap(part, letters)]
            self.suptitle("\n".join(lines), x=0.01, ha="left", fontsize=_TITLE_SIZE, parse_math=False)

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        """IPython's protocol: the image, finer than most displays, and its size in a browser's pixels."""
        image = io.BytesIO()
        self.savefig(image, format="png", dpi=_FILE_DPI)
        width, height = self.get_size_inches()
        return image.getvalue(), {"width": round(width * _SCREEN_DPI), "height": round(height * _SCREEN_DPI)}


def style(axes: Axes, title: str) -> None:
    """A small grey title at the left, no frame above and at the right, faint lines across."""
    axes.set_title(title, loc="left", fontsize=11, color=GREY)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)


def count_epochs(axes: Axes) -> None:
    """Whole epochs on the x-axis."""
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def title_of(run: Run, what: str = "") -> str:
    """Which run a picture is of, and what it shows of it."""
    recipe = run.recipe
    return f"{recipe.name} on {recipe.data.name}, seed {recipe.seed}" + (f": {what}" if what else "")


def text_width(text: str, size: float) -> float:
    """The width of a text in points, of letters of `size` points."""
    width, _, _ = text_to_path.get_text_width_height_descent(text, FontProperties(size=size), ismath=False)
    return float(width)


def shortened(name: str, size: float, width: float) -> str:
    """The name, or so much of its beginning and end as fits into `width` points with letters of `size` points."""
    kept, fitting = len(name), name
    while kept > 2 and text_width(fitting, size) > width:
        kept -= 1
        fitting = f"{name[: kept - kept // 2]}…{name[len(name) - kept // 2 :]}"
    return fitting


def save(figure: MatplotlibFigure, path: str | Path) -> Path:
    """Write a figure atomically, as its ending says; 144 dots an inch. Raises UserError on an unknown ending."""
    path = Path(path)
    if path.suffix not in _FORMATS:
        raise UserError(f"{path}: {path.suffix or 'no'} ending that says the format; one of {', '.join(_FORMATS)}")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format=path.suffix[1:], dpi=_FILE_DPI)
    return path
