"""What all pictures share: the figure, the colours, the axes, the file."""

from __future__ import annotations

import io
import textwrap
from pathlib import Path
from typing import Final, TypedDict

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as MatplotlibFigure
from matplotlib.ticker import MaxNLocator

from ..errors import UserError
from ..files import atomic_path
from ..run import Run
from .fonts import families, legible
from .names import shortened, text_width

BLUE, ORANGE, GREEN, GREY = "#0072b2", "#d55e00", "#009e73", "#555555"  # Okabe and Ito: safe for the colour-blind
_FORMATS: Final = (".png", ".svg", ".pdf", ".jpg")
TITLE_SIZE: Final = 13  # points
_MARGIN: Final = 0.6  # inches beside a title
_MOST_LINES: Final = 3  # that a line of a title is broken into
_FILE_DPI: Final = 144
_SCREEN_DPI: Final = 96  # a browser's pixels an inch


class Words(TypedDict):
    """Properties of a matplotlib Text."""

    fontfamily: list[str]
    parse_math: bool


class Figure(MatplotlibFigure):
    """A figure that a notebook shows by itself where it is the last value of a cell, without pyplot."""

    def __init__(self, width: float, height: float, title: str = "", *, margin: float | None = None) -> None:
        """Width and height are in inches, and so is the `margin` of a figure that lays itself out: of its title."""
        super().__init__(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(self)
        if margin is not None:
            self.set_layout_engine("none")
        text = "\n".join(title_lines(title, width))
        place = {"x": 0.01} if margin is None else {"x": margin / width, "y": 1 - margin / height}
        if text:
            self.suptitle(text, **place, ha="left", va="top", fontsize=TITLE_SIZE, **words(text))

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        """IPython's protocol: the image, finer than most displays, and its size in a browser's pixels."""
        image = io.BytesIO()
        self.savefig(image, format="png", dpi=_FILE_DPI)
        width, height = self.get_size_inches()
        return image.getvalue(), {"width": round(width * _SCREEN_DPI), "height": round(height * _SCREEN_DPI)}


def words(*texts: str) -> Words:
    """How matplotlib is to draw words that are not ours: in fonts that have their letters; a $ begins no formula."""
    return {"fontfamily": families(*texts), "parse_math": False}


def title_lines(title: str, width: float) -> list[str]:
    """The lines of a title, broken where they are wider than a figure of `width` inches; of long ones the ends."""
    room = (width - _MARGIN) * 72
    lines: list[str] = []
    for part in title.splitlines():
        fitting = shortened(legible(part), TITLE_SIZE, _MOST_LINES * room)
        letters = int(room * len(fitting) / (text_width(fitting, TITLE_SIZE) or 1))
        lines += textwrap.wrap(fitting, max(letters, 10))
    return lines


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
    return f"{recipe.name} on {recipe.data.label}, seed {recipe.seed}" + (f": {what}" if what else "")


def save(figure: MatplotlibFigure, path: str | Path) -> Path:
    """Write a figure atomically, as its ending says; 144 dots an inch. Raises UserError on an unknown ending."""
    path = Path(path)
    if path.suffix not in _FORMATS:
        raise UserError(f"{path}: {path.suffix or 'no'} ending that says the format; one of {', '.join(_FORMATS)}")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format=path.suffix[1:], dpi=_FILE_DPI)
    return path
