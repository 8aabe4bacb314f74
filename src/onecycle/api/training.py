"""Make runs: train, go on, find learning rates."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .. import lr_range, plots, training
from .. import run as folder
from ..advice import advice
from ..data import Dataset, ImageSet
from ..errors import UserError
from ..fine_tuning import check_same, take_over
from ..hardware import environment, resolve_device
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
    rehearse,
    resolve,
    split,
    with_own,
    with_rates,
)
from ..progress import default_observer
from ..recipes import OWN, Recipe, differences, flatten, recipe
from ..schedule import rates_to_find
from .inspection import report as make_report
from .pictures import finish
from .runs import Run

_OF_RESUMING = ("schedule.lr", "schedule.knots", "checkpoint.", "precision")  # what a resumed run may change


def train(
    name: str | Path | Recipe,
    *,
    model: nn.Module | str | Mapping[str, Any] | None = None,
    data: Dataset | ImageSet | str | Mapping[str, Any] | None = None,
    data_dir: str | Path | None = None,
    init: str | Path | folder.Run | None = None,
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
    pictures nor report are made; `Run.report` makes them later. Where the schedule says
    "find", a range test comes first, and is kept in the run. Raises UserError where something cannot work, before
    anything is written.
    """
    wanted, net, dataset = with_own(recipe(name, **with_init(changes, init)), model, data)
    chosen = resolve_device(device)
    watcher = observer or default_observer()
    sets = split(wanted, dataset or load_data(wanted, data_dir, observer=watcher))
    for line in advice(wanted, sets):
        watcher.on_message(line)
    return begin(wanted, net, sets, data_dir=data_dir, out=out, device=chosen, watcher=watcher, report=report)


