"""How much a sweep's losses scatter from batch to batch, apart from where they move to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_NORMAL = 1.4826  # the standard deviation of normal values over the median of their sizes


def batch_noise(losses: Sequence[float]) -> float:
    """Standard deviation of single losses around their course; 0 for fewer than three.

    Second differences leave a steady rise or fall out, and their median a steep end. Source: Gasser, Sroka and
    Jennen-Steinmetz, "Residual variance and residual pattern in nonlinear regression", Biometrika 73, 1986.
    """
    if len(losses) < 3:
        return 0.0
    return float(_NORMAL * np.median(np.abs(np.diff(losses, n=2))) / np.sqrt(6))
