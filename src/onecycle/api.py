"""The public verbs on one run, a function a command, composed from the floors below."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from . import plots, registry, training
from .data import Augmentation, Dataset, ImageSet, Loader, stratified_split
from .errors import UserError
from .hardware import environment, resolve_device, resolve_precision
from .models.summary import Summary, summarize
from .observer import Observer
from .progress import TerminalObserver
from .recipes import OWN, Component, Recipe, differences, recipe
from .run import Run
from .training import Sets

_OF_RESUMING = ("schedule.lr", "checkpoint.", "precision")  # what a resumed run may change


def train(
    name: str | Path | Recipe,
    *,
    model: nn.Module | None = None,
    data: str | Dataset | None = None,
    data_dir: str | Path | None = None,
    out: str | Path | None = None,
    device: str = "auto",
    observer: Observer | None = None,
    **changes: Any,
) -> Run:
    """Train a recipe and return its finished run.

    `name` is a shipped recipe, a YAML file or a Recipe; `changes` are as for `onecycle.recipe`. `model` and `data`
    take one's own net and images; `data` may also be a name. `out` is the run's folder, which must not exist. Progress
    goes to stderr unless an `observer` takes it; `onecycle.Observer()` is silent.
    Raises UserError where something cannot work, before anything is written.
    """
    if isinstance(data, str):
        changes["data.name"] = data
    wanted = recipe(name, **changes)
    chosen = resolve_device(device)
    dataset = data if isinstance(data, Dataset) else load_data(wanted, data_dir)
    if isinstance(data, Dataset):
        wanted = wanted.evolve(data={"name": f"{OWN}images", "image_size": data.train.image_size})
    if model is not None:
        wanted = wanted.evolve(model=Component(name=OWN + type(model).__name__))
    sets = split(wanted, dataset)
    resolved = resolve(wanted, sets, chosen)
    net = model if model is not None else build_net(resolved, len(sets.train.classes))
    described = environment(chosen) | {"data_fingerprint": sets.train.fingerprint()}
    run = Run.create(None if out is None else Path(out), resolved, described)
    return _go(run, resolved, net, sets, chosen, observer, resume=False)


def resume(
    path: str | Path,
    *,
    name: str | Path | Recipe | None = None,
    changes: Mapping[str, Any] | None = None,
    model: nn.Module | None = None,
    data: Dataset | None = None,
    data_dir: str | Path | None = None,
    device: str = "auto",
    observer: Observer | None = None,
) -> Run:
    """Go on with a stopped training and return its finished run; on a CPU bit for bit as if it never was.

    `changes`, dotted, may touch learning rates, checkpoints and precision alone. A run that has ended is
    returned as it is.
    Raises UserError where the folder is no run, or one of another recipe than `name`, where that is given, or where
    the images are not those it began with.
    """
    run = Run.open(Path(path))
    stored = run.recipe
    if name is not None and recipe(name).name != stored.name:
        raise UserError(f"{path}: is a run of the recipe {stored.name!r}, not of {recipe(name).name!r}; leave it out")
    wanted = recipe(stored, **(changes or {}))
    refused = [key for key in differences(stored, wanted) if not key.startswith(_OF_RESUMING)]
    if refused:
        raise UserError(
            f"{path}: a resumed run keeps its {', '.join(refused)}; only learning rates, checkpoint and "
            "precision may change"
        )
    if run.finished:
        draw(run)
        return run
    chosen = resolve_device(device)
    sets = split(wanted, data if data is not None else load_data(wanted, data_dir))
    if sets.train.fingerprint() != run.environment.get("data_fingerprint"):
        raise UserError(f"{path}: the training images are not those that the run began with; hand in the same set")
    resolved = resolve(wanted, sets, chosen)
    net = model if model is not None else build_net(resolved, len(sets.train.classes))
    run.add_resumption(resolved, environment(chosen))
    return _go(run, resolved, net, sets, chosen, observer, resume=True)


def load(path: str | Path) -> Run:
    """A run on disk. Raises UserError where the folder is none."""
    return Run.open(Path(path))


def load_data(wanted: Recipe, data_dir: str | Path | None = None) -> Dataset:
    """The recipe's data set, from `data_dir` or where ONECYCLE_DATA points."""
    if wanted.data.name.startswith(OWN):
        raise UserError(f"data {wanted.data.name!r} was handed in from Python; hand it in again with data=...")
    load = registry.load("data", wanted.data.name)
    dataset: Dataset = load(data_dir=None if data_dir is None else Path(data_dir), image_size=wanted.data.image_size)
    return dataset


