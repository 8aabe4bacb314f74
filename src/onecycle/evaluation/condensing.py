"""A confusion matrix of more classes than can be shown: the most confused ones, and the others together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MOST_CELLS = 20  # rows and columns of a matrix that can still be read


def most_confused(confusion: NDArray[np.int64], most: int = MOST_CELLS) -> NDArray[np.int64]:
    """Of more than `most` classes those of the largest confusions, with room for the others' row; in their own order.

    The first ones where nothing is confused.
    """
    if len(confusion) <= most:
        return np.arange(len(confusion))
    wrong = confusion - np.diag(confusion.diagonal())
    kept: dict[int, None] = {}
    for pair in np.argsort(-wrong, axis=None, kind="stable")[: np.count_nonzero(wrong)]:
        ends = divmod(int(pair), len(confusion))
        if len({*kept, *ends}) >= most:
            break
        kept |= dict.fromkeys(ends)
    return np.sort(np.fromiter(kept, np.int64)) if kept else np.arange(most - 1)


def with_others(confusion: NDArray[np.int64], kept: NDArray[np.int64]) -> NDArray[np.int64]:
    """The matrix of the classes kept, all others summed in a last row and column."""
    into = np.full(len(confusion), len(kept))
    into[kept] = np.arange(len(kept))
    small = np.zeros((len(kept) + 1, len(kept) + 1), np.int64)
    np.add.at(small, (into[:, None], into[None, :]), confusion)
    return small
