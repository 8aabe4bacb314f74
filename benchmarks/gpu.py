"""Everything about a GPU in one go: its matrix rate, all recipes over seeds, the peers in turn with ours.

    python benchmarks/gpu.py [RECIPE ...] [--minutes 25] [--airbench FOLDER] [--hiverge FOLDER] [--out DIR]

It has not run on a GPU yet: it is tested on a CPU with tiny settings (--device cpu --quick), whose figures mean
nothing.

Whether torch.compile pays is measured before: steps of the fast recipes and of custom_resnet are timed in each of
--modes, and each is then trained in its fastest (on a CPU, none is compiled unless asked).

The fast recipes and the peers take turns first, over --fast-seeds (0-49), then the others over --seeds (0-2). Every
training is warmed up for outside its time: ours with a few steps of each epoch, the peers as they do it themselves.
Seconds, PFLOP and shares are those of fast.py. CIFAR-10 is looked for where ONECYCLE_DATA points, and the test set is
used, once a training. Tables are written after each training, so that whatever ends the script leaves what was done:
gpu_HARDWARE.csv, _summary.csv, _modes.csv and .json in DIR (the folder that the variable OUT names, else
benchmarks/results). Runs are kept in --runs (runs/gpu); what is done is not done again. Before --minutes are over it
stops: no training is begun that would take longer than what is left, and one of ours that is under way is saved.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

import torch
from measuring.arguments import RESULTS, add_peers, cifar10_data, peers, run, seeds, unlike
from measuring.hardware import hardware_slug
from measuring.images import random_images, training_images
from measuring.modes import COLUMNS, fastest, timed
from measuring.rates import matrix_rate
from measuring.report import keep_runs, report_console, summary_table
from measuring.sides import Ours, Side
from measuring.turns import rows, summaries, take_turns

import onecycle
from onecycle.data import Dataset
from onecycle.files import read_json, write_csv, write_json
from onecycle.hardware import device_name, resolve_device

FAST = ("fast94", "fast90", "fast96")
OTHERS = (
    "custom_resnet",
    "custom_resnet_fast",
    "eva6_s9_dropout",
    "eva6_s9_sgd",
    "era_s10_package",
    "era1_s10_compact",
    "era_s12_lightning",
)
QUICK: dict[str, Any] = {
    "data.batch_size": 20,
    "evaluate_every": 0,
    "schedule": {"name": "constant", "epochs": 2, "lr": 1e-3},
}
PRECISIONS = ("fp32", "bf16", "fp16")
MODES = ("none", "default", "reduce-overhead")


def main() -> None:
    """Measure until all is done or the time is over."""
    run(argument_parser(), measure)


def argument_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description="Train everything on a GPU, over seeds, beside the peers.")
    add = parser.add_argument
    shipped = [name for name in (*FAST, *OTHERS) if name in onecycle.names("recipe")]
    add("recipes", nargs="*", default=shipped, metavar="RECIPE", help=f"else {', '.join(shipped)}")
    add("--seeds", type=seeds, default=[0, 1, 2], help="of recipes whose names do not begin with fast (0-2)")
    add("--fast-seeds", type=seeds, default=list(range(50)), help="of those that do, and of the peers (0-49)")
    add("--minutes", type=float, default=25.0, help="stop before so many are over (25)")
    add("--runs", type=Path, default=Path("runs/gpu"), metavar="FOLDER", help="the folder for the runs (runs/gpu)")
    add("--out", type=Path, default=Path(os.environ.get("OUT", RESULTS)), metavar="DIR", help="for the tables")
    add("--device", default="cuda")
    add("--modes", nargs="+", metavar="MODE", help=f"of torch.compile ({' '.join(MODES)}; on a CPU none)")
    add("--quick", action="store_true", help="two seeds, two epochs of 40 random images, to see that it works")
    add_peers(parser)
    return parser


def measure(arguments: argparse.Namespace) -> None:
    """The card's rate, then the fast ones with the peers, then the others."""
    deadline = time.perf_counter() + 60 * arguments.minutes
    device = resolve_device(arguments.device)
    quick = arguments.quick
    folder = arguments.runs.expanduser()
    path = arguments.out / f"gpu_{hardware_slug(device)}"
    console = report_console()
    precisions = [one for one in PRECISIONS if device.type == "cuda" or one != "fp16"]
    rates = {precision: matrix_rate(device, precision, quick=quick) for precision in precisions}
    console.print(
        f"{device_name(device)}: matrix products, {', '.join(f'{p} {r:,.0f}' for p, r in rates.items())} GFLOP/s"
    )

    def keep() -> None:
        keep_runs(path, rows(folder), device, matrix_gflops=rates, quick=quick)

    recipes = chosen_recipes(arguments, device, folder, path)
    fast, others = all_sides(arguments, recipes, device)
    done = True
    for sides, wanted in ((fast, arguments.fast_seeds), (others, arguments.seeds)):
        some = wanted[:2] if quick else wanted
        done &= take_turns(sides, some, folder, device, deadline=deadline, quick=quick, say=print, on_row=keep)
    keep()
    console.print(summary_table(summaries(rows(folder))))
    console.print(f"Kept: {path}.csv, {path.name}_summary.csv and .json", soft_wrap=True)
    if not done:
        console.print("Not all of it; the same command goes on.")


def chosen_recipes(
    arguments: argparse.Namespace, device: torch.device, folder: Path, path: Path
) -> list[onecycle.Recipe]:
    """The recipes, each in the mode of torch.compile that is fastest here; what was chosen once is kept in `folder`."""
    quick = arguments.quick
    recipes = [onecycle.recipe(name, **(QUICK if quick else {})) for name in arguments.recipes]
    modes = arguments.modes or (MODES if device.type == "cuda" else MODES[:1])
    kept = folder / f"modes_{'_'.join(modes)}{'_quick' * quick}.json"
    rows: list[dict[str, Any]] = read_json(kept) if kept.exists() else []
    timed_steps = {"steps": 1, "warmup": 1} if quick else {"steps": 20, "warmup": 5}
    for recipe in recipes:
        compilable = recipe.name.startswith("fast") or recipe.name == "custom_resnet"  # where seconds are the point
        if compilable and not any(row["recipe"] == recipe.name for row in rows):
            images = random_images(40) if quick else training_images(recipe)
            rows += timed(recipe, images, device, modes, **timed_steps)
            folder.mkdir(parents=True, exist_ok=True)
            write_json(kept, rows)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_csv(path.with_name(f"{path.name}_modes.csv"), rows, COLUMNS)
    own = {recipe.name: [row for row in rows if row["recipe"] == recipe.name] for recipe in recipes}
    return [recipe.evolve(compile=fastest(own[recipe.name])) if own[recipe.name] else recipe for recipe in recipes]


def all_sides(
    arguments: argparse.Namespace, recipes: list[onecycle.Recipe], device: torch.device
) -> tuple[list[Side], list[Side]]:
    """The fast recipes with the peers, and the others."""
    quick = arguments.quick
    data = Dataset(random_images(40, seed=0), random_images(40, seed=1)) if quick else None
    fast: list[Side] = [Ours(recipe, device, data) for recipe in recipes if recipe.name.startswith("fast")]
    others: list[Side] = [Ours(recipe, device, data) for recipe in recipes if not recipe.name.startswith("fast")]
    if arguments.airbench or arguments.hiverge or arguments.airbench96:
        limits = {"epochs": 2, "batch": 20} if quick else {}
        fast += peers(arguments, data or cifar10_data(held_out=False), device, **limits)
    unlike(side.name for side in [*fast, *others])
    return fast, others


if __name__ == "__main__":
    main()
