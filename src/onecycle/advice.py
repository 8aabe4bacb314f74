"""What somebody should know before the training, of few images or of a plan that is cut short; a line each."""

from __future__ import annotations

import math

import numpy as np

from .errors import listed
from .preparation import Sets
from .recipes import Recipe
from .stats import wilson_interval

FEW_IMAGES = 10  # of a class: with fewer, what it learns is those images
FEW_STEPS = 10  # an epoch: with fewer, the rate rises and falls in leaps
UNBALANCED = 10  # times as many images in the largest class as in the smallest
WIDE = 0.10  # from end to end of the 95% interval of an accuracy
_TYPICAL = 0.8  # the accuracy that the interval is given for
_NAMED = 5  # classes in a line


def advice(recipe: Recipe, sets: Sets, *, searched: bool = False) -> list[str]:
    """What stands in the way of a good net or a sure figure, with what helps; nothing for a set of usual size.

    Where a recipe is `searched` for, the held-out part stands for the test set.
    """
    measured_on = "the held-out part" if searched else "the test set"
    found = [
        _few_images(recipe, sets),
        _unbalanced(recipe, sets),
        _few_steps(recipe, sets),
        _cut_short(recipe),
        _other_size(recipe, sets),
        _untested(sets, measured_on),
        _wide(sets, measured_on, folds=not searched and not recipe.data.fold),
    ]
    return [line for line in found if line]


def _few_images(recipe: Recipe, sets: Sets) -> str:
    counts = _counts(sets.train.labels, sets)
    few = [(count, name) for name, count in counts.items() if count < FEW_IMAGES]
    if not few:
        return ""
    named = listed([f"{name} {count}" for count, name in sorted(few)], _NAMED)
    return (
        f"{len(few)} of {len(counts)} classes have fewer than {FEW_IMAGES} images to train on ({named}); more images "
        "help most" + ("" if recipe.init else ", then the weights of an earlier run, with init")
    )


def _unbalanced(recipe: Recipe, sets: Sets) -> str:
    counts = {name: count for name, count in _counts(sets.train.labels, sets).items() if count}
    rare, frequent = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
    if counts[frequent] <= UNBALANCED * counts[rare] or recipe.loss.class_weights != "none":
        return ""
    return (
        f"class {frequent} has {counts[frequent]:,} images to train on and class {rare} {counts[rare]:,}; "
        "loss.class_weights=balanced lets each class count as much as any other"
    )


def _few_steps(recipe: Recipe, sets: Sets) -> str:
    size, images = recipe.data.batch_size, len(sets.train)
    steps = images // size if recipe.data.drop_last else math.ceil(images / size)
    smaller = 2 ** max(images // FEW_STEPS, 1).bit_length() // 2  # the largest power of two that gives enough
    if steps >= FEW_STEPS or not 2 <= smaller < size:  # norms need more than one image
        return ""
    each = "1 step" if steps == 1 else f"{steps} steps"
    return (
        f"an epoch is {each}, and {recipe.schedule.name} of {recipe.epochs} epochs {steps * recipe.epochs} in all; "
        f"data.batch_size={smaller} gives {math.ceil(images / smaller)} an epoch"
    )


def _cut_short(recipe: Recipe) -> str:
    """What never comes where a recipe is trained for fewer epochs than it was made for."""
    options = recipe.schedule.options
    plans = {
        "schedule.knots": [at for at, _ in options.get("knots", ())],
        "schedule.half_cycle_epochs": [options.get("half_cycle_epochs", 0)],
        "schedule.patience": [options["patience"] + 3 if "patience" in options else 0],  # the first at a lower rate
        "augment.resize": [epoch + 1 for epoch, _ in recipe.augment.resize],
        "data.hardest": [epoch + 1 for epoch, _ in recipe.data.hardest],
    }
    beyond = [key for key, ends in plans.items() if ends and math.ceil(max(ends)) > recipe.epochs]
    if not beyond:
        return ""
    go = "goes" if len(beyond) == 1 else "go"
    return f"{', '.join(beyond)} {go} on after the {recipe.epochs} epochs, so what they end with never comes"


def _other_size(recipe: Recipe, sets: Sets) -> str:
    """What a net is not used to: test images of another size than those it has seen last."""
    size = sets.test.image_size
    planned = recipe.augment.resize[-1:]
    if not planned or planned[0][1] == size or planned[0][0] >= recipe.epochs:  # the latter is said already
        return ""
    last = planned[0][1]
    return (
        f"the last epochs train on images of {last} pixels a side, and the test images have {size}; "
        f"augment.resize that ends with {size}, or [] for none, fits them"
    )


def _untested(sets: Sets, measured_on: str) -> str:
    without = [name for name, count in _counts(sets.test.labels, sets).items() if not count]
    if not without:
        return ""
    named = listed(without, _NAMED)
    return f"{measured_on} has no images of {named}, so that nothing will be known of how well these are told"


def _wide(sets: Sets, measured_on: str, *, folds: bool) -> str:
    images = len(sets.test)
    low, high = wilson_interval(round(_TYPICAL * images), images)
    if high - low <= WIDE:
        return ""
    half = 100 * (high - low) / 2
    way_out = "; --folds measures on every training image" if folds else ""
    return (
        f"{measured_on} has {images} image{'s' * (images != 1)}: of an accuracy of {_TYPICAL:.0%}, the 95% "
        f"interval is {half:.0f} points to each side{way_out}"
    )


def _counts(labels: np.ndarray[tuple[int], np.dtype[np.int64]], sets: Sets) -> dict[str, int]:
    """Images by class, in the order of the classes."""
    counts = np.bincount(labels, minlength=len(sets.train.classes)).tolist()
    return dict(zip(sets.train.classes, counts, strict=True))
