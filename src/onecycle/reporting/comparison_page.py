"""Several runs on one page: which is better, what differs in how they were made, and what only one gets right."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..comparison import Comparison, OneSided, caveat, evidence, in_words, p_value, points, setting, verdict
from ..data import ImageSet
from ..errors import UserError
from ..evaluation import percent
from ..files import write_text
from ..plots.inline import compared_curves, run_colour
from .images import data_uri
from .rendering import render

_CARDS = 48  # images on the page, about
_LEAST_CARDS = 4  # of each side of each comparison


@dataclass(frozen=True)
class Card:
    """An image that one net gets right and the other takes for `mistaken`."""

    index: int
    true: str
    mistaken: str
    right_probability: float
    wrong_probability: float
    mistaken_probability: float
    uri: str


@dataclass(frozen=True)
class Side:
    """The `count` images that the net `right` gets right and the net `wrong` does not; `cards` has the first."""

    right: str
    wrong: str
    count: int
    cards: tuple[Card, ...]


@dataclass(frozen=True)
class Whiskers:
    """Where an interval, the difference in it and zero stand on a track, in per cent of its length."""

    low: float
    high: float
    at: float
    zero: float


def write_comparison(
    comparison: Comparison, images: ImageSet | None, out: Path, *, why_no_images: str = "they are not at hand"
) -> Path:
    """Write the page to `out` and return its path.

    `images` is the test set of the runs; where it is None, the page says `why_no_images`. Raises UserError where they
    are other images than those that the runs were tested on.
    """
    if images is not None and not (
        np.array_equal(images.labels, comparison.labels) and images.classes == comparison.classes
    ):
        raise UserError(
            f"the {len(images):,} images are not those that the runs were tested on; the test set of "
            f"{comparison.runs[0].path} is needed"
        )
    headline, support = _headline(comparison)
    page = render(
        "comparison.html.j2",
        comparison=comparison,
        headline=headline,
        support=support,
        baseline=comparison.runs[0],
        colours=[run_colour(number) for number in range(len(comparison.runs))],
        whiskers=_whiskers(comparison),
        caveat=caveat(comparison),
        points=points,
        p_value=p_value,
        recipe={key: [setting(value) for value in values] for key, values in comparison.recipe.items()},
        charts=[chart for chart in (compared_curves(comparison.runs, what) for what in ("accuracy", "loss")) if chart],
        sides=None if images is None else _sides(comparison, images),
        why_no_images=why_no_images,
    )
    write_text(out, page)
    return out


def _headline(comparison: Comparison) -> tuple[str, str]:
    """Which is better, or of many the best; and what that rests on."""
    if len(comparison.runs) == 2:
        return verdict(comparison, 0), evidence(comparison, 0)
    most = max(run.accuracy for run in comparison.runs)
    best = [number for number, run in enumerate(comparison.runs) if run.accuracy == most]
    *letters, last = (comparison.runs[number].letter for number in best)
    names = f"{', '.join(letters)} and {last}" if letters else last
    headline = f"{names} get{'s' * (len(best) == 1)} the most right: {percent(most, 2)}"
    return headline, "" if 0 in best else in_words(comparison, best[0] - 1)


def _sides(comparison: Comparison, images: ImageSet) -> list[tuple[Side, Side]]:
    """For each comparison what only the run gets right, and what only the baseline does."""
    most = max(_CARDS // (2 * len(comparison.differences)), _LEAST_CARDS)
    baseline, *others = (run.letter for run in comparison.runs)
    return [
        (
            _side(letter, baseline, one.only_this, comparison.classes, images, most),
            _side(baseline, letter, one.only_baseline, comparison.classes, images, most),
        )
        for letter, one in zip(others, comparison.differences, strict=True)
    ]


def _side(right: str, wrong: str, found: OneSided, classes: tuple[str, ...], images: ImageSet, most: int) -> Side:
    cards = tuple(Card(**one, uri=data_uri(images.images_nhwc[one["index"]])) for one in found.to_list(classes, most))
    return Side(right, wrong, len(found), cards)


def _whiskers(comparison: Comparison) -> list[Whiskers]:
    """All on one scale, which holds every interval and zero."""
    ends = [end for one in comparison.differences for end in one.interval]
    low, high = min(0.0, *ends), max(0.0, *ends)

    def place(difference: float) -> float:
        return round(100 * (difference - low) / (high - low), 2)

    return [
        Whiskers(place(one.interval.low), place(one.interval.high), place(one.difference), place(0.0))
        for one in comparison.differences
    ]
