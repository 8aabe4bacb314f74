"""Two processes with a thread each, as torchrun starts them, against one process with two threads.

    python benchmarks/distributed.py [--quick] [--out DIR]

Nothing else should be running. Both train the same net on the same batches, from random images of CIFAR-10's shape, and
take turns, a block of steps each; every other round the order is turned round, and the first is left out. A row's value
is the median of its blocks in images a second, its ratio the median of those in each round to one process. A block
holds all that a training does between steps, the sums over the processes too; checkpoints and evaluation are left out.
The table is kept as benchmarks/results/distributed_HARDWARE.csv.
"""

from __future__ import annotations

import argparse
import contextlib
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path

from measuring.arguments import RESULTS, run
from measuring.images import random_images
from measuring.session import begin, end
from measuring.settings import CPU, PRECISION, Samples
from measuring.table import Row, rendered, results
from measuring.together import TrainingTogether, Work

from onecycle.hardware import device_name

PROCESSES = 2


@dataclass(frozen=True)
class Settings:
    """How much is measured: a batch over all processes, and the steps of a block of it."""

    blocks: tuple[tuple[int, int], ...] = ((512, 2), (64, 12))
    images: int = 20_000
    rounds: int = 8
    small_net: bool = False  # the compact net in place of the custom ResNet


QUICK = Settings(blocks=((32, 3), (8, 6)), images=640, rounds=2, small_net=True)


def main() -> None:
    """Measure what is asked for, print it, keep it."""
    parser = argparse.ArgumentParser(description="Measure what training in two processes costs on this machine.")
    parser.add_argument("--quick", action="store_true", help="everything tiny, to see that it works")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to keep CSV and JSON (benchmarks/results)")
    run(parser, measure)


def measure(arguments: argparse.Namespace) -> None:
    """Measure, print, keep."""
    settings = QUICK if arguments.quick else Settings()
    what = "compact net" if settings.small_net else "custom ResNet"
    console, load = begin(PRECISION, "random images")
    samples: Samples = defaultdict(list)
    for batch, steps in settings.blocks:
        console.print(f"batch {batch} ...")
        work = Work(random_images(settings.images), batch, steps, settings.small_net)
        take_turns(work, settings.rounds, samples)
    listed = rows(settings)
    table = results(samples, listed)
    console.print(rendered(table, f"{what}, {PRECISION}; {device_name(CPU)}", listed))
    record = {"load_average_before": load, "settings": asdict(settings), "samples": samples}
    end(console, "distributed", arguments.out or (None if arguments.quick else RESULTS), table, record)


def rows(settings: Settings) -> list[Row]:
    """The lines of the table."""
    found = []
    for batch, _ in settings.blocks:
        name = f"one_process_{batch}"
        found += [
            Row(name, f"batch {batch}: one process, {PROCESSES} threads", "images/s"),
            Row(f"two_processes_{batch}", f"batch {batch}: two processes, a thread each", "images/s", name, 0.90, 0.95),
        ]
    return found


def take_turns(work: Work, rounds: int, samples: Samples) -> None:
    """Images a second of both sides in blocks, into the samples."""
    with contextlib.ExitStack() as stack:
        sides = {}
        for name, processes, threads in (("one_process", 1, PROCESSES), ("two_processes", PROCESSES, 1)):
            sides[name] = TrainingTogether(work, processes=processes, threads=threads)
            stack.callback(sides[name].end)
        for turn in range(rounds + 1):
            for name in list(sides)[:: -1 if turn % 2 else 1]:
                seconds = sides[name].work()
                if turn:  # the first is the warm-up
                    samples[f"{name}_{work.batch}"].append([work.batch * work.steps / seconds])


if __name__ == "__main__":
    main()
