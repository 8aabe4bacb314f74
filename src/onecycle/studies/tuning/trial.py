"""One trial of a search: a run on the training images alone, told to the study epoch by epoch.

The held-out part stands where a run has its test set, so that the test set is nowhere in the trial.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from ...data import Dataset, ImageSet
from ...errors import TrainingFailed, UserError
from ...hardware import resolve_device
from ...observer import Observer, Progress
from ...preparation import Sets, as_dataset, as_resolved, build_net, copied, resolve, split, with_own
from ...recipes import Recipe, differences, recipe
from ...rehearsal import rehearse
from ...run import Run
from ...sealing import write_sealed_json
from ..job import FOR_EACH_TRAINING, Job, load_once, train_job
from .study import State, Study, Terms

HELD_OUT: Final = 0.1  # of the training images, where the recipe holds nothing out
MARK: Final = "trial.json"  # in the folder of a trial's run: how it ended


@dataclass(frozen=True)
class SearchJob:
    """A trial to carry out; all that a process elsewhere needs for it.

    `base` is the recipe of the search, `changes` are the trial's, dotted; the rest is as for `Job`.
    """

    number: int
    base: Recipe
    changes: Mapping[str, Any]
    folder: Path
    data_dir: Path | None
    device: str
    terms: Terms
    model: nn.Module | None = None
    data: Dataset | ImageSet | None = None


@dataclass(frozen=True)
class Outcome:
    """How a trial ended: held-out accuracy after its last epoch, epochs, seconds of training, and what went wrong."""

    state: State
    accuracy: float | None = None
    epochs: int = 0
    train_seconds: float | None = None
    problem: str | None = None


class OthersTrial(UserError):
    """A trial's folder holds another one's run: nothing that the search finds could be trusted."""


class Pruned(Exception):
    """The study asks for no more of this trial."""


def try_out(job: SearchJob, say: Callable[[int, Progress], None] | None = None, study: Study | None = None) -> Outcome:
    """Carry out a trial, or go on with one that was interrupted; `say` is told where it is.

    The study is opened where it is not handed in, as it cannot go to a process elsewhere.

    A recipe that cannot be trained and a training that fails are outcomes. Raises what else a training raises.
    """
    try:
        dataset = load_for(recipe(job.base, **job.changes), job.data, job.data_dir, Observer())
    except UserError as error:
        if "data.image_size" not in job.changes:  # images that are gone are gone for all trials
            raise
        return Outcome("failed", problem=error.problems[0])
    try:
        training = _training(job, dataset)
    except OthersTrial:
        raise
    except UserError as error:
        return Outcome("failed", problem=error.problems[0])
    watch = _Watch(job, training.recipe, study or Study(job.terms), say)
    try:
        if training.folder.exists():
            watch.catch_up()
        train_job(training, watch)
        watch.catch_up()  # with what a finished run has, whose process ended before it could tell
        state: State = "complete"
    except Pruned:
        state = "pruned"
    except TrainingFailed as error:
        return _ended(job, "failed", str(error).partition(";")[0])
    finally:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()  # for the next trial, which may need other sizes
    return _ended(job, state, None)


def held_out_parts(base: Recipe, dataset: Dataset | Sets) -> Dataset:
    """What trials train on, and what they are measured on, which is held out of the training images.

    As the recipe says, or a tenth. Raises UserError where its schedule needs a second held-out part.
    """
    brought = isinstance(dataset, Sets) and dataset.val is not None
    holds_out = base.data.val_fraction > 0 or base.data.fold is not None or brought
    # Of a set that is smaller than the batch of the recipe too: a trial may have another.
    alike = {"val_fraction": base.data.val_fraction if holds_out else HELD_OUT, "batch_size": 1}
    plain = base.evolve(data=alike)
    if base.schedule.options.get("monitor") == "val_loss":
        raise UserError(
            "schedule.monitor is val_loss: the held-out part of a search stands for the test set; train_loss is needed"
        )
    sets = split(plain, dataset)
    assert sets.val is not None, "something is held out"
    return Dataset(sets.train, sets.val)


def trial_recipe(base: Recipe, changes: Mapping[str, Any], *, pruned: bool) -> Recipe:
    """The recipe of a trial's run: its images come to it split, limited and decoded.

    Where trials are pruned, each epoch is evaluated. Raises UserError where the recipe refuses the changes.
    """
    wanted = recipe(base, **changes)
    handed_in = {"val_fraction": 0.0, "fold": None, "train_limit": None, "fit": "crop", "damaged": "refuse"}
    return wanted.evolve(data=handed_in, evaluate_every=1 if pruned else wanted.evaluate_every)


def rehearse_trial(wanted: Recipe, model: nn.Module | None, parts: Dataset, device: str) -> None:
    """Raise UserError where a trial of this recipe could not be trained."""
    checked, net, dataset = with_own(wanted, copied(model, FOR_EACH_TRAINING), parts)
    assert dataset is not None, "the parts"
    sets = split(checked, dataset)
    torch_device = resolve_device(device)
    resolved = resolve(checked, sets, torch_device)
    rehearse(resolved, net or build_net(resolved, len(sets.train.classes)), sets, torch_device)


def load_for(wanted: Recipe, given: Any, data_dir: Path | None, observer: Observer) -> Dataset | Sets:
    """The images of a recipe, or those that were handed in from Python."""
    if given is not None:
        return as_dataset(given, wanted.data.split_seed)
    return load_once(wanted, data_dir, observer)


def _training(job: SearchJob, dataset: Dataset | Sets) -> Job:
    """The trial as a training. Raises UserError where its recipe cannot be trained."""
    parts = held_out_parts(recipe(job.base, **job.changes), dataset)
    wanted = trial_recipe(job.base, job.changes, pruned=job.terms.pruner != "none")
    Run.remove_unbegun(job.folder)
    if job.folder.exists():
        _check_own(job, wanted)
    else:
        rehearse_trial(wanted, job.model, parts, job.device)
    return Job(wanted, job.folder, None, job.device, job.model, parts)


def _check_own(job: SearchJob, wanted: Recipe) -> None:
    """Raise OthersTrial where the folder holds the run of another trial, as where the study's database was lost."""
    stored = Run.open(job.folder).recipe
    changed = differences(as_resolved(wanted, stored), stored)
    others = [key for key in changed if any(key == one or key.startswith(f"{one}.") for one in job.changes)]
    if others:
        raise OthersTrial(
            f"{job.folder}: is the run of another trial, {', '.join(others)} differs; the database is not the one that "
            "this search was begun with; bring that back, or name a new --out"
        )


