"""Sheets of images with lines of text above them, laid out in inches: quicker than matplotlib's layout, and exact."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .fonts import legible
from .names import text_width
from .style import TITLE_SIZE, Figure, title_lines, words

LETTERS: Final = 9.0  # size in points
_LINE: Final = 1.45 * LETTERS / 72  # this and what follows is in inches
_MARGIN: Final = 0.2
_BETWEEN_TILES: Final = 0.09
_BETWEEN_GROUPS: Final = 0.32
_BELOW: Final = 0.22
_TITLE_LINE: Final = 1.5 * TITLE_SIZE / 72
_NARROWEST: Final = 6.0


class Line(NamedTuple):
    """A line above an image: words at its left, a number at its right."""

    words: str
    number: str = ""
    colour: str = "black"


@dataclass(frozen=True, eq=False)
class Tile:
    """An image [h, w, 3] and the lines above it."""

    pixels: NDArray[np.uint8]
    lines: Sequence[Line]


def room(side: float, *beside: str) -> float:
    """The points that are left for a name above a tile of `side` inches, beside these texts."""
    return side * 72 - sum(text_width(text, LETTERS) for text in beside) - 4


def sheet(groups: Sequence[Sequence[Tile]], title: str, *, columns: int, side: float, foot: float = 0.0) -> Figure:
    """Groups of as many tiles each, the tiles of a group close together, in rows of up to `columns` groups.

    All tiles have as many lines; `side` is that of a tile, `foot` the room below, in inches.
    """
    tiles, lines = len(groups[0]), len(groups[0][0].lines)
    columns = min(columns, len(groups))
    group_width = tiles * side + (tiles - 1) * _BETWEEN_TILES
    width = max(2 * _MARGIN + columns * group_width + (columns - 1) * _BETWEEN_GROUPS, _NARROWEST)
    top = 1.6 * _MARGIN + _TITLE_LINE * len(title_lines(title, width))
    row_height = lines * _LINE + side + _BELOW
    height = top + math.ceil(len(groups) / columns) * row_height + foot
    figure = Figure(width, height, title, margin=_MARGIN)
    for number, group in enumerate(groups):
        row, column = divmod(number, columns)
        for place, tile in enumerate(group):
            left = _MARGIN + column * (group_width + _BETWEEN_GROUPS) + place * (side + _BETWEEN_TILES)
            _draw(figure, tile, left, height - top - row * row_height, side)
    return figure


def _draw(figure: Figure, tile: Tile, left: float, top: float, side: float) -> None:
    """A tile whose first line begins at (left, top), in inches from the figure's lower left corner."""
    width, height = figure.get_size_inches()
    for number, line in enumerate(tile.lines):
        y = (top - (number + 1) * _LINE + 0.3 * _LINE) / height
        for said, x, at in ((line.words, left, "left"), (line.number, left + side, "right")):
            if said:
                text = legible(said)
                figure.text(x / width, y, text, ha=at, fontsize=LETTERS, color=line.colour, **words(text))
    bottom = top - len(tile.lines) * _LINE - side
    axes = figure.add_axes((left / width, bottom / height, side / width, side / height))
    axes.imshow(tile.pixels, interpolation="nearest")
    axes.set_axis_off()
