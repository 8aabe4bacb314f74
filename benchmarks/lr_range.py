"""Does the range test choose well? Its choice beside a grid of learning rates, by short trainings on CIFAR-10.

    python benchmarks/lr_range.py ~/onecycle-runs/lr_range [--net compact] [--epochs 4] [--optimizers adam sgd]
    python benchmarks/lr_range.py ~/onecycle-runs/lr_range --net whitened_convnet --options '{"widths": [32, 64, 64]}'
    python benchmarks/lr_range.py ~/onecycle-runs/lr_range --net plain

`plain` is a net without norms, of measuring/plain_net.py. For each optimiser `onecycle.find_lr` sweeps, and a net is
trained for a few epochs of one-cycle with what some of the rules choose; beside it with each lr_max of a grid, a factor
of three apart, from a hundredth of it. Judged on 5,000 held-out training images; the test set is not looked at. What is
done is not done again.

The tables go to benchmarks/results/lr_range_NET_HARDWARE.csv and, with all sweeps, .json.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from measuring.hardware import hardware_slug
from measuring.held_out import held_out_data

import onecycle
from onecycle import registry
from onecycle.files import write_csv, write_json
from onecycle.hardware import resolve_device

RESULTS = Path(__file__).parent / "results"
GRIDS = {
    "adam": (3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1),
    "sgd": (1e-2, 3e-2, 1e-1, 3e-1, 1.0, 3.0, 10.0),
}
RULES = ("minimum", "slowing")  # those whose choice is trained
COLUMNS = (
    "net",
    "optimizer",
    "source",
    "lr_min",
    "lr_max",
    "seed",
    "train_images",
    "epochs",
    "held_out_accuracy",
    "train_seconds",
)


def main() -> None:
    """Find, train, tabulate."""
    parser = argparse.ArgumentParser(description="The range test's choice beside a grid of learning rates.")
    parser.add_argument("runs", type=Path, help="the folder for the runs")
    parser.add_argument("--net", default="compact")
    parser.add_argument("--options", type=json.loads, default={}, help="of the net, as JSON")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of the trainings, each with a line")
    parser.add_argument("--optimizers", nargs="+", choices=list(GRIDS), default=list(GRIDS))
    parser.add_argument("--train-limit", type=int, default=None, help="train on so many images, not on all 45,000")
    arguments = parser.parse_args()
    if arguments.net == "plain":
        registry.register("model", "plain", "measuring.plain_net:plain")
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
                "model": {"name": arguments.net, **arguments.options},
                "optimizer.name": optimizer,
                "optimizer.weight_decay": 0.0,
                "schedule.epochs": arguments.epochs,
                "schedule.peak_epoch": arguments.epochs * 5 / 24,
                "evaluate_every": 0,
                "loss.label_smoothing": 0.0,
            },
        )
        found[optimizer] = sweeps(runs / f"{optimizer}_sweeps", wanted)
        choices = [(rule, *chosen(found[optimizer], rule)) for rule in RULES]
        grid = [("grid", lr / 100, lr) for lr in GRIDS[optimizer]]
        for source, lr_min, lr_max in [*choices, *grid]:
            name = source if source != "grid" else f"{lr_max:g}"
            for seed in arguments.seeds:
                changes = {"schedule.lr_min": lr_min, "schedule.lr_max": lr_max, "seed": seed}
                asked = onecycle.recipe(wanted, **changes)
                summary = trained(runs / f"{optimizer}_{name}_s{seed}", asked)
                rows.append(row(asked, summary, arguments.net, source))
                write_csv(RESULTS / f"{slug}.csv", rows, COLUMNS)
        write_json(RESULTS / f"{slug}.json", found)


def sweeps(folder: Path, wanted: onecycle.Recipe) -> dict[str, Any]:
    """The range test's result, from the folder where it is done."""
    if not (folder / "lr_range.json").exists():
        onecycle.find_lr(wanted, data=held_out_data(), out=folder)
    return onecycle.load(folder).lr_range


def chosen(found: dict[str, Any], rule: str) -> tuple[float, float]:
    """lr_min and lr_max by one of the rules: the geometric median over the sweeps, as onecycle.lr_range.choose."""
    lr_max = float(10 ** np.median(np.log10(found["suggestions"][rule])))
    return min(float(found["lr_min"]), lr_max), lr_max


def trained(folder: Path, wanted: onecycle.Recipe) -> dict[str, Any] | None:
    """The summary of the run in this folder, gone on with or made where it has not ended; None where it diverges."""
    try:
        if folder.exists():
            return onecycle.resume(folder, data=held_out_data()).summary
        return onecycle.train(wanted, data=held_out_data(), out=folder).summary
    except onecycle.TrainingFailed:
        return None


def row(wanted: onecycle.Recipe, summary: dict[str, Any] | None, net: str, source: str) -> dict[str, Any]:
    """A run's line."""
    options = wanted.schedule.options
    return {
        "net": net,
        "optimizer": wanted.optimizer.name,
        "source": source,
        "lr_min": f"{options['lr_min']:.3g}",
        "lr_max": f"{options['lr_max']:.3g}",
        "seed": wanted.seed,
        "train_images": wanted.data.train_limit or len(held_out_data().train),
        "epochs": wanted.epochs,
        "held_out_accuracy": summary["test"]["accuracy"] if summary else "diverged",
        "train_seconds": summary["train_seconds"] if summary else None,
    }


if __name__ == "__main__":
    main()
