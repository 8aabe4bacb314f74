"""The misclassified test images, a page of them at a time."""

from __future__ import annotations

from typing import Final

import numpy as np

from ..errors import UserError
from ..evaluation import Mistakes
from . import parts
from .inference import Inference

PER_PAGE: Final = 24
OFF, OF_PREDICTED, OF_TRUE = "off", "predicted class", "true class"


def selected(found: Mistakes, true: int | None, predicted: int | None) -> Mistakes:
    """The mistakes in images of a class, those taken for a class, or both, the surest first; None is any class."""
    chosen = np.ones(len(found), bool)
    for label, labels in ((true, found.true), (predicted, found.predicted)):
        if label is not None:
            chosen &= labels == label
    return found.subset(np.flatnonzero(chosen))


def instead(inference: Inference) -> str:
    """What is said where there is nothing to browse; empty where there is."""
    if inference.images is None:
        return parts.problem(f"the test images are not at hand: {inference.why_no_images}")
    if not len(inference.mistakes):
        return '<p class="note">There is no wrong image to look at.</p>'
    return ""


def pages(count: int) -> int:
    """How many pages there are of so many images, one at least."""
    return max(1, -(-count // PER_PAGE))


def shown(inference: Inference, true: int | None, predicted: int | None, maps: str, page: int) -> tuple[str, str]:
    """What is said of the choice, and the cards of a page, counted from 0."""
    chosen = selected(inference.mistakes, true, predicted)
    first = page * PER_PAGE
    some = chosen.subset(np.arange(first, min(first + PER_PAGE, len(chosen))))
    activations = None
    if maps != OFF and len(some):
        try:
            activations = inference.maps_of(some, predicted=maps == OF_PREDICTED)
        except UserError as error:
            return parts.problem(str(error)), ""
    return _status(inference, chosen, true, predicted, first, len(some)), parts.cards(inference, some, activations)


def _status(
    inference: Inference, chosen: Mistakes, true: int | None, predicted: int | None, first: int, count: int
) -> str:
    classes, whole = inference.classes, len(chosen)
    what = "1 wrong image" if whole == 1 else f"{whole:,} wrong images"
    if true is not None:
        what += f" of {parts.text(classes[true])}"
    if predicted is not None:
        what += f" taken for {parts.text(classes[predicted])}"
    rest = f": {first + 1:,} to {first + count:,}, the surest first" if whole > PER_PAGE else ""
    legend = (
        'Under each, what it <b class="said">was taken for</b> and what it <b class="is">is</b>, with the '
        "probability the net gave to both."
    )
    return f'<p class="status"><span role="status">{what}{rest}.</span> {legend}</p>'
