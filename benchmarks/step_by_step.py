"""What each thing that the loop does is worth: a training step the usual way, then with one thing more at a time.

    python benchmarks/step_by_step.py [RECIPE ...] [--rounds 3] [--steps 2] [--batch B] [--out DIR]

The usual way is float32 with the channels first, and an update for each weight on its own. Then, one on top of the
other: channels last; the recipe's precision; on a processor Winograd's convolutions in float32, pooling, BatchNorm and
activations by loops in C++, and in bfloat16 convolutions that fill its matrix units; one update for all weights, where
the optimiser is one of torch's; and memory that is kept between steps, which makes it the step of `onecycle train`;
then the net compiled by torch.compile, which the recipe's key `compile` does and which takes the place of our layers.
Steps are made of the loop's own pieces, on images of the set's own size, augmentation included. In each round all ways
take turns; a value is the median of all steps after the warm-ups, `faster` how many times as fast as the way before it,
the median over the rounds.

CIFAR-10 is used where it is found, random images of its shape otherwise. Nothing else should be running. The table goes
to benchmarks/results/step_by_step_HARDWARE.csv, the environment to .json.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from measuring.arguments import RESULTS, positive, run
from measuring.hardware import hardware_slug
from measuring.images import training_images
from measuring.ways import COLUMNS, compared
from rich.console import Console

import onecycle
from onecycle.files import write_csv, write_json
from onecycle.hardware import environment, resolve_device

RECIPES = ("custom_resnet", "fast94")


def main() -> None:
    """Measure, print, keep."""
    run(argument_parser(), measure)


def argument_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description="What each thing that the loop does is worth.")
    add = parser.add_argument
    add("recipes", nargs="*", metavar="RECIPE", help=f"else {' and '.join(RECIPES)}")
    add("--rounds", type=positive, default=3, metavar="N", help="in each of which all ways take turns (3)")
    add("--steps", type=positive, default=2, metavar="N", help="of each way in a round, after one to warm up (2)")
    add("--batch", type=positive, metavar="B", help="images a step; else the recipe's")
    add("--device", default="auto")
    add("--out", type=Path, default=RESULTS, metavar="DIR", help="where to keep the files (benchmarks/results)")
    return parser


def measure(arguments: argparse.Namespace) -> None:
    """Every way with every recipe."""
    device = resolve_device(arguments.device)
    console = Console(highlight=False)
    settings = {key: getattr(arguments, key) for key in ("rounds", "steps")}
    rows = []
    for name in arguments.recipes or RECIPES:
        recipe = onecycle.recipe(name)
        batch = arguments.batch or recipe.data.batch_size
        recipe = recipe.evolve(data={"batch_size": batch, "drop_last": True})
        images = training_images(recipe)
        images = images.subset(np.arange(min((arguments.steps + 1) * batch, len(images))))
        for row in compared(recipe, images, device, **settings):
            rows.append(row)
            faster = f", {row['faster']:.2f} times as fast as that" if row["faster"] else ""
            rate = f"{row['images_per_second']:,.0f} images/s, {row['share_of_matrix']:.0%} of the matrix rate"
            console.print(f"{recipe.name}, {row['way']}: {row['ms']:,.0f} ms a step, {rate}{faster}")
    path = arguments.out / f"step_by_step_{hardware_slug(device)}"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_csv(path.with_name(f"{path.name}.csv"), rows, COLUMNS)
    write_json(path.with_name(f"{path.name}.json"), {"environment": environment(device), **settings})
    console.print(f"Kept: {path}.csv and .json", soft_wrap=True)


if __name__ == "__main__":
    main()
