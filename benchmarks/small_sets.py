"""Small sets: what an earlier run's weights are worth, and whether to stop where the held-out part does best.

    python benchmarks/small_sets.py [--seeds N] [--out DIR]

On scikit-learn's digits, with a net of a few thousand weights, in float32. `init`: five images each of the digits 5 to
9, for three and for ten epochs, from scratch and with the weights of a training on the digits 0 to 4. `stop`: ten
images each of all digits, 20 epochs of one-cycle; the final weights of all images, the final ones where a fifth is held
out, and those that did best on that fifth. Accuracies are on the digits' test images, of which nothing is chosen. A row
a training goes to small_sets_HARDWARE.csv; means with their intervals are printed.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring.arguments import RESULTS, run
from measuring.hardware import hardware_slug
from rich.console import Console
from safetensors.torch import load_file
from torch import nn

import onecycle
from onecycle.data import Dataset, ImageSet
from onecycle.files import write_csv
from onecycle.stats import spread

COLUMNS = ("study", "epochs", "seed", "weights", "accuracy")
RATES = {"peak_epoch": 1, "lr_max": 0.01}
LONG_EPOCHS = 20


def main() -> None:
    """Train, tabulate, print."""
    run(argument_parser(), measure)


def argument_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description="What helps where there are few images.")
    parser.add_argument("--seeds", type=int, default=10, metavar="N", help="0 to N - 1 (10)")
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="DIR", help="where to keep the table")
    return parser


def measure(arguments: argparse.Namespace) -> None:
    """All trainings of both studies. Raises UserError where one seed shows no spread."""
    if arguments.seeds < 2:
        raise onecycle.UserError(f"--seeds {arguments.seeds} shows no spread; 2 or more")
    console = Console(highlight=False)
    torch.set_num_threads(1)  # such a net is too small for two
    with tempfile.TemporaryDirectory() as folder:
        rows = [*starts(Path(folder), arguments.seeds), *stops(Path(folder), arguments.seeds)]
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_csv(arguments.out / f"small_sets_{hardware_slug(torch.device('cpu'))}.csv", rows, COLUMNS)
    for study, epochs, first, second in (
        ("init", 3, "earlier run", "scratch"),
        ("init", 10, "earlier run", "scratch"),
        ("stop", 20, "final, all images", "final, a fifth held out"),
        ("stop", 20, "best, a fifth held out", "final, a fifth held out"),
    ):
        pairs = [accuracies(rows, study, epochs, weights) for weights in (first, second)]
        gains = spread([100 * (one - other) for one, other in zip(*pairs, strict=True)])
        console.print(
            f"{study}, {epochs} epochs: {first} {np.mean(pairs[0]):.2%}, {second} {np.mean(pairs[1]):.2%}: "
            f"{gains.mean:+.1f} points ({gains.low:+.1f} to {gains.high:+.1f}), {arguments.seeds} seeds"
        )


def accuracies(rows: list[dict[str, Any]], study: str, epochs: int, weights: str) -> list[float]:
    """Those of one kind of training, by seed."""
    wanted = (study, epochs, weights)
    return [row["accuracy"] for row in rows if (row["study"], row["epochs"], row["weights"]) == wanted]


def starts(folder: Path, seeds: int) -> Iterator[dict[str, Any]]:
    """Five images each of the digits 5 to 9, with and without an earlier run."""
    digits = onecycle.data.digits()
    earlier = Dataset(*(part(one, range(5)) for one in digits))
    first = trained(folder / "first", net(5, 0), earlier, schedule={**RATES, "epochs": 6})
    for epochs in (3, 10):
        for seed in range(seeds):
            data = Dataset(part(digits.train, range(5, 10), per_class=5, seed=seed), part(digits.test, range(5, 10)))
            for weights, init in (("earlier run", first), ("scratch", None)):
                options = {"seed": seed, "init": init, "schedule": {**RATES, "epochs": epochs}, "data.batch_size": 5}
                done = trained(folder / f"{weights}{epochs}-{seed}", net(5, 10 + seed), data, **options)
                yield row("init", epochs, seed, weights, done.summary["test"]["accuracy"])


def stops(folder: Path, seeds: int) -> Iterator[dict[str, Any]]:
    """Ten images each of all digits: when to stop."""
    digits = onecycle.data.digits()
    for seed in range(seeds):
        data = Dataset(part(digits.train, range(10), per_class=10, seed=seed), digits.test)
        for held_out, name in ((0.0, "all images"), (0.2, "a fifth held out")):
            trained_net = net(10, seed)
            options = {
                "seed": seed,
                "schedule": {"epochs": LONG_EPOCHS, "peak_epoch": 4, "lr_max": 0.01},
                "data.batch_size": 10,
                "data.val_fraction": held_out,
            }
            done = trained(folder / f"stop{held_out}-{seed}", trained_net, data, **options)
            yield row("stop", LONG_EPOCHS, seed, f"final, {name}", done.summary["test"]["accuracy"])
        trained_net.load_state_dict(load_file(done.path / "best.safetensors"))
        images = onecycle.data.Loader(
            digits.test, batch_size=360, mean=done.recipe.data.statistics[0], std=done.recipe.data.statistics[1]
        )
        (batch,) = images.in_order(torch.arange(len(digits.test)))
        with torch.no_grad():
            right = trained_net.eval()(batch.images_nchw).argmax(1) == batch.labels
        yield row("stop", LONG_EPOCHS, seed, f"best, {name}", float(right.float().mean()))


def trained(folder: Path, module: nn.Module, data: Dataset, **options: Any) -> onecycle.Run:
    """A training of the digits' recipe, silent."""
    silent = onecycle.Observer()
    fixed: dict[str, Any] = {"precision": "fp32", "device": "cpu", "observer": silent, "out": folder}
    return onecycle.train("digits", model=module, data=data, **fixed, **options)


def row(study: str, epochs: int, seed: int, weights: str, accuracy: float) -> dict[str, Any]:
    """A line of the table."""
    return {"study": study, "epochs": epochs, "seed": seed, "weights": weights, "accuracy": round(accuracy, 4)}


def net(classes: int, seed: int) -> nn.Module:
    """Two convolutions with BatchNorm, and a head."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 16, 5, stride=2, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(3),
        nn.Flatten(),
        nn.Linear(288, classes),
    )


def part(one: ImageSet, labels: range, per_class: int | None = None, seed: int = 0) -> ImageSet:
    """The images of some classes, all or so many of each."""
    random = np.random.default_rng(seed)
    rows = [random.permutation(np.flatnonzero(one.labels == label))[:per_class] for label in labels]
    index = np.sort(np.concatenate(rows))
    classes = tuple(one.classes[label] for label in labels)
    return ImageSet(np.asarray(one.images_nhwc[index]), one.labels[index] - labels[0], classes)


if __name__ == "__main__":
    main()
