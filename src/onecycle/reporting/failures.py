"""Where does it fail? Bars of the classes, and the confusion matrix as a table."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..evaluation import ClassResult, ConfusedPair, Evaluation, most_confused, percent, with_others

WORST, BEST = 30, 10  # bars, where there are more classes than that
PAIRS = 5
MOST_COUNTS = 15_000  # numbers of pairs of classes that a page is given


@dataclass(frozen=True)
class Cell:
    """Images of the class `true` taken for `predicted`; None for the others together.

    `depth` is 0..1, the share of the row, of which the root is taken so that the small ones are told apart too.
    """

    true: int | None
    predicted: int | None
    count: int
    share: float
    depth: float

    @property
    def kind(self) -> str:
        """What it is: "others", "right", "none" or "wrong"."""
        if self.true is None or self.predicted is None:
            return "others"
        if self.true == self.predicted:
            return "right"
        return "wrong" if self.count else "none"


@dataclass(frozen=True)
class Row:
    """A row of the matrix: a class, its images and its cells."""

    name: str
    images: int
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Failures:
    """`bars` are classes with their numbers, the worst first; notes say what is left out, and are empty else.

    `counts` are true class, predicted class and images of every pair in turn; empty where these are too many.
    """

    bars: tuple[tuple[int, ClassResult], ...]
    bars_note: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    matrix_note: str
    pairs: tuple[tuple[ConfusedPair, str], ...]
    counts: tuple[int, ...]


def failures(evaluation: Evaluation) -> Failures:
    """The classes by accuracy, the matrix of all of them or of the most confused, and the most confused pairs."""
    bars, bars_note = _bars(evaluation)
    shown = most_confused(evaluation.confusion)
    matrix, names = evaluation.confusion, list(evaluation.classes)
    matrix_note = ""
    if len(shown) < len(names):
        matrix = with_others(matrix, shown)
        matrix_note = (
            f"The {len(shown)} of {len(names):,} classes with the largest confusions; all others are together in the "
            "last row and column."
        )
        names = [*(names[one] for one in shown), f"{len(names) - len(shown):,} others"]
    few = len(evaluation.pairs) <= MOST_COUNTS
    return Failures(
        bars=bars,
        bars_note=bars_note,
        columns=tuple(names),
        rows=_rows(matrix, shown, names),
        matrix_note=matrix_note,
        pairs=tuple(_pairs_in_words(evaluation)),
        counts=tuple(n for one in evaluation.pairs for n in (one.true, one.predicted, one.count)) if few else (),
    )


def _bars(evaluation: Evaluation) -> tuple[tuple[tuple[int, ClassResult], ...], str]:
    ranked = sorted(enumerate(evaluation.by_class), key=lambda one: (math.isnan(one[1].accuracy), one[1].accuracy))
    if len(ranked) <= WORST + BEST:
        return tuple(ranked), ""
    present = [one for one in ranked if one[1].images]
    note = f"The {WORST} worst and the {BEST} best of {len(ranked):,} classes."
    if len(present) <= WORST + BEST:
        return tuple(present), f"The {len(present)} of {len(ranked):,} classes that have images."
    return (*present[:WORST], *present[-BEST:]), note


def _rows(matrix: NDArray[np.int64], shown: NDArray[np.int64], names: list[str]) -> tuple[Row, ...]:
    images = matrix.sum(axis=1)
    shares = matrix / np.maximum(images[:, None], 1)
    wrong = shares - np.diag(shares.diagonal())
    most = wrong[: len(shown), : len(shown)].max(initial=0) or 1.0
    numbers: list[int | None] = [*shown.tolist(), *([None] if len(names) > len(shown) else [])]
    depths = np.sqrt(np.minimum(wrong / most, 1))

    def cell(row: int, column: int) -> Cell:
        ends = numbers[row], numbers[column]
        return Cell(*ends, int(matrix[row, column]), float(shares[row, column]), float(depths[row, column]))

    return tuple(
        Row(name, int(images[row]), tuple(cell(row, column) for column in range(len(names))))
        for row, name in enumerate(names)
    )


def _pairs_in_words(evaluation: Evaluation) -> list[tuple[ConfusedPair, str]]:
    return [
        (pair, f"taken for {evaluation.classes[pair.predicted]}: {_of_images(evaluation, pair)}")
        for pair in evaluation.pairs[:PAIRS]
    ]


def _of_images(evaluation: Evaluation, pair: ConfusedPair) -> str:
    return f"{pair.count:,} of {evaluation.by_class[pair.true].images:,} ({percent(pair.share)})"
