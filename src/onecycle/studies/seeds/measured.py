"""What trials found: a row each, statistics of every headline metric, and paired comparisons of the variants."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ...stats import PairedDifference, Spread, holm, paired_difference, sample_size, spread

Metric = Literal["accuracy", "accuracy_tta", "loss", "val_accuracy", "train_seconds", "images_per_second"]
Status = Literal["finished", "failed", "missing"]
METRICS: tuple[Metric, ...] = (
    "accuracy",
    "accuracy_tta",
    "loss",
    "val_accuracy",
    "train_seconds",
    "images_per_second",
)
POINTS = (0.1, 0.2, 0.5, 1.0)  # differences of accuracy that the seeds needed are given for
_FEWEST = 2


@dataclass(frozen=True)
class Trial:
    """One training. `path` is relative to the folder of the trials; `measured` is empty unless it has finished.

    `error` is the line of one that failed.
    """

    variant: str
    seed: int
    path: str
    status: Status
    measured: Mapping[Metric, float]
    device: str | None = None
    error: str | None = None


@dataclass(frozen=True)
class Measured:
    """A metric of a variant over its finished trials."""

    variant: str
    metric: Metric
    spread: Spread
    minimum: float
    maximum: float


@dataclass(frozen=True)
class Paired:
    """A variant against the baseline over the seeds that both have finished, metric by metric: it minus the baseline.

    `t_holm` and `wilcoxon_holm` are the accuracy's p after Holm's correction, where there is more than one comparison.
    `needed` is how many pairs would see a difference of the size found with power 80%; None where none was found.
    """

    variant: str
    baseline: str
    seeds: tuple[int, ...]
    effects: Mapping[Metric, PairedDifference]
    t_holm: float | None = None
    wilcoxon_holm: float | None = None
    needed: int | None = None

    @property
    def accuracy(self) -> PairedDifference:
        """The effect on the test accuracy."""
        return self.effects["accuracy"]


@dataclass(frozen=True)
class SeedsNeeded:
    """How many seeds each recipe needs in all to see a difference of `points` with power 80% at two-sided 5%.

    `independent` with seeds of their own, `paired` with equal seeds; None where it cannot be said.
    """

    points: float
    independent: int
    paired: int | None = None


def measure(trials: Sequence[Trial], variants: Iterable[str]) -> tuple[Measured, ...]:
    """A row for each variant and metric that any of its trials has."""
    rows = []
    for variant in variants:
        for metric in METRICS:
            values = [one.measured[metric] for one in trials if one.variant == variant and metric in one.measured]
            if values:
                rows.append(Measured(variant, metric, spread(values), min(values), max(values)))
    return tuple(rows)


def compare_in_pairs(trials: Sequence[Trial], variants: Sequence[str]) -> tuple[Paired, ...]:
    """Each variant against the first, where they have finished trials of equal seeds."""
    baseline, *others = variants
    found = [one for one in (_paired(trials, variant, baseline) for variant in others) if one]
    if len(others) < 2:
        return tuple(found)
    tests = len(others)  # those that are planned, also where one has no p yet
    t_holm = _corrected([one.accuracy.t_p for one in found], tests)
    wilcoxon_holm = _corrected([one.accuracy.wilcoxon_p for one in found], tests)
    return tuple(
        Paired(one.variant, one.baseline, one.seeds, one.effects, t_p, w_p, one.needed)
        for one, t_p, w_p in zip(found, t_holm, wilcoxon_holm, strict=True)
    )


def _corrected(p_values: Sequence[float | None], tests: int) -> list[float | None]:
    """After Holm's correction for so many tests; what is not known counts as 1, and stays unknown."""
    known = [1.0 if p is None else p for p in p_values]
    corrected = holm([*known, *[1.0] * (tests - len(known))])
    return [None if p is None else value for p, value in zip(p_values, corrected, strict=False)]


def seeds_needed(
    measured: Sequence[Measured], paired: Sequence[Paired], points: Sequence[float]
) -> tuple[SeedsNeeded, ...]:
    """For differences of accuracy in points; empty where fewer than two seeds tell how far they lie apart.

    Within a group the deviation is pooled over the variants; of pairs, over the comparisons.
    """
    within = [one.spread for one in measured if one.metric == "accuracy" and one.spread.n >= _FEWEST]
    if not within:
        return ()
    deviation = _pooled([(one.n, one.deviation or 0.0) for one in within])
    pairs = [(one.accuracy.n, one.accuracy.deviation or 0.0) for one in paired if one.accuracy.n >= _FEWEST]
    of_pairs = _pooled(pairs) if pairs else None
    if deviation == 0:  # by chance, as where a test set is small: it tells nothing
        return ()
    return tuple(
        SeedsNeeded(
            one,
            sample_size(one / 100, deviation, paired=False),
            None if not of_pairs else sample_size(one / 100, of_pairs, paired=True),
        )
        for one in points
    )


def _paired(trials: Sequence[Trial], variant: str, baseline: str) -> Paired | None:
    by_seed = {label: {one.seed: one for one in trials if one.variant == label} for label in (variant, baseline)}
    effects: dict[Metric, PairedDifference] = {}
    for metric in METRICS:
        seeds = [
            seed
            for seed, one in sorted(by_seed[variant].items())
            if metric in one.measured and seed in by_seed[baseline] and metric in by_seed[baseline][seed].measured
        ]
        if seeds:
            first, second = ([by_seed[one][seed].measured[metric] for seed in seeds] for one in (variant, baseline))
            effects[metric] = paired_difference(first, second)
    if "accuracy" not in effects:
        return None
    both = tuple(seed for seed in sorted(by_seed[variant]) if _both_finished(by_seed, variant, baseline, seed))
    found = effects["accuracy"]
    enough = None
    if found.deviation is not None and not math.isclose(found.mean, 0.0, abs_tol=1e-12):
        enough = sample_size(found.mean, found.deviation, paired=True)
    return Paired(variant, baseline, both, effects, needed=enough)


def _both_finished(by_seed: Mapping[str, Mapping[int, Trial]], variant: str, baseline: str, seed: int) -> bool:
    return all(seed in by_seed[one] and "accuracy" in by_seed[one][seed].measured for one in (variant, baseline))


def _pooled(groups: Sequence[tuple[int, float]]) -> float:
    """The deviation within groups of n values, each with its own mean."""
    return math.sqrt(sum((n - 1) * deviation**2 for n, deviation in groups) / sum(n - 1 for n, _ in groups))
