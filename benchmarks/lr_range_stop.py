"""Does the range test choose the same where its sweeps stop at the divergence as where they go on to the end?

    python benchmarks/lr_range_stop.py RECIPE [RECIPE ...] [--optimizers adam sgd] [--batch-sizes 64] [--precision bf16]

For each recipe, optimiser and batch size the usual three sweeps are made to the end of their range; each is then cut
where it would have stopped, and both ends are chosen from the whole sweeps and from the cut ones. Training images of
CIFAR-10 alone. Lines are added to benchmarks/results/lr_range_stop_HARDWARE.csv and, with all sweeps, .json; a line
that is there is not made again.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from measuring.hardware import hardware_slug

import onecycle
from onecycle import lr_range
from onecycle.files import read_csv, read_json, write_csv, write_json
from onecycle.hardware import resolve_device
from onecycle.lr_range import LrRange, Sweep
from onecycle.preparation import resolve, split

RESULTS = Path(__file__).parent / "results"
LINE = ("recipe", "optimizer", "batch_size", "precision")  # what a line is about
COLUMNS = (
    *LINE,
    "steps_whole",
    "steps_cut",
    "lr_min_whole",
    "lr_min_cut",
    "lr_max_whole",
    "lr_max_cut",
    "lr_max_largest_over_smallest",
    "seconds_whole",
)


def main() -> None:
    """Sweep, cut, choose twice, tabulate."""
    parser = argparse.ArgumentParser(description="The range test's choice with and without its early stop.")
    parser.add_argument("recipes", nargs="+", metavar="RECIPE")
    parser.add_argument("--optimizers", nargs="+", default=[None], help="in the place of the recipe's own")
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=[None], help="in the place of the recipe's own")
    parser.add_argument("--precision", default="auto")
    arguments = parser.parse_args()
    slug = f"lr_range_stop_{hardware_slug(resolve_device('auto'))}"
    table, sweeps = RESULTS / f"{slug}.csv", RESULTS / f"{slug}.json"
    rows: list[dict[str, Any]] = [dict(row) for row in read_csv(table)] if table.exists() else []
    found: dict[str, Any] = read_json(sweeps) if sweeps.exists() else {}
    for name in arguments.recipes:
        for optimizer in arguments.optimizers:
            for batch_size in arguments.batch_sizes:
                wanted = changed(name, optimizer, batch_size, arguments.precision)
                about = (wanted.name, wanted.optimizer.name, str(wanted.data.batch_size), arguments.precision)
                if about in {tuple(str(row[key]) for key in LINE) for row in rows}:
                    continue
                whole, seconds = swept(wanted)
                cut = lr_range.choose([stopped(one) for one in whole.sweeps])
                rows.append(row(about, whole, cut, seconds))
                found[" ".join(about)] = whole.to_dict()
                write_csv(table, rows, COLUMNS)
                write_json(sweeps, found)


def changed(name: str, optimizer: str | None, batch_size: int | None, precision: str) -> onecycle.Recipe:
    """The recipe, with another optimiser, from its defaults, or batch size."""
    changes: dict[str, Any] = {"precision": precision}
    if optimizer is not None:
        changes["optimizer"] = {"name": optimizer}
    if batch_size is not None:
        changes["data.batch_size"] = batch_size
    return onecycle.recipe(name, **changes)


def swept(wanted: onecycle.Recipe) -> tuple[LrRange, float]:
    """Both ends from three sweeps to the end of their range, and the seconds that these took."""
    device = resolve_device("auto")
    sets = split(wanted, onecycle.data.cifar10())
    started = time.perf_counter()
    found = lr_range.find(resolve(wanted, sets, device), sets, device=device, stop=False)
    return found, time.perf_counter() - started


def stopped(whole: Sweep) -> Sweep:
    """The sweep up to where it would have stopped."""
    for count in range(1, len(whole.losses) + 1):
        if lr_range.has_diverged(whole.losses[:count], lr_range.STEPS):
            return replace(whole, lrs=whole.lrs[:count], losses=whole.losses[:count], end="diverged")
    return whole


def row(about: tuple[str, ...], whole: LrRange, cut: LrRange, seconds: float) -> dict[str, Any]:
    """A line of the table."""
    rates = {
        f"lr_{end}_{how}": f"{getattr(one, f'lr_{end}'):.3g}"
        for end in ("min", "max")
        for how, one in (("whole", whole), ("cut", cut))
    }
    return {
        **dict(zip(LINE, about, strict=True)),
        **rates,
        "steps_whole": sum(len(one.losses) for one in whole.sweeps),
        "steps_cut": sum(len(one.losses) for one in cut.sweeps),
        "lr_max_largest_over_smallest": round(whole.stability["lr_max_spread"], 2),
        "seconds_whole": round(seconds, 1),
    }


if __name__ == "__main__":
    main()
