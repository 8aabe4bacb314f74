"""What a cross-validation finds: every training image predicted once, by a net that did not see it.

It is a folder: cross_validation.json says what was asked for, fold1, fold2, ... are runs, and at the end come
out_of_fold.npz and, last, folds.json. n images, k classes.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from .errors import UserError
from .evaluation import Evaluation, evaluate, percent
from .explanation import LabelErrors, find_label_errors
from .files import atomic_path, disk_errors
from .recipes import Recipe, checked
from .run import FOLDS_PLAN, Run
from .sealing import damaged, digest, read_sealed_json, write_sealed_json
from .stats import Spread, spread

CAUTION = (
    "each fold trains on what others are tested on, so their accuracies are not independent and the interval is likely "
    "too narrow; no estimate of that variance is unbiased (Bengio & Grandvalet, 2004, "
    "https://www.jmlr.org/papers/v5/grandvalet04a.html)"
)
_RESULT, _PREDICTIONS = "folds.json", "out_of_fold.npz"
_ARRAYS = {"logits": ("f", 2), "labels": ("i", 1), "index": ("i", 1), "fold": ("i", 1)}  # their kind and dimensions


@dataclass(frozen=True)
class FoldResult:
    """One fold: how many images it held out, and the accuracy on them and on the test set, both after the last epoch.

    `fold` counts from 1.
    """

    fold: int
    images: int
    accuracy: float
    test_accuracy: float


@dataclass(frozen=True, eq=False)
class CrossValidation:
    """A finished cross-validation, as `load` reads it.

    Of the images that took part, in the order of the training images: `logits_nk` float32 [n, k] of the net that did
    not see the image, `labels` [n], `index` [n] the place among the training images, and `fold` [n] the fold, from 1,
    that held it out.
    """

    path: Path
    classes: tuple[str, ...]
    logits_nk: NDArray[np.float32]
    labels: NDArray[np.int64]
    index: NDArray[np.int64]
    fold: NDArray[np.int64]
    test_accuracies: tuple[float, ...]

    @cached_property
    def evaluation(self) -> Evaluation:
        """All images together: accuracy, every class, what is taken for what, calibration."""
        return evaluate(self.logits_nk, self.labels, self.classes)

    @cached_property
    def by_fold(self) -> tuple[FoldResult, ...]:
        """The folds, in order."""
        right = self.logits_nk.argmax(axis=1) == self.labels
        found = []
        for number, test_accuracy in enumerate(self.test_accuracies, 1):
            inside = self.fold == number
            found.append(FoldResult(number, int(inside.sum()), float(right[inside].mean()), test_accuracy))
        return tuple(found)

    @property
    def accuracy(self) -> Spread:
        """Mean, spread and interval of the accuracies of the folds; what to think of the interval, CAUTION says."""
        return spread([one.accuracy for one in self.by_fold])

    @property
    def test_accuracy(self) -> Spread:
        """The same of the test set, which all folds have in common."""
        return spread(self.test_accuracies)

    def label_errors(self) -> LabelErrors:
        """Training images whose label is likely wrong; their `index` is that of the rows here."""
        return find_label_errors(self.logits_nk, self.labels)

    def to_dict(self) -> dict[str, Any]:
        """All of it but logits, as JSON has it."""
        return {
            "folds": len(self.by_fold),
            "images": len(self.labels),
            "accuracy": asdict(self.accuracy),
            "caution": CAUTION,
            "test_accuracy": asdict(self.test_accuracy),
            "by_fold": [{**asdict(one), "run": f"fold{one.fold}"} for one in self.by_fold],
            "out_of_fold": self.evaluation.to_dict(),
        }

    def save(self) -> None:
        """Write out_of_fold.npz and then folds.json into its folder, which so counts as finished."""
        path = self.path / _PREDICTIONS
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez(file, logits=self.logits_nk, labels=self.labels, index=self.index, fold=self.fold)
        digests = {_PREDICTIONS: digest(path.read_bytes())}
        write_sealed_json(self.path / _RESULT, {**self.to_dict(), "files": digests})

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read one that is finished. Raises UserError where the folder holds none, or a file is damaged."""
        folder = Path(path)
        check_plan(folder)
        if not is_finished(folder):
            raise UserError(f"{folder}: not all folds are trained; go on with: onecycle train --resume {folder}")
        stored, place = read_sealed_json(folder / _RESULT), folder / _PREDICTIONS
        try:
            classes = tuple(map(str, stored["out_of_fold"]["classes"]))
            tested = tuple(float(one["test_accuracy"]) for one in stored["by_fold"])
            written = stored["files"][_PREDICTIONS]
        except (KeyError, TypeError, ValueError) as error:
            raise damaged(folder / _RESULT, f"{error} is missing, or is something else") from None
        arrays = _arrays(place, written)
        if not set(arrays["fold"].tolist()) == set(range(1, len(tested) + 1)):
            raise damaged(place, "its folds are not those of folds.json")
        return cls(folder, classes, arrays["logits"], arrays["labels"], arrays["index"], arrays["fold"], tested)


