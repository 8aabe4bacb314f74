"""What an evaluation finds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..stats import wilson_interval
from .calibration import Calibration

PAIRS_IN_DICT = 100


class Interval(NamedTuple):
    """The 95% interval of a share."""

    low: float
    high: float


@dataclass(frozen=True)
class ClassResult:
    """A class: how many images it has, for how many it is predicted, and for how many rightly so."""

    name: str
    images: int
    predicted: int
    right: int

    @property
    def precision(self) -> float:
        """The share of what is taken for this class that belongs to it; NaN where nothing is."""
        return _share(self.right, self.predicted)

    @property
    def recall(self) -> float:
        """The share of its images that is right; NaN where it has none."""
        return _share(self.right, self.images)

    @property
    def accuracy(self) -> float:
        """The accuracy of a class is its recall."""
        return self.recall

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall, 0 where nothing is right; NaN where the class does not occur."""
        return _share(2 * self.right, self.images + self.predicted)

    @cached_property
    def interval(self) -> Interval:
        """Wilson's, of the recall; from 0 to 1 where the class has no images."""
        return Interval(*wilson_interval(self.right, self.images))


@dataclass(frozen=True)
class ConfusedPair:
    """Images of the class `true` that are taken for the class `predicted`; `share` is of the true class's images."""

    true: int
    predicted: int
    count: int
    share: float


@dataclass(frozen=True, eq=False)
class Evaluation:
    """How good predictions are: `evaluate` makes one.

    `confusion` is int64 [true class, predicted class], and all that is said of single classes is read from it. `loss`
    is the mean cross-entropy in nats, without label smoothing. `top` gives for 1, 2, 3 and 5, as far as that is fewer
    than there are classes, the share of images whose class is among so many of the largest logits.
    """

    classes: tuple[str, ...]
    confusion: NDArray[np.int64]
    loss: float
    top: dict[int, float]
    calibration: Calibration

    @cached_property
    def images(self) -> int:
        """How many there are."""
        return int(self.confusion.sum())

    @cached_property
    def right(self) -> int:
        """How many of them are right."""
        return int(self.confusion.trace())

    @property
    def accuracy(self) -> float:
        """The share that is right."""
        return self.right / self.images

    @cached_property
    def interval(self) -> Interval:
        """Wilson's, of the accuracy."""
        return Interval(*wilson_interval(self.right, self.images))

    @cached_property
    def by_class(self) -> tuple[ClassResult, ...]:
        """A result for each class, in their order."""
        counts = (self.confusion.sum(axis=1), self.confusion.sum(axis=0), self.confusion.diagonal())
        rows = zip(self.classes, *(one.tolist() for one in counts), strict=True)
        return tuple(ClassResult(*row) for row in rows)

    @cached_property
    def pairs(self) -> tuple[ConfusedPair, ...]:
        """Every confusion that occurs, the most frequent first; equally frequent ones in the order of the classes."""
        wrong = self.confusion - np.diag(self.confusion.diagonal())
        true, predicted = np.nonzero(wrong)
        counts = wrong[true, predicted]
        shares = counts / self.confusion.sum(axis=1)[true]
        order = np.argsort(-counts, kind="stable")
        columns = (true, predicted, counts, shares)
        return tuple(ConfusedPair(*row) for row in zip(*(one[order].tolist() for one in columns), strict=True))

    @property
    def macro_precision(self) -> float:
        """The mean over the classes that have images; one that is never predicted counts as 0."""
        return _mean([one.precision if one.predicted else 0.0 for one in self.by_class if one.images])

    @property
    def macro_recall(self) -> float:
        """The mean over the classes that have images."""
        return _mean([one.recall for one in self.by_class if one.images])

    @property
    def macro_f1(self) -> float:
        """The mean over the classes that have images."""
        return _mean([one.f1 for one in self.by_class if one.images])

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON has it: names for classes, None for what is undefined.

        `pairs` are the PAIRS_IN_DICT most frequent ones of `pair_count`; the confusion matrix has them all.
        """
        return {
            "images": self.images,
            "right": self.right,
            "accuracy": self.accuracy,
            "interval": list(self.interval),
            "loss": self.loss,
            "top": {str(k): share for k, share in self.top.items()},
            "macro_precision": self.macro_precision,
            "macro_recall": self.macro_recall,
            "macro_f1": self.macro_f1,
            "calibration": self.calibration.to_dict(),
            "by_class": [_class_to_dict(one) for one in self.by_class],
            "pair_count": len(self.pairs),
            "pairs": [self._pair_to_dict(one) for one in self.pairs[:PAIRS_IN_DICT]],
            "classes": list(self.classes),
            "confusion": self.confusion.tolist(),
        }

    def _pair_to_dict(self, pair: ConfusedPair) -> dict[str, Any]:
        names = {"true": self.classes[pair.true], "predicted": self.classes[pair.predicted]}
        return {**names, "count": pair.count, "share": pair.share}


def _class_to_dict(one: ClassResult) -> dict[str, Any]:
    shares = {"precision": one.precision, "recall": one.recall, "f1": one.f1}
    return {
        "name": one.name,
        "images": one.images,
        "predicted": one.predicted,
        "right": one.right,
        **{name: None if math.isnan(share) else share for name, share in shares.items()},
        "interval": list(one.interval),
    }


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)
