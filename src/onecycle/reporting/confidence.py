"""Can its confidence be trusted?"""

from __future__ import annotations

from ..evaluation import Calibration


def in_words(calibration: Calibration) -> str:
    """What the expected calibration error and its direction mean."""
    error = f"{100 * calibration.ece:.1f} points"
    points = f"{100 * abs(calibration.gap):.1f} points"
    start = f"Confidence and accuracy are {error} apart on average, over images that are equally sure (ECE)."
    if abs(calibration.gap) < 0.0005:
        return f"{start} Over all images the net is as sure as it is right."
    direction = "more" if calibration.gap > 0 else "less"
    return f"{start} Over all images the net is {points} {direction} sure than it is right."
