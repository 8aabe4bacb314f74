"""What is said before a training on few images."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small import dataset, net, small_recipe

import onecycle
from onecycle import Dataset, ImageSet, Observer, recipe, registry
from onecycle.advice import advice
from onecycle.data import digits
from onecycle.preparation import split
from onecycle.stats import wilson_interval


def of_counts(*counts: int, side: int = 8) -> ImageSet:
    labels = np.repeat(np.arange(len(counts)), counts)
    pixels = np.zeros((len(labels), side, side, 3), np.uint8)
    return ImageSet(pixels, labels, tuple("abcdefghijklmnop"[: len(counts)]))


def said(train: ImageSet, test: ImageSet | None = None, **changes: Any) -> list[str]:
    """Advice on sets that have nothing else to be said of, unless the test says otherwise."""
    wanted = recipe("custom_resnet", **{"data.batch_size": 2, "data.image_size": 8, "augment.cutout": 0, **changes})
    return advice(wanted, split(wanted, Dataset(train, test or of_counts(*[400] * len(train.classes)))))


def test_nothing_is_said_of_sets_of_usual_size() -> None:
    shipped = recipe("digits")
    assert advice(shipped, split(shipped, digits())) == []
    # As CIFAR-10's: 10 classes of 5,000 and 1,000.
    cifar10 = Dataset(of_counts(*[5000] * 10, side=32), of_counts(*[1000] * 10, side=32))
    for name in registry.names("recipe"):
        wanted = recipe(name)
        if wanted.data.name == "cifar10":
            assert advice(wanted, split(wanted, cifar10)) == [], name


def test_classes_of_few_images_are_named() -> None:
    assert said(of_counts(10, 10)) == []
    [line] = said(of_counts(20, 9, 30, 4))
    assert line.startswith("2 of 4 classes have fewer than 10 images to train on (d 4, b 9); more images help most")
    [line] = said(of_counts(20, 9, 30, 4), init="runs/first")
    assert line.endswith("more images help most")
    [line] = said(of_counts(*[6] * 8))
    assert "8 of 8 classes have fewer than 10 images to train on (a 6, b 6, c 6, d 6, e 6, ... (8 in all))" in line


@pytest.mark.parametrize(("resize", "last"), [([[0, 9]], 9), ([[0, 9], [23, 10]], 10), ([[0, 9], [23, 8]], None)])
def test_a_plan_that_ends_on_another_size_than_that_of_the_test_images(resize: Any, last: int | None) -> None:
    lines = said(of_counts(100, 100), **{"augment.resize": resize})
    told = (
        [] if last is None else [f"the last epochs train on images of {last} pixels a side, and the test images have 8"]
    )
    assert [line.partition(";")[0] for line in lines] == told


def test_a_test_set_that_says_little() -> None:
    train = of_counts(100, 100)
    [line] = said(train, of_counts(20, 20))
    low, high = wilson_interval(32, 40)
    said_of_it = f"40 images: of an accuracy of 80%, the 95% interval is {50 * (high - low):.0f} points to each side"
    assert f"{said_of_it}; --folds measures on every training image" in line
    assert said(train, of_counts(20, 20), **{"data.fold": [1, 5]})[0].endswith(said_of_it)  # it is being done
    for count in (100, 150, 240, 250, 500, 1000):
        low, high = wilson_interval(round(0.8 * count), count)
        lines = said(train, of_counts(count // 2, count - count // 2))
        assert bool(lines) == (high - low > 0.1), count


def test_few_steps_an_epoch_and_what_gives_more() -> None:
    [line] = said(of_counts(50, 50), **{"data.batch_size": 40, "schedule.epochs": 24})
    assert line == ("an epoch is 3 steps, and one_cycle of 24 epochs 72 in all; data.batch_size=8 gives 13 an epoch")
    assert said(of_counts(50, 50), **{"data.batch_size": 10}) == []
    [line] = said(of_counts(50, 50), **{"data.batch_size": 60, "data.drop_last": True})
    assert line.startswith("an epoch is 1 step, ")
    # What is advised gives enough, and is not larger than what is there.
    for count in range(30, 400, 7):
        for size in (2, 8, 16, 30):
            lines = [one for one in said(of_counts(count // 2, count - count // 2), **{"data.batch_size": size})]
            if math.ceil(count / size) >= 10:
                assert lines == []
            else:
                advised = int(lines[0].split("data.batch_size=")[1].split()[0])
                assert advised < size and math.ceil(count / advised) >= 10
    assert said(of_counts(10, 10), **{"data.batch_size": 2}) == []


def test_classes_of_very_different_size() -> None:
    assert said(of_counts(200, 20)) == []
    [line] = said(of_counts(201, 50, 20))
    assert line.startswith("class a has 201 images to train on and class c 20; loss.class_weights=balanced lets each")
    assert said(of_counts(201, 50, 20), **{"loss.class_weights": "balanced"}) == []


def test_classes_that_are_not_tested() -> None:
    [line] = said(of_counts(50, 50, 50), of_counts(500, 0, 0))
    assert line.startswith("the test set has no images of b, c, so that nothing will be known")


def test_a_training_says_it_once_and_a_resumed_one_does_not(tmp_path: Path) -> None:
    messages: list[str] = []

    class Told(Observer):
        def on_message(self, text: str) -> None:
            messages.append(text)

    wanted = small_recipe(**{"schedule.epochs": 1, "schedule.peak_epoch": 0.5})
    expected = advice(wanted, split(wanted, dataset()))
    assert len(expected) == 2  # four steps an epoch, 60 test images
    onecycle.train(wanted, model=net(), data=dataset(), out=tmp_path / "run", observer=Told())
    assert messages == expected
    onecycle.resume(tmp_path / "run", model=net(), data=dataset(), observer=Told())
    assert messages == expected
    messages.clear()
    onecycle.cross_validate(wanted, folds=2, model=net(), data=dataset(), out=tmp_path / "cv", observer=Told())
    assert sum("the test set has 60 images" in line for line in messages) == 1


@pytest.mark.parametrize(
    ("schedule", "key", "least"),
    [
        ({"name": "cyclic", "lr_min": 1e-4, "lr_max": 1e-2, "half_cycle_epochs": 4}, "half_cycle_epochs", 4),
        ({"name": "plateau", "lr": 0.1, "patience": 3}, "patience", 6),  # one good epoch, four that are not, the drop
    ],
)
def test_a_schedule_that_cannot_fit_its_epochs(schedule: dict[str, Any], key: str, least: int) -> None:
    usual = of_counts(1000, 1000)
    assert said(usual, schedule={**schedule, "epochs": least}) == []
    line = f"schedule.{key} goes on after the {least - 1} epochs, so what they end with never comes"
    assert said(usual, schedule={**schedule, "epochs": least - 1}) == [line]


def test_a_plan_that_is_cut_short() -> None:
    usual = of_counts(1000, 1000)
    assert said(usual, **{"schedule.epochs": 6}) == []
    short = {"schedule": {"name": "piecewise_linear", "epochs": 3, "knots": [[0, 0.1], [4, 0.0]]}}
    assert said(usual, **short) == ["schedule.knots goes on after the 3 epochs, so what they end with never comes"]
    sizes = {"augment.resize": [[0, 12], [5, 8]], "data.hardest": [[6, 0.5]], "schedule.epochs": 6}
    [line] = said(usual, **sizes)
    assert line == "data.hardest goes on after the 6 epochs, so what they end with never comes"
    [line] = said(usual, **short, **{"augment.resize": [[3, 12]]})
    assert line.startswith("schedule.knots, augment.resize go on after the 3 epochs")