def begin(
    wanted: Recipe,
    net: nn.Module | None,
    sets: Sets,
    *,
    data_dir: str | Path | None,
    out: str | Path | None,
    device: torch.device,
    watcher: Observer,
    report: bool = True,
) -> Run:
    """Train a recipe on images that are there, with the net that was handed in if one was; as `train`."""
    chosen, own_net = device, net
    resolved = resolve(wanted, sets, chosen)
    net = net or build_net(resolved, len(sets.train.classes))
    rehearse(resolved, net, sets)
    Run.check_unused(out)
    described = environment(chosen) | fingerprints(sets)
    if resolved.init is not None:
        said, described["init"] = take_over(net, resolved, sets.train.classes)
        watcher.on_message(said)
    found = None
    if rates_to_find(resolved.schedule.options):
        found = _find(resolved, sets, chosen, own_net, watcher)
        resolved = with_rates(resolved, lr_min=found.lr_min, lr_max=found.lr_max)
    if data_dir is not None:  # so that the run can be resumed without naming it again
        described["data_dir"] = str(Path(data_dir).absolute())
    run = Run.create(None if out is None else Path(out), resolved, described, found.to_dict() if found else None)
    if found:
        _draw(run, found)
        for message in found.messages:
            watcher.on_message(message)
    training.train(resolved, net, sets, run, device=chosen, observer=watcher)
    if report:
        finish(run, sets, net, chosen, watcher)
    return run


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

    `changes`, dotted, may touch learning rates, checkpoints and precision alone; the data are looked for where they
    were unless `data_dir` says otherwise. A run that ended before its first checkpoint begins anew; a net that was
    handed in must then come with the weights that it had. Of one whose training has ended, missing pictures are drawn
    and the report is written, no more. Raises UserError where the folder is no run, where `name` is given and is not
    the recipe it began with, or where the images are not those it began with.
    """
    run = Run.open(Path(path))
    stored = run.recipe
    for key, value in flatten(dict(changes or {})).items():
        if value == "find":
            raise UserError(f"{key} find: a resumed run has begun with {_rate_of(stored, key)}; name a number instead")
    wanted, net, dataset = with_own(recipe(stored if name is None else name, **(changes or {})), model, data)
    wanted = as_resolved(wanted, stored)
    if wanted.name != stored.name:
        raise UserError(f"{path}: is a run of the recipe {stored.name!r}, not of {wanted.name!r}; leave the recipe out")
    changed = differences(stored, wanted)
    refused = [key for key in changed if not key.startswith(_OF_RESUMING)]
    if refused:
        raise UserError(
            f"{path}: a resumed run keeps its {', '.join(refused)}; only learning rates, checkpoint and "
            "precision may change"
        )
    if run.finished:
        if changed:
            raise UserError(f"{path}: the training has ended, {', '.join(changed)} can no longer change")
        if report:
            _complete(run, model, data, data_dir, resolve_device(device), observer or default_observer())
        return run
    chosen = resolve_device(device)
    watcher = observer or default_observer()
    place = data_dir or run.environment.get("data_dir")
    sets = split(wanted, dataset or load_data(wanted, place, observer=watcher))
    check_images(run, sets)
    resolved = resolve(wanted, sets, chosen)
    net = net or build_net(resolved, len(sets.train.classes))
    rehearse(resolved, net, sets)
    if resolved.init is not None and not run.saved:
        check_same(resolved, take_over(net, resolved, sets.train.classes)[1], run.environment.get("init"))
    went_on = environment(chosen) | {"changed": {key: list(values) for key, values in changed.items()}}
    training.train(resolved, net, sets, run, device=chosen, observer=watcher, resumed_on=went_on)
    if report:
        finish(run, sets, net, chosen, watcher)
    return run


def find_lr(
    name: str | Path | Recipe,
    *,
    model: nn.Module | str | Mapping[str, Any] | None = None,
    data: Dataset | ImageSet | str | Mapping[str, Any] | None = None,
    data_dir: str | Path | None = None,
    init: str | Path | folder.Run | None = None,
    out: str | Path | None = None,
    device: str = "auto",
    sweeps: int = lr_range.SWEEPS,
    steps: int = lr_range.STEPS,
    lr_start: float | None = None,
    lr_end: float | None = None,
    rule: str = lr_range.RULE,
    rule_min: str = lr_range.RULE_MIN,
    observer: Observer | None = None,
    **changes: Any,
) -> LrRange:
    """Find lr_min and lr_max for a recipe by a learning-rate range test; see `onecycle.lr_range`.

    `name`, `model`, `data`, `init` and `changes` are as for `train`. Each of the `sweeps` trains a copy of the net for
    `steps` steps while the rate rises from `lr_start` to `lr_end`, by default a range that suits the optimiser. With
    `out`, a folder which must not exist, the result is kept as lr_range.json, plots/lr_range.png and a recipe.yaml that
    has the rates. Raises UserError where a sweep is impossible, or shows nothing.
    """
    wanted, net, dataset = with_own(recipe(name, **with_init(changes, init)), model, data)
    chosen, watcher = resolve_device(device), observer or default_observer()
    sets = split(wanted, dataset or load_data(wanted, data_dir, observer=watcher))
    resolved = resolve(wanted, sets, chosen)
    rehearse(resolved, net or build_net(resolved, len(sets.train.classes)), sets)
    Run.check_unused(out)
    found = _find(
        resolved,
        sets,
        chosen,
        net,
        watcher,
        sweeps=sweeps,
        steps=steps,
        lr_start=lr_start,
        lr_end=lr_end,
        rule=rule,
        rule_min=rule_min,
    )
    if out is not None:
        rates = {key: getattr(found, key) for key in ("lr_min", "lr_max") if key in resolved.schedule.options}
        described = environment(chosen) | fingerprints(sets)
        _draw(Run.create(Path(out), resolved.evolve(schedule=rates), described, found.to_dict()), found)
    return found


def with_init(changes: Mapping[str, Any], init: str | Path | folder.Run | None) -> dict[str, Any]:
    """The changes of a recipe, with the run to begin from where one is named."""
    if init is None:
        return dict(changes)
    return {**changes, "init": str(init.path if isinstance(init, folder.Run) else init)}


def _find(
    recipe: Recipe, sets: Sets, device: torch.device, net: nn.Module | None, observer: Observer, **options: Any
) -> LrRange:
    """The range test, with its progress."""
    with observer.progress_of("learning-rate range test") as say:
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


def _draw(run: Run, found: LrRange) -> None:
    """Draw a range test into its run."""
    plots.save(plots.lr_range(found), run.plots / "lr_range.png")


def _rate_of(stored: Recipe, key: str) -> Any:
    return stored.schedule.options.get(key.removeprefix("schedule."), "another schedule")
