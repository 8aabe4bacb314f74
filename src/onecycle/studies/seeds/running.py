"""`onecycle.trials`: the trainings that a plan asks for, those that are missing alone, and what they found."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from ...advice import advice
from ...api.training import with_init
from ...comparison import other_images, setting
from ...data import Dataset, ImageSet
from ...errors import Stopped, UserError, shown
from ...fine_tuning import earlier_weights, weights_digest
from ...hardware import environment, resolve_device, threads
from ...interruption import Terminated, signal_of
from ...observer import Observer, Progress, ProgressCallback
from ...preparation import Sets, build_net, copied, fingerprints, resolve, split, with_own
from ...progress import default_observer, duration
from ...recipes import Recipe
from ...rehearsal import rehearse
from ...run import Run
from ..engine import Engine, LocalEngine, Resources
from ..job import FOR_EACH_TRAINING, Job, forget_images, load_once, train_job
from . import plan as plans
from .measured import Trial
from .plan import Plan
from .results import Trials, look_up, order, run_path
from .variants import Variant, one_or_two, varied

_MOST_SEEDS = 10_000


def trials(
    name: str | Path | Recipe,
    *,
    seeds: int,
    against: str | Path | Recipe | None = None,
    vary: Mapping[str, Sequence[Any]] | None = None,
    model: nn.Module | str | Mapping[str, Any] | None = None,
    data: Dataset | ImageSet | str | Path | Mapping[str, Any] | None = None,
    data_dir: str | Path | None = None,
    init: str | Path | Run | None = None,
    out: str | Path | None = None,
    device: str = "auto",
    engine: Engine | None = None,
    difference: float | None = None,
    observer: Observer | None = None,
    **changes: Any,
) -> Trials:
    """Train a recipe once for each of the seeds 0 to `seeds` - 1, and say how far the results lie apart.

    `against` is another recipe, or `vary` one dotted key with its values, as `{"schedule.lr_max": [0.005, 0.01]}`: each
    is trained with the same seeds, and compared with the first pair by pair. Changes, `model`, `data` and `init` are as
    for `onecycle.train`, and hold for all; a net that is handed in begins each trial with the same weights. Every
    training is an ordinary run in `out`, by default runs/TIME_NAME_trials, without pictures and report. Where `out`
    holds trials of this recipe, only what is missing is trained. A trial whose loss is no longer finite is a row that
    says so. `difference`, in points of accuracy, is one that is to be seen: `Trials.needed` says with how many seeds.
    The `engine` trains one after the other in this process unless another is given, each with the recipe's `resources`.
    Raises UserError where a recipe could not be trained, before anything is written, and Stopped where a signal came.
    """
    _check(seeds, against, vary, difference, changes)
    watcher = observer or default_observer()
    found = _variants(name, against, vary, with_init(changes, init), model, data)
    path = Path(out) if out is not None else Run.new_path(f"{found[0].recipe.name}_trials")
    if not plans.holds_trials(path):
        plans.check_free(path)
    torch_device = resolve_device(device)
    resources = _resources(found)
    forget_images()
    images: dict[str, dict[str, Any]] = {}
    tests: list[ImageSet] = []
    for one in found:
        sets = _rehearsed(one, model, data, data_dir, torch_device, watcher, first=not tests)
        tests.append(sets.test)
        images[one.label] = fingerprints(sets)
        if one.recipe.init is not None:
            images[one.label]["init"] = earlier_weights(one.recipe)
        if isinstance(model, nn.Module):
            images[one.label]["model"] = weights_digest(model)
        del sets  # of several recipes they would not always fit into memory together
    _check_same_test(found, tests)
    with threads(resources.cpus):
        asked = Plan(tuple(found), seeds, images, environment(torch_device), difference)
    if plans.holds_trials(path):  # before a line is said, and again once nobody else can write it
        Plan.read(path).extended(asked, path)

    def job_of(variant: Variant, seed: int) -> Job:
        wanted = variant.recipe.evolve(seed=seed)
        net = model if isinstance(model, nn.Module) else None
        images = None if isinstance(data, str | Path | Mapping) else data
        where = None if data_dir is None else Path(data_dir)
        return Job(wanted, path / run_path(variant, seed), where, device, net, images)

    with plans.locked(path):
        fresh = not plans.holds_trials(path)
        plan = asked if fresh else Plan.read(path).extended(asked, path)
        plan.write(path)
        labels = {one.label for one in found}
        work = _Work(path, plan, [one for one in plan.variants if one.label in labels], watcher)
        try:
            result = work.go(engine or LocalEngine(), job_of, resources)
        except (Stopped, KeyboardInterrupt, Terminated) as stop:
            raise _stopped(path, stop) from None
        except UserError:  # of the engine, which could run nothing
            if fresh:
                plans.remove_unbegun(path)
            raise
        finally:
            forget_images()
        result.write()
    return result


class _Work:
    """The trials of a plan while they are run."""

    def __init__(self, path: Path, plan: Plan, wanted: Sequence[Variant], watcher: Observer) -> None:
        self.path, self.plan, self.watcher = path, plan, watcher
        self.pairs = list(order(plan.variants, plan.seeds))
        self.rows: dict[tuple[str, int], Trial] = {
            (one.label, seed): look_up(path, plan, one, seed) for one, seed in self.pairs
        }
        asked = {one.label for one in wanted}
        self.missing = [
            (one, seed)
            for one, seed in self.pairs
            if one.label in asked and self.rows[one.label, seed].status == "missing"
        ]
        self.width = max(len(_named(plan, one, seed)) for one, seed in self.pairs)

    def go(self, engine: Engine, job_of: Callable[[Variant, int], Job], resources: Resources) -> Trials:
        """Run what is missing, tell of each as it ends, and keep results.csv up to date."""
        there = sum(one.status != "missing" for one in self.rows.values())
        if there:
            self.watcher.on_message(f"{there} of {len(self.pairs)} trials are there; {len(self.missing)} to train")
        local = isinstance(engine, LocalEngine)
        places = {job_of(*pair).folder: pair for pair in self.missing}
        began = time.monotonic()
        with ExitStack() as stack:
            say: ProgressCallback | None = None
            if not local and self.missing:
                say = stack.enter_context(self.watcher.progress_of("trials"))
                say(0, len(self.missing), "")
            work = self._watched if local else train_job
            jobs = (job_of(*pair) for pair in self.missing)
            for done, (job, result) in enumerate(engine.run(work, jobs, resources), 1):
                variant, seed = places[job.folder]
                error = _line(result) if isinstance(result, Exception) else None
                self.rows[variant.label, seed] = look_up(self.path, self.plan, variant, seed, error)
                left = (time.monotonic() - began) / done * (len(self.missing) - done)
                self.watcher.on_message(self._said(variant, seed, done, left))
                if say is not None:
                    say(done, len(self.missing), f"{duration(left)} left")
                self.result().write_table()
        return self.result()

    def result(self) -> Trials:
        """What there is by now."""
        return Trials(self.path, self.plan, tuple(self.rows[one.label, seed] for one, seed in self.pairs))

    def _watched(self, job: Job) -> Path:
        """Train here, with a bar."""
        label = next(one for one, seed in self.pairs if self.path / run_path(one, seed) == job.folder)
        number = 1 + [self.path / run_path(*pair) for pair in self.missing].index(job.folder)
        title = f"{_named(self.plan, label, job.recipe.seed)} ({number} of {len(self.missing)})"
        with self.watcher.progress_of(title) as say:
            return train_job(job, _Within(say))

    def _said(self, variant: Variant, seed: int, done: int, left: float) -> str:
        """The line on a trial that has ended."""
        row = self.rows[variant.label, seed]
        what = f"{_named(self.plan, variant, seed):<{self.width}}"
        if row.status == "finished":
            said = f"{what}  {row.measured['accuracy']:7.2%}  {row.measured['train_seconds']:8.1f} s of training"
        else:
            said = f"{what}  failed: {row.error}"
        remaining = f", {duration(left)} left" if done < len(self.missing) else ""
        return f"{said}  ({done} of {len(self.missing)}{remaining})"


class _Within(Observer):
    """A training as one bar: what it says in words is left out."""

    def __init__(self, say: ProgressCallback) -> None:
        self._say = say

    def on_progress(self, progress: Progress) -> None:
        self._say(progress.step, progress.steps, f"loss {progress.loss:.3f}  acc {progress.accuracy:.1%}")

    def progress_of(self, title: str) -> nullcontext[ProgressCallback]:
        return nullcontext(lambda done, total, text: self._say(done, total, title))


def _check(
    seeds: int,
    against: object,
    vary: Mapping[str, Sequence[Any]] | None,
    difference: float | None,
    changes: Mapping[str, Any],
) -> None:
    """Raise UserError where what is asked for makes no sense by itself."""
    problems = []
    if isinstance(seeds, bool) or not isinstance(seeds, int) or not 1 <= seeds <= _MOST_SEEDS:
        problems.append(f"--seeds {shown(seeds)}: 1 to {_MOST_SEEDS:,} are needed, such as 5")
    if against is not None and vary is not None:
        problems.append("--against does not go with --vary; one of them")
    if vary is not None and not (isinstance(vary, Mapping) and all(map(_are_values, vary.values()))):
        problems.append(f"--vary {shown(vary)}: a key with a list of its values is needed")
    elif vary is not None and len(vary) != 1:
        problems.append(f"--vary: {len(vary)} keys; one key with its values is needed")
    if difference is not None and not (isinstance(difference, int | float) and 0 < difference <= 100):
        problems.append(f"--difference {shown(difference)}: points of accuracy are needed, above 0 and at most 100")
    if "seed" in changes:
        problems.append(f"--set seed={setting(changes['seed'])}: the seeds are 0, 1, 2, ...; --seeds says how many")
    if problems:
        raise UserError(*problems)


def _are_values(given: object) -> bool:
    """Whether it is several, rather than one, or a text, whose letters would be taken for them."""
    return isinstance(given, Iterable) and not isinstance(given, str)


def _variants(
    name: str | Path | Recipe,
    against: str | Path | Recipe | None,
    vary: Mapping[str, Sequence[Any]] | None,
    changes: Mapping[str, Any],
    model: Any,
    data: Any,
) -> list[Variant]:
    """The recipes with what was handed in for net and images."""
    if vary is not None:
        key, values = next(iter(vary.items()))
        found = varied(name, key, list(values), changes)
    else:
        found = one_or_two(name, against, changes)
    return [Variant(one.label, one.folder, with_own(one.recipe, model, data)[0]) for one in found]


def _resources(variants: Sequence[Variant]) -> Resources:
    """What each trial may use; the same for all."""
    first, *others = (one.recipe.resources for one in variants)
    if any(one != first for one in others):
        raise UserError("the recipes differ in resources; all trials are run with the same")
    return Resources(first.cpus, first.gpus)


def _rehearsed(
    variant: Variant, model: Any, data: Any, data_dir: str | Path | None, device: Any, watcher: Observer, *, first: bool
) -> Sets:
    """The images of a variant, where all that it needs fits together. Raises UserError where it does not."""
    wanted, net, dataset = with_own(variant.recipe, model, data)
    sets = split(wanted, dataset or load_once(wanted, None if data_dir is None else Path(data_dir), watcher))
    resolved = resolve(wanted, sets, device)
    rehearse(resolved, copied(net, FOR_EACH_TRAINING) or build_net(resolved, len(sets.train.classes)), sets, device)
    if first:
        for line in advice(wanted, sets):
            watcher.on_message(line)
    return sets


def _check_same_test(variants: Sequence[Variant], tests: Sequence[ImageSet]) -> None:
    """Raise UserError where two variants are tested on different images; in another size or fit they are the same."""
    first, data = tests[0], variants[0].recipe.data
    for variant, one in zip(variants[1:], tests[1:], strict=True):
        same_labels = one.classes == first.classes and np.array_equal(one.labels, first.labels)
        if not same_labels or other_images(variant.recipe.data, data, one.fingerprint(), first.fingerprint()):
            raise UserError(
                f"{variant.label} is tested on other images than {variants[0].label}; the same test set is needed"
            )


def _named(plan: Plan, variant: Variant, seed: int) -> str:
    return f"seed {seed}" if len(plan.variants) == 1 else f"{variant.label}, seed {seed}"


def _line(error: Exception) -> str:
    """An error as one line, without what to do about it: a trial stays as it was planned."""
    return error.problems[0] if isinstance(error, UserError) else str(error).partition(";")[0]


def _stopped(path: Path, by: BaseException) -> Stopped:
    """The error for a signal: where to go on."""
    number = signal_of(by)
    finished = len(Trials.load(path).finished)
    there = f"{finished} trial{'s' * (finished != 1)} finished, and what one had begun is saved"
    return Stopped(f"stopped by {number.name}; {there}; go on with the same command and --out {path}", number)
