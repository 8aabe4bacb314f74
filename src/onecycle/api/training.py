"""Make runs."""

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
from ..fine_tuning import take_over
from ..hardware import environment, threads
from ..lr_range import LrRange
from ..observer import Observer
from ..preparation import (
    Sets,
    build_net,
    fingerprints,
    load_data,
    resolve,
    split,
    with_own,
    with_rates,
)
from ..recipes import Recipe, absolute, recipe
from ..rehearsal import rehearse
from ..run import Run as RunFolder
from ..schedule import rates_to_find
from ..torchrun import may_restart, restarts
from . import pictures
from .found_rates import draw, kept_if_refused
from .resuming import go_on, watcher_of
from .runs import Run


def train(
    name: str | Path | Recipe,
    *,
    model: nn.Module | str | Mapping[str, Any] | None = None,
    data: Dataset | ImageSet | str | Path | Mapping[str, Any] | None = None,
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
        watcher = watcher_of(world, observer)
        if world.run_on_first(lambda: begun_before(out)):
            assert out is not None
            return go_on(world, out, wanted, {}, net, dataset, data_dir, report, watcher)
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
        pictures.finish(run, sets, net, device, observer)
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
