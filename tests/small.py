"""Small things to train: a net of a few hundred weights and a few dozen images that it can learn."""

from __future__ import annotations

import functools
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import nn

from onecycle import Dataset, ImageSet, Observer, Progress, Recipe, Run, recipe

TIMES = {"compile_seconds", "train_seconds", "images_per_second", "elapsed_s", "wall_seconds", "tta_seconds"}


class StopAt(Observer):
    """Sends this process a signal once so many steps are done."""

    def __init__(self, step: int, number: int = signal.SIGINT) -> None:
        self.step, self.number = step, number

    def on_progress(self, progress: Progress) -> None:
        if progress.step == self.step:
            os.kill(os.getpid(), self.number)


def images(count: int = 200, seed: int = 0, classes: int = 4) -> ImageSet:
    """Noise with a bright quarter that tells the class."""
    pixels, labels = _drawn(count, seed, classes)
    return ImageSet(pixels.copy(), labels.copy(), tuple(f"class {number}" for number in range(classes)))


@functools.lru_cache(32)  # hundreds of tests draw the same ones
def _drawn(count: int, seed: int, classes: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    random = np.random.default_rng(seed)
    labels = random.permutation(np.arange(count) % classes)
    pixels = random.integers(0, 160, (count, 32, 32, 3), dtype=np.uint8)
    for number, label in enumerate(labels):
        top, left = 16 * (label // 2 % 2), 16 * (label % 2)
        pixels[number, top : top + 16, left : left + 16] += 80
    return pixels, labels.astype(np.int64)


def dataset() -> Dataset:
    """200 training and 60 test images."""
    return Dataset(images(200, 0), images(60, 1))


def net(dropout: float = 0.2, seed: int = 0) -> nn.Module:
    """Convs (whose channels-last weights differ from NCHW in memory), BatchNorm, in-place ReLU and dropout."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=4, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
        nn.Conv2d(8, 8, 3, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(32, 4),
    )


def small_recipe(**changes: Any) -> Recipe:
    """Three epochs of four steps; the last batch is short."""
    base: dict[str, Any] = {
        "data.batch_size": 60,
        "augment.flip": "none",
        "schedule.epochs": 3,
        "schedule.peak_epoch": 1,
        "schedule.lr_max": 0.02,
        "schedule.lr_min": 0.001,
    }
    if "schedule" in changes:  # another schedule, with rates of its own
        base = {key: value for key, value in base.items() if not key.startswith("schedule.")}
    return recipe("custom_resnet", **{**base, **changes})


def weights(run: Run) -> dict[str, torch.Tensor]:
    """The final weights and buffers."""
    return load_file(run.path / "model.safetensors")


def assert_same_run(one: Run, other: Run) -> None:
    """Bit-equal weights, predictions, metrics and steps; columns that hold times are left out."""
    left, right = weights(one), weights(other)
    assert left.keys() == right.keys()
    for name in left:
        assert torch.equal(left[name], right[name]), name
    for name, value in one.predictions().items():
        np.testing.assert_array_equal(value, other.predictions()[name])
    for rows, other_rows in ((one.metrics(), other.metrics()), (one.steps(), other.steps())):
        assert [_timeless(row) for row in rows] == [_timeless(row) for row in other_rows]
    timeless = [_timeless({**run.summary, "test": _timeless(run.summary["test"])}) for run in (one, other)]
    assert timeless[0] == timeless[1]


def files(folder: Path) -> set[str]:
    """The names of all files below a folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def _timeless(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in TIMES}


def readme_recipe() -> Recipe:
    """Stands for the recipe of two hours where the README's examples are run."""
    changes = {"model.name": "compact", "data.train_limit": 40, "data.batch_size": 20, "evaluate_every": 0}
    return recipe("digits", **changes)
