"""How a recipe was chosen: short runs judged on the held-out tenth of the training set.

    python benchmarks/tune.py RECIPE ~/onecycle-runs/tuning [CANDIDATE ...]

What each candidate changes is in measuring/candidates.py. The held-out images stand in for the test set, which nothing
here looks at: where these runs say "test", they mean them. Candidates that are done are not run again, one that was
interrupted goes on.

The table goes to benchmarks/results/RECIPE_tuning_HARDWARE.csv and holds the held-out figures alone. A line of it whose
run is in another folder stays as long as its changes are still the candidate's. Candidates that are not in the table
have not been run yet.
"""

from __future__ import annotations

import argparse
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from measuring.candidates import TUNINGS, Changes
from measuring.hardware import hardware_slug
from measuring.held_out import held_out_data

import onecycle
from onecycle.files import read_csv, write_csv
from onecycle.hardware import resolve_device
from onecycle.preparation import as_resolved
from onecycle.recipes import differences

RESULTS = Path(__file__).parent / "results"
COLUMNS = (
    "candidate",
    "changes",
    "train_loss",
    "train_accuracy",
    "held_out_loss",
    "held_out_accuracy",
    "held_out_accuracy_tta",
    "train_seconds",
)


def main() -> None:
    """Run what is asked for and missing; write the table anew after each."""
    parser = argparse.ArgumentParser(description="Run candidates for a recipe, and tabulate them.")
    parser.add_argument("recipe", choices=TUNINGS)
    parser.add_argument("runs", type=Path, help="the folder with a run's folder for each candidate")
    parser.add_argument("candidates", nargs="*", metavar="CANDIDATE", help="by default all of the recipe's")
    arguments = parser.parse_args()
    known = TUNINGS[arguments.recipe].candidates
    unknown = sorted(set(arguments.candidates) - set(known))
    if unknown:
        parser.error(f"{', '.join(unknown)}: no such candidate; there are {', '.join(known)}")
    try:
        tune(arguments.recipe, arguments.runs.expanduser(), arguments.candidates or known)
    except onecycle.UserError as error:
        parser.error(str(error))


def tune(recipe: str, runs: Path, names: Collection[str]) -> None:
    """Train each of these candidates that is not done, and keep the table of all that are."""
    path = RESULTS / f"{recipe}_tuning_{hardware_slug(resolve_device('auto'))}.csv"
    for name, changes in TUNINGS[recipe].candidates.items():
        if name not in names:
            continue
        check_same(recipe, runs / name, {**TUNINGS[recipe].base, **changes})
        if not is_done(runs / name):
            train(recipe, runs / name, {**TUNINGS[recipe].base, **changes})
        write_csv(path, rows(recipe, runs, read_csv(path)), COLUMNS)


def train(recipe: str, folder: Path, changes: Changes) -> None:
    """Start a candidate's run, or go on with it."""
    if folder.exists():
        onecycle.resume(folder, data=held_out_data())
    else:
        onecycle.train(recipe, data=held_out_data(), out=folder, **changes)


def check_same(name: str, folder: Path, changes: Changes) -> None:
    """Raise UserError where a candidate's run has other keys than the candidate has now."""
    if not folder.exists():
        return
    stored = onecycle.load(folder).recipe
    found = differences(as_resolved(onecycle.recipe(name, **changes), stored), stored)
    of_images = ("data.name", "data.image_size", "data.val_fraction")  # which are handed in
    other = [key for key in found if key not in of_images]
    if other:
        raise onecycle.UserError(f"{folder}: has another {other[0]} than the candidate has now; move it away")


def is_done(folder: Path) -> bool:
    """Whether a candidate's run has ended."""
    return folder.exists() and onecycle.load(folder).finished


def rows(recipe: str, runs: Path, kept: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The table of all candidates that are done, in their order; those of `kept` whose runs are not here stay in it."""
    lines = {(line["candidate"], line["changes"]): line for line in kept}
    candidates = TUNINGS[recipe].candidates.items()
    lines |= {
        (name, str(changes)): row(name, changes, onecycle.load(runs / name))
        for name, changes in candidates
        if is_done(runs / name)
    }
    order = [(name, str(changes)) for name, changes in candidates]
    return [lines[key] for key in order if key in lines]


def row(name: str, changes: Changes, run: onecycle.Run) -> dict[str, Any]:
    """A candidate's line."""
    last = run.metrics()[-1]
    # The first runs held the same images out with data.val_fraction, and had the real test set beside them.
    held_out = "val" if "val_loss" in last else "test"
    augmented = run.summary["test"].get("accuracy_tta") if held_out == "test" else None
    return {
        "candidate": name,
        "changes": str(changes),
        "train_loss": round(last["train_loss"], 4),
        "train_accuracy": round(last["train_accuracy"], 4),
        "held_out_loss": round(last[f"{held_out}_loss"], 4),
        "held_out_accuracy": round(last[f"{held_out}_accuracy"], 4),
        "held_out_accuracy_tta": None if augmented is None else round(augmented, 4),
        "train_seconds": run.summary["train_seconds"],
    }


if __name__ == "__main__":
    main()
