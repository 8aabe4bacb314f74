"""What is counted in stored logits: logits_nk is float [n, classes], labels int64 [n]."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Logits = NDArray[np.float32]
Labels = NDArray[np.int64]


def probabilities(logits_nk: Logits) -> NDArray[np.float64]:
    """The softmax of each row, in float64."""
    shifted = logits_nk.astype(np.float64) - logits_nk.max(axis=1, keepdims=True)
    exponentials = np.exp(shifted)
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


def confusion_matrix(logits_nk: Logits, labels: Labels) -> NDArray[np.int64]:
    """Counts [true class, predicted class]: row sums are the images of a class, the diagonal what is right."""
    return count_pairs(labels, logits_nk.argmax(axis=1), logits_nk.shape[1])


def count_pairs(labels: Labels, predicted: Labels, classes: int) -> NDArray[np.int64]:
    """Counts [classes, classes] of a label and what is predicted for it."""
    return np.bincount(labels * classes + predicted, minlength=classes * classes).reshape(classes, classes)


def class_accuracy(confusion: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Images of each class [classes], and the fraction of them that is right; NaN where there are none."""
    counts = confusion.sum(axis=1)
    right = confusion.diagonal().astype(np.float64)
    return counts, np.divide(right, counts, out=np.full(len(counts), np.nan), where=counts > 0)
