"""Labels that are likely wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..data import ImageSet
from .gallery import check_count, check_some, gallery
from .names import class_names
from .sheet import LETTERS, Line, percent, room
from .style import BLUE, GREY, ORANGE, Figure

if TYPE_CHECKING:
    from ..explanation import LabelErrors

_SIDE = 2.0  # of an image, in inches: the gallery's


def label_errors(images: ImageSet, found: LabelErrors, title: str, *, count: int = 20) -> Figure:
    """The most likely label errors found in `images`: the label given, the one suggested, and why.

    The reason is that the suggested class has at least the probability that counts as one of it: the mean of those that
    the net gives it on images so labelled. Raises UserError where `count` is outside 1 to 200, or nothing was found.
    """
    check_count(count)
    check_some(len(found), "likely label errors")
    shown = slice(min(count, len(found)))
    given = class_names(images.classes, found.given[shown], LETTERS, room(_SIDE, "label: ", ">99.9%"))
    suggested = class_names(images.classes, found.suggested[shown], LETTERS, room(_SIDE, "likely: ", ">99.9%"))
    lines = [
        (
            Line(f"label: {given[found.given[one]]}", percent(found.given_probability[one]), ORANGE),
            Line(f"likely: {suggested[found.suggested[one]]}", percent(found.suggested_probability[one]), BLUE),
            Line("usual for it", percent(found.thresholds[found.suggested[one]]), GREY),
        )
        for one in range(len(found))[shown]
    ]
    of_them = "the most likely" if len(lines) == 1 else f"the {len(lines)} most likely"
    usual = "usual is a class's mean on images with its label"
    heading = f"{title}\n{of_them} of {len(found):,} labels in doubt, in {len(images):,} images; {usual}"
    return gallery(images.images_nhwc[found.index[shown]], lines, heading)
