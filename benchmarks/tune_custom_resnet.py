"""How the recipe custom_resnet was chosen: short runs judged on the held-out tenth of the training set.

    python benchmarks/tune_custom_resnet.py ~/onecycle-runs/tuning [CANDIDATE ...]

Each candidate changes the base and trains 5 of the 24 epochs, with the peak at the same share of them. The held-out
images stand in for the test set, which nothing here looks at: where these runs say "test", they mean them. Candidates
that are done are not run again, one that was interrupted goes on.

The table goes to benchmarks/results/custom_resnet_tuning_HARDWARE.csv and holds the held-out figures alone. Candidates
that are not in the table have not been run yet.
"""

from __future__ import annotations

import argparse
from collections.abc import Collection
from pathlib import Path
from typing import Any

from measuring.hardware import hardware_slug
from measuring.held_out import held_out_data

import onecycle
from onecycle.files import write_csv
from onecycle.hardware import resolve_device

RESULTS = Path(__file__).parent / "results"
BASE: dict[str, Any] = {
    "evaluate_every": 0,
    "augment.padding": "reflect",
    "augment.flip": "alternating",
    "optimizer.name": "adamw",
    "optimizer.decay_norms_and_biases": False,
    "optimizer.weight_decay": 0.05,
    "schedule.epochs": 5,
    "schedule.peak_epoch": 1.04,
    "schedule.lr_max": 5e-3,
    "schedule.lr_min": 5e-6,
    "loss.label_smoothing": 0.1,
}
CANDIDATES: dict[str, dict[str, Any]] = {
    "base": {},
    "wd0.2": {"optimizer.weight_decay": 0.2},
    "wd0.4": {"optimizer.weight_decay": 0.4},
    "lr1e-2": {"optimizer.weight_decay": 0.1, "schedule.lr_max": 1e-2, "schedule.lr_min": 1e-5},
    "smoothing0.2": {"optimizer.weight_decay": 0.2, "loss.label_smoothing": 0.2},
    "bn_momentum": {"optimizer.weight_decay": 0.2, "model.norm_momentum": 0.4},
    "zeros": {"optimizer.weight_decay": 0.2, "augment.padding": "zeros", "augment.flip": "random"},
}
COLUMNS = (
    "candidate",
    "changes",
    "train_loss",
    "train_accuracy",
    "held_out_loss",
    "held_out_accuracy",
    "train_seconds",
)


def main() -> None:
    """Run what is asked for and missing; write the table anew after each."""
    parser = argparse.ArgumentParser(description="Run candidates for the recipe custom_resnet, and tabulate them.")
    parser.add_argument("runs", type=Path, help="the folder with a run's folder for each candidate")
    parser.add_argument("candidates", nargs="*", metavar="CANDIDATE", help=f"of {', '.join(CANDIDATES)}; else all")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.candidates) - set(CANDIDATES))
    if unknown:
        parser.error(f"{', '.join(unknown)}: no such candidate; there are {', '.join(CANDIDATES)}")
    try:
        tune(arguments.runs.expanduser(), arguments.candidates or CANDIDATES)
    except onecycle.UserError as error:
        parser.error(str(error))


def tune(runs: Path, names: Collection[str]) -> None:
    """Train each of these candidates that is not done, and keep the table of all that are."""
    path = RESULTS / f"custom_resnet_tuning_{hardware_slug(resolve_device('auto'))}.csv"
    for name in CANDIDATES:
        if name not in names:
            continue
        if not is_done(runs / name):
            train(runs / name, CANDIDATES[name])
        write_csv(path, rows(runs), COLUMNS)


def train(folder: Path, changes: dict[str, Any]) -> None:
    """Start a candidate's run, or go on with it."""
    if folder.exists():
        onecycle.resume(folder, data=held_out_data())
    else:
        onecycle.train("custom_resnet", data=held_out_data(), out=folder, **{**BASE, **changes})


def is_done(folder: Path) -> bool:
    """Whether a candidate's run has ended."""
    return folder.exists() and onecycle.load(folder).finished


def rows(runs: Path) -> list[dict[str, Any]]:
    """The table of all candidates that are done, in their order."""
    return [row(name, onecycle.load(runs / name)) for name in CANDIDATES if is_done(runs / name)]


def row(name: str, run: onecycle.Run) -> dict[str, Any]:
    """A candidate's line."""
    last = run.metrics()[-1]
    # The first runs held the same images out with data.val_fraction, and had the real test set beside them.
    held_out = "val" if "val_loss" in last else "test"
    return {
        "candidate": name,
        "changes": str(CANDIDATES[name]),
        "train_loss": round(last["train_loss"], 4),
        "train_accuracy": round(last["train_accuracy"], 4),
        "held_out_loss": round(last[f"{held_out}_loss"], 4),
        "held_out_accuracy": round(last[f"{held_out}_accuracy"], 4),
        "train_seconds": run.summary["train_seconds"],
    }


if __name__ == "__main__":
    main()
