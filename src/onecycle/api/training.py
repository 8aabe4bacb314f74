"""Make runs: train, and go on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .. import lr_range, training
from ..advice import advice
from ..agreement import check_agreement, check_shares
from ..data import Dataset, ImageSet
from ..distributed import World, joined
from ..errors import RatesRefused, UserError
from ..fine_tuning import check_same, take_over
from ..hardware import environment, resolve_precision, threads
from ..lr_range import LrRange
from ..observer import Observer
from ..preparation import (
    Sets,
    as_resolved,
    build_net,
    check_images,
    fingerprints,
    images_of,
    load_data,
    resolve,
    split,
    with_own,
    with_rates,
)
from ..progress import default_observer
from ..recipes import OWN, Recipe, absolute, differences, flatten, recipe
from ..rehearsal import rehearse
from ..run import Run as RunFolder
from ..schedule import rates_to_find
from ..torchrun import may_restart, restarts
from .found_rates import draw, kept_if_refused
from .inspection import report as make_report
from .pictures import finish
from .runs import Run

# What a resumed run may change.
_OF_RESUMING = ("schedule.lr", "schedule.knots", "checkpoint.", "precision", "compile", "resources.")


def train(
    name: str | Path | Recipe,
    *,
    model: nn.Module | str | Mapping[str, Any] | None = None,
    data: Dataset | ImageSet | str | Mapping[str, Any] | None = None,
    data_dir: str | Path | None = None,
    init: str | Path | RunFolder | None = None,
    out: str | Path | None = None,
    device: str = "auto",
    report: bool = True,
    observer: Observer | None = None,
    **changes: Any,
) -> Run:
    """Train a recipe and return its finished run.

    `name` is a shipped recipe, a YAML file or a Recipe; `changes` are as for `onecycle.recipe`. `model` and `data` take
    one's own net and images, or a name or keys as the recipe has them; a single ImageSet is split, a stratified fifth
    of it tests. A path names images as `onecycle.data.own_images` reads them. `init` is an earlier run of the same net,
    whose weights the training begins with. `out` is the run's folder, which must not exist. Progress goes to stderr, or
    to the cell of a notebook, unless an `observer` takes it; `onecycle.Observer()` is silent. Without `report` neither
    pictures nor report are made; `Run.report` makes them later. Where the schedule says "find", a range test comes
    first, and is kept in the run. Raises UserError where something cannot work, before anything is written but a range
    test whose rates contradict the recipe's: that is kept in a folder beside the run's.
    """
    wanted, net, dataset = with_own(recipe(name, **with_init(changes, init)), model, data)
    with joined(device) as world:
        watcher = _watcher(world, observer)
        if world.run_on_first(lambda: begun_before(out)):
            assert out is not None
            return _resume(world, out, wanted, {}, net, dataset, data_dir, report, watcher)
        sets = world.local_first(lambda: split(wanted, dataset or load_data(wanted, data_dir, observer=watcher)))
        for line in advice(wanted, sets):
            watcher.on_message(line)
        return begin(
            wanted,
            net,
            sets,
            data_dir=data_dir,
            out=out,
            device=world.device,
            observer=watcher,
            report=report,
            world=world,
        )


def begin(
    wanted: Recipe,
    handed_in: nn.Module | None,
    sets: Sets,
    *,
    data_dir: str | Path | None,
    out: str | Path | None,
    device: torch.device,
    observer: Observer,
    report: bool = True,
    world: World | None = None,
) -> Run:
    """Train a recipe on loaded images, with the net that was `handed_in` if one was; otherwise as `train`.

    Each process of a `world` calls this, and rank 0 makes the run.
    """
    world = world or World(device)
    check_agreement(world, wanted, sets, handed_in)
    resolved = world.run_on_first(lambda: resolve(wanted, sets, device))
    net = handed_in or build_net(resolved, len(sets.train.classes))
    rehearse(resolved, net, sets, device)
    check_shares(world, resolved, sets, net)
    resolved, run = world.run_on_first(
        lambda: _create_run(resolved, handed_in, net, sets, data_dir, out, device, observer, world)
    )
    with threads(resolved.resources.cpus):
        training.train(resolved, net, sets, run, device=device, observer=observer, world=world)
    if report and world.first:
        finish(run, sets, net, device, observer)
    return run


def _create_run(
    resolved: Recipe,
    handed_in: nn.Module | None,
    net: nn.Module,
    sets: Sets,
    data_dir: str | Path | None,
    out: str | Path | None,
    device: torch.device,
    observer: Observer,
    world: World,
) -> tuple[Recipe, Run]:
    """Take over the weights of `init`, run the range test where rates are open, then create the run folder.

    Returns the recipe with the rates that were found, and the run.
    """
    Run.check_unused(out)
    with threads(resolved.resources.cpus):
        described = starting_environment(sets, device, data_dir)
    if resolved.init is not None:
        said, described["init"] = take_over(net, resolved, sets.train.classes)
        observer.on_message(said)
    found = None
    if rates_to_find(resolved.schedule.options):
        found = _swept(resolved, sets, device, handed_in, observer)
        for message in found.messages:
            observer.on_message(message)
        beside = Run.new_path("find-lr", Path(out)) if out is not None else Run.new_path(f"{resolved.name}_find-lr")
        with kept_if_refused(found, beside, described):
            resolved = with_rates(resolved, lr_min=found.lr_min, lr_max=found.lr_max)
    if world.size > 1:
        described["processes"] = world.size
    run = Run.create(None if out is None else Path(out), resolved, described, found.to_dict() if found else None)
    if found:
        draw(run, found)
    return resolved, run


def _swept(recipe: Recipe, sets: Sets, device: torch.device, net: nn.Module | None, observer: Observer) -> LrRange:
    try:
        return sweep(recipe, sets, device, net, observer)
    except UserError as error:
        raise RatesRefused(*error.problems) from None


def starting_environment(sets: Sets, device: torch.device, data_dir: str | Path | None) -> dict[str, Any]:
    """The contents of environment.json for a run that begins here and now."""
    found = environment(device) | fingerprints(sets)
    if data_dir is not None:  # so that the run can be resumed without naming it again
        found["data_dir"] = absolute(data_dir)
    return found


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
        watcher = _watcher(world, observer)
        return _resume(world, path, name, changes or {}, model, data, data_dir, report, watcher)


def _resume(
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
        finish(run, sets, net, device, watcher)
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


def with_init(changes: Mapping[str, Any], init: str | Path | RunFolder | None) -> dict[str, Any]:
    """The changes of a recipe, with the run to begin from where one is named."""
    if init is None:
        return dict(changes)
    return {**changes, "init": str(init.path if isinstance(init, RunFolder) else init)}


def begun_before(out: str | Path | None) -> bool:
    """Whether torchrun has started the processes anew, and the training of before has its folder.

    Raises UserError where it may do so and no folder is named: what had been trained would be lost.
    """
    if out is None:
        if may_restart():
            raise UserError("torchrun --max-restarts needs --out DIR, so that the training goes on after a restart")
        return False
    if restarts() == 0:
        return False
    Run.remove_unbegun(Path(out))
    return Path(out).exists()


def _opened(path: Path, data_dir: str | Path | None) -> tuple[Run, Recipe, bool, bool, str | Path | None]:
    """A run to go on with: itself, its recipe, whether it has ended, or saved a state, and where its images are."""
    run = Run.open(path)
    return run, run.recipe, run.finished, run.saved, data_dir or run.environment.get("data_dir")


def _watcher(world: World, observer: Observer | None) -> Observer:
    """Rank 0's is told what happens, the others' nothing."""
    return (observer or default_observer()) if world.first else Observer()


def sweep(
    recipe: Recipe, sets: Sets, device: torch.device, net: nn.Module | None, observer: Observer, **options: Any
) -> LrRange:
    """The range test, with its progress."""
    with threads(recipe.resources.cpus), observer.progress_of("learning-rate range test") as say:
        return lr_range.find(
            recipe,
            sets,
            device=device,
            net=net,
            on_step=lambda done, total, lr, loss: say(done, total, f"lr {lr:.2e}  loss {loss:.3f}"),
            **options,
        )


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
        finish(run, sets, model, device, observer, missing_only=True)


def _rate_of(stored: Recipe, key: str) -> Any:
    return stored.schedule.options.get(key.removeprefix("schedule."), "another schedule")
