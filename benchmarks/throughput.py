"""What this machine's processor does with onecycle, all in one run: training, its loop, augmentation, memory, start-up.

    python benchmarks/throughput.py [--quick] [--out DIR] [--data-dir DIR] [--only NAME ...]

Nothing else should be running. The table is kept as benchmarks/results/throughput_HARDWARE.csv, the samples and the
environment beside it as JSON. Sides that are compared take turns, and the warm-up of each is left out. CIFAR-10 is
used where it is found, random images of its shape otherwise.

A row's value is the median of its n samples. Its ratio to the row named in `reference` is taken in each round, where
both stood under the same load, between the medians of the two; what is given is the median of these ratios, with their
least and most. It can differ from the ratio of the values. Bar and aim are meant for the ratio where there is one, for
the value otherwise.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from measuring.augmentation import measure_augmentation, usual_pipeline
from measuring.images import random_images
from measuring.processes import measure_memory, measure_startup
from measuring.session import begin, end
from measuring.settings import CPU, FULL, PRECISION, QUICK, Samples, Settings
from measuring.table import rendered, results
from measuring.training import measure_loop, measure_matmul, measure_training, training_gflop

import onecycle
from onecycle.data import Dataset, cifar10
from onecycle.hardware import device_name, environment

RESULTS = Path(__file__).parent / "results"
GROUPS: dict[str, Callable[[Settings, Dataset, Samples], None]] = {
    "matmul": measure_matmul,
    "training": measure_training,
    "loop": measure_loop,
    "augmentation": measure_augmentation,
    "memory": measure_memory,
    "startup": measure_startup,
}


def main() -> None:
    """Measure what is asked for, print it, keep it."""
    parser = argument_parser()
    arguments = parser.parse_args()
    settings = QUICK if arguments.quick else FULL
    try:
        images, data = load_images(settings, arguments.data_dir)
    except onecycle.UserError as error:
        parser.error(str(error))
    console, load = begin(PRECISION, data)
    if usual_pipeline(images.train) is None:
        console.print("albumentations is not installed: the rows of the usual way are left out.")

    samples: Samples = defaultdict(list)
    names = [name for name in GROUPS if name in arguments.only]
    for name in names:
        console.print(f"{name} ...", end=" ")
        began = time.perf_counter()
        GROUPS[name](settings, images, samples)
        console.print(f"{time.perf_counter() - began:.0f} s")
    table = results(samples)
    console.print(rendered(table, f"{device_name(CPU)}, {data}"))

    whole = not arguments.quick and len(names) == len(GROUPS)
    record = {
        "environment": environment(CPU) | {"albumentations": albumentations_version()},
        "precision": PRECISION,
        "data": data,
        "load_average_before": load,
        "gflop_per_image": training_gflop(settings),
        "settings": asdict(settings),
        "samples": samples,
    }
    end(console, "throughput", arguments.out or (RESULTS if whole else None), table, record)


def argument_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description="Measure what this machine's processor does with onecycle.")
    add = parser.add_argument
    add("--quick", action="store_true", help="everything tiny, to see that it works; its figures mean nothing")
    add("--out", type=Path, metavar="DIR", help="where to keep CSV and JSON (benchmarks/results, for a whole run)")
    add("--data-dir", type=Path, metavar="DIR", help="where CIFAR-10 lies; else ONECYCLE_DATA, else the user's cache")
    add("--only", nargs="+", choices=GROUPS, default=list(GROUPS), metavar="NAME", help=f"of {', '.join(GROUPS)}")
    return parser


def load_images(settings: Settings, data_dir: Path | None) -> tuple[Dataset, str]:
    """Images to train on, a batch to test with, and what they are. Raises UserError where `data_dir` has none."""
    try:
        train, test = cifar10(data_dir=data_dir)
        what = "CIFAR-10"
    except onecycle.UserError:
        if data_dir is not None:
            raise
        train = test = random_images(settings.images)
        what = "random images, as no CIFAR-10 was found"
    return Dataset(train.subset(np.arange(settings.images)), test.subset(np.arange(settings.batch))), what


def albumentations_version() -> str | None:
    """None where it is not installed."""
    try:
        return version("albumentations")
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    main()
