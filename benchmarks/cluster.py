"""What Ray costs: starting it, and each trial, beside the local engine.

    python benchmarks/cluster.py [--rounds N] [--trials N] [--quick] [--out DIR]

Short trainings of the compact net on the digits, one thread each: by the local engine; by a Ray with one CPU, which is
started for it, so one at a time as well; and by a Ray with two CPUs, two at a time. The three take turns. A trial's
seconds are from one result to the next, with all that lies between; what comes before the first is given apart.

Nothing else should be running. Samples go to benchmarks/results/cluster_HARDWARE.json, medians to .csv.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import ray
import torch
from measuring.arguments import RESULTS, positive, run
from measuring.session import begin, end
from measuring.settings import Samples
from measuring.table import Row, rendered, results

from onecycle import recipe
from onecycle.launch.ray import RayEngine
from onecycle.studies import Engine, Job, LocalEngine, Resources, train_job

SMALL = {
    **{"model.name": "compact", "data.train_limit": 1000, "data.batch_size": 50, "evaluate_every": 0},
    **{"schedule.peak_epoch": 0.5, "schedule.lr_min": 0.001, "schedule.lr_max": 0.01},
}
ROWS = (
    Row("local_trial", "local: a trial", "s"),
    Row("ray_start", "Ray: starting it", "s"),
    Row("ray_before", "Ray: before the first trial, with a worker's start", "s"),
    Row("ray_trial", "Ray: a trial, one at a time", "s", "local_trial"),
    Row("ray_end", "Ray: ending it", "s"),
    Row("local_all", "local: all trials", "s"),
    Row("ray_all", "Ray: all trials, two at a time, with start and end", "s", "local_all"),
)


def main() -> None:
    """Measure, print, keep."""
    run(argument_parser(), measure)


def argument_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description="What Ray costs beside the local engine.")
    parser.add_argument("--rounds", type=positive, default=5)
    parser.add_argument("--trials", type=positive, default=6, help="of each side in a round, two at least (6)")
    parser.add_argument("--epochs", type=positive, default=5, help="of a trial (5)")
    parser.add_argument("--quick", action="store_true", help="everything tiny, to see that it works; kept nowhere")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to keep the files (benchmarks/results)")
    return parser


def measure(arguments: argparse.Namespace) -> None:
    """The three sides in turn."""
    if arguments.quick:
        arguments.rounds, arguments.trials, arguments.epochs = 1, 2, 1
    folder = arguments.out or (None if arguments.quick else RESULTS)
    torch.set_num_threads(1)
    console, load = begin(f"{arguments.trials} trials a side and round, one thread each", f"Ray {ray.__version__}")
    samples: Samples = defaultdict(list)
    with tempfile.TemporaryDirectory() as place:
        for number in range(arguments.rounds):
            for name, values in one_round(Path(place) / str(number), arguments.trials, arguments.epochs):
                samples[name].append(values)
            console.print(f"round {number + 1} of {arguments.rounds}", highlight=False)
    table = results(samples, ROWS)
    console.print(rendered(table, "Trials by Ray and by the local engine", ROWS))
    record = {"rounds": arguments.rounds, "trials": arguments.trials, "epochs": arguments.epochs, "load": load}
    end(console, "cluster", folder, table, {**record, "ray": ray.__version__, "samples": samples})


def one_round(place: Path, trials: int, epochs: int) -> Iterator[tuple[str, list[float]]]:
    """The samples of a round, by the name of their row."""
    first, *others = timed(LocalEngine(), place / "local", trials, epochs)
    yield "local_trial", others
    yield "local_all", [first + sum(others)]
    for cpus in (1, 2):
        began = time.perf_counter()
        ray.init(num_cpus=cpus, address="local", include_dashboard=False, log_to_driver=False, logging_level="error")
        started = time.perf_counter() - began
        seconds = timed(RayEngine(), place / f"ray{cpus}", trials, epochs)
        ending = time.perf_counter()
        ray.shutdown()
        ended = time.perf_counter() - ending
        if cpus == 1:
            first, *others = seconds
            yield from (("ray_start", [started]), ("ray_trial", others), ("ray_end", [ended]))
            yield "ray_before", [first - sum(others) / len(others)]
        else:
            yield "ray_all", [started + sum(seconds) + ended]


def timed(engine: Engine, place: Path, trials: int, epochs: int) -> list[float]:
    """The seconds until the first result, and from each result to the next."""
    place.mkdir(parents=True)
    wanted = recipe("digits", **SMALL, **{"schedule.epochs": epochs})
    jobs = [Job(wanted.evolve(seed=seed), place / f"s{seed}", None, "cpu") for seed in range(trials)]
    seconds, last = [], time.perf_counter()
    for _, result in engine.run(train_job, jobs, Resources(cpus=1)):
        if isinstance(result, Exception):
            raise result
        now = time.perf_counter()
        seconds.append(now - last)
        last = now
    return seconds


if __name__ == "__main__":
    main()
