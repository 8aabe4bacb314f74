"""Shares as texts, the same on the terminal, in pictures and on pages."""

from __future__ import annotations

import math


def percent(share: float, digits: int = 1) -> str:
    """A share of 0..1 in per cent; never 0% or 100% by rounding alone. A hyphen where it is NaN."""
    if math.isnan(share):
        return "-"
    text, least = f"{share:.{digits}%}", 10**-digits
    if share > 0 and text == f"{0:.{digits}%}":
        return f"<{least:.{digits}f}%"
    if share < 1 and text == f"{1:.{digits}%}":
        return f">{100 - least:.{digits}f}%"
    return text
