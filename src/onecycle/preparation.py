"""From a recipe to what is trained: images, net, batches, schedule, and the recipe with nothing left open."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from . import registry
from .compiling import check_mode
from .data import Augmentation, Dataset, ImageSet, Loader, OwnImages, own_images, stratified_split
from .errors import UserError
from .fine_tuning import earlier_statistics
from .folds import folds_of, limited
from .hardware import AUTOCAST_DTYPES, resolve_precision, seed_generators, to_channels_last
from .observer import Observer
from .recipes import OWN, Component, Recipe, absolute, checked, images_path, recipe
from .run import Run
from .schedule import Schedule, rates_to_find

Net = TypeVar("Net", bound=nn.Module | None)

INITIAL_IMAGES = 2000  # enough for the moments of patches; there are about a thousand in an image
TEST_SHARE = 5  # of a set that comes in one piece, one image in so many is for testing


@dataclass(frozen=True)
class Sets:
    """The images that are trained on, those held out (None: none), and the test set."""

    train: ImageSet
    val: ImageSet | None
    test: ImageSet


def with_own(wanted: Recipe, model: Any, data: Any) -> tuple[Recipe, nn.Module | None, Dataset | None]:
    """Put what was handed in for `model` and `data` into the recipe; a net and images come back beside it."""
    net, dataset = None, None
    if isinstance(model, nn.Module):
        net = model
        wanted = wanted.evolve(model=Component(name=OWN + type(model).__name__))
    elif isinstance(model, type):
        raise UserError(f"model is the class {model.__name__}; hand in a net, {model.__name__}(...)")
    elif model is not None:
        wanted = recipe(wanted, model={"name": model} if isinstance(model, str) else model)
    if isinstance(data, Path):
        data = absolute(data)
    if isinstance(data, str | Mapping):
        wanted = recipe(wanted, data={"name": data} if isinstance(data, str) else data)
    elif data is not None:
        dataset = as_dataset(data, wanted.data.split_seed)
        wanted = recipe(wanted, data={"name": f"{OWN}images", "image_size": dataset.train.image_size})
    return checked(wanted, wanted.name), net, dataset


def copied(net: Net, purpose: str) -> Net:
    """A copy of a net, or None of None. Raises UserError, with a purpose such as "for the sweep", if it has no copy."""
    try:
        return copy.deepcopy(net)
    except (RuntimeError, TypeError) as error:
        raise UserError(f"the net {type(net).__name__} cannot be copied {purpose} ({error})") from None


def load_data(
    wanted: Recipe, data_dir: str | Path | None = None, *, observer: Observer | None = None
) -> Dataset | Sets:
    """The recipe's data set, from `data_dir` or where ONECYCLE_DATA points.

    One's own images come from the path that names them, or from `data_dir` if that is where they are now; the
    observer is told what was left out of them. A stratified fifth of them tests where they have no test part.
    """
    part = wanted.data
    if part.name.startswith(OWN):
        raise UserError(
            f"data {part.name!r} was handed in from Python, or held out by a search; hand it in again with data="
        )
    if images_path(part.name) is not None:
        found = load_own(wanted, data_dir, observer=observer)
        train, test = as_dataset(found.train if found.test is None else (found.train, found.test), part.split_seed)
        without = np.setdiff1d(found.train.labels, train.labels)
        if len(without):
            name = train.classes[without[0]]
            raise UserError(f"{part.name}: the one image of {name} is for testing; two of each class, or a test part")
        return Sets(train, found.val, test)
    load = registry.load("data", part.name)
    images = load(data_dir=None if data_dir is None else Path(data_dir), image_size=part.image_size)
    return as_dataset(images, part.split_seed)


def load_own(wanted: Recipe, data_dir: str | Path | None = None, *, observer: Observer | None = None) -> OwnImages:
    """One's own images in the parts that they have, as `load_data` finds them."""
    part, watcher = wanted.data, observer or Observer()
    with watcher.progress_of(part.label) as progress:
        found = own_images(
            Path(absolute(data_dir or part.name)),
            image_size=part.image_size,
            fit=part.fit,
            damaged=part.damaged,
            progress=progress,
        )
    for note in found.notes:
        watcher.on_message(note)
    return found


