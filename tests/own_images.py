"""Folders of images for tests, in place of somebody's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onecycle import ImageSet, Recipe, recipe
from onecycle.data import cache


@pytest.fixture(autouse=True, name="cached")
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the decoded images of each test go that imports this: not to the user's own."""
    # Not by the environment, where matplotlib would look for its fonts, and gather them anew.
    monkeypatch.setattr(cache, "cache_folder", lambda: tmp_path / "cache")
    return tmp_path / "cache/images"


def write_images(folder: Path, images: ImageSet, first: int = 0) -> Path:
    """Each image as folder/CLASS/00000.png, numbered from `first` in the order of the set."""
    for number, (pixels, label) in enumerate(zip(images.images_nhwc, images.labels, strict=True), first):
        place = folder / images.classes[label]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place / f"{number:05}.png", compress_level=1)
    return folder


def write_plain(path: Path, level: int = 128, size: tuple[int, int] = (8, 8)) -> Path:
    """An image of one grey level; the folders on the way to it are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size[::-1], 3), level, np.uint8)).save(path)
    return path


def write_levels(folder: Path, levels: dict[str, int]) -> Path:
    """An image for each path below the folder, of the grey level beside it."""
    for name, level in levels.items():
        write_plain(folder / name, level)
    return folder


def docs_recipe() -> Recipe:
    """Stands for the custom ResNet's where the commands of docs/own-data.md are run."""
    changes = {"model.name": "compact", "data.batch_size": 16, "schedule.epochs": 1, "schedule.peak_epoch": 0.5}
    return recipe("digits", **changes).evolve(name="custom_resnet")