def split(wanted: Recipe, dataset: Dataset) -> Sets:
    """Training, held-out and test set as the recipe's `data` part says; held out first, then limited."""
    part, train, val = wanted.data, dataset.train, None
    if part.val_fraction > 0:
        count = round(len(train) * part.val_fraction)
        if not 0 < count < len(train):
            raise UserError(f"data.val_fraction {part.val_fraction:g} holds out {count} of {len(train)} images")
        held_out, rest = stratified_split(train.labels, count, part.split_seed)
        val, train = train.subset(held_out), train.subset(rest)
    if part.train_limit is not None and part.train_limit > len(train):
        raise UserError(f"data.train_limit {part.train_limit} is larger than the training set; at most {len(train)}")
    if part.train_limit is not None and part.train_limit < len(train):
        train = train.subset(stratified_split(train.labels, part.train_limit, part.split_seed)[0])
    if part.batch_size > len(train):
        raise UserError(f"data.batch_size {part.batch_size} is larger than the training set; at most {len(train)}")
    return Sets(train, val, dataset.test)


def resolve(wanted: Recipe, sets: Sets, device: torch.device) -> Recipe:
    """The recipe with every "auto" replaced by what was chosen or measured on the training images."""
    precision = resolve_precision(wanted.precision, device)
    mean, std = wanted.data.mean, wanted.data.std
    if "auto" in (mean, std):
        own_mean, own_std = sets.train.channel_statistics()
        mean, std = (own_mean if mean == "auto" else mean), (own_std if std == "auto" else std)
    return wanted.evolve(precision=precision, data={"mean": mean, "std": std})


def build_net(wanted: Recipe, num_classes: int) -> nn.Module:
    """The recipe's net with fresh weights, which depend on the recipe's seed alone."""
    if wanted.model.name.startswith(OWN):
        raise UserError(f"model {wanted.model.name!r} was handed in from Python; hand it in again with model=...")
    build = registry.load("model", wanted.model.name)
    with torch.random.fork_rng([]):
        torch.manual_seed(wanted.seed)
        net: nn.Module = build(num_classes, **wanted.model.options)
    return net


def summarize_net(name: str, *, num_classes: int = 10, image_size: int = 32, batch_size: int = 1) -> Summary:
    """The layer table of a registered net."""
    return summarize(registry.load("model", name)(num_classes), (batch_size, 3, image_size, image_size))


def describe_data(images: ImageSet) -> dict[str, Any]:
    """Counts, classes and channel statistics of a set."""
    mean, std = images.channel_statistics()
    counts = np.bincount(images.labels, minlength=len(images.classes)).tolist()
    return {
        "images": len(images),
        "image_size": images.image_size,
        "classes": dict(zip(images.classes, counts, strict=True)),
        "mean": list(mean),
        "std": list(std),
    }


def preview(
    name: str | Path | Recipe,
    *,
    out: str | Path,
    samples: int = 10,
    epochs: int = 8,
    data_dir: str | Path | None = None,
    **changes: Any,
) -> Path:
    """Draw training images, one a class in turn, beside what the recipe makes of each in its first epochs."""
    wanted = recipe(name, **changes)
    images = split(wanted, load_data(wanted, data_dir)).train
    subset = images.subset(_classes_in_turn(images.labels, samples))
    mean, _ = images.channel_statistics()
    loader = Loader(
        subset,
        batch_size=len(subset),
        augmentation=Augmentation(**wanted.augment.model_dump()),
        seed=wanted.seed,
        mean=mean,
        std=(1.0, 1.0, 1.0),
    )
    views = []
    for epoch in range(epochs):
        batch = next(iter(loader.epoch(epoch)))
        pixels = (batch.images_nchw.permute(0, 2, 3, 1) + torch.tensor(mean)).mul(255).round().clamp(0, 255)
        views.append(pixels.to(torch.uint8)[batch.samples.argsort()].numpy())
    figure = plots.augmentation_grid(
        subset.images_nhwc,
        np.stack(views, axis=1),
        [images.classes[label] for label in subset.labels],
        f"{wanted.name}: what the net sees in epochs 1 to {epochs}",
    )
    return plots.save(figure, Path(out))


def draw(run: Run) -> list[Path]:
    """Draw the run's curves into its plots folder."""
    title = f"{run.recipe.name} on {run.recipe.data.name}, seed {run.recipe.seed}"
    return [plots.save(plots.curves(run.metrics(), run.steps(), title), run.plots / "curves.png")]


def _go(
    run: Run,
    resolved: Recipe,
    net: nn.Module,
    sets: Sets,
    device: torch.device,
    observer: Observer | None,
    *,
    resume: bool,
) -> Run:
    training.train(resolved, net, sets, run, device=device, observer=observer or TerminalObserver(), resume=resume)
    draw(run)
    return run


def _classes_in_turn(labels: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Indices of `count` images: the first of each class, then the second of each, and so on."""
    rank = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        rank[labels == label] = np.arange(np.count_nonzero(labels == label))
    return np.lexsort((labels, rank))[:count]
