"""Find learning rates without a training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from .. import lr_range
from ..data import Dataset, ImageSet
from ..fine_tuning import earlier_weights
from ..hardware import resolve_device
from ..lr_range import LrRange
from ..observer import Observer
from ..preparation import build_net, load_data, resolve, split, with_own
from ..progress import default_observer
from ..recipes import Recipe, checked, recipe
from ..rehearsal import rehearse
from ..run import Run as RunFolder
from .found_rates import draw, kept_if_refused, left_over, rates_taken
from .runs import Run
from .training import starting_environment, sweep, with_init


def find_lr(
    name: str | Path | Recipe,
    *,
    model: nn.Module | str | Mapping[str, Any] | None = None,
    data: Dataset | ImageSet | str | Path | Mapping[str, Any] | None = None,
    data_dir: str | Path | None = None,
    init: str | Path | RunFolder | None = None,
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
    has the rates; of a schedule without both it keeps its own. Progress goes where `train` has it, and so does what
    makes the choice doubtful, or what the recipe could not take of it. Raises UserError where a sweep is impossible, or
    shows nothing, and where the recipe's other rates contradict what was found, which is then kept all the same.
    """
    wanted, net, dataset = with_own(recipe(name, **with_init(changes, init)), model, data)
    torch_device, watcher = resolve_device(device), observer or default_observer()
    sets = split(wanted, dataset or load_data(wanted, data_dir, observer=watcher))
    resolved = resolve(wanted, sets, torch_device)
    rehearse(resolved, net or build_net(resolved, len(sets.train.classes)), sets, torch_device)
    if out is not None:
        Run.check_unused(out)
    found = sweep(
        resolved,
        sets,
        torch_device,
        net,
        watcher,
        sweeps=sweeps,
        steps=steps,
        lr_start=lr_start,
        lr_end=lr_end,
        rule=rule,
        rule_min=rule_min,
    )
    for warning in found.warnings:
        watcher.on_message(f"warning: {warning}")
    rest = left_over(resolved, found)
    if rest is not None:
        watcher.on_message(rest)
    if out is not None:
        described = starting_environment(sets, torch_device, data_dir)
        if resolved.init is not None:
            described["init"] = earlier_weights(resolved)
        with kept_if_refused(found, Path(out), described):
            to_train = checked(
                resolved.evolve(schedule=rates_taken(resolved, found)),
                f"{resolved.name} with the rates that were found",
            )
        draw(Run.create(Path(out), to_train, described, found.to_dict()), found)
    return found
