"""Image sets that are barely sets, and what every verb must make of them."""

from __future__ import annotations

import itertools
import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import small
import torch
from torch import nn

import onecycle
from onecycle import Dataset, ImageSet
from torture.small_runs import Listener, said, saved
from torture.tally import Tally, at_least


def _labelled(labels: list[int], classes: int, seed: int = 0) -> ImageSet:
    """Noise with those labels."""
    pixels = np.random.default_rng(seed).integers(0, 256, (len(labels), 32, 32, 3), dtype=np.uint8)
    return ImageSet(pixels, np.array(labels, np.int64), tuple(f"class {number}" for number in range(classes)))


def _constant(count: int, level: int) -> ImageSet:
    return ImageSet(np.full((count, 32, 32, 3), level, np.uint8), np.arange(count) % 4, tuple("abcd"))


def _balanced(count: int, classes: int = 4) -> ImageSet:
    return _labelled([number % classes for number in range(count)], classes)


def _twins() -> ImageSet:
    """Each image twice, under two labels."""
    one = _balanced(20)
    pixels = np.concatenate([one.images_nhwc, one.images_nhwc])
    return ImageSet(pixels, np.concatenate([one.labels, (one.labels + 1) % 4]), one.classes)


SETS: dict[str, Callable[[], Any]] = {
    "a label below": lambda: _labelled([0, 1, -1, 2], 3),
    "a label above": lambda: _labelled([0, 1, 3, 2], 3),
    "no images": lambda: Dataset(_balanced(0), _balanced(8)),
    "no test images": lambda: Dataset(_balanced(8), _balanced(0)),
    "a class without training images": lambda: Dataset(_labelled([0, 1, 2] * 20, 4), _balanced(40)),
    "a class without test images": lambda: Dataset(_balanced(60), _labelled([0, 1, 2] * 10, 4)),
    "one class in the test set": lambda: Dataset(_balanced(60), _labelled([2] * 12, 4)),
    "one class in the training set": lambda: Dataset(_labelled([2] * 60, 4), _balanced(12)),
    "one class": lambda: Dataset(_balanced(60, 1), _balanced(12, 1)),
    "black images": lambda: Dataset(_constant(60, 0), _constant(12, 0)),
    "white images": lambda: Dataset(_constant(60, 255), _constant(12, 255)),
    "one level to train, another to test": lambda: Dataset(_constant(60, 9), _constant(12, 200)),
    "the same images under two labels": lambda: Dataset(_twins(), _twins()),
    "an image a class": lambda: Dataset(_balanced(4), _balanced(4)),
    "an image in all": lambda: Dataset(_balanced(1), _balanced(1)),
    "one test image": lambda: Dataset(_balanced(60), _balanced(1)),
    "a last batch of one image": lambda: Dataset(_balanced(61), _balanced(12)),
}


def _flat(classes: int) -> nn.Module:
    """A net whose BatchNorm sees one value an image and channel."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 32), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8, classes))


def _small(classes: int) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(*small.net()[:-1], nn.Linear(32, classes))


def image_sets(folder: Path, seed: int, share: float) -> Tally:
    """Every set, with nets of either kind and several sizes of batches, through every verb."""
    tally = Tally("an image set that is barely one")
    every = list(itertools.product(SETS, (_small, _flat), (1, 20)))
    random = np.random.default_rng((seed, 2))
    refused = 0
    for case in sorted(random.permutation(len(every))[: at_least(len(every), share)]):
        name, net, size = every[case]
        shutil.rmtree(folder / "sets", ignore_errors=True)
        try:
            failure = through(folder / "sets", SETS[name](), net, size, draw=share >= 1)
        except Exception as error:
            refused += 1
            failure = said(error)[1]
        tally.add(failure and f"{name}, {net.__name__}, batches of {size}: {failure}")
    tally.figure = f"{refused} of them refused in a line"
    return tally


def through(folder: Path, data: Dataset, net: Callable[[int], nn.Module], size: int, *, draw: bool) -> str | None:
    """What is wrong with the figures of two trainings on a set, and their comparison; raises where they are refused."""
    runs = []
    for name, seed in (("one", 0), ("two", 1)):
        changes = {"data.batch_size": max(min(size, len(data.train)), 1), "schedule.epochs": 2, "seed": seed}
        model, recipe = net(len(data.train.classes)), small.small_recipe(**changes)
        runs.append(onecycle.train(recipe, model=model, data=data, out=folder / name, observer=Listener()))
    run, model = runs[0], net(len(data.train.classes))
    found = run.evaluate()
    if found.images != len(data.test) or sum(one.images for one in found.by_class) != found.images:
        return "the classes' images do not sum to those of the set"
    for one, images in zip(found.by_class, np.bincount(data.test.labels, minlength=len(found.classes)), strict=True):
        if one.images != images or math.isnan(one.accuracy) != (images == 0):
            return f"{one} of {images} images"
    figures = (found.accuracy, found.loss, found.calibration.ece, found.macro_f1, found.macro_recall)
    rows = [value for row in run.metrics() for value in row.values()]
    if not all(map(math.isfinite, [*figures, *rows])):
        return f"figures that are not finite: {figures}"
    if found.right < found.images:
        explained = run.explain(data=data, model=model)
        if draw:
            explained.save(folder / "pictures")
    page = run.report(data=data, model=model, out=folder / "report.html").read_text(encoding="utf-8")
    if re.search(r"\bnan\b", re.sub('data:[^"]*', "", page), re.IGNORECASE):
        return "the page says nan"
    compared = onecycle.compare(*runs, out=folder / "compared.html", data=data)
    if not 0 <= compared.differences[0].p <= 1 or not math.isfinite(compared.differences[0].interval.low):
        return f"compared: {compared.differences[0]}"
    return saved(folder / "one")
