"""Cross-validation: one run a fold, and every training image predicted by a net that did not see it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from .. import cross_validation
from ..advice import advice
from ..cross_validation import fold_path
from ..data import Dataset, ImageSet
from ..errors import Stopped, UserError
from ..evaluation import predict_logits
from ..fine_tuning import OTHER_NET, check_same, earlier_weights, weights_digest
from ..folds import Folds, folds_of
from ..hardware import environment, fast, resolve_device
from ..observer import Observer
from ..preparation import (
    Sets,
    build_loader,
    build_net,
    check_images,
    copied,
    load_data,
    resolve,
    split,
    trained_net,
    with_own,
)
from ..progress import default_observer
from ..recipes import OWN, Recipe, absolute, differences, recipe
from ..rehearsal import rehearse
from ..run import locked_for_training
from .folds_explanation import FoldsExplanation, images_of_rows
from .image_files import ImageFiles, image_files
from .resuming import resume
from .runs import Run
from .training import begin, with_init


class CrossValidation(cross_validation.CrossValidation):
    """A finished cross-validation: `onecycle.cross_validate` makes one, `CrossValidation.load` takes one that is there.

    Of the images that took part, in the order of the training images: `logits_nk` float32 [n, k] of the net that did
    not see the image, `labels` [n], `index` [n] the place among the training images, and `fold` [n] the fold, from 1,
    that held it out.
    """

    @property
    def runs(self) -> list[Run]:
        """The run of each fold."""
        return [Run.open(fold_path(self.path, one.fold)) for one in self.by_fold]

    def image_files(self, data_dir: str | Path | None = None) -> ImageFiles | None:
        """The file of each row [n], where the images come as files: of those that `label_errors` lists, too.

        `data_dir` is where they are now. Raises UserError where they are not there, or are not as many as they were.
        """
        wanted, described = cross_validation.plan_of(self.path)
        found = image_files(wanted, data_dir or described.get("data_dir")).get("train")
        if found is None:
            return None
        if len(found) <= int(self.index.max()):
            raise UserError(f"{found.folder}: the images are not those of {self.path}: {len(found)} to train on")
        return ImageFiles(found.folder, tuple(found.names[place] for place in self.index))

    def explain(
        self, *, data: Dataset | ImageSet | None = None, data_dir: str | Path | None = None
    ) -> FoldsExplanation:
        """Training images whose label is likely wrong, with their files, and pictures of them.

        `data` is what the training was handed, `data_dir` where the images are if no longer where they were; without
        them there are no pictures. Raises UserError where they are not there, or are others.
        """
        images, why = images_of_rows(self, data, data_dir)
        files = self.image_files(data_dir) if images is not None and data is None else None
        return FoldsExplanation(self, images, why, self.label_errors(), files)


def cross_validate(
    name: str | Path | Recipe,
    *,
    folds: int = 5,
    model: nn.Module | str | Mapping[str, Any] | None = None,
    data: Dataset | ImageSet | str | Path | Mapping[str, Any] | None = None,
    data_dir: str | Path | None = None,
    init: str | Path | Run | None = None,
    out: str | Path | None = None,
    device: str = "auto",
    report: bool = True,
    observer: Observer | None = None,
    **changes: Any,
) -> CrossValidation:
    """Train a recipe once a fold, each time on all training images but that fold's, which are predicted at the end.

    The folds are stratified, drawn by data.split_seed from what data.train_limit leaves; a held-out part that the
    images bring joins those to train on. The test set takes no part; every fold's net is measured on it. Each fold has
    an ordinary run, in `out`/fold1 and so on; `out` must not exist, and is runs/TIME_NAME_sSEED_foldsK by default. A
    net handed in as `model` is copied for each fold. All else is as for `onecycle.train`: without `report` no fold has
    one, nor pictures. Raises UserError where something cannot work, as where a class has fewer images than there are
    folds, before anything is written.
    """
    if isinstance(folds, bool) or not isinstance(folds, int) or folds < 2:
        raise UserError(f"{folds!r} folds: two or more are needed, such as 5")
    base = recipe(name, **{**with_init(changes, init), "data.fold": [1, folds]})
    wanted, net, dataset = with_own(base, model, data)
    torch_device, watcher = resolve_device(device), observer or default_observer()
    path = Path(out) if out is not None else Run.new_path(f"{wanted.name}_s{wanted.seed}_folds{folds}")
    Run.check_unused(path)
    everything = _Folds(wanted, net, dataset or load_data(wanted, data_dir, observer=watcher), data_dir, torch_device)
    for number in range(1, folds + 1):
        everything.rehearse(number)
    for line in advice(wanted, everything.sets(1)):
        watcher.on_message(line)
    described = environment(torch_device) | everything.fingerprints
    if wanted.init is not None:
        described["init"] = earlier_weights(wanted)
    if data_dir is not None:
        described["data_dir"] = absolute(data_dir)
    cross_validation.begin(path, wanted, described)
    return _go(path, everything, dataset, watcher, report)


def resume_folds(
    path: str | Path,
    *,
    model: nn.Module | None = None,
    data: Dataset | ImageSet | None = None,
    data_dir: str | Path | None = None,
    device: str = "auto",
    report: bool = True,
    observer: Observer | None = None,
) -> CrossValidation:
    """Go on with a cross-validation that was stopped: only the folds that are missing are trained, or gone on with.

    What was handed in is handed in again, the net with the weights that it had. One that is finished is read. Raises
    UserError where the folder is none of a cross-validation, or the images are not those that it began with.
    """
    folder = Path(path)
    wanted, described = cross_validation.plan_of(folder)
    if cross_validation.is_finished(folder):
        return CrossValidation.load(folder)
    given, net, dataset = with_own(wanted, model, data)
    changed = differences(wanted, given)
    if changed:
        raise UserError(f"{folder}: a cross-validation keeps its {', '.join(changed)}")
    watcher, place = observer or default_observer(), data_dir or described.get("data_dir")
    found = dataset or load_data(wanted, place, observer=watcher)
    everything = _Folds(wanted, net, found, place, resolve_device(device))
    for key, value in everything.fingerprints.items():
        if described.get(key) != value:
            others = f"the images are not those that it began with ({key} differs)"
            raise UserError(f"{folder}: {OTHER_NET if key == 'model' else others}")
    return _go(folder, everything, dataset, watcher, report)


class _Folds:
    """What all folds have in common."""

    def __init__(
        self,
        recipe: Recipe,
        net: nn.Module | None,
        dataset: Dataset | Sets,
        data_dir: str | Path | None,
        device: torch.device,
    ) -> None:
        if net is None and recipe.model.name.startswith(OWN):
            raise UserError(f"model {recipe.model.name!r} was handed in from Python; hand it in again with model=")
        self._recipe, self._net, self._dataset = recipe, net, dataset
        self.data_dir, self.device = data_dir, device
        self.folds: Folds = folds_of(recipe, dataset.train, dataset.val if isinstance(dataset, Sets) else None)

    def __len__(self) -> int:
        return int(self.folds.fold.max()) + 1

    @property
    def fingerprints(self) -> dict[str, str]:
        """What tells these images, and a net that was handed in, from others."""
        return {
            "train_fingerprint": self.folds.images.fingerprint(),
            "test_fingerprint": self._dataset.test.fingerprint(),
            **({} if self._net is None else {"model": weights_digest(self._net)}),
        }

    def recipe(self, number: int) -> Recipe:
        """The recipe of a fold, counted from 1."""
        return self._recipe.evolve(data={"fold": (number, len(self))})

    def sets(self, number: int) -> Sets:
        """The images of a fold."""
        return split(self.recipe(number), self._dataset)

    def net(self) -> nn.Module | None:
        """A copy of the net that was handed in."""
        return copied(self._net, "for each fold")

    def rehearse(self, number: int) -> None:
        """Raise UserError where a fold could not be trained."""
        sets = self.sets(number)
        resolved = resolve(self.recipe(number), sets, self.device)
        rehearse(resolved, self.net() or build_net(resolved, len(sets.train.classes)), sets, self.device)


def _go(path: Path, everything: _Folds, handed_in: Dataset | None, watcher: Observer, report: bool) -> CrossValidation:
    """Train what is missing, then predict what each fold held out."""
    with locked_for_training(path):
        _check_init(path, len(everything))
        for number in range(1, len(everything) + 1):
            try:
                _train_fold(path, number, everything, handed_in, watcher, report)
            except Stopped as stopped:
                on = f"go on with: onecycle train --resume {path}"
                where = f"stopped by {stopped.signal_number.name} in fold {number} of {len(everything)}"
                raise Stopped(f"{where}; saved, {on}", stopped.signal_number) from None
        found = _collected(path, everything)
        found.save()
        return found


def _check_init(path: Path, folds: int) -> None:
    """Raise UserError where folds yet to begin would begin with other weights than the first did."""
    wanted, described = cross_validation.plan_of(path)
    places = [fold_path(path, number) for number in range(1, folds + 1)]
    for place in places:
        Run.remove_unbegun(place)
    if wanted.init is not None and not all(place.exists() for place in places):
        check_same(wanted, earlier_weights(wanted), described.get("init"))


def _train_fold(
    path: Path, number: int, everything: _Folds, handed_in: Dataset | None, watcher: Observer, report: bool
) -> None:
    place, net = fold_path(path, number), everything.net()
    if not place.exists():
        watcher.on_message(f"fold {number} of {len(everything)}")
        begin(
            everything.recipe(number),
            net,
            everything.sets(number),
            data_dir=everything.data_dir,
            out=place,
            device=everything.device,
            observer=watcher,
            report=report,
        )
    elif not (Run.open(place).complete if report else Run.open(place).finished):
        watcher.on_message(f"fold {number} of {len(everything)} goes on")
        resume(
            place,
            model=net,
            data=handed_in,
            data_dir=everything.data_dir,
            device=str(everything.device),
            report=report,
            observer=watcher,
        )


def _collected(path: Path, everything: _Folds) -> CrossValidation:
    """What the final net of each fold says of the images that it did not see, in the order of all."""
    folds, tested = everything.folds, []
    classes = folds.images.classes
    logits_nk = np.empty((len(folds.index), len(classes)), np.float32)
    for number in range(1, len(everything) + 1):
        run, sets = Run.open(fold_path(path, number)), everything.sets(number)
        check_images(run, sets)
        assert sets.val is not None, "a fold is held out"
        net = trained_net(run, model=everything.net(), device=everything.device)
        loader = build_loader(run.recipe, sets.val, everything.device, train=False)
        with fast(run.recipe.precision, everything.device):
            logits_nk[folds.fold == number - 1] = predict_logits(net, loader).numpy()
        tested.append(float(run.summary["test"]["accuracy"]))
    labels = folds.images.labels[folds.index]
    return CrossValidation(path, classes, logits_nk, labels, folds.index, folds.fold + 1, tuple(tested))
