"""How was it made, and can I make it again?"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from .. import registry
from ..comparison import setting
from ..data import Augmentation, ImageSet
from ..data.views import augmented_views, classes_in_turn
from ..models.summary import Summary, summarize
from ..progress.numbers import duration
from ..recipes import OWN, Recipe, differences
from ..recipes import recipe as shipped_recipe
from ..run import Run
from .images import data_uri

SAMPLES, EPOCHS = 5, 8  # augmented images, and views of each
_VIEWS_BYTES = 400_000
FACTS = {  # of an environment.json, and what a reader calls them
    "onecycle": "onecycle",
    "python": "Python",
    "torch": "PyTorch",
    "numpy": "NumPy",
    "platform": "system",
    "device_name": "device",
    "threads": "threads",
    "git_commit": "commit",
}


@dataclass(frozen=True)
class Sample:
    """A training image and what augmentation made of it in each of the first epochs, as data URIs."""

    name: str
    original: str
    views: tuple[str, ...]


@dataclass(frozen=True)
class Making:
    """What is needed to make the run again; `changes` are keys with the value here and in the shipped recipe.

    `again` is None where the net or the images were handed in from Python, `altered` where a key changed on the way.
    """

    command: str | None
    again: str | None
    recipe: Recipe
    shipped: bool
    changes: dict[str, tuple[str, str]]
    environment: dict[str, str]
    resumed: tuple[str, ...]
    altered: bool
    summary: Summary | None
    samples: tuple[Sample, ...]


def making(run: Run, net: nn.Module | None, train_images: ImageSet | None) -> Making:
    """Command, recipe, environment, layers, and augmented samples where the training images are at hand."""
    recipe, environment = run.recipe, run.environment
    shipped = shipped_recipe(recipe.name) if recipe.name in registry.names("recipe") else None
    size = recipe.data.image_size
    return Making(
        command=command(environment.get("argv")),
        again=None if _from_python(recipe) else shlex.join(["onecycle", "train", str(run.path / "recipe.yaml")]),
        recipe=recipe,
        shipped=shipped is not None,
        changes=changes(recipe, shipped, found=run.has("lr_range.json")) if shipped else {},
        environment=_environment(run, environment),
        resumed=tuple(_resumed(environment)),
        altered=any(one.get("changed") for one in environment.get("resumed", [])),
        summary=None if net is None else summarize(net, (1, 3, size, size)),
        samples=() if train_images is None else _samples(recipe, train_images),
    )


def command(argv: list[str] | None) -> str | None:
    """The command line that started the training; None where Python did, as from a notebook."""
    if not argv or Path(argv[0]).name not in ("onecycle", "onecycle.exe", "__main__.py"):
        return None
    return shlex.join(["onecycle", *argv[1:]])


def changes(recipe: Recipe, shipped: Recipe, *, found: bool = False) -> dict[str, tuple[str, str]]:
    """The keys in which a run's recipe differs from the shipped one.

    Not those which that leaves open: as "auto", and as "find" where a range test `found` what stands here.
    """
    open_words = {"auto", "find"} if found else {"auto"}
    return {
        key: (setting(here), setting(there))
        for key, (there, here) in differences(shipped, recipe).items()
        if not (isinstance(there, str) and there in open_words)
    }


def _environment(run: Run, environment: Mapping[str, Any]) -> dict[str, str]:
    facts = {name: str(environment[key]) for key, name in FACTS.items() if environment.get(key) is not None}
    facts["precision"] = run.recipe.precision
    if run.finished:
        summary = run.summary
        facts["training"] = f"{duration(summary['train_seconds'])}, {summary['images_per_second']:,.0f} images/s"
        facts["in all"] = f"{duration(summary['wall_seconds'])} with evaluation and checkpoints"
    return facts


def _resumed(environment: Mapping[str, Any]) -> list[str]:
    return [
        f"after step {one['step']:,}"
        + (f" on {one['device_name']}" if "device_name" in one else "")
        + "".join(
            f", with {key} {setting(now)} instead of {setting(before)}"
            for key, (before, now) in one.get("changed", {}).items()
        )
        for one in environment.get("resumed", [])
    ]


def _from_python(recipe: Recipe) -> bool:
    return recipe.model.name.startswith(OWN) or recipe.data.name.startswith(OWN)


def _samples(recipe: Recipe, images: ImageSet) -> tuple[Sample, ...]:
    subset = images.subset(classes_in_turn(images.labels, SAMPLES))
    augmentation = Augmentation(**recipe.augment.model_dump())
    mean, _ = recipe.data.statistics
    views = augmented_views(subset, augmentation, mean=mean, seed=recipe.seed, epochs=EPOCHS)
    samples: list[Sample] = []
    room = _VIEWS_BYTES
    for number, label in enumerate(subset.labels):
        sample = Sample(
            images.classes[label],
            data_uri(subset.images_nhwc[number]),
            tuple(data_uri(view) for view in views[number]),
        )
        room -= len(sample.original) + sum(map(len, sample.views))
        if room < 0:
            break
        samples.append(sample)
    return tuple(samples)
