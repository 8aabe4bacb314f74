"""Which mistakes to show."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import UserError, suggestion
from ..evaluation import Mistakes

MOST_IMAGES = 200


def select(
    mistakes: Mistakes, classes: Sequence[str], *, true: str | None = None, predicted: str | None = None
) -> Mistakes:
    """The mistakes in images of the class `true`, those taken for the class `predicted`, or both; in their order.

    Raises UserError where a class is unknown, where the two are the same, and where nothing was mistaken so.
    """
    if true is not None and true == predicted:
        raise UserError(f"true and predicted are both {true!r}; two different classes are needed")
    chosen = np.ones(len(mistakes), bool)
    for name, values in ((true, mistakes.true), (predicted, mistakes.predicted)):
        if name is not None:
            chosen &= values == _number(name, classes)
    if not chosen.any():
        what = "no image" if true is None else f"no image of {true!r}"
        raise UserError(f"{what} is {'misclassified' if predicted is None else f'taken for {predicted!r}'}")
    return mistakes.subset(np.flatnonzero(chosen))


def chosen_in_words(true: str | None = None, predicted: str | None = None) -> str:
    """Which mistakes `select` takes, such as "cat taken for dog"; "" for all."""
    if predicted is None:
        return "" if true is None else f"images of {true}"
    return f"taken for {predicted}" if true is None else f"{true} taken for {predicted}"


def first(mistakes: Mistakes, count: int = 20) -> Mistakes:
    """The first `count` of the mistakes, which are the most confident ones, or all where there are fewer.

    Raises UserError where the count is outside 1 to `MOST_IMAGES`.
    """
    check_count(count)
    return mistakes.subset(np.arange(min(count, len(mistakes))))


def check_count(count: int) -> None:
    """Raise UserError where a picture cannot hold so many images."""
    if not 1 <= count <= MOST_IMAGES:
        raise UserError(f"count {count} is outside 1 to {MOST_IMAGES}")


def _number(name: str, classes: Sequence[str]) -> int:
    if name not in classes:
        raise UserError(f"class {name!r} is unknown; {suggestion(name, classes)}")
    return list(classes).index(name)
