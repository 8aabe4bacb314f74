"""The result of trials: read from the runs in their folder, as values, tables and files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from ...api import Run
from ...errors import UserError
from ...files import write_csv
from ...preparation import as_resolved
from ...sealing import damaged, read_sealed_json, write_sealed_json
from ..job import FAILED
from . import page
from .measured import (
    METRICS,
    POINTS,
    Measured,
    Metric,
    Paired,
    SeedsNeeded,
    Status,
    Trial,
    compare_in_pairs,
    measure,
    seeds_needed,
)
from .plan import Plan
from .variants import Variant, deciding_differences

RESULT, TABLE, PAGE = "trials_result.json", "results.csv", "trials.html"
_COLUMNS = ("variant", "seed", "status", *METRICS, "device", "run", "error")


@dataclass(frozen=True, eq=False)
class Trials:
    """Trainings of one or more recipes over equal seeds: `onecycle.trials` makes them, `Trials.load` reads them.

    `trials` has one row for each variant and seed of the plan, in the order in which they are run.
    """

    path: Path
    plan: Plan
    trials: tuple[Trial, ...]

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """What is there of a folder of trials, finished or not. Raises UserError where it holds none."""
        path = Path(folder)
        plan = Plan.read(path)
        return cls(path, plan, tuple(look_up(path, plan, one, seed) for one, seed in order(plan.variants, plan.seeds)))

    @property
    def variants(self) -> tuple[str, ...]:
        """The labels of the recipes, the baseline first."""
        return tuple(one.label for one in self.plan.variants)

    @property
    def finished(self) -> tuple[Trial, ...]:
        """Those that have a result."""
        return tuple(one for one in self.trials if one.status == "finished")

    @property
    def failed(self) -> tuple[Trial, ...]:
        """Those that ended without one."""
        return tuple(one for one in self.trials if one.status == "failed")

    @property
    def missing(self) -> tuple[Trial, ...]:
        """Those that have not ended."""
        return tuple(one for one in self.trials if one.status == "missing")

    @property
    def runs(self) -> list[Run]:
        """The finished runs."""
        return [Run.open(self.path / one.path) for one in self.finished]

    @cached_property
    def table(self) -> tuple[Measured, ...]:
        """Mean, sample deviation, 95% interval, least and most of every metric of every variant."""
        return measure(self.trials, self.variants)

    @cached_property
    def comparisons(self) -> tuple[Paired, ...]:
        """Every other variant against the first, seed by seed."""
        return compare_in_pairs(self.trials, self.variants)

    @cached_property
    def needed(self) -> tuple[SeedsNeeded, ...]:
        """How many seeds it takes to see a difference: of the size that was named, or of several."""
        asked = POINTS if self.plan.difference is None else (self.plan.difference,)
        return seeds_needed(self.table, self.comparisons, asked)

    @property
    def devices(self) -> tuple[str, ...]:
        """What they ran on, each device once."""
        return tuple(dict.fromkeys(one.device for one in self.finished if one.device is not None))

    def to_dict(self) -> dict[str, Any]:
        """All of it, as JSON has it."""
        return {
            "seeds": self.plan.seeds,
            "variants": list(self.variants),
            "finished": len(self.finished),
            "failed": len(self.failed),
            "missing": len(self.missing),
            "trials": [asdict(one) for one in self.trials],
            "table": [_flat(one) for one in self.table],
            "comparisons": [asdict(one) for one in self.comparisons],
            "needed": [asdict(one) for one in self.needed],
            "devices": list(self.devices),
        }

    def report(self, out: str | Path | None = None) -> Path:
        """Write the page, by default trials.html in the folder, with links to the runs; return its path."""
        return page.write(self, self.path / PAGE if out is None else Path(out))

    def write_table(self) -> None:
        """Write results.csv: a row for each trial that has ended."""
        rows = [_row(one) for one in self.trials if one.status != "missing"]
        write_csv(self.path / TABLE, rows, _COLUMNS)

    def write(self) -> None:
        """Write results.csv, trials_result.json, the plots and the page."""
        self.write_table()
        write_sealed_json(self.path / RESULT, self.to_dict())
        page.draw(self)
        self.report()


def order(variants: Sequence[Variant], seeds: int) -> Iterator[tuple[Variant, int]]:
    """Seed by seed, each with every variant: what is interrupted is balanced, and what drifts meets all alike."""
    return ((one, seed) for seed in range(seeds) for one in variants)


def run_path(variant: Variant, seed: int) -> str:
    """Where a trial's run lies in the folder of the trials."""
    return f"{variant.folder}/s{seed}"


def look_up(folder: Path, plan: Plan, variant: Variant, seed: int, error: str | None = None) -> Trial:
    """A trial as its run's folder has it; one that `error` says has failed otherwise."""
    name = run_path(variant, seed)
    run = Run(folder / name)
    measured: Mapping[Metric, float] = {}
    device = None
    try:
        failed = run.path / FAILED
        if run.finished:
            _check(run, plan, variant, seed)
            measured, device = _measured(run), str(run.summary["device"])
        elif failed.exists() and error is None:
            error = str(read_sealed_json(failed).get("error", "failed")).partition(";")[0]
    except UserError as problem:
        error = problem.problems[0]
    status: Status = "failed" if error is not None else "finished" if measured else "missing"
    return Trial(variant.label, seed, name, status, {} if error else measured, device, error)


def _check(run: Run, plan: Plan, variant: Variant, seed: int) -> None:
    """Raise UserError where a run is not the one that was planned, as where it went on with another rate."""
    stored, environment = run.recipe, run.environment
    wanted = variant.recipe.evolve(seed=seed)
    changed = list(deciding_differences(as_resolved(wanted, stored), stored))
    if stored.seed != seed:
        changed.append("seed")
    if changed:
        raise UserError(f"{run.path}: not the run that was planned, {', '.join(changed)} differs; move it away")
    for key, value in plan.images[variant.label].items():
        if key != "model" and environment.get(key) != value:  # of a net that was handed in a run knows no digest
            raise UserError(f"{run.path}: it began otherwise than the plan has it ({key} differs); move it away")


def _measured(run: Run) -> Mapping[Metric, float]:
    """The headline metrics of a finished run."""
    summary = run.summary
    test, best = summary["test"], summary.get("best") or {}
    found = {
        "accuracy": test.get("accuracy"),
        "accuracy_tta": test.get("accuracy_tta"),
        "loss": test.get("loss"),
        "val_accuracy": best.get("val_accuracy"),
        "train_seconds": summary["train_seconds"],
        "images_per_second": summary["images_per_second"],
    }
    if not isinstance(found["accuracy"], int | float):
        raise damaged(run.path / "summary.json", "it has no test accuracy")
    return {metric: float(found[metric]) for metric in METRICS if found[metric] is not None}


def _row(trial: Trial) -> dict[str, Any]:
    """A row of results.csv."""
    row: dict[str, Any] = {"variant": trial.variant, "seed": trial.seed, "status": trial.status}
    row |= {str(metric): value for metric, value in trial.measured.items()}
    return {**row, "device": trial.device, "run": trial.path, "error": trial.error}


def _flat(one: Measured) -> dict[str, Any]:
    """A row of the table as JSON has it."""
    return {
        "variant": one.variant,
        "metric": one.metric,
        **asdict(one.spread),
        "minimum": one.minimum,
        "maximum": one.maximum,
    }
