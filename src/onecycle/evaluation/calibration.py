"""Whether a net is right as often as it says that it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 15  # of equal width, as many as in Guo et al.


@dataclass(frozen=True, eq=False)
class Calibration:
    """The images in bins of their confidence, the probability that the net gives to its answer.

    Bin i holds what is above edges[i], up to and with edges[i + 1]. `edges` is [bins + 1], `counts` [bins], and so are
    the means `confidence` and `accuracy`, NaN where a bin is empty. `ece` is the expected calibration error: the
    distance of the two, averaged over all images. Guo et al., 2017, https://arxiv.org/abs/1706.04599, equations 1 to 3.
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    ece: float

    @property
    def gap(self) -> float:
        """Mean confidence minus accuracy over all images: above 0 the net is too sure of itself, below not enough."""
        filled = self.counts > 0
        return float(np.average((self.confidence - self.accuracy)[filled], weights=self.counts[filled]))

    def in_words(self) -> str:
        """Such as "ECE 2.1%, on average 1.3 points too sure"."""
        points = f"{100 * abs(self.gap):.1f}"
        towards = f"{points} points too {'sure' if self.gap > 0 else 'unsure'}"
        return f"ECE {self.ece:.1%}, on average {'as sure as right' if points == '0.0' else towards}"

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it: lists, and None in the bins that are empty."""
        means = {"confidence": self.confidence, "accuracy": self.accuracy}
        return {
            "ece": self.ece,
            "gap": self.gap,
            "edges": self.edges.tolist(),
            "counts": self.counts.tolist(),
            **{name: [None if np.isnan(one) else float(one) for one in values] for name, values in means.items()},
        }


def reliability(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> Calibration:
    """Sort images into BINS bins by their `confidence`, above 0 and up to 1; it and `right` are [n]."""
    edges = np.linspace(0, 1, BINS + 1)
    places = np.searchsorted(edges[1:-1], confidence, side="left")
    counts = np.bincount(places, minlength=BINS)
    sums = [np.bincount(places, weights=values, minlength=BINS) for values in (confidence, right)]
    means = [np.divide(one, counts, out=np.full(BINS, np.nan), where=counts > 0) for one in sums]
    ece = float(np.abs(sums[0] - sums[1]).sum() / len(confidence))
    return Calibration(edges, counts, means[0], means[1], ece)
