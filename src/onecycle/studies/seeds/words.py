"""What trials found, in the words that terminal and page share."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ...comparison import p_value, points
from ...evaluation import percent
from ...stats import PairedDifference
from .measured import Measured, Metric, Paired

if TYPE_CHECKING:
    from .results import Trials

NAMES: dict[Metric, str] = {
    "accuracy": "test accuracy",
    "accuracy_tta": "with TTA",
    "loss": "test loss",
    "val_accuracy": "best held-out",
    "train_seconds": "training, s",
    "images_per_second": "images/s",
}
_SHARES = ("accuracy", "accuracy_tta", "val_accuracy")
_MINUS = "\N{MINUS SIGN}"
TIMES = (
    "Times are of training alone: loading, evaluation, checkpoints and a warm-up of a few steps before the first trial "
    "are left out."
)
METHOD = (
    "Intervals are Student's, at 95%. Seeds needed: for Student's two-sided test at 5% with power 80%, from the "
    "noncentral t distribution (Julious, 2004, https://doi.org/10.1002/sim.1783), with the deviation measured here, "
    "which few seeds tell but roughly."
)
PAIRS = (
    "Of equal seeds: order and augmentation of the images, and first weights where the nets are the same, are the same "
    "for both. p is of the paired t-test and of Wilcoxon's signed ranks; it says how often chance alone would show at "
    "least such a difference of the accuracy. The comparison is of the accuracy: the other rows describe."
)


def headline(found: Trials) -> tuple[str, str]:
    """What a reader should know first, and what that rests on, each a sentence without its full stop, or empty."""
    if len(found.variants) == 1 or not found.comparisons:
        return accuracy_of(found, found.variants[0])
    first, *more = found.comparisons
    if not more:
        return verdict(first), evidence(first)
    shown = [one for one in found.comparisons if shows_difference(one)]
    if not shown:
        return f"No difference from {first.baseline} shown", ""
    better = [one for one in shown if one.accuracy.mean > 0]
    if not better:
        return f"None shown to be better than {first.baseline}", f"{len(shown)} of {len(found.comparisons)} are worse"
    best = max(better, key=lambda one: one.accuracy.mean)
    return verdict(best), f"The largest of {len(found.comparisons)} differences; {evidence(best)}"


def accuracy_of(found: Trials, variant: str) -> tuple[str, str]:
    """The accuracy of a variant, and how sure it is."""
    row = next((one for one in found.table if (one.variant, one.metric) == (variant, "accuracy")), None)
    if row is None:
        return f"{variant}: no trial has finished", ""
    spread = row.spread
    of = "" if len(found.variants) == 1 else f"{variant}: "
    if spread.deviation == 0:
        same = f"{of}{percent(spread.mean, 2)} on the test set with each of {spread.n} seeds"
        return same, "Results that are all the same say nothing of chance; more seeds or more test images do"
    if spread.low is None or spread.high is None or spread.deviation is None:
        return f"{percent(spread.mean, 2)} on the test set, one run", "Two or more seeds say how far they lie apart"
    between = interval("accuracy", spread.low, spread.high)
    return (
        f"{of}{percent(spread.mean, 2)} on the test set, mean of {spread.n} seeds",
        f"Deviation {points(spread.deviation)} points, 95% interval of the mean {between}",
    )


def shows_difference(one: Paired) -> bool:
    """Whether the interval leaves zero out, and of several comparisons the corrected p is below 0.05 too."""
    found = one.accuracy
    if found.low is None or found.high is None or found.low <= 0 <= found.high:
        return False
    return one.t_holm is None or one.t_holm < 0.05


def verdict(one: Paired) -> str:
    """Which is better, and by how much, as a sentence without its full stop."""
    if not shows_difference(one):
        return f"No difference shown between {one.variant} and {one.baseline}"
    better = "better" if one.accuracy.mean > 0 else "worse"
    return f"{one.variant} is {points(abs(one.accuracy.mean))} points {better} than {one.baseline}"


def evidence(one: Paired) -> str:
    """What the verdict rests on, and how many more seeds a difference of the size found would need."""
    found = one.accuracy
    of = f"{one.variant} minus {one.baseline}: {signed('accuracy', found.mean)} points"
    if found.deviation == 0:
        return (
            f"{of} in each of {found.n} pairs; differences that are all the same say nothing of chance, more seeds do"
        )
    if found.low is None or found.high is None or found.t_p is None or found.wilcoxon_p is None:
        return f"{of}, one pair of runs; two or more are needed to say how sure that is"
    said = (
        f"{of}, 95% interval {points(found.low)} to {points(found.high)}, {found.n} pairs; "
        f"p {p_value(found.t_p)} by the paired t-test, p {p_value(found.wilcoxon_p)} by Wilcoxon's"
    )
    if one.t_holm is not None and one.wilcoxon_holm is not None:
        said += f" (after Holm's correction p {p_value(one.t_holm)} and p {p_value(one.wilcoxon_holm)})"
    return said if shows_difference(one) else f"{said}; {to_see(one)}"


def to_see(one: Paired) -> str:
    """How many pairs would see a difference of the size found."""
    n = one.accuracy.n
    if one.accuracy.deviation is None:
        return "one pair of runs; two or more are needed"
    if one.accuracy.deviation == 0 and one.accuracy.mean:
        return "all pairs differ alike; more seeds are needed"
    if one.needed is None:
        return "the means are equal"
    if one.needed <= n:
        return f"{n} pairs see one of this size four times in five"
    return f"to see one of this size takes {one.needed:,} pairs, {one.needed - n:,} more"


def counts(found: Trials) -> str:
    """How many trials finished, failed and are missing."""
    parts = [f"{len(found.finished)} of {len(found.trials)} trials finished"]
    if found.failed:
        parts.append(f"{len(found.failed)} failed and {'is' if len(found.failed) == 1 else 'are'} in no mean")
    if found.missing:
        parts.append(f"{len(found.missing)} not run")
    return ", ".join(parts)


def size(points_apart: float) -> str:
    """A difference of accuracy: 0.1 points, 1 point."""
    return f"{points_apart:g} point{'s' * (points_apart != 1)}"


def names(found: Trials) -> dict[str, str]:
    """What to call each variant in a narrow table: where all are values of one key, the value alone."""
    keys = {label.partition("=")[0] for label in found.variants}
    of_one_key = len(keys) == 1 and all("=" in label for label in found.variants)
    return {label: label.partition("=")[2] if of_one_key else label for label in found.variants}


def cells(row: Measured) -> list[str]:
    """n, mean, deviation, interval, least and most."""
    spread, metric = row.spread, row.metric
    deviation = "\N{EN DASH}" if spread.deviation is None else deviation_text(metric, spread.deviation)
    between = "\N{EN DASH}"
    if spread.low is not None and spread.high is not None and spread.deviation:
        between = interval(metric, spread.low, spread.high)
    extremes = (value(metric, row.minimum), value(metric, row.maximum))
    return [str(spread.n), value(metric, spread.mean), deviation, between, *extremes]


def effect_cells(metric: Metric, one: PairedDifference) -> list[str]:
    """Pairs, difference, interval, p of the paired t-test and of Wilcoxon's."""
    dash = "\N{EN DASH}"
    between = dash
    if one.low is not None and one.high is not None:
        between = f"{signed(metric, one.low)} to {signed(metric, one.high)}"
    p_values = [dash if p is None else p_value(p).removeprefix("= ") for p in (one.t_p, one.wilcoxon_p)]
    return [str(one.n), signed(metric, one.mean), between, *p_values]


def value(metric: Metric, number: float) -> str:
    """A value of a metric: accuracies in per cent."""
    if metric in _SHARES:
        return percent(number, 2)
    return f"{number:.4f}" if metric == "loss" else f"{number:,.1f}"


def interval(metric: Metric, low: float, high: float) -> str:
    """From low to high, within what the metric can be."""
    low, high = within(metric, low), within(metric, high)
    if metric in _SHARES:
        return f"{100 * low:.2f} to {100 * high:.2f}"
    return f"{value(metric, low)} to {value(metric, high)}"


def within(metric: Metric, end: float) -> float:
    """An end of an interval moved into what the metric can be: Student's knows no such bounds."""
    return min(max(end, 0.0), 1.0 if metric in _SHARES else math.inf)


def deviation_text(metric: Metric, number: float) -> str:
    """A deviation; of accuracies in points."""
    return points(number) if metric in _SHARES else value(metric, number)


def signed(metric: Metric, number: float) -> str:
    """A difference with its sign; of accuracies in points."""
    text = deviation_text(metric, number).replace("-", _MINUS)
    return f"+{text}" if number > 0 and not text.startswith(_MINUS) else text
