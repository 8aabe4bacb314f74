"""Images and what a net makes of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..data import ImageSet
from ..errors import UserError
from ..evaluation import Mistakes, mistakes, percent
from ..explanation import check_count
from ..run import Run
from .names import class_names
from .sheet import LETTERS, Line, Tile, room, sheet
from .style import BLUE, ORANGE, Figure, title_of

_COLUMNS = 5
SIDE = 2.0  # of an image, in inches


def misclassified(run: Run, images: ImageSet, *, count: int = 20) -> Figure:
    """The test images that a run got wrong with most confidence, with both classes and their probabilities.

    `images` is the test set of the run's data, such as `onecycle.data.cifar10().test`. Raises UserError where it is
    another one, where `count` is outside 1 to 200, or where nothing is wrong.
    """
    check_count(count)
    predictions = run.predictions()
    if not np.array_equal(predictions["labels"], images.labels) or run.classes != images.classes:
        raise UserError(
            f"{run.path}: its predictions are of {len(predictions['labels'])} other images; its test set is needed"
        )
    found = mistakes(predictions["logits"], predictions["labels"])
    if not len(found):
        raise UserError(f"{run.path}: all {len(images)} test images are right; there is nothing to draw")
    return draw_mistakes(images, found, title_of(run), count=count)


def draw_mistakes(images: ImageSet, found: Mistakes, heading: str, *, count: int = 20) -> Figure:
    """The first `count` mistakes found in `images`, with both classes and their probabilities.

    Raises UserError where there is none.
    """
    check_some(len(found), "mistakes")
    shown = slice(min(count, len(found)))
    predicted = class_names(images.classes, found.predicted[shown], LETTERS, room(SIDE, "predicted: ", ">99.9%"))
    true = class_names(images.classes, found.true[shown], LETTERS, room(SIDE, "true: ", ">99.9%"))
    lines = [
        (
            Line(f"predicted: {predicted[found.predicted[one]]}", percent(found.predicted_probability[one]), ORANGE),
            Line(f"true: {true[found.true[one]]}", percent(found.true_probability[one]), BLUE),
        )
        for one in range(len(found))[shown]
    ]
    title = f"{heading}\n{most_confident(len(lines), len(found))} in {len(images):,} test images"
    return gallery(images.images_nhwc[found.index[shown]], lines, title)


def gallery(images_nhwc: NDArray[np.uint8], lines: Sequence[Sequence[Line]], title: str) -> Figure:
    """Images [n, h, w, 3] in rows of five, as many lines of text above each; n is at least 1."""
    groups = [[Tile(image, above)] for image, above in zip(images_nhwc, lines, strict=True)]
    return sheet(groups, title, columns=_COLUMNS, side=SIDE)


def most_confident(shown: int, wrong: int) -> str:
    """Which of the mistakes a picture shows."""
    return which(shown, wrong, "mistake", "most confident")


def which(shown: int, found: int, what: str, most: str) -> str:
    """Which of the things found a picture shows: all of them, or those that are `most`."""
    if shown == found:
        return f"the one {what}" if found == 1 else f"all {found:,} {what}s"
    return f"the {'' if shown == 1 else f'{shown} '}{most} of {found:,} {what}s"


def check_some(found: int, what: str) -> None:
    """Raise UserError where nothing was found that could be drawn."""
    if not found:
        raise UserError(f"there are no {what}; there is nothing to draw")