def _ended(job: SearchJob, state: State, problem: str | None) -> Outcome:
    """The outcome, which also marks the run; its checkpoints are of no more use."""
    found = Outcome(state, problem=problem)
    if not job.folder.exists():
        return found
    run = Run.open(job.folder)
    rows = run.metrics()
    measured = [row["test_accuracy"] for row in rows if "test_accuracy" in row]
    seconds = round(sum(row.get("train_seconds", 0.0) for row in rows), 3)
    accuracy = measured[-1] if measured and state != "failed" else None
    found = replace(found, accuracy=accuracy, epochs=len(rows), train_seconds=seconds)
    mark = {"trial": job.number, "state": state, "held_out_accuracy": accuracy, "changes": dict(job.changes)}
    write_sealed_json(job.folder / MARK, {**mark, "problem": problem})
    if state != "failed":
        shutil.rmtree(run.checkpoints.path, ignore_errors=True)
    return found


class _Watch(Observer):
    """Tells the study how far a trial is, and ends it where the study says so."""

    def __init__(
        self, job: SearchJob, wanted: Recipe, study: Study, say: Callable[[int, Progress], None] | None
    ) -> None:
        self._job, self._epochs, self._study, self._say = job, wanted.epochs, study, say

    def catch_up(self) -> None:
        """Report what was not reported of the epochs that the run has. Raises Pruned where the study ends it."""
        self._report(Run.open(self._job.folder).metrics())

    def on_progress(self, progress: Progress) -> None:
        """Say where the trial is."""
        if self._say is not None:
            self._say(self._job.number, progress)

    def on_epoch(self, row: Mapping[str, float | None], seconds_left: float) -> None:
        """Report the epoch. Raises Pruned where the study ends the trial."""
        self._report([row])

    def _report(self, rows: Sequence[Mapping[str, float | None]]) -> None:
        pairs = [(row["epoch"], row.get("test_accuracy")) for row in rows]
        measured = {int(epoch): accuracy for epoch, accuracy in pairs if epoch is not None and accuracy is not None}
        if measured and self._study.report(self._job.number, measured) and max(measured) < self._epochs:
            raise Pruned
