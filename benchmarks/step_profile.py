"""Where the time of a recipe's training step goes, operation by operation, and how near its products are to the limit.

    python benchmarks/step_profile.py RECIPE [RECIPE ...] [--steps 4] [--side S] [--batch B] [--out DIR]

The loop's own pieces (augmentation, net, loss, optimiser, sums) run a few steps under PyTorch's profiler, at each image
side of the recipe's plan, or at S. A line of the table is a group of operations: milliseconds a step of their own,
without those of what they call, and their share of the step; all lines add up to the step. Convolutions, and an
optimiser that multiplies matrices, have GFLOP beside them, counted and not guessed, and so a rate and its share of the
machine's matrix product. "copies, conversions, fills" holds what runs for them anywhere in the net, also within other
operations, but in the loss, the optimiser and the augmentation, which are told whole.

The profiler costs time itself: the step without it is given as well. CIFAR-10 is used where it is found, random images
of its shape otherwise. Nothing else should be running. The groups go to
benchmarks/results/profile_HARDWARE.csv, the single operations, where they take a thousandth of the step or more, to the
file that ends in _operations.csv, the environment to .json.

(Not profile.py: a script of that name would hide the standard library's module from PyTorch.)
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from measuring.arguments import RESULTS, positive, run
from measuring.hardware import hardware_slug
from measuring.images import training_images
from measuring.operations import Profile, profile_steps
from measuring.rates import matrix_rate
from measuring.steps import Steps
from rich.console import Console
from rich.table import Table

import onecycle
from onecycle.data import Augmentation
from onecycle.files import write_csv, write_json
from onecycle.hardware import device_name, environment, resolve_device

COLUMNS = (
    *("recipe", "side", "batch", "precision", "group", "ms_per_step", "share", "gflop", "gflops", "share_of_matrix"),
    *("step_ms", "step_ms_without_profiler", "matrix_gflops"),
)
OPERATION_COLUMNS = ("recipe", "side", "batch", "precision", "group", "name", "calls", "ms")
LEAST_SHARE = 0.001  # of the step, for an operation to be named
BATCHES = 4  # the set need not be larger than a few


def main() -> None:
    """Profile, print, keep."""
    run(argument_parser(), measure)


def argument_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description="Where the time of a training step goes.")
    add = parser.add_argument
    add("recipes", nargs="+", metavar="RECIPE")
    add("--steps", type=positive, default=4, metavar="N", help="steps under the profiler (4)")
    add("--warmup", type=positive, default=2, metavar="N", help="steps before (2)")
    add("--side", type=positive, metavar="S", help="pixels a side; else each side of the recipe's plan")
    add("--batch", type=positive, metavar="B", help="images a step; else the recipe's")
    add("--device", default="auto")
    add("--out", type=Path, default=RESULTS, metavar="DIR", help="where to keep the tables (benchmarks/results)")
    return parser


def measure(arguments: argparse.Namespace) -> None:
    """Every recipe at every side."""
    device = resolve_device(arguments.device)
    console = Console(width=120, highlight=False)
    rows: list[dict[str, Any]] = []
    operations: list[dict[str, Any]] = []
    for name in arguments.recipes:
        recipe = onecycle.recipe(name)
        batch = arguments.batch or recipe.data.batch_size
        recipe = recipe.evolve(data={"batch_size": batch, "drop_last": True})
        images = training_images(recipe)
        images = images.subset(np.arange(min(BATCHES * batch, len(images))))
        for side in [arguments.side] if arguments.side else sides_of(recipe, images.image_size):
            steps = Steps(recipe, images, device, side=side)
            rate = matrix_rate(device, steps.recipe.precision)
            found = profile_steps(steps, arguments.steps, arguments.warmup)
            about = {"recipe": recipe.name, "side": side, "batch": batch, "precision": steps.recipe.precision}
            table = [about | line for line in lines(found, rate)]
            rows += table
            named = [one for one in found.operations if one.ms >= LEAST_SHARE * found.ms]
            operations += [about | asdict(one) | {"ms": round(one.ms, 3)} for one in named]
            console.print(shown(table, f"{recipe.name}, {batch} images of {side} pixels, {device_name(device)}"))
    path = arguments.out / f"profile_{hardware_slug(device)}"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_csv(path.with_name(f"{path.name}.csv"), rows, COLUMNS)
    write_csv(path.with_name(f"{path.name}_operations.csv"), operations, OPERATION_COLUMNS)
    settings = {"steps": arguments.steps, "warmup": arguments.warmup}
    write_json(path.with_name(f"{path.name}.json"), {"environment": environment(device), **settings})
    console.print(f"Kept: {path}.csv, {path.name}_operations.csv and .json", soft_wrap=True)


def sides_of(recipe: onecycle.Recipe, image_size: int) -> list[int]:
    """The sides that the recipe trains on, smallest first."""
    augmentation = Augmentation(**recipe.augment.model_dump())
    return sorted({augmentation.side(epoch, image_size) for epoch in range(recipe.epochs)})


def lines(found: Profile, rate: float) -> list[dict[str, Any]]:
    """A line for each group, in the order of `GROUPS`."""
    table = []
    for group, ms in found.by_group().items():
        gflop = found.gflop.get(group) or None
        gflops = 1000 * gflop / ms if gflop else None
        line = {
            "group": group,
            "ms_per_step": ms,
            "share": ms / found.ms,
            "gflop": gflop,
            "gflops": gflops,
            "share_of_matrix": gflops / rate if gflops else None,
            "step_ms": found.ms,
            "step_ms_without_profiler": found.plain_ms,
            "matrix_gflops": rate,
        }
        table.append({key: float(f"{value:.5g}") if isinstance(value, float) else value for key, value in line.items()})
    return table


def shown(table: Sequence[dict[str, Any]], title: str) -> Table:
    """A profile for people, longest first; what takes no time is left out."""
    first = table[0]
    caption = f"without the profiler {first['step_ms_without_profiler']:.1f} ms a step; "
    caption += f"matrix product {first['matrix_gflops']:.0f} GFLOP/s"
    view = Table(title=title, caption=caption, show_footer=True)
    footers = ("the whole step", f"{first['step_ms']:.1f}", "100.0%", "", "", "")
    words = ("operations", "ms a step", "share", "GFLOP", "GFLOP/s", "of matrix rate")
    for word, footer in zip(words, footers, strict=True):
        view.add_column(word, footer, justify="left" if word == "operations" else "right")
    for line in sorted(table, key=lambda line: -line["ms_per_step"]):
        if line["ms_per_step"] <= 0 and line["gflop"] is None:
            continue
        numbers = [f"{line['ms_per_step']:.1f}", f"{100 * line['share']:.1f}%"]
        if line["gflop"]:
            numbers += [f"{line['gflop']:.1f}", f"{line['gflops']:.0f}", f"{line['share_of_matrix']:.2f}"]
        view.add_row(line["group"], *numbers)
    return view


if __name__ == "__main__":
    main()
