"""Go on with runs that were stopped."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .. import training
from ..agreement import check_agreement, check_shares
from ..data import Dataset, ImageSet
from ..distributed import World, joined
from ..errors import UserError
from ..fine_tuning import check_same, take_over
from ..hardware import environment, resolve_precision, threads
from ..observer import Observer
from ..preparation import (
    as_resolved,
    build_net,
    check_images,
    images_of,
    load_data,
    resolve,
    split,
    with_own,
)
from ..progress import default_observer
from ..recipes import OWN, Recipe, differences, flatten, recipe
from ..rehearsal import rehearse
from . import pictures
from .inspection import report as make_report
from .runs import Run

# What a resumed run may change.
_OF_RESUMING = ("schedule.lr", "schedule.knots", "checkpoint.", "precision", "compile", "resources.")


def resume(
    path: str | Path,
    *,
    name: str | Path | Recipe | None = None,
    changes: Mapping[str, Any] | None = None,
    model: nn.Module | None = None,
    data: Dataset | ImageSet | None = None,
    data_dir: str | Path | None = None,
    device: str = "auto",
    report: bool = True,
    observer: Observer | None = None,
) -> Run:
    """Go on with a stopped training and return its finished run; on a CPU bit for bit as if it never was.

    `changes`, dotted, may touch learning rates, checkpoints, precision, compile and resources alone; the data are
    looked for where they were unless `data_dir` says otherwise. A run that ended before its first checkpoint begins
    anew; a net that was handed in must then come with the weights that it had. Of one whose training has ended, missing
    pictures are drawn and the report is written, no more. Raises UserError where the folder is no run, where `name` is
    given and is not the recipe it began with, or where the images are not those it began with.
    """
    with joined(device) as world:
        watcher = watcher_of(world, observer)
        return go_on(world, path, name, changes or {}, model, data, data_dir, report, watcher)


def go_on(
    world: World,
    path: str | Path,
    name: str | Path | Recipe | None,
    changes: Mapping[str, Any],
    model: nn.Module | None,
    data: Dataset | ImageSet | None,
    data_dir: str | Path | None,
    report: bool,
    watcher: Observer,
) -> Run:
    """As `resume`; each process of the world calls it, and rank 0 alone looks into the folder."""
    device = world.device
    run, stored, finished, saved, images_dir = world.run_on_first(lambda: _opened(Path(path), data_dir))
    wanted, net, dataset = _resumed_recipe(stored, name, changes, model, data, device)
    changed = _check_changes(path, stored, wanted)
    if finished:
        if changed:
            raise UserError(f"{path}: the training has ended, {', '.join(changed)} can no longer change")
        if report and world.first:
            _complete(run, model, data, data_dir, device, watcher)
        return run
    sets = world.local_first(lambda: split(wanted, dataset or load_data(wanted, images_dir, observer=watcher)))
    check_agreement(world, wanted, sets, net)
    if world.first:
        check_images(run, sets)
    resolved = world.run_on_first(lambda: resolve(wanted, sets, device))
    net = net or build_net(resolved, len(sets.train.classes))
    rehearse(resolved, net, sets, device)
    check_shares(world, resolved, sets, net)
    if resolved.init is not None and not saved and world.first:
        check_same(resolved, take_over(net, resolved, sets.train.classes)[1], run.environment.get("init"))
    with threads(resolved.resources.cpus):
        went_on = environment(device) | {"changed": {key: list(values) for key, values in changed.items()}}
        if world.size > 1:
            went_on["processes"] = world.size
        training.train(resolved, net, sets, run, device=device, observer=watcher, resumed_on=went_on, world=world)
    if report and world.first:
        pictures.finish(run, sets, net, device, watcher)
    return run


def _resumed_recipe(
    stored: Recipe,
    name: str | Path | Recipe | None,
    changes: Mapping[str, Any],
    model: nn.Module | None,
    data: Dataset | ImageSet | None,
    device: torch.device,
) -> tuple[Recipe, nn.Module | None, Dataset | None]:
    """The recipe to go on with, as stored or as named, with the changes; the net and images that were handed in."""
    for key, value in flatten(dict(changes)).items():
        if value == "find":
            raise UserError(f"{key} find: a resumed run has begun with {_rate_of(stored, key)}; name a number instead")
    wanted = recipe(stored if name is None else name, **changes)
    if name is not None:
        wanted = recipe(wanted, **_as_last_trained(wanted, stored, changes))
    wanted, net, dataset = with_own(wanted, model, data)
    wanted = as_resolved(wanted, stored)
    if changes.get("precision") == "auto":
        wanted = wanted.evolve(precision=resolve_precision("auto", device))
    return wanted, net, dataset


def _check_changes(path: str | Path, stored: Recipe, wanted: Recipe) -> dict[str, tuple[Any, Any]]:
    """What differs from the stored recipe. Raises UserError where a resumed run must keep it."""
    if wanted.name != stored.name:
        raise UserError(f"{path}: is a run of the recipe {stored.name!r}, not of {wanted.name!r}; leave the recipe out")
    changed = differences(stored, wanted)
    refused = [key for key in changed if not key.startswith(_OF_RESUMING)]
    if refused:
        raise UserError(
            f"{path}: a resumed run keeps its {', '.join(refused)}; only learning rates, checkpoint, precision, "
            "compile and resources may change"
        )
    return changed


def _as_last_trained(wanted: Recipe, stored: Recipe, changes: Mapping[str, Any]) -> dict[str, Any]:
    """What a resumed run may change, as it is stored, but for what is changed now."""
    if wanted.schedule.name != stored.schedule.name:  # refused in a moment
        return {}
    known, asked = flatten(wanted.model_dump()).keys(), flatten(dict(changes)).keys()
    was = flatten(stored.model_dump())
    return {key: was[key] for key in was.keys() & known - asked if key.startswith(_OF_RESUMING)}


def _opened(path: Path, data_dir: str | Path | None) -> tuple[Run, Recipe, bool, bool, str | Path | None]:
    """A run to go on with: itself, its recipe, whether it has ended, or saved a state, and where its images are."""
    run = Run.open(path)
    return run, run.recipe, run.finished, run.saved, data_dir or run.environment.get("data_dir")


def watcher_of(world: World, observer: Observer | None) -> Observer:
    """Rank 0's is told what happens, the others' nothing."""
    return (observer or default_observer()) if world.first else Observer()


def _complete(
    run: Run,
    model: nn.Module | None,
    data: Dataset | ImageSet | None,
    data_dir: str | Path | None,
    device: torch.device,
    observer: Observer,
) -> None:
    """Draw what is missing of a run that has ended, and write its report anew, with the images where they are."""
    run.remove_left_over()
    try:
        sets = images_of(run, data=data, data_dir=data_dir, observer=observer)
    except UserError:
        if data is not None or data_dir is not None:
            raise
        sets = None
    if sets is None or (model is None and run.recipe.model.name.startswith(OWN)):
        make_report(run, data=data, data_dir=data_dir, model=model, device=str(device))
    else:
        pictures.finish(run, sets, model, device, observer, missing_only=True)


def _rate_of(stored: Recipe, key: str) -> Any:
    return stored.schedule.options.get(key.removeprefix("schedule."), "another schedule")
