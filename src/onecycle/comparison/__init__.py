"""Runs side by side: what differs in their recipes, how good each is, and what one gets right and another wrong.

The first run is the baseline. All answer for the same test images, so that each later run is compared with it image by
image. Arrays: n test images, m images that a comparison picks out.
"""

from .comparing import compare, other_images
from .results import ComparedRun, Comparison, Difference, OneSided
from .words import caveat, evidence, in_words, p_value, points, setting, verdict

__all__ = [
    "ComparedRun",
    "Comparison",
    "Difference",
    "OneSided",
    "caveat",
    "compare",
    "evidence",
    "in_words",
    "other_images",
    "p_value",
    "points",
    "setting",
    "verdict",
]
