"""Does the range test choose well? Its choice beside a grid of learning rates, by short trainings on CIFAR-10.

    python benchmarks/lr_range.py ~/onecycle-runs/lr_range [--net compact] [--epochs 4] [--optimizers adam sgd]

For each optimiser `onecycle.find_lr` chooses both ends of a one-cycle, and a net is trained for a few epochs with
them; beside it with each lr_max of the grid, a factor of three apart, and lr_min a hundredth of it. Judged on 5,000
held-out training images; the test set is not looked at. Runs that are done are not made again.

The tables go to benchmarks/results/lr_range_NET_HARDWARE.csv and, with all sweeps, .json.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from measuring.hardware import hardware_slug
from measuring.held_out import held_out_data

import onecycle
from onecycle.files import read_json, write_csv, write_json
from onecycle.hardware import resolve_device

RESULTS = Path(__file__).parent / "results"
GRIDS = {
    "adam": (3e-4, 1e-3, 3e-3, 1e-2, 3e-2),
    "sgd": (1e-2, 3e-2, 1e-1, 3e-1, 1.0),
}
COLUMNS = ("net", "optimizer", "source", "lr_min", "lr_max", "epochs", "held_out_accuracy", "train_seconds")


def main() -> None:
    """Find, train, tabulate."""
    parser = argparse.ArgumentParser(description="The range test's choice beside a grid of learning rates.")
    parser.add_argument("runs", type=Path, help="the folder for the runs")
    parser.add_argument("--net", default="compact")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--optimizers", nargs="+", choices=list(GRIDS), default=list(GRIDS))
    parser.add_argument("--train-limit", type=int, default=None, help="train on so many images, not on all 45,000")
    arguments = parser.parse_args()
    runs = arguments.runs.expanduser() / arguments.net
    rows: list[dict[str, Any]] = []
    found: dict[str, Any] = {}
    slug = f"lr_range_{arguments.net}_{hardware_slug(resolve_device('auto'))}"
    for optimizer in arguments.optimizers:
        wanted = onecycle.recipe(
            "custom_resnet",
            **{
                "name": f"{arguments.net}_{optimizer}",
                "data.train_limit": arguments.train_limit,
                "model.name": arguments.net,
                "optimizer.name": optimizer,
                "optimizer.weight_decay": 0.0,
                "schedule.epochs": arguments.epochs,
                "schedule.peak_epoch": arguments.epochs * 5 / 24,
                "schedule.lr_min": "find",
                "schedule.lr_max": "find",
                "evaluate_every": 0,
                "loss.label_smoothing": 0.0,
            },
        )
        run = trained(runs / f"{optimizer}_found", wanted)
        found[optimizer] = read_json(run.path / "lr_range.json")
        rows.append(row(run, arguments.net, optimizer, found[optimizer]["rule"]))
        for lr in GRIDS[optimizer]:
            rates = {"schedule.lr_max": lr, "schedule.lr_min": lr / 100}
            run = trained(runs / f"{optimizer}_{lr:g}", onecycle.recipe(wanted, **rates))
            rows.append(row(run, arguments.net, optimizer, "grid"))
            write_csv(RESULTS / f"{slug}.csv", rows, COLUMNS)
        write_json(RESULTS / f"{slug}.json", found)


def trained(folder: Path, wanted: onecycle.Recipe) -> onecycle.Run:
    """The run in this folder, gone on with or made where it has not ended."""
    if folder.exists():
        return onecycle.resume(folder, data=held_out_data())
    return onecycle.train(wanted, data=held_out_data(), out=folder)


def row(run: onecycle.Run, net: str, optimizer: str, source: str) -> dict[str, Any]:
    """A run's line."""
    options = run.recipe.schedule.options
    return {
        "net": net,
        "optimizer": optimizer,
        "source": source,
        "lr_min": f"{options['lr_min']:.3g}",
        "lr_max": f"{options['lr_max']:.3g}",
        "epochs": run.recipe.epochs,
        "held_out_accuracy": run.summary["test"]["accuracy"],
        "train_seconds": run.summary["train_seconds"],
    }


if __name__ == "__main__":
    main()
