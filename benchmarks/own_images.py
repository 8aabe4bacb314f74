"""Own images that are not as one would wish: classes of different size, and wrong labels.

    python benchmarks/own_images.py [--seeds N] [--quick] [--out DIR]

scikit-learn's digits, written as PNG files in class folders, are trained from there as anybody's photographs are: the
net `compact` in float32 on one thread, without flips. `unbalanced`: 100 images each of five digits and 10 each of the
other five, with and without loss.class_weights=balanced; accuracies are on the digits' 360 test images, about as many
of each class. `labels`: of 60 training images of each digit, and of the test images, 5% of the labels are changed to
another class drawn at random. Those of the training images are looked for by a cross-validation of five folds, and by
cleanlab in the same out-of-fold predictions; those of the test images by `explain`, of the first fold's run. A row a
figure goes to own_images_HARDWARE.csv; the tables of docs/own-data.md are printed.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import numpy as np
import torch
from measuring.arguments import RESULTS, positive, run
from measuring.hardware import hardware_slug
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console

import onecycle
from onecycle.data import Dataset, ImageSet
from onecycle.evaluation import probabilities
from onecycle.files import write_csv
from onecycle.stats import spread

COLUMNS = ("study", "way", "seed", "measure", "value")
FREQUENT, RARE = range(5), range(5, 10)
WEIGHTS: Final = ("none", "balanced")
OURS, CLEANLAB, CLEANLAB_DEFAULT, EXPLAIN = "cross-validation", "cleanlab", "cleanlab, its default", "explain"
FILTERS: Final = {CLEANLAB: "confident_learning", CLEANLAB_DEFAULT: "prune_by_noise_rate"}


@dataclass(frozen=True)
class Settings:
    """How much is trained."""

    seeds: int = 5
    epochs: int = 12
    images: tuple[int, int] = (100, 10)  # of a frequent class, of a rare one
    limit: int = 60  # training images of a class in the study of labels
    folds: int = 5
    wrong: float = 0.05  # of the labels


QUICK = Settings(seeds=2, epochs=1, images=(6, 2), limit=8, folds=2, wrong=0.2)


def main() -> None:
    """Train, tabulate, print."""
    run(argument_parser(), measure)


def argument_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description="Classes of different size, and wrong labels.")
    parser.add_argument("--seeds", type=positive, metavar="N", help="0 to N - 1, at least 2 (5)")
    parser.add_argument("--quick", action="store_true", help="everything tiny, to see that it works")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to keep the table (benchmarks/results)")
    return parser


def measure(arguments: argparse.Namespace) -> None:
    """All trainings of both studies. Raises UserError where one seed shows no spread."""
    settings = QUICK if arguments.quick else Settings()
    seeds = arguments.seeds or settings.seeds
    if seeds < 2:
        raise onecycle.UserError(f"--seeds {seeds} shows no spread; 2 or more")
    console = Console(highlight=False)
    torch.set_num_threads(1)  # such a net is too small for two
    rows: list[dict[str, Any]] = []
    # What is decoded is kept beside the images, and so goes with them.
    with tempfile.TemporaryDirectory() as folder, patch.dict(os.environ, XDG_CACHE_HOME=folder):
        for seed in range(seeds):
            rows += unbalanced(Path(folder), seed, settings)
            rows += wrong_labels(Path(folder), seed, settings)
            console.print(f"seed {seed} done")
    to = arguments.out or (None if arguments.quick else RESULTS)
    if to is not None:
        to.mkdir(parents=True, exist_ok=True)
        write_csv(to / f"own_images_{hardware_slug(torch.device('cpu'))}.csv", rows, COLUMNS)
    console.print("\n".join(tables(rows)), soft_wrap=True)


def unbalanced(folder: Path, seed: int, settings: Settings) -> Iterator[dict[str, Any]]:
    """Classes of different size, with each kind of class weights."""
    digits = onecycle.data.digits()
    random = np.random.default_rng(seed)
    counts = [settings.images[label in RARE] for label in range(10)]
    place = folder / f"unbalanced{seed}"
    write(place / "train", part(digits.train, counts, random))
    write(place / "test", digits.test)
    for way in WEIGHTS:
        done = onecycle.train(
            "era1_s10_compact",
            data=str(place),
            out=folder / f"unbalanced{seed}_{way}",
            **options(seed, settings) | {"loss.class_weights": way},
        )
        recalls = [one.recall for one in done.evaluate().by_class]
        found = {
            "as mixed in training": float(np.average(recalls, weights=counts)),
            "balanced": float(np.mean(recalls)),
            "frequent": float(np.mean([recalls[label] for label in FREQUENT])),
            "rare": float(np.mean([recalls[label] for label in RARE])),
            **{f"digit {label}": recall for label, recall in enumerate(recalls)},
        }
        yield from as_rows("unbalanced", way, seed, found)


def wrong_labels(folder: Path, seed: int, settings: Settings) -> Iterator[dict[str, Any]]:
    """Labels that were changed at random, and which of them are found."""
    digits, random = onecycle.data.digits(), np.random.default_rng(seed)
    digits = Dataset(*(part(one, [settings.limit] * 10, random) for one in digits))
    changed = {}
    place = folder / f"labels{seed}"
    for name, images in (("train", digits.train), ("test", digits.test)):
        given, changed[name] = with_wrong_labels(images, settings.wrong, random)
        write(place / name, given)
    found = onecycle.cross_validate(
        "era1_s10_compact",
        folds=settings.folds,
        data=str(place),
        out=folder / f"labels{seed}_folds",
        **options(seed, settings),
    )
    listed = {OURS: found.label_errors().index}
    listed |= {way: by_cleanlab(found, way) for way in FILTERS}
    for way, index in listed.items():
        yield from as_rows("labels", way, seed, matched(index, changed["train"]))
    explained = found.runs[0].explain(count=1).label_errors.index
    yield from as_rows("labels", EXPLAIN, seed, matched(explained, changed["test"]))


def by_cleanlab(found: onecycle.CrossValidation, way: str) -> NDArray[np.int64]:
    """The places that cleanlab lists, in one of its ways."""
    from cleanlab.filter import find_label_issues

    chances = probabilities(found.logits_nk)
    return np.flatnonzero(find_label_issues(found.labels, chances, filter_by=FILTERS[way], n_jobs=1))


def matched(listed: NDArray[np.int64], changed: NDArray[np.int64]) -> dict[str, float]:
    """Counts, precision and recall. Of nothing listed the precision is that of guessing nothing: 1."""
    right = len(np.intersect1d(listed, changed))
    return {
        "changed": len(changed),
        "listed": len(listed),
        "precision": right / len(listed) if len(listed) else 1.0,
        "recall": right / len(changed),
    }


def options(seed: int, settings: Settings) -> dict[str, Any]:
    """What all trainings have in common."""
    return {
        "seed": seed,
        "precision": "fp32",
        "device": "cpu",
        "report": False,
        "observer": onecycle.Observer(),
        "augment.flip": "none",
        "data.batch_size": 32,
        "schedule": {"epochs": settings.epochs, "peak_epoch": settings.epochs / 3},
        "evaluate_every": 0,
    }


def part(images: ImageSet, counts: Sequence[int], random: np.random.Generator) -> ImageSet:
    """So many images of each class, drawn at random, in the order of the set."""
    chosen = [random.permutation(np.flatnonzero(images.labels == label))[:count] for label, count in enumerate(counts)]
    return images.subset(np.sort(np.concatenate(chosen)))


def with_wrong_labels(
    images: ImageSet, share: float, random: np.random.Generator
) -> tuple[ImageSet, NDArray[np.int64]]:
    """The set with that share of its labels changed to another class, each as likely; and the places of these."""
    changed = np.sort(random.choice(len(images), round(share * len(images)), replace=False))
    labels, classes = images.labels.copy(), len(images.classes)
    labels[changed] = (labels[changed] + random.integers(1, classes, len(changed))) % classes
    return ImageSet(images.images_nhwc, labels, images.classes), changed


def write(folder: Path, images: ImageSet) -> None:
    """Each image as folder/CLASS/00000.png, numbered in the order of the set, which is that they are read in."""
    for number, (pixels, label) in enumerate(zip(images.images_nhwc, images.labels, strict=True)):
        place = folder / images.classes[label]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place / f"{number:05}.png", compress_level=1)


def as_rows(study: str, way: str, seed: int, found: Mapping[str, float]) -> Iterator[dict[str, Any]]:
    """A line a figure."""
    for name, value in found.items():
        yield {"study": study, "way": way, "seed": seed, "measure": name, "value": round(float(value), 4)}


def tables(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The tables of docs/own-data.md, in Markdown: means over the seeds with their 95% intervals."""
    measures = ("rare", "frequent", "balanced", "as mixed in training")
    lines = [f"| `loss.class_weights` | {' | '.join(measures)} |", "| --- " * (len(measures) + 1) + "|"]
    by_way = {way: [values(rows, way, measure) for measure in measures] for way in WEIGHTS}
    lines += [f"| `{way}` | {' | '.join(percent(one) for one in found)} |" for way, found in by_way.items()]
    gains = [[100 * (two - one) for one, two in zip(*pair, strict=True)] for pair in zip(*by_way.values(), strict=True)]
    lines += [f"| difference, points | {' | '.join(in_points(one) for one in gains)} |", ""]
    headings = (
        "looked for by",
        "listed / changed",
        "of the listed changed (precision)",
        "of the changed listed (recall)",
    )
    lines += [f"| {' | '.join(headings)} |", "| --- " * len(headings) + "|"]
    for way in (OURS, CLEANLAB, CLEANLAB_DEFAULT, EXPLAIN):
        listed, changed = values(rows, way, "listed"), values(rows, way, "changed")
        counted = f"{np.mean(listed):.1f} / {np.mean(changed):.0f}"
        lines.append(
            f"| {way} | {counted} | {percent(values(rows, way, 'precision'))} | "
            f"{percent(values(rows, way, 'recall'))} |"
        )
    return lines


def values(rows: Sequence[Mapping[str, Any]], way: str, measure: str) -> list[float]:
    """Those of one kind, by seed."""
    return [float(row["value"]) for row in rows if (row["way"], row["measure"]) == (way, measure)]


def percent(shares: Sequence[float]) -> str:
    """A mean in percent, with its interval."""
    found = spread([100 * one for one in shares])
    assert found.low is not None and found.high is not None, "two seeds at least"
    return f"{found.mean:.1f}% ({max(found.low, 0):.1f} to {min(found.high, 100):.1f})"


def in_points(gains: Sequence[float]) -> str:
    """A mean difference, with its interval."""
    found = spread(gains)
    return f"{found.mean:+.1f} ({found.low:+.1f} to {found.high:+.1f})"


if __name__ == "__main__":
    main()
