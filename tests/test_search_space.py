"""What a search may vary: files and mappings that are read, and all that is refused in one line each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small import small_recipe

from onecycle import UserError
from onecycle.studies.tuning.reading import read_space
from onecycle.studies.tuning.space import Choice, Range, Space
from onecycle.studies.tuning.study import check_methods, grid_size

BASE = small_recipe()


def refused(space: Any, *words: str) -> tuple[str, ...]:
    with pytest.raises(UserError) as error:
        read_space(space, BASE)
    for word in words:
        assert word in str(error.value), error.value
    return error.value.problems


def test_a_file_is_read_with_values_as_the_recipe_has_them(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(
        "schedule.lr_max: {low: 1e-3, high: 0.1, log: true}\n"  # which YAML takes for text
        "schedule.epochs: {low: 2, high: 9, step: 3}\n"
        "schedule.peak_epoch: {low: 0.5, high: 1.75, step: 0.5}\n"
        "optimizer.weight_decay: [0, 1e-2]\n"
        "augment.resize: [[], [[0, 20], [1, 32]]]\n"
        "ema: [null, {decay: 0.99}]\n"
    )
    found = read_space(path, BASE)
    assert found.parameters == (
        Range("schedule.lr_max", 0.001, 0.1, log=True),
        Range("schedule.epochs", 2, 8, step=3),
        Range("schedule.peak_epoch", 0.5, 1.5, step=0.5),
        Choice("optimizer.weight_decay", (0.0, 0.01)),
        Choice("augment.resize", ([], [[0, 20], [1, 32]])),
        Choice("ema", (None, {"decay": 0.99})),
    )
    assert [one.whole for one in found.parameters if isinstance(one, Range)] == [False, True, False]
    assert found.parameters[4].labels == ("[]", "[[0, 20], [1, 32]]")
    assert Space.from_dict(found.to_dict()) == found
    labels = {
        "schedule.lr_max": 0.01,
        "schedule.epochs": 5,
        "schedule.peak_epoch": 1.0,
        "optimizer.weight_decay": 0.01,
        "augment.resize": "[[0, 20], [1, 32]]",
        "ema": '{"decay": 0.99}',
    }
    changes = found.changes(labels)
    assert changes["augment.resize"] == [[0, 20], [1, 32]] and changes["ema"] == {"decay": 0.99}
    assert found.short_names()["schedule.lr_max"] == "lr_max"


def test_names_are_whole_where_the_last_part_is_not_enough() -> None:
    space = read_space({"optimizer.name": ["adam", "sgd"], "model.name": ["compact", "custom_resnet"]}, BASE)
    assert list(space.short_names().values()) == ["optimizer.name", "model.name"]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({}, "holds no key"),
        ({"schedule.lr_mx": [1, 2]}, "did you mean 'lr_max'?"),
        ({"shedule.lr_max": {"low": 0.1, "high": 0.2}}, "unknown key 'shedule.lr_max'"),
        ({"schedule.lr_max": []}, "schedule.lr_max: no values; two or more"),
        ({"schedule.lr_max": [0.1]}, "schedule.lr_max: 1 value; two or more"),
        ({"schedule.lr_max": 0.1}, "0.1; a list of values, or a range"),
        ({"schedule.lr_max": [0.1, "0.1"]}, "a value is there twice"),
        ({"schedule.lr_max": {"low": 0.1, "high": 0.01}}, "low 0.1 is not below high 0.01"),
        ({"schedule.lr_max": {"low": 0.1, "high": 0.1}}, "low 0.1 is not below high 0.1"),
        ({"schedule.lr_max": {"low": 0.1}}, "low or high is missing"),
        ({"schedule.lr_max": {"low": 0.1, "high": 0.2, "lgo": True}}, "unknown 'lgo'"),
        ({"schedule.lr_max": {"low": "small", "high": 0.2}}, "low 'small'; a number is needed"),
        ({"schedule.lr_max": {"low": True, "high": 2}}, "low True; a number is needed"),
        ({"schedule.lr_max": {"low": 0.1, "high": float("inf")}}, "high inf; a number is needed"),
        ({"schedule.lr_max": {"low": 0, "high": 0.1, "log": True}}, "log needs a low above 0, not 0"),
        ({"schedule.lr_max": {"low": 0.1, "high": 0.2, "log": "yes"}}, "log 'yes'; true or false"),
        ({"schedule.lr_max": {"low": 0.1, "high": 0.2, "log": True, "step": 0.1}}, "log does not go with a step"),
        ({"schedule.lr_max": {"low": 0.1, "high": 0.2, "step": 0.3}}, "step 0.3; above 0 and at most high - low, 0.1"),
        ({"schedule.epochs": {"low": 1.5, "high": 3}}, "low 1.5; a whole number is needed"),
        ({"schedule.shape": {"low": 1, "high": 3}}, "schedule.shape: no number"),
        ({"schedule.shape": ["linear", "kosine"]}, "schedule.shape 'kosine' is not allowed; did you mean 'cosine'?"),
        ({"augment.cutout": {"low": 0, "high": 200}}, "augment.cutout 200 is larger than the image"),
        ({"loss.label_smoothing": {"low": 0, "high": 1}}, "loss.label_smoothing 1.0"),
        ({"seed": [0, 1]}, "seed: no matter of a search: all trials have the recipe's"),
        ({"data.name": ["cifar10", "cifar100"]}, "data.name: no matter of a search: the trials would be measured on"),
        ({"data.val_fraction": [0.1, 0.2]}, "data.val_fraction: no matter of a search"),
        ({"data": [{"name": "digits"}, {"name": "cifar10"}]}, "data: no matter of a search"),
        ({"checkpoint.every_seconds": [1, 2]}, "checkpoint.every_seconds: no matter of a search"),
        ({"augment": [{"cutout": 1}, {"cutout": 2}], "augment.cutout": [1, 2]}, "augment.cutout is a part of it"),
    ],
)
def test_what_is_refused(spec: dict[str, Any], words: str) -> None:
    assert len(refused(spec, words, "the space: ")) == 1


def test_how_many_images_there_are_is_no_matter_of_a_search_whose_folds_are_drawn_of_them() -> None:
    limits = {"data.train_limit": [1000, 2000]}
    assert len(read_space(limits, BASE).parameters) == 1
    with pytest.raises(
        UserError, match=r"data\.train_limit: no matter of a search with data\.fold: the trials would be"
    ):
        read_space(limits, BASE.evolve(data={"fold": (1, 5)}))


def test_all_problems_are_said_at_once_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text("seed: [0, 1]\nschedule.lr_max: []\naugment.flip: [none, random]\n")
    assert [line.startswith(f"{path}: ") for line in refused(path)] == [True, True]
    path.write_text("schedule.lr_max: [0.1, 0.2\n")
    refused(path, f"space {path}: not readable as YAML at line")
    refused(tmp_path / "none.yaml", "none.yaml: no such file")


def test_a_value_counts_that_some_combination_takes() -> None:
    both = {"optimizer.name": ["adamw", "sgd"], "optimizer.momentum": [0.8, 0.9]}
    assert [one.key for one in read_space(both, BASE).parameters] == list(both)
    momentum = {"optimizer.name": ["adamw", "sgd"], "optimizer.momentum": {"low": 0.5, "high": 0.95}}
    assert isinstance(read_space(momentum, BASE).parameters[1], Range)
    longer = {"schedule.peak_epoch": {"low": 1, "high": 5}, "schedule.epochs": [3, 8]}  # 5 is beyond the 3 of the base
    assert read_space(longer, BASE).most("schedule.epochs") == 8
    refused({"schedule.peak_epoch": {"low": 1, "high": 5}}, "peak_epoch")


@given(st.integers(-50, 50), st.integers(1, 60), st.integers(1, 20), st.sampled_from([1, 0.1, 0.05]))
@settings(deadline=None, max_examples=100)
def test_the_numbers_of_a_grid_are_those_of_optuna(low: int, width: int, step: int, unit: float) -> None:
    ends = {"low": round(low * unit, 6), "high": round((low + width) * unit, 6), "step": round(step * unit, 6)}
    if step > width:
        return
    key = "schedule.lr_max"
    count = width // step
    one = Range(key, ends["low"], round((low + count * step) * unit, 6), step=ends["step"])
    kind = optuna.distributions.IntDistribution if unit == 1 else optuna.distributions.FloatDistribution
    theirs = kind(one.low, one.high, step=one.step)  # type: ignore[arg-type]
    assert one.count == len(one.grid()) == count + 1
    assert all(theirs._contains(theirs.to_internal_repr(value)) for value in one.grid())


def test_a_grid_has_to_be_countable() -> None:
    space = read_space({"schedule.lr_max": {"low": 0.01, "high": 0.1}, "augment.cutout": [0, 8]}, BASE)
    with pytest.raises(UserError, match=r"--sampler grid: schedule\.lr_max has a range without step"):
        check_methods("grid", "none", space)
    countable = read_space({"augment.cutout": {"low": 0, "high": 9}, "augment.flip": ["none", "random"]}, BASE)
    assert grid_size(countable) == 20
    with pytest.raises(UserError, match="at most 10,000"):
        grid_size(Space((Range("a.b", 0, 10**9),)))
    for kind, names in (("sampler", ("tpee", "none")), ("pruner", ("tpe", "medain"))):
        with pytest.raises(UserError, match=f"--{kind} .* is unknown"):
            check_methods(*names, countable)
