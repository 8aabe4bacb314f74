"""What a net looked at in the images that it got wrong, class by class."""

from __future__ import annotations

from typing import Final

import numpy as np
from matplotlib.colors import Colormap
from numpy.typing import NDArray

from ..data import ImageSet
from ..errors import UserError
from ..evaluation import Mistakes, percent
from ..explanation import Activations, check_count
from .gallery import check_some, most_confident
from .names import class_names
from .overlay import AGAINST_AND_FOR, HEAT, coloured, enlarged, overlay
from .sheet import LETTERS, Line, Tile, room, sheet
from .style import GREY, Figure

_METHODS: Final = {"grad_cam": "Grad-CAM", "grad_cam++": "Grad-CAM++"}
_SIDE: Final = 1.5  # of a tile, in inches
_PIXELS: Final = 224  # of a tile's side at least, so that a map is smooth over an image of few pixels
_FOOT: Final = 0.42  # inches for the scale of colours


def grad_cam_sheet(
    images: ImageSet,
    mistakes: Mistakes,
    activations: Activations,
    title: str,
    *,
    count: int = 10,
    opacity: float = 0.5,
    columns: int = 2,
) -> Figure:
    """The first mistakes: each image beside what speaks for the class predicted and for the true one.

    `activations` are of these mistakes, in their order. `opacity` is that of the maps: 0 shows the image alone, 1 the
    map alone. `columns` is the number of mistakes in a row. Raises UserError where a number is out of its range, or
    there is no mistake.
    """
    if not 0 <= opacity <= 1:
        raise UserError(f"opacity {opacity:g} is outside 0 to 1")
    shown = _first(mistakes, count, columns)
    pixels = enlarged(images.images_nhwc[mistakes.index[shown]], _PIXELS)
    method = f"{_METHODS[activations.method]} at {activations.layer}"
    figure = _sheet(
        images,
        mistakes,
        overlay(pixels, activations.of_predicted[shown], opacity),
        overlay(pixels, activations.of_true[shown], opacity),
        f"{title}\n{method} for {most_confident(len(pixels), len(mistakes))}",
        columns,
    )
    _scale(figure, HEAT, "nothing", "most for the class (each map's own scale)")
    return figure


def saliency_sheet(
    images: ImageSet,
    mistakes: Mistakes,
    of_predicted: NDArray[np.floating],
    of_true: NDArray[np.floating],
    title: str,
    *,
    count: int = 10,
    columns: int = 2,
) -> Figure:
    """The first mistakes: each image beside how much its pixels add to the logit of the class predicted, and true.

    The maps [m, h, w] are as `onecycle.explanation.integrated_gradients` gives them, of these mistakes, in their order.
    The strongest hundredth of a map's pixels has the full colour. Raises UserError where a number is out of its
    range, or there is no mistake.
    """
    shown = _first(mistakes, count, columns)
    figure = _sheet(
        images,
        mistakes,
        _signed(of_predicted[shown]),
        _signed(of_true[shown]),
        f"{title}\nintegrated gradients for {most_confident(len(of_predicted[shown]), len(mistakes))}",
        columns,
    )
    _scale(figure, AGAINST_AND_FOR, "against the class", "for the class (each map's own scale)")
    return figure


def _first(mistakes: Mistakes, count: int, columns: int) -> slice:
    check_count(count)
    check_some(len(mistakes), "mistakes")
    if columns < 1:
        raise UserError(f"columns {columns} is below 1")
    return slice(min(count, len(mistakes)))


def _sheet(
    images: ImageSet,
    mistakes: Mistakes,
    for_predicted: NDArray[np.uint8],
    for_true: NDArray[np.uint8],
    title: str,
    columns: int,
) -> Figure:
    """For each of the first mistakes three tiles: the image, and the pictures [n, h, w, 3] for its two classes."""
    names = class_names(
        images.classes, [*mistakes.predicted[: len(for_true)], *mistakes.true[: len(for_true)]], LETTERS, room(_SIDE)
    )
    groups = []
    for one in range(len(for_true)):
        place, predicted, true = mistakes.index[one], mistakes.predicted[one], mistakes.true[one]
        said, right = percent(mistakes.predicted_probability[one]), percent(mistakes.true_probability[one])
        groups.append(
            [
                Tile(images.images_nhwc[place], (Line("image", colour=GREY), Line(f"{place:,}"))),
                Tile(for_predicted[one], (Line("predicted", said, GREY), Line(names[predicted]))),
                Tile(for_true[one], (Line("true", right, GREY), Line(names[true]))),
            ]
        )
    return sheet(groups, title, columns=columns, side=_SIDE, foot=_FOOT)


def _signed(maps: NDArray[np.floating]) -> NDArray[np.uint8]:
    """The colours of maps [n, h, w]: 0 is white, what is below blue, above orange, each map by its own largest."""
    largest = np.quantile(np.abs(maps), 0.99, axis=(1, 2), keepdims=True)
    scaled = np.divide(maps, largest, out=np.zeros_like(maps), where=largest > 0)
    return coloured((scaled.clip(-1, 1) + 1) / 2, AGAINST_AND_FOR)


def _scale(figure: Figure, colours: Colormap, low: str, high: str) -> None:
    """At the lower left a bar of the colours between the words for its ends."""
    width, height = figure.get_size_inches()
    y = 0.2 / height
    start = figure.text(0.2 / width, y, low, fontsize=LETTERS, color=GREY, va="center")
    left = (0.2 + start.get_window_extent().width / figure.dpi + 0.1) / width
    axes = figure.add_axes((left, y - 0.06 / height, 1.5 / width, 0.12 / height))
    axes.imshow(coloured(np.linspace(0, 1, 256), colours)[None], aspect="auto")
    axes.set_axis_off()
    figure.text(left + 1.6 / width, y, high, fontsize=LETTERS, color=GREY, va="center")
