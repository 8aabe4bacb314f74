"""What a comparison says, in the words that terminal and page share."""

from __future__ import annotations

from typing import Any

from .results import Comparison


def in_words(comparison: Comparison, number: int) -> str:
    """A sentence on `comparison.differences[number]`: B is 1.20 points better than A (95% interval ...; p = ...)."""
    return f"{verdict(comparison, number)} ({evidence(comparison, number)})"


def verdict(comparison: Comparison, number: int) -> str:
    """Which is better, and by how much: B is 1.20 points better than A."""
    one, letter, baseline = (
        comparison.differences[number],
        comparison.runs[number + 1].letter,
        comparison.runs[0].letter,
    )
    if not len(one.only_this) and not len(one.only_baseline):
        return f"{letter} and {baseline} get the same images right"
    if one.difference == 0:
        return f"{letter} is right as often as {baseline}"
    better = f"{points(abs(one.difference))} points {'better' if one.difference > 0 else 'worse'}"
    return f"{letter} is {better} than {baseline}{'' if one.p < 0.05 else ', which may be chance'}"


def evidence(comparison: Comparison, number: int) -> str:
    """What the verdict rests on; the interval is that of how much worse, where it says worse."""
    one = comparison.differences[number]
    low, high = one.interval if one.difference >= 0 else (-one.interval.high, -one.interval.low)
    return f"95% interval {points(low)} to {points(high)}; p {p_value(one.p)}"


def caveat(comparison: Comparison) -> str:
    """What the reader should not conclude."""
    several = len(comparison.differences) > 1
    each = " Each p is of its own comparison: among many runs, some differ by chance." if several else ""
    return (
        "This compares trained nets on one test set, not their recipes: a recipe's accuracy changes from seed to seed, "
        f"often by more than these intervals. To compare recipes, train each with several seeds.{each}"
    )


def points(share: float) -> str:
    """A share in percentage points."""
    return f"{100 * share:.2f}".replace("-0.00", "0.00").replace("-", "\N{MINUS SIGN}")


def p_value(p: float) -> str:
    """A probability as it stands in a sentence: < 0.0001, = 0.031 or = 1."""
    return "< 0.0001" if p < 1e-4 else f"= {p:.2g}"


def setting(value: Any) -> str:
    """The value of a recipe's key; a dash where the recipe has no such key."""
    if isinstance(value, list):
        return ", ".join(setting(one) for one in value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.6g}"
    return "\N{EN DASH}" if value is None else str(value)
