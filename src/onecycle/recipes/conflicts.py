"""Keys of a recipe that contradict each other: one rule after the other."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from .places import holds_image_files, images_path
from .schema import Recipe


def conflicts(recipe: Recipe) -> Iterator[tuple[tuple[str, ...], str]]:
    """The keys that contradict each other, and what is wrong with them."""
    augment, data = recipe.augment, recipe.data
    size = data.image_size
    if augment.cutout > size:
        yield (
            ("augment.cutout", "data.image_size"),
            f"augment.cutout {augment.cutout} is larger than the image; at most data.image_size, {size}",
        )
    if augment.padding == "reflect" and augment.crop_padding >= size:
        yield (
            ("augment.crop_padding", "augment.padding", "data.image_size"),
            f"augment.crop_padding {augment.crop_padding} cannot be reflected; less than {size}",
        )
    if augment.resized_crop and not augment.resize:
        yield (
            ("augment.resized_crop", "augment.resize"),
            f"augment.resized_crop {augment.resized_crop:g} is for what augment.resize resizes, which is empty; 0",
        )
    for key, from_epochs in (("augment.resize", augment.resize), ("data.hardest", data.hardest)):
        starts = [epoch for epoch, _ in from_epochs]
        if any(later <= earlier for earlier, later in itertools.pairwise(starts)):
            yield (key,), f"{key}: the epochs {starts} do not rise; each must be later than the one before"
    for key, value, default in (("fit", data.fit, "crop"), ("damaged", data.damaged, "refuse")):
        if value != default and not holds_image_files(data.name):
            yield (
                (f"data.{key}", "data.name"),
                f"data.{key} {value} is for images in files of their own; {default} for {data.label}",
            )
    if data.fold is not None and data.val_fraction > 0:
        both = f"data.fold {list(data.fold)} and data.val_fraction {data.val_fraction:g}"
        yield ("data.fold", "data.val_fraction"), f"{both} would each hold out a part; one of the two"
    if recipe.loss.class_weights != "none" and data.batch_size == 1:
        yield (
            ("loss.class_weights", "data.batch_size"),
            f"loss.class_weights {recipe.loss.class_weights} does nothing in batches of one image; data.batch_size 2 "
            "or more, large enough to hold all classes",
        )
    if not isinstance(data.std, str) and min(data.std) <= 0:
        yield ("data.std",), f"data.std {list(data.std)} is not above 0 in every channel"
    yield from _schedule_conflicts(recipe)


def _schedule_conflicts(recipe: Recipe) -> Iterator[tuple[tuple[str, ...], str]]:
    data, every, monitor = recipe.data, recipe.evaluate_every, recipe.schedule.options.get("monitor")
    held_out = data.val_fraction > 0 or data.fold is not None
    # A path may bring a held-out part.
    if monitor == "val_loss" and not held_out and images_path(data.name) is None:
        yield (
            ("schedule.name", "data.val_fraction"),
            "schedule.monitor is val_loss, but data.val_fraction is 0; hold out a part, such as 0.1",
        )
    if monitor == "val_loss" and every != 1:
        yield (
            ("schedule.name", "evaluate_every"),
            f"schedule.monitor is val_loss, but evaluate_every is {every}; 1 is needed",
        )
    if monitor == "train_loss" and data.hardest:
        yield (
            ("schedule.monitor", "data.hardest"),
            "schedule.monitor train_loss rises where data.hardest leaves the easy images out; val_loss, or no hardest",
        )
    if recipe.schedule.options.get("momentum") is not None and recipe.optimizer.name == "muon":
        yield (
            ("schedule.momentum", "optimizer.name"),
            "schedule.momentum does not go with optimizer muon, which has several; adam, adamw or sgd, or null",
        )
