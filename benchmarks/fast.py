"""How fast recipes reach their accuracy, over seeds, beside airbench94_muon in turn on the same machine.

    python benchmarks/fast.py RECIPE [RECIPE ...] --runs FOLDER [--seeds 0-4] [--airbench FOLDER] [--held-out]

A RECIPE is a shipped name or a YAML file. Nothing else should be running. Seconds are those of training and of
test-time augmentation together, whitening and statistics included, loading and other evaluation left out, on both
sides. PFLOP are counted on real steps, forward, backward and optimiser, at each image side of the recipe's plan. The
share is of the machine's own matrix product, measured before each training.

With --held-out the training set is split, 45,000 to 5,000, for choices; the test set is not looked at then. What is
done is not done again, what was interrupted goes on; only a peer's training begins anew. A recipe that has changed
since is refused, as its runs are no longer of one kind.

Every training in FOLDER that has ended goes to benchmarks/results/fast_HARDWARE.csv (fast_held_out_ with --held-out), a
row each; mean, spread and interval of each side, and its seconds to those of the peers, to the file that ends in
_summary.csv; the environment to .json. --out names another folder for them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from measuring.arguments import RESULTS, add_peers, cifar10_data, peers, run, seeds, unlike
from measuring.hardware import hardware_slug
from measuring.held_out import held_out_data
from measuring.report import keep_runs, report_console, summary_table
from measuring.sides import Ours, Side
from measuring.turns import rows, summaries, take_turns

import onecycle
from onecycle.hardware import resolve_device


def main() -> None:
    """Train what is not done yet, print and keep."""
    run(argument_parser(), measure)


def argument_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description="Train recipes over seeds, beside others, and compare the seconds.")
    add = parser.add_argument
    add("recipes", nargs="+", metavar="RECIPE")
    add("--runs", type=Path, required=True, metavar="FOLDER", help="the folder for the runs")
    add("--seeds", type=seeds, default=[0, 1, 2, 3, 4], help="such as 0-4, which is the default")
    add("--held-out", action="store_true", help="judge on 5,000 training images; the test set is left alone")
    add("--device", default="auto")
    add("--out", type=Path, default=RESULTS, metavar="DIR", help="where to keep the tables (benchmarks/results)")
    add_peers(parser)
    return parser


def measure(arguments: argparse.Namespace) -> None:
    """All sides in turn over the seeds."""
    device = resolve_device(arguments.device)
    part = "held_out" if arguments.held_out else "test"
    folder = arguments.runs.expanduser() / part
    sides = all_sides(arguments, device)
    name = "fast_held_out" if arguments.held_out else "fast"
    path = arguments.out / f"{name}_{hardware_slug(device)}"
    done = take_turns(sides, arguments.seeds, folder, device, on_row=lambda: keep_runs(path, rows(folder), device))
    found = rows(folder)
    keep_runs(path, found, device)
    report_console().print(summary_table(summaries(found)))
    print(f"Kept: {path}.csv, {path.name}_summary.csv and .json")
    if not done:
        raise SystemExit(1)


def all_sides(arguments: argparse.Namespace, device: torch.device) -> list[Side]:
    """Our recipes, then the peers."""
    recipes = [onecycle.recipe(name) for name in arguments.recipes]
    data = held_out_data() if arguments.held_out else None
    sides: list[Side] = [Ours(one, device, data) for one in recipes]
    if arguments.airbench or arguments.hiverge or arguments.airbench96:
        sides += peers(arguments, cifar10_data(held_out=arguments.held_out), device)
    unlike(side.name for side in sides)
    return sides


if __name__ == "__main__":
    main()
