"""How the cost of training grows: a step's with the batch, the net's width and the image side, an epoch's with the set.

    python benchmarks/scaling.py [RECIPE ...] [--quick] [--out DIR]

Each point is the median of a few whole steps of the loop's own pieces (augmentation, net, loss, optimiser) after a
warm-up; least and most are in the table. GFLOP are counted, and held against the machine's matrix product, which is
measured before each recipe. The width is varied where the net has widths. What an epoch costs on its own, its plan and
the augmentation of all its images, is measured over sets of different sizes, at the sides of the recipe's first epochs.

CIFAR-10 is used where it is found, random images of its shape otherwise. Nothing else should be running. The table goes
to benchmarks/results/scaling_HARDWARE.csv, the environment to .json, and the picture to .svg.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from measuring.arguments import RESULTS, run
from measuring.growth import AUGMENTING, BATCH, COLUMNS, PLANNING, SIDE, WIDTH, Range, grown
from measuring.growth_picture import draw
from measuring.hardware import hardware_slug
from measuring.images import training_images
from rich.console import Console

import onecycle
from onecycle.files import write_csv, write_json
from onecycle.hardware import device_name, environment, resolve_device
from onecycle.plots import save

RECIPES = ("custom_resnet", "fast94")
QUICK = Range(
    batches=(2, 4),
    widths=(0.25, 0.5),
    sides=(16, 32),
    sets=(20, 40),
    steps=1,
    epochs=1,
    batch=4,
)
WORDS = {
    BATCH: "batch of {}",
    WIDTH: "{} times as wide",
    SIDE: "{} pixels a side",
    PLANNING: "{} images, planning an epoch",
    AUGMENTING: "{} images, planning and augmenting an epoch",
}


def main() -> None:
    """Measure, print, keep, draw."""
    run(argument_parser(), measure)


def argument_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description="How the cost of training grows.")
    add = parser.add_argument
    add("recipes", nargs="*", metavar="RECIPE", help=f"else {' and '.join(RECIPES)}")
    add("--quick", action="store_true", help="everything tiny, to see that it works; its figures mean nothing")
    add("--device", default="auto")
    add("--out", type=Path, default=RESULTS, metavar="DIR", help="where to keep the files (benchmarks/results)")
    return parser


def measure(arguments: argparse.Namespace) -> None:
    """All points of all recipes."""
    device = resolve_device(arguments.device)
    console = Console(highlight=False)
    rows = []
    for name in arguments.recipes or RECIPES:
        recipe = onecycle.recipe(name)
        for row in grown(recipe, training_images(recipe), device, QUICK if arguments.quick else Range()):
            rows.append(row)
            rate = f", {row['gflops']:,.0f} GFLOP/s" if "gflops" in row else ""
            words = WORDS[row["varied"]].format(row["value"])
            console.print(f"{name}, {words}: {row['seconds']:.4g} s, {row['images_per_second']:,.0f} images/s{rate}")
    path = arguments.out / f"scaling_{hardware_slug(device)}"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_csv(path.with_name(f"{path.name}.csv"), rows, COLUMNS)
    write_json(path.with_name(f"{path.name}.json"), {"environment": environment(device), "quick": arguments.quick})
    save(draw(rows, device_name(device)), path.with_name(f"{path.name}.svg"))
    console.print(f"Kept: {path}.csv, .json and .svg", soft_wrap=True)


if __name__ == "__main__":
    main()