def is_cross_validation(path: str | Path) -> bool:
    """Whether a folder is that of a cross-validation, finished or not."""
    try:
        return (Path(path) / FOLDS_PLAN).is_file()
    except OSError:  # such as a name that is too long
        return False


def is_finished(path: Path) -> bool:
    """Whether all folds are trained and predicted."""
    return (path / _RESULT).exists()


def fold_path(path: Path, fold: int) -> Path:
    """The run of a fold, counted from 1."""
    return path / f"fold{fold}"


def begin(path: Path, recipe: Recipe, environment: Mapping[str, Any]) -> None:
    """Make the folder, and store what is asked for. Raises UserError where it exists."""
    Run.check_unused(path)
    with disk_errors(path):
        path.mkdir(parents=True)
    write_sealed_json(path / FOLDS_PLAN, {"recipe": recipe.model_dump(mode="json"), "environment": dict(environment)})


def plan_of(path: Path) -> tuple[Recipe, dict[str, Any]]:
    """The recipe of the first fold, as it was asked for, and what else was noted. Raises UserError where damaged."""
    check_plan(path)
    plan = read_sealed_json(path / FOLDS_PLAN)
    recipe, environment = plan.get("recipe"), plan.get("environment")
    if not isinstance(recipe, dict) or not isinstance(environment, dict):
        raise damaged(path / FOLDS_PLAN)
    found = checked(recipe, str(path / FOLDS_PLAN))
    if found.data.fold is None:
        raise damaged(path / FOLDS_PLAN, "its recipe has no data.fold")
    return found, environment


def check_plan(path: Path) -> None:
    """Raise UserError where a folder is none of a cross-validation."""
    if not is_cross_validation(path):
        raise UserError(f"{path}: holds no {FOLDS_PLAN}; the folder of a cross-validation is needed")


def _arrays(path: Path, written: object) -> dict[str, NDArray[Any]]:
    """The stored predictions, if they are what was written."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    if digest(content) != written:
        raise damaged(path)
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            found = {name: np.asarray(file[name]) for name in _ARRAYS}
    except Exception as error:  # NumPy lets through whatever its parts raise: TokenError, OverflowError, ...
        raise damaged(path, f"not readable as arrays ({error})") from None
    _check_arrays(path, found)
    return found


def _check_arrays(path: Path, found: Mapping[str, NDArray[Any]]) -> None:
    for name, (kind, dimensions) in _ARRAYS.items():
        one = found[name]
        if (one.dtype.kind, one.ndim) != (kind, dimensions) or one.shape[:1] != found["labels"].shape[:1]:
            raise damaged(path, f"{name} is {one.dtype} {list(one.shape)}")


def in_words(found: CrossValidation) -> Sequence[str]:
    """The result in sentences: accuracy over the folds, and on the test set."""
    lines = []
    for one, what in ((found.accuracy, "on what each fold held out"), (found.test_accuracy, "on the test set")):
        assert one.deviation is not None and one.low is not None and one.high is not None, "two folds at least"
        between = "which says nothing of chance"
        if one.deviation > 0:
            between = f"95% interval {100 * max(0.0, one.low):.2f} to {100 * min(1.0, one.high):.2f}"
        lines.append(
            f"{percent(one.mean, 2)} {what}: mean of {one.n} folds, spread {100 * one.deviation:.2f} points, {between}"
        )
    return [*lines, CAUTION]
