"""Labels that are likely wrong."""

from __future__ import annotations

from ..data import ImageSet
from ..evaluation import percent
from ..explanation import LabelErrors, check_count
from .gallery import SIDE, check_some, gallery, which
from .names import class_names
from .sheet import LETTERS, Line, room
from .style import BLUE, GREY, ORANGE, Figure


def label_errors(images: ImageSet, found: LabelErrors, title: str, *, count: int = 20) -> Figure:
    """The most likely label errors found in `images`: the label given, the one suggested, and why.

    The reason is that the suggested class has at least the probability that counts as one of it: the mean of those that
    the net gives it on images so labelled. Raises UserError where `count` is outside 1 to 200, or nothing was found.
    """
    check_count(count)
    check_some(len(found), "likely label errors")
    shown = slice(min(count, len(found)))
    given = class_names(images.classes, found.given[shown], LETTERS, room(SIDE, "label: ", ">99.9%"))
    suggested = class_names(images.classes, found.suggested[shown], LETTERS, room(SIDE, "likely: ", ">99.9%"))
    lines = [
        (
            Line(f"label: {given[found.given[one]]}", percent(found.given_probability[one]), ORANGE),
            Line(f"likely: {suggested[found.suggested[one]]}", percent(found.suggested_probability[one]), BLUE),
            Line("usual for it", percent(found.thresholds[found.suggested[one]]), GREY),
        )
        for one in range(len(found))[shown]
    ]
    of_them = which(len(lines), len(found), "likely label error", "clearest")
    usual = "usual is a class's mean on images with its label"
    heading = f"{title}\n{of_them} in {len(images):,} images; {usual}"
    return gallery(images.images_nhwc[found.index[shown]], lines, heading)
