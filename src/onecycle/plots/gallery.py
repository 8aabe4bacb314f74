"""Images and what a net makes of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .. import evaluation
from ..data import ImageSet
from ..errors import UserError
from ..run import Run
from .style import Figure, shortened, text_width, title_of

MOST_IMAGES = 200
_COLUMNS = 5
_CELL_WIDTH = 2.15  # inches
_SIZE = 8.5  # of letters, in points


def misclassified(run: Run, images: ImageSet, *, count: int = 20) -> Figure:
    """The test images that a run got wrong with most confidence, with both classes and their probabilities.

    `images` is the test set of the run's data, such as `onecycle.data.cifar10().test`. Raises UserError where it is
    another one, or where nothing is wrong.
    """
    if not 1 <= count <= MOST_IMAGES:
        raise UserError(f"count {count} is outside 1 to {MOST_IMAGES}")
    predictions = run.predictions()
    if not np.array_equal(predictions["labels"], images.labels) or run.classes != images.classes:
        raise UserError(
            f"{run.path}: its predictions are of {len(predictions['labels'])} other images; its test set is needed"
        )
    found = evaluation.mistakes(predictions["logits"], predictions["labels"])
    if not len(found):
        raise UserError(f"{run.path}: all {len(images)} test images are right; there is nothing to draw")
    return draw_mistakes(images, found, title_of(run), count=count)


def draw_mistakes(images: ImageSet, found: evaluation.Mistakes, heading: str, *, count: int = 20) -> Figure:
    """The first `count` mistakes found in `images`, with both classes and their probabilities; at least one."""
    titles = []
    for number in range(min(count, len(found))):
        true = _caption("true", images.classes[found.true[number]], found.true_probability[number])
        said = _caption("predicted", images.classes[found.predicted[number]], found.predicted_probability[number])
        titles.append(f"{true}\n{said}")
    of_them = "the most confident" if len(titles) == 1 else f"the {len(titles)} most confident"
    title = f"{heading}\n{of_them} of {len(found):,} mistakes in {len(images):,} test images"
    return gallery(images.images_nhwc[found.index[: len(titles)]], titles, title)


def gallery(images_nhwc: NDArray[np.uint8], titles: Sequence[str], title: str) -> Figure:
    """Images [n, h, w, 3] in rows of five, a title of one or two lines above each; n is at least 1."""
    assert len(images_nhwc) == len(titles) > 0
    columns = min(_COLUMNS, len(titles))
    rows = math.ceil(len(titles) / columns)
    figure = Figure(max(_CELL_WIDTH * columns, 6.0), 2.2 * rows + 0.7, title)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid:
        axes.set_axis_off()
    for axes, image, text in zip(grid, images_nhwc, titles, strict=False):
        axes.imshow(image, interpolation="nearest")
        axes.set_title(text, fontsize=_SIZE, loc="left", parse_math=False, linespacing=1.3)
    return figure


def _caption(what: str, name: str, probability: float) -> str:
    """What stands in one line above an image: as much of the name as there is room for."""
    percent = ">99.9%" if 0.9995 <= probability < 1 else "<0.1%" if 0 < probability < 0.0005 else f"{probability:.1%}"
    room = _CELL_WIDTH * 72 - 14 - text_width(f"{what}:  {percent}", _SIZE)
    return f"{what}: {shortened(name, _SIZE, room)} {percent}"
