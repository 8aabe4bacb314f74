"""Labels that are likely wrong, by confident learning: Northcutt et al., https://arxiv.org/abs/1911.00068.

Shapes: n images, k classes, m likely label errors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..evaluation import Labels, Logits, probabilities

# By how much probabilities must differ to count as different; cleanlab's.
_TOLERANCE = 1e-6


@dataclass(frozen=True, eq=False)
class LabelErrors:
    """Images whose label is likely wrong, the most likely first; an array [m] each.

    `index` is an image's place in the set; `given` its label and `suggested` what it likely is, with the probabilities
    of the two. `thresholds` [k] is from what probability on an image counts as one of a class; NaN where the class has
    no images.
    """

    index: NDArray[np.int64]
    given: Labels
    suggested: Labels
    given_probability: NDArray[np.float64]
    suggested_probability: NDArray[np.float64]
    thresholds: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.index)


def find_label_errors(logits_nk: Logits, labels: Labels) -> LabelErrors:
    """The off-diagonal of the confident joint, by rising margin between the given class and the best of the others.

    A class is confident for an image where its probability reaches the class's threshold, the mean probability that
    the images labelled so have of being so (equation 2). An image is likely of the most probable of its confident
    classes (equation 1); it is listed where that is not its label, nor the label its most probable class of all. These
    are the images of cleanlab's `filter_by="confident_learning"`, but for those whose label is that most probable
    confident class: where several are confident, cleanlab 2 takes the most probable of all, confident or not.

    The logits must be out of sample, of images that the net was not trained on, as a run's predictions are.
    """
    chances = probabilities(logits_nk)
    rows = np.arange(len(labels))
    given = chances[rows, labels]
    thresholds = _thresholds(given, labels, chances.shape[1])
    confident = chances >= np.maximum(thresholds, 2 * _TOLERANCE) - _TOLERANCE  # never so for NaN
    likely = np.where(confident, chances, -1).argmax(axis=1)

    others = chances.copy()
    others[rows, labels] = -np.inf
    margins = given - others.max(axis=1)
    errors = np.flatnonzero(confident.any(axis=1) & (likely != labels) & (margins < -_TOLERANCE))
    index = errors[np.argsort(margins[errors], kind="stable")]
    return LabelErrors(index, labels[index], likely[index], given[index], chances[index, likely[index]], thresholds)


def _thresholds(given: NDArray[np.float64], labels: Labels, classes: int) -> NDArray[np.float64]:
    """Equation 2: the mean of `given`, the probabilities of the labels, over the images of each class."""
    counts = np.bincount(labels, minlength=classes)
    sums = np.bincount(labels, given, classes)
    return np.asarray(np.divide(sums, counts, out=np.full(classes, np.nan), where=counts > 0))
