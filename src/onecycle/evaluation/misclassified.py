"""The images that a net takes for another class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .counting import Labels, Logits, probabilities


@dataclass(frozen=True)
class Mistakes:
    """Misclassified images, the most confident mistake first; an array [m] each.

    `index` is an image's place in the set; `true` and `predicted` are classes, and the probabilities those of the two.
    """

    index: NDArray[np.int64]
    true: Labels
    predicted: Labels
    true_probability: NDArray[np.float64]
    predicted_probability: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.index)

    def subset(self, places: NDArray[np.int64]) -> Mistakes:
        """The mistakes at these places, in their order."""
        return Mistakes(
            self.index[places],
            self.true[places],
            self.predicted[places],
            self.true_probability[places],
            self.predicted_probability[places],
        )


def mistakes(logits_nk: Logits, labels: Labels) -> Mistakes:
    """The images whose largest logit is not the label's, by falling probability of the wrong answer."""
    predicted = logits_nk.argmax(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    chances = probabilities(logits_nk[wrong])
    rows = np.arange(len(wrong))
    of_predicted, of_true = chances[rows, predicted[wrong]], chances[rows, labels[wrong]]
    order = np.argsort(-of_predicted, kind="stable")
    index = wrong[order]
    return Mistakes(index, labels[index], predicted[index], of_true[order], of_predicted[order])
