"""From the folders of finished runs to their comparison."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..evaluation import Interval, Labels, Logits, evaluate_run, probabilities
from ..recipes import OWN, flatten, images_path
from ..recipes.schema import Data
from ..run import Run
from ..stats import mcnemar, paired_difference_interval
from .results import ComparedRun, Comparison, Difference, OneSided

LETTERS = "ABCDEFGHIJKLMNOP"  # as many runs as can still be told apart in a picture
_FACTS = ("epochs", "train_seconds", "images_per_second", "parameters", "device")  # of a run's summary
_BLOCK = 4096  # images whose probabilities are in memory at a time
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d_")  # begins the name of a run's folder by default


def compare(runs: Sequence[Run]) -> Comparison:
    """Compare finished runs, the first of which is the baseline.

    Raises UserError, with a line for each problem, where there are fewer than two or too many, where one has not ended
    or stands there twice, and where they were not tested on the same images.
    """
    _check_number(runs)
    _refuse([_unfinished(run) for run in runs if not run.finished])
    classes = runs[0].classes
    _refuse([_other_classes(run, runs[0]) for run in runs[1:] if run.classes != classes])
    labels = runs[0].predictions()["labels"]
    compared, answers = [], []
    for run, letter, label in zip(runs, LETTERS, _labels([run.path for run in runs]), strict=False):
        predictions = run.predictions()
        one, first = run.recipe.data, runs[0].recipe.data
        pixels = (each.environment.get("test_fingerprint") for each in (run, runs[0]))
        if not np.array_equal(predictions["labels"], labels) or other_images(one, first, *pixels):
            raise UserError(f"{run.path}: was tested on other images than {runs[0].path}; the same test set is needed")
        compared.append(_compared(run, letter, label))
        answers.append(_Answers.of(predictions["logits"], labels))
    baseline, *others = answers
    return Comparison(
        runs=tuple(compared),
        classes=classes,
        labels=labels,
        recipe=_differing([run.recipe.model_dump(mode="json") for run in runs]),
        differences=tuple(_difference(one, baseline, labels) for one in others),
    )


@dataclass(frozen=True, eq=False)
class _Answers:
    """What a net says of each test image; an array [n] each."""

    predicted: Labels
    predicted_probability: NDArray[np.float64]
    true_probability: NDArray[np.float64]

    @classmethod
    def of(cls, logits_nk: Logits, labels: Labels) -> _Answers:
        predicted = logits_nk.argmax(axis=1)
        chances = np.empty((2, len(labels)))
        for start in range(0, len(labels), _BLOCK):
            block = slice(start, start + _BLOCK)
            wanted = np.stack([predicted[block], labels[block]], axis=1)
            chances[:, block] = np.take_along_axis(probabilities(logits_nk[block]), wanted, axis=1).T
        return cls(predicted, chances[0], chances[1])


def _compared(run: Run, letter: str, label: str) -> ComparedRun:
    tested = evaluate_run(run)
    summary = run.summary
    return ComparedRun(
        letter=letter,
        label=label,
        path=run.path,
        accuracy=tested.accuracy,
        interval=tested.interval,
        loss=tested.loss,
        metrics=tuple(run.metrics()),
        **{name: summary[name] for name in _FACTS},
    )


def _difference(this: _Answers, baseline: _Answers, labels: Labels) -> Difference:
    right, baseline_right = this.predicted == labels, baseline.predicted == labels
    only_this, only_baseline = right & ~baseline_right, baseline_right & ~right
    counts = int(only_this.sum()), int(only_baseline.sum())
    return Difference(
        difference=(counts[0] - counts[1]) / len(labels),
        interval=Interval(*paired_difference_interval(*counts, len(labels))),
        p=mcnemar(*counts),
        both_right=int((right & baseline_right).sum()),
        both_wrong=int((~right & ~baseline_right).sum()),
        only_this=_one_sided(only_this, this, baseline, labels),
        only_baseline=_one_sided(only_baseline, baseline, this, labels),
    )


def _one_sided(chosen: NDArray[np.bool_], right: _Answers, wrong: _Answers, labels: Labels) -> OneSided:
    index = np.flatnonzero(chosen)
    index = index[np.argsort((wrong.true_probability - right.true_probability)[index], kind="stable")]
    return OneSided(
        index=index,
        true=labels[index],
        mistaken=wrong.predicted[index],
        right_probability=right.true_probability[index],
        wrong_probability=wrong.true_probability[index],
        mistaken_probability=wrong.predicted_probability[index],
    )


def _differing(recipes: Sequence[dict[str, Any]]) -> dict[str, tuple[Any, ...]]:
    """The dotted keys that have not the same value in all."""
    flat = [flatten(recipe) for recipe in recipes]
    keys = dict.fromkeys(key for one in flat for key in one)
    rows = {key: tuple(one.get(key) for one in flat) for key in keys}
    return {key: values for key, values in rows.items() if any(value != values[0] for value in values)}


def _labels(paths: Sequence[Path]) -> list[str]:
    """The folders' names, without their times where they are told apart without, with the folders above where not."""
    parts = [path.resolve().parts for path in paths]
    names = [_TIME.sub("", own[-1]) for own in parts]
    depth = 0
    while len(set(names)) < len(names):
        depth += 1
        names = ["/".join(own[-depth:]) for own in parts]
    return names


def _check_number(runs: Sequence[Run]) -> None:
    if not 2 <= len(runs) <= len(LETTERS):
        raise UserError(f"{len(runs)} run{'s' * (len(runs) != 1)} to compare; 2 to {len(LETTERS)} are needed")
    places = [run.path.resolve() for run in runs]
    _refuse(
        [
            f"{run.path}: named twice; each run is compared once"
            for number, run in enumerate(runs)
            if places[number] in places[:number]
        ]
    )


def _refuse(problems: Sequence[str]) -> None:
    if problems:
        raise UserError(*problems)


def _unfinished(run: Run) -> str:
    return f"{run.path}: the training has not ended; leave it out, or go on with: onecycle train --resume {run.path}"


def _other_classes(run: Run, first: Run) -> str:
    return f"{run.path}: its classes are not those of {first.path}; runs on the same test set are needed"


def other_images(one: Data, other: Data, fingerprint: str | None, its: str | None) -> bool:
    """Whether two test sets, of which fingerprints may not be known, are seen to be of other images.

    Fingerprints are of pixels, which are others where an image has another size or fit; there it is a matter of where
    the images come from.
    """
    if (one.image_size, one.fit) == (other.image_size, other.fit):
        return None not in (fingerprint, its) and fingerprint != its
    own = one.name.startswith(OWN) or images_path(one.name) is not None
    return one.name != other.name or (own and one.split_seed != other.split_seed)