def as_dataset(data: Any, seed: int) -> Dataset:
    """One's own images as a Dataset: a training and a test set, or one set, of which a stratified fifth tests.

    Raises UserError where they are something else, or do not fit each other.
    """
    if isinstance(data, ImageSet):
        if len(data) < TEST_SHARE:
            raise UserError(
                f"data has {len(data)} images; {TEST_SHARE} or more are needed, as one in {TEST_SHARE} is kept for "
                "testing, or a Dataset with a training and a test set"
            )
        test, train = stratified_split(data.labels, len(data) // TEST_SHARE, seed)
        data = Dataset(data.subset(train), data.subset(test))
    if not (isinstance(data, tuple) and len(data) == 2 and all(isinstance(one, ImageSet) for one in data)):
        raise UserError(f"data is a {type(data).__name__}; a name, an ImageSet or a Dataset of two is needed")
    train_set, test_set = data
    if not len(train_set) or not len(test_set):
        raise UserError(f"data has {len(train_set)} training and {len(test_set)} test images; at least one of each")
    if train_set.classes != test_set.classes:
        raise UserError(f"the classes differ: {list(train_set.classes)} to train, {list(test_set.classes)} to test")
    if len(train_set.classes) < 2:
        raise UserError(f"the classes are {list(train_set.classes)}; two or more are needed")
    if train_set.image_size != test_set.image_size:
        raise UserError(f"the sizes differ: {train_set.image_size} pixels for training, {test_set.image_size} for test")
    return Dataset(train_set, test_set)


def split(wanted: Recipe, dataset: Dataset | Sets) -> Sets:
    """Training, held-out and test set as the recipe's `data` part says; held out first, then limited.

    A held-out part that the images bring is taken as it is; of folds it becomes a part, and these are of what is left
    of a limited set.
    """
    part, train = wanted.data, dataset.train
    val = dataset.val if isinstance(dataset, Sets) else None
    if part.fold is not None:
        train, val = folds_of(wanted, train, val).held_out(part.fold[0] - 1)
    elif val is not None and part.val_fraction > 0:
        raise UserError(f"data.val_fraction is {part.val_fraction:g}; {part.label} has a held-out part, so 0 is needed")
    if part.val_fraction > 0:
        count = round(len(train) * part.val_fraction)
        if not 0 < count < len(train):
            raise UserError(f"data.val_fraction {part.val_fraction:g} holds out {count} of {len(train)} images")
        held_out, rest = stratified_split(train.labels, count, part.split_seed)
        gone = np.setdiff1d(train.labels[held_out], train.labels[rest])
        if len(gone):
            name = train.classes[gone[0]]
            every = f"holds out all images of {name}; a smaller one, or more images of it"
            raise UserError(f"data.val_fraction {part.val_fraction:g} {every}")
        val, train = train.subset(held_out), train.subset(rest)
    if val is None and wanted.schedule.options.get("monitor") == "val_loss":
        raise UserError("schedule.monitor is val_loss, but nothing is held out; data.val_fraction such as 0.1 does so")
    if part.fold is None and part.train_limit not in (None, len(train)):
        train = train.subset(limited(wanted, train))
    if part.batch_size > len(train):
        raise UserError(f"data.batch_size {part.batch_size} is larger than the training set; at most {len(train)}")
    return Sets(train, val, dataset.test)


def resolve(wanted: Recipe, sets: Sets, device: torch.device) -> Recipe:
    """The recipe with every "auto" replaced by what was chosen or measured on the training images.

    What begins with the weights of an earlier run is normalised as that was.
    """
    precision = resolve_precision(wanted.precision, device)
    check_mode(wanted.compile, device)
    mean, std = wanted.data.mean, wanted.data.std
    if "auto" in (mean, std):
        own_mean, own_std = sets.train.channel_statistics() if wanted.init is None else earlier_statistics(wanted)
        mean, std = (own_mean if mean == "auto" else mean), (own_std if std == "auto" else std)
    return checked(wanted.evolve(precision=precision, data={"mean": mean, "std": std}), wanted.name)


def as_resolved(wanted: Recipe, stored: Recipe) -> Recipe:
    """Put the stored recipe's precision, statistics and learning rates where `wanted` leaves them open."""
    mean, std = stored.data.mean, stored.data.std
    statistics = {
        "mean": mean if wanted.data.mean == "auto" else wanted.data.mean,
        "std": std if wanted.data.std == "auto" else wanted.data.std,
    }
    precision = stored.precision if wanted.precision == "auto" else wanted.precision
    found = {key: stored.schedule.options.get(key) for key in rates_to_find(wanted.schedule.options)}
    return wanted.evolve(precision=precision, data=statistics, schedule=found)


def build_net(wanted: Recipe, num_classes: int) -> nn.Module:
    """The recipe's net with fresh weights, which depend on the recipe's seed alone."""
    if wanted.model.name.startswith(OWN):
        raise UserError(f"model {wanted.model.name!r} was handed in from Python; hand it in again with model=")
    build = registry.load("model", wanted.model.name)
    with torch.random.fork_rng([]):
        seed_generators(wanted.seed)
        net = build(num_classes, **wanted.model.options)
    if not isinstance(net, nn.Module):
        raise UserError(f"model {wanted.model.name!r} builds a {type(net).__name__}; an nn.Module is needed")
    return net


def initialize(net: nn.Module, images: Loader) -> None:
    """Let a net that can take its first weights from normalised training images do so, in place.

    Such a net has a method `initialize_from(images_nchw)`; others are left as they are.
    """
    initialize_from = getattr(net, "initialize_from", None)
    if callable(initialize_from):
        first = torch.arange(min(INITIAL_IMAGES, images.samples))
        initialize_from(torch.cat([batch.images_nchw for batch in images.in_order(first)]))


def build_loader(
    recipe: Recipe,
    images: ImageSet,
    device: torch.device,
    *,
    train: bool,
    part: Callable[[int], slice] | None = None,
) -> Loader:
    """Batches in the recipe's precision, normalised as its training set; augmented and shuffled where they train.

    `part` is this process's part of a batch, see `Loader`.
    """
    mean, std = recipe.data.statistics
    return Loader(
        images,
        batch_size=recipe.data.batch_size,
        augmentation=Augmentation(**recipe.augment.model_dump()) if train else None,
        seed=recipe.seed,
        drop_last=recipe.data.drop_last,
        hardest=recipe.data.hardest if train else (),
        part=part,
        mean=mean,
        std=std,
        device=device,
        dtype=AUTOCAST_DTYPES.get(recipe.precision, torch.float32),
    )


def class_weights(recipe: Recipe, images: ImageSet, device: torch.device) -> Tensor | None:
    """The weight of each class [classes] in the loss, from the training images; None where all weigh the same.

    Balanced: images / (classes x images of the class), as scikit-learn's compute_class_weight has it, so that the mean
    weight of an image is 1. The loss of a batch is the weighted mean, as torch's cross_entropy has it: every class
    weighs as much as any other where batches hold all of them, and rare ones less in batches too small for that. Raises
    UserError where a class has no images.
    """
    if recipe.loss.class_weights == "none":
        return None
    counts = np.bincount(images.labels, minlength=len(images.classes))
    without = [name for name, count in zip(images.classes, counts, strict=True) if not count]
    if without:
        raise UserError(
            f"loss.class_weights balanced: class {without[0]!r} has no training images; none, or more images"
        )
    return torch.tensor(len(images) / (len(counts) * counts), dtype=torch.float32, device=device)


def build_schedule(recipe: Recipe, steps_per_epoch: int, options: Mapping[str, Any] | None = None) -> Schedule:
    """The recipe's learning rate as a function of the optimiser step; with `options`, these instead of its own."""
    build = registry.load("schedule", recipe.schedule.name)
    schedule = build(steps_per_epoch, **(recipe.schedule.options if options is None else options))
    if not callable(schedule):
        given = type(schedule).__name__
        raise UserError(f"schedule {recipe.schedule.name!r} builds a {given}; a function from step to rate is needed")
    return cast(Schedule, schedule)


def with_rates(recipe: Recipe, *, lr_min: float, lr_max: float) -> Recipe:
    """The recipe with these numbers where it says "find". Raises UserError where they contradict its other rates."""
    found = {"lr_min": lr_min, "lr_max": lr_max}
    rates = {key: found[key] for key in rates_to_find(recipe.schedule.options)}
    return checked(recipe.evolve(schedule=rates), f"{recipe.name} with the rates that were found")


def fingerprints(sets: Sets) -> dict[str, str | None]:
    """What tells a run's images from others, as its environment.json has it."""
    parts = {"train": sets.train, "val": sets.val, "test": sets.test}
    return {f"{name}_fingerprint": part.fingerprint() if part else None for name, part in parts.items()}


def check_images(run: Run, sets: Sets) -> None:
    """Raise UserError where the images are not those that the run was trained on and tested with."""
    began_with = run.environment
    for key, value in fingerprints(sets).items():
        unknown = key == "val_fingerprint" and key not in began_with  # a run of a time when it was not noted
        if began_with.get(key) != value and not unknown:
            raise UserError(f"{run.path}: the images are not those that the run began with ({key} differs)")


def images_of(
    run: Run, *, data: Any = None, data_dir: str | Path | None = None, observer: Observer | None = None
) -> Sets:
    """The images of a run, found where they were when it began, or in `data_dir`, or handed in again as `data`.

    Raises UserError where they are not at hand, or are others.
    """
    stored = run.recipe
    if data is None:
        dataset = load_data(stored, data_dir or run.environment.get("data_dir"), observer=observer)
    else:
        dataset = as_dataset(data, stored.data.split_seed)
    sets = split(stored, dataset)
    check_images(run, sets)
    return sets


def trained_net(run: Run, *, model: nn.Module | None = None, device: torch.device) -> nn.Module:
    """The run's net with its final weights, in eval mode on the device, channels last.

    `model` is a net that was handed in for the training, which is needed then; it is copied. Raises UserError where
    the training has not ended, the weights are damaged, or they are another net's.
    """
    if model is not None and not isinstance(model, nn.Module):
        raise UserError(f"model is a {type(model).__name__}; the net that was handed in for the training is needed")
    classes, weights = run.classes, run.weights()
    net = build_net(run.recipe, len(classes)) if model is None else copied(model, "for the run's weights")
    known = net.state_dict()
    for name in known.keys() & weights.keys():
        if weights[name].is_complex() and not known[name].is_complex():  # torch would take the real part
            raise UserError(f"{run.path / 'model.safetensors'}: the weights are of another net ({name} is complex)")
    try:
        net.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{run.path / 'model.safetensors'}: the weights are of another net ({reason})") from None
    return to_channels_last(net, device).eval()
