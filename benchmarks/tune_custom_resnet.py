"""How the recipe custom_resnet was chosen: short runs judged on the held-out tenth of the training set.

    python benchmarks/tune_custom_resnet.py ~/onecycle-runs/tuning

Each candidate changes the base and trains 5 of the 24 epochs, with the peak at the same share of them. Candidates that
are done are not run again, one that was interrupted goes on. The table goes to
benchmarks/results/custom_resnet_tuning_HARDWARE.csv and holds the held-out figures alone.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any

import onecycle

RESULTS = Path(__file__).parent / "results"
BASE: dict[str, Any] = {
    "data.val_fraction": 0.1,
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
    "zeros": {"optimizer.weight_decay": 0.2, "augment.padding": "zeros", "augment.flip": "random"},
}


def main(runs: Path, hardware: str) -> None:
    """Run what is missing and write the table."""
    rows = []
    for name, changes in CANDIDATES.items():
        folder = runs / name
        if folder.exists():
            run = onecycle.resume(folder)
        else:
            run = onecycle.train("custom_resnet", out=folder, **{**BASE, **changes})
        last = run.metrics()[-1]
        figures = {key: round(last[key], 4) for key in ("train_loss", "train_accuracy", "val_loss", "val_accuracy")}
        seconds = run.summary["train_seconds"]
        rows.append({"candidate": name, "changes": str(changes), **figures, "train_seconds": seconds})
        with (RESULTS / f"custom_resnet_tuning_{hardware}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main(Path(sys.argv[1]).expanduser(), sys.argv[2] if len(sys.argv) > 2 else "cpu")
