"""What a comparison finds, as values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..evaluation import Interval, Labels


@dataclass(frozen=True, eq=False)
class ComparedRun:
    """One of the runs. `letter` and `label` name it; `metrics` are the rows of its metrics.csv."""

    letter: str
    label: str
    path: Path
    accuracy: float
    interval: Interval  # of the accuracy: Wilson, 95%
    loss: float  # nats
    epochs: int
    train_seconds: float
    images_per_second: float
    parameters: int
    device: str
    metrics: tuple[Mapping[str, float], ...]


@dataclass(frozen=True, eq=False)
class OneSided:
    """Images that one net gets right and the other wrong, the most telling first; an array [m] each.

    Most telling is where the two probabilities of the true class lie furthest apart. `index` is an image's place in the
    test set and `true` its class. `mistaken` is the wrong net's answer and `mistaken_probability` what it gives that;
    `right_probability` and `wrong_probability` are what the right and the wrong net give the true class.
    """

    index: NDArray[np.int64]
    true: Labels
    mistaken: Labels
    right_probability: NDArray[np.float64]
    wrong_probability: NDArray[np.float64]
    mistaken_probability: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.index)

    def to_list(self, classes: Sequence[str], most: int | None = None) -> list[dict[str, Any]]:
        """An object an image, with classes by name; of the first `most` alone, where that is given."""
        return [
            {
                "index": int(self.index[one]),
                "true": classes[self.true[one]],
                "mistaken": classes[self.mistaken[one]],
                "right_probability": float(self.right_probability[one]),
                "wrong_probability": float(self.wrong_probability[one]),
                "mistaken_probability": float(self.mistaken_probability[one]),
            }
            for one in range(len(self))[:most]
        ]


@dataclass(frozen=True, eq=False)
class Difference:
    """A run against the baseline: `difference` is its accuracy minus the baseline's.

    `interval` is a 95% interval of the difference, of paired proportions; `p` the exact McNemar probability of a split
    between `only_this` and `only_baseline` at least as uneven, were both nets right equally often.
    """

    difference: float
    interval: Interval
    p: float
    both_right: int
    both_wrong: int
    only_this: OneSided
    only_baseline: OneSided


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two or more runs on one test set of `labels` [n]; `differences` has one for each run but the first.

    `recipe` has the keys in which the recipes differ, dotted, with a value for each run; None where it has no such key.
    """

    runs: tuple[ComparedRun, ...]
    classes: tuple[str, ...]
    labels: Labels
    recipe: dict[str, tuple[Any, ...]]
    differences: tuple[Difference, ...]

    @property
    def images(self) -> int:
        """How many there are in the test set."""
        return len(self.labels)

    def to_dict(self) -> dict[str, Any]:
        """All of it, as JSON has it."""
        baseline, *others = self.runs
        return {
            "images": self.images,
            "runs": [
                {**asdict(run), "path": str(run.path), "interval": list(run.interval), "metrics": list(run.metrics)}
                for run in self.runs
            ],
            "recipe": {key: list(values) for key, values in self.recipe.items()},
            "differences": [
                {
                    "run": run.letter,
                    "baseline": baseline.letter,
                    "difference": one.difference,
                    "interval": list(one.interval),
                    "p": one.p,
                    "both_right": one.both_right,
                    "both_wrong": one.both_wrong,
                    "only_this": one.only_this.to_list(self.classes),
                    "only_baseline": one.only_baseline.to_list(self.classes),
                }
                for run, one in zip(others, self.differences, strict=True)
            ],
        }
