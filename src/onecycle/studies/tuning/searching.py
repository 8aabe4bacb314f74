"""Search for a better recipe: trials chosen by Optuna, measured on a held-out part of the training images."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ... import plots
from ...advice import advice
from ...api.training import with_init
from ...data import Dataset, ImageSet
from ...errors import Stopped, TrainingFailed, UserError
from ...files import disk_errors
from ...fine_tuning import earlier_weights, weights_digest
from ...interruption import Terminated, signal_of
from ...observer import Observer, ProgressCallback
from ...preparation import Sets, with_own
from ...progress import default_observer
from ...recipes import Recipe, absolute, recipe
from ...run import Run
from ..engine import Engine, LocalEngine, Resources, check_here
from ..job import forget_images
from .plan import DATABASE, Plan, alone, check_free
from .printing import trial_line
from .processes import run_workers
from .reading import read_space
from .result import Search, SearchTrial
from .space import Space
from .study import Study, Terms, check_extra, check_methods, grid_size, public_url, sqlite_url
from .trial import held_out_parts, load_for, rehearse_trial, trial_recipe
from .work import Session, Worker

TRIALS = 20
_REHEARSED = 16  # combinations of the space, until one can be trained


def search(
    name: str | Path | Recipe,
    *,
    space: str | Path | Mapping[str, Any],
    trials: int | None = None,
    timeout: float | None = None,
    out: str | Path | None = None,
    sampler: str = "tpe",
    pruner: str = "median",
    storage: str | None = None,
    workers: int = 1,
    engine: Engine | None = None,
    model: nn.Module | str | Mapping[str, Any] | None = None,
    data: Dataset | ImageSet | str | Path | Mapping[str, Any] | None = None,
    data_dir: str | Path | None = None,
    init: str | Path | Run | None = None,
    device: str = "auto",
    observer: Observer | None = None,
    **changes: Any,
) -> Search:
    """Try variants of a recipe until there are `trials` in all, and return what was found; needs the extra search.

    `name`, `model`, `data`, `init` and `changes` are as for `onecycle.train`. `space` says what varies: a YAML file, or
    a mapping of dotted keys to lists of values, or ranges such as {"low": 1e-3, "high": 0.1, "log": True}. Trials are
    measured on a part of the training images that the recipe holds out, or else a tenth; the test set is never looked
    at. `sampler` is tpe, random, grid or gp, `pruner` median, hyperband or none. No trial is begun after `timeout`
    minutes. The same search with the same `out` goes on where it was, also beside another process that works on it;
    `workers` processes share the threads of this machine, and an `engine` has room of its own. `storage` is the URL of
    a database in the place of `out`/search.db. 20 trials by default, or the whole grid.

    Raises UserError where something cannot work, before anything is written, and TrainingFailed where no trial ran to
    its end.
    """
    check_extra()
    base, net, dataset = with_own(recipe(name, **with_init(changes, init)), model, data)
    for what, value, least in (("trials", trials, 1), ("workers", workers, 1)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
            raise UserError(f"--{what} {value!r}: {least} or more")
    if timeout is not None and not timeout > 0:
        raise UserError(f"--timeout {timeout!r}: more than 0 minutes")
    if workers > 1 and engine is not None and not isinstance(engine, LocalEngine):
        raise UserError(
            f"--workers {workers}: of this machine's processes; another engine has as many as it has room for"
        )
    if engine is None or isinstance(engine, LocalEngine):
        check_here(_resources(base))
    wanted = read_space(space, base)
    check_methods(sampler, pruner, wanted)
    path = Path(out) if out is not None else Run.new_path(f"{base.name}_search")
    check_free(path)
    watcher, place = observer or default_observer(), None if data_dir is None else Path(absolute(data_dir))
    forget_images()
    parts = held_out_parts(base, load_for(base, dataset, place, watcher))
    _rehearse_one(base, wanted, net, parts, device)
    for line in advice(base, Sets(parts.train, None, parts.test), searched=True):
        watcher.on_message(line)
    known = None if storage is None else public_url(storage)
    weights = None if base.init is None else earlier_weights(base)["sha256"]
    own = None if net is None else weights_digest(net)
    plan = Plan(base, wanted, sampler, pruner, known, parts.test.fingerprint(), len(parts.test), weights, own)
    del parts
    most = grid_size(wanted) if sampler == "grid" else trials or TRIALS
    total = min(most, trials or most)
    url = storage or sqlite_url(str((path / DATABASE).absolute()))
    epochs = int(wanted.most("schedule.epochs") or base.epochs)
    terms = Terms(
        url=url, name=plan.study_name, sampler=sampler, pruner=pruner, seed=base.seed, epochs=epochs, space=wanted
    )
    with alone(path):
        plan.begin(path)
        study = Study.create(terms)
    session = Session(
        folder=path,
        base=base,
        terms=terms,
        trials=total,
        timeout=timeout,
        started=time.time(),
        data_dir=place,
        device=device,
        model=net,
        data=dataset,
    )
    return _Search(plan, session, study, watcher).run(engine or LocalEngine(), workers)


def _resources(base: Recipe) -> Resources:
    return Resources(base.resources.cpus, base.resources.gpus)


def _rehearse_one(base: Recipe, space: Space, net: nn.Module | None, parts: Dataset, device: str) -> None:
    """Raise UserError where none of a few combinations of the space could be trained."""
    first: UserError | None = None
    for changes in itertools.islice(space.corners(), _REHEARSED):
        try:
            return rehearse_trial(trial_recipe(base, changes, pruned=False), net, parts, device)
        except UserError as error:
            first = first or error
    assert first is not None, "there is a combination"
    raise first


class _Search:
    """A search that is under way, in the process that was asked for it."""

    def __init__(self, plan: Plan, session: Session, study: Study, watcher: Observer) -> None:
        self._plan, self._session, self._study, self._watcher = plan, session, study, watcher
        self._told = {one.number for one in self._found().trials if one.state != "running"}

    def run(self, engine: Engine, workers: int) -> Search:
        """Carry it out with an engine, or with several processes; then draw and return what was found."""
        base = self._session.base
        resources = _resources(base)
        if self._told:
            there = "trial is" if len(self._told) == 1 else "trials are"
            self._watcher.on_message(f"{len(self._told)} {there} there already")
        try:
            if workers == 1:
                Worker(self._session, self._study, self._tell, self._watcher).run(engine, resources)
            else:
                share = resources.cpus or max(1, torch.get_num_threads() // workers)
                resources = Resources(share, resources.gpus)
                with self._watcher.progress_of(f"{base.name}, search") as say:
                    lost = run_workers(self._session, workers, resources, lambda: self._look(say))
                if lost:
                    self._watcher.on_message(f"lost to {', '.join(lost)}: {len(lost)} of {workers} workers")
                Worker(self._session, self._study, self._tell, self._watcher).run(engine, resources)  # what they left
        except (Stopped, KeyboardInterrupt, Terminated) as error:
            number = signal_of(error)
            go_on = f"go on with the same command and --out {self._session.folder}"
            raise Stopped(f"the search was stopped by {number.name}; saved, {go_on}", number) from None
        finally:
            forget_images()
        found = self._found()
        if not found.trials:
            raise UserError(f"--timeout {self._session.timeout:g}: over before a trial could begin; more minutes")
        found.save()
        with disk_errors(found.path):
            (found.path / "plots").mkdir(exist_ok=True)
        for drawn, figure in found.figures().items():
            plots.save(figure, found.path / "plots" / f"{drawn}.png")
        if not found.ranked:
            problem = next((one.problem for one in found.trials if one.problem), "all were pruned, or still run")
            raise TrainingFailed(
                f"{found.path}: none of {len(found.trials)} trials ran to its end; the first: {problem}"
            )
        return found

    def _found(self) -> Search:
        records = self._study.records()
        space = self._plan.space
        whole = [one for one in records if one.labels.keys() >= {each.key for each in space.parameters}]
        return Search(self._session.folder, self._plan, tuple(SearchTrial.of(one, space) for one in whole))

    def _tell(self, trial: SearchTrial) -> None:
        """Say how a trial ended, and keep what is known by now."""
        self._told.add(trial.number)
        found = self._found()
        found.save()
        self._watcher.on_message(trial_line(trial, found))

    def _look(self, say: ProgressCallback) -> None:
        """Tell of the trials that ended since the last time, which other processes have closed."""
        found = self._found()
        for trial in found.trials:
            if trial.state != "running" and trial.number not in self._told:
                self._told.add(trial.number)
                found.save()
                self._watcher.on_message(trial_line(trial, found))
        under_way = [f"trial {one.number}" for one in found.trials if one.state == "running"]
        if under_way:
            say(len(self._told), self._session.trials, ", ".join(under_way))
