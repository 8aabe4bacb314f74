"""Recipes: the shipped ones, `--set`, and that whatever is wrong is said in whole, a line a problem."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from inspect import Parameter
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

import onecycle
from onecycle import registry
from onecycle.errors import UserError
from onecycle.recipes import Recipe, assignments, checked, differences, flatten, read_yaml, recipe

SHIPPED = registry.names("recipe")


def with_set(*pairs: str, base: str = "custom_resnet") -> Recipe:
    """As the command line does it."""
    return recipe(base, **assignments(pairs))


def problems(call: Callable[[], object]) -> tuple[str, ...]:
    """The lines of the UserError that `call` raises, each one line."""
    with pytest.raises(UserError) as caught:
        call()
    assert caught.value.exit_code == 2
    found: tuple[str, ...] = caught.value.problems
    assert found
    assert all(line and "\n" not in line for line in found)
    return found


def problem(*pairs: str) -> str:
    (line,) = problems(lambda: with_set(*pairs))
    return line


# --- the shipped recipes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_recipe_is_valid_and_goes_through_yaml(name: str, tmp_path: Path) -> None:
    shipped = onecycle.recipe(name)
    assert shipped.name == name
    path = tmp_path / "stored.yaml"
    path.write_text(shipped.to_yaml(), encoding="utf-8")
    again = recipe(path)
    assert again == shipped
    assert differences(shipped, again) == {}
    assert again.to_yaml() == shipped.to_yaml()
    assert recipe(shipped) == shipped


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_recipe_holds_every_option_of_its_components(name: str) -> None:
    shipped = recipe(name)
    for kind in ("model", "optimizer", "schedule"):
        component = getattr(shipped, kind)
        assert set(component.options) == set(registry.options(registry.load(kind, component.name)))
    assert shipped.epochs == shipped.schedule.options["epochs"]


def test_custom_resnet_is_the_assignment() -> None:
    values = flatten(recipe("custom_resnet").model_dump())
    expected = {
        "data.name": "cifar10",
        "data.image_size": 32,
        "data.batch_size": 512,
        "data.drop_last": False,
        "data.val_fraction": 0.0,
        "data.train_limit": None,
        "augment.crop_padding": 4,
        "augment.cutout": 8,
        "augment.cutout_probability": 1.0,
        "model.name": "custom_resnet",
        "schedule.name": "one_cycle",
        "schedule.epochs": 24,
        "schedule.peak_epoch": 5,
        "schedule.lr_final": "lr_min",
        "seed": 0,
    }
    assert {key: values[key] for key in expected} == expected
    assert values["optimizer.name"] in ("adam", "adamw")
    assert values["augment.flip"] in ("random", "alternating")


def test_the_keys_are_those_of_the_contract() -> None:
    stored = yaml.safe_load(recipe("custom_resnet").to_yaml())
    assert {
        "name",
        "seed",
        "precision",
        "data",
        "augment",
        "model",
        "optimizer",
        "schedule",
        "loss",
        "ema",
        "tta",
    } <= set(stored)
    assert set(stored["augment"]) == {
        *("crop_padding", "padding", "flip", "cutout", "cutout_probability"),
        *("shift", "scale", "rotate", "affine_probability", "resize", "resized_crop", "brightness", "contrast"),
    }
    assert stored["augment"]["resize"] == stored["data"]["hardest"] == [] and stored["tta_share"] == 1.0
    assert stored["schedule"]["momentum"] is None
    assert stored["checkpoint"] == {"every_seconds": 300}
    assert {"name", "image_size", "batch_size", "drop_last", "val_fraction", "split_seed", "train_limit"} <= set(
        stored["data"]
    )
    assert set(stored["schedule"]) == {
        *("name", "epochs", "peak_epoch", "lr_min", "lr_max", "lr_final", "shape", "momentum"),
    }


# --- --set -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pair", "value"),
    [
        ("schedule.lr_max=5e-3", 0.005),  # YAML 1.1 reads this as text
        ("schedule.lr_max=5.0e-3", 0.005),
        ("schedule.lr_max=.5", 0.5),
        ("schedule.lr_final=1e-6", 1e-6),
        ("schedule.lr_final=lr_min", "lr_min"),
        ("schedule.epochs=7", 7),
        ("data.train_limit=null", None),
        ("data.train_limit=~", None),
        ("data.train_limit=1000", 1000),
        ("augment.flip=none", "none"),
        ("tta=none", "none"),
        ("data.drop_last=true", True),
        ("optimizer.betas=[0.8, 0.99]", (0.8, 0.99)),
        ("data.mean=[0.1,0.2,0.3]", (0.1, 0.2, 0.3)),
        ("data.mean=auto", "auto"),
        ("seed=9223372036854775807", 2**63 - 1),
        ("ema.decay=0.99", 0.99),
    ],
)
def test_a_value_is_set_with_its_type(pair: str, value: Any) -> None:
    changed = with_set(pair)
    found = flatten(changed.model_dump())[pair.partition("=")[0]]
    assert found == value
    assert type(found) is type(value)


def test_parts_and_dotted_keys_are_the_same() -> None:
    dotted = recipe("custom_resnet", **{"schedule.epochs": 30, "schedule.lr_max": 0.01, "augment.cutout": 0})
    parts = recipe("custom_resnet", schedule={"epochs": 30, "lr_max": 0.01}, augment={"cutout": 0})
    assert dotted == parts == with_set("schedule.epochs=30", "schedule.lr_max=0.01", "augment.cutout=0")
    assert recipe("custom_resnet", ema={"decay": 0.9}) == with_set("ema={decay: 0.9}") == with_set("ema.decay=0.9")
    assert with_set("ema.decay=0.9").ema is not None
    assert recipe(with_set("ema.decay=0.9"), ema=None) == recipe("custom_resnet")


def test_every_assignment_that_is_none_is_named() -> None:
    found = problems(lambda: assignments(["a", "=3", "b={", "c=!!python/name:os.system", "d=2020-13-45", "ok=1"]))
    assert len(found) == 5
    for line, text in zip(found, ["'a'", "'=3'", "'b={'", "os.system", "2020-13-45"], strict=True):
        assert line.startswith("--set ")
        assert text in line


# --- renaming a component ----------------------------------------------------------------------------------------


def test_a_renamed_component_keeps_what_the_new_one_has_too() -> None:
    changed = with_set("optimizer.name=sgd", "optimizer.momentum=0.8")
    assert changed.optimizer.options == {
        "momentum": 0.8,
        "nesterov": True,
        "weight_decay": 0.0,  # AdamW's, which is none of the gradient, is no strength for SGD's
        "decay_norms_and_biases": False,
    }
    assert with_set("optimizer.name=muon").optimizer.options["weight_decay"] == 0.2
    assert recipe("era_s12_lightning", optimizer={"name": "sgd"}).optimizer.options["weight_decay"] == 1e-4
    base = recipe("custom_resnet").schedule.options
    cyclic = with_set("schedule.name=cyclic", "schedule.half_cycle_epochs=3").schedule
    assert {key: cyclic.options[key] for key in ("epochs", "lr_min", "lr_max", "half_cycle_epochs")} == {
        "epochs": base["epochs"],
        "lr_min": base["lr_min"],
        "lr_max": base["lr_max"],
        "half_cycle_epochs": 3,
    }
    assert "peak_epoch" not in cyclic.options
    assert recipe("custom_resnet", schedule={"name": "constant", "lr": 0.01}).schedule.options == {
        "epochs": 24,
        "lr": 0.01,
    }


@pytest.mark.parametrize("kind", ["model", "optimizer", "schedule"])
def test_a_renamed_component_has_the_same_options_where_the_defaults_were_written_out(kind: str) -> None:
    """A default that a checked recipe holds was not chosen, so it is none of the new component's."""
    own = {"half_cycle_epochs": 3, "lr": 0.01, "lr_min": 1e-3, "knots": [[0, 0.1], [24, 0.0]], "peak_epoch": 5}
    for name in registry.names(kind):
        options = registry.options(registry.load(kind, name))
        needed = {key: own[key] for key in own if key in options and options[key].default is Parameter.empty}
        for base in ("custom_resnet", "era_s12_lightning"):
            part = {kind: {"name": name, **needed}}
            assert recipe(recipe(base), **part) == recipe(base, **part)


def test_a_component_that_cannot_be_imported_can_be_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.ENTRIES["optimizer"], "gone", "no_such_package:gone")
    gone = {**recipe("custom_resnet").model_dump(), "optimizer": {"name": "gone", "weight_decay": 0.3}}
    found = recipe(Recipe.model_validate(gone), **{"optimizer.name": "sgd", "optimizer.momentum": 0.8})
    assert (found.optimizer.name, found.optimizer.options["momentum"]) == ("sgd", 0.8)
    assert found.optimizer.options["weight_decay"] == 0.3  # what it meant is not known, so it is kept


def test_an_option_that_only_the_old_component_has_is_refused_where_it_is_set() -> None:
    line = problem("optimizer.name=sgd", "optimizer.betas=[0.9, 0.99]")
    assert "optimizer.betas" in line
    assert "sgd" in line


# --- what is wrong is said ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pair", "parts"),
    [
        ("sede=1", ["sede", "did you mean 'seed'"]),
        ("schedule.epoch=3", ["schedule.epoch", "one_cycle", "did you mean 'epochs'"]),
        ("optimizer.weightdecay=3", ["optimizer.weightdecay", "did you mean 'weight_decay'"]),
        ("augment.cut_out=3", ["augment.cut_out", "did you mean 'cutout'"]),
        ("optimzer.weight_decay=1", ["optimzer.weight_decay", "did you mean 'optimizer.weight_decay'"]),
        ("model.depth=3", ["model.depth", "custom_resnet"]),
        ("data.name=cifar1O", ["data.name", "'cifar1O'", "did you mean 'cifar10'"]),
        ("model.name=custom-resnet", ["model.name", "did you mean 'custom_resnet'"]),
        ("optimizer.name=adamv", ["optimizer.name", "did you mean 'adam"]),
        ("schedule.name=onecycle", ["schedule.name", "did you mean 'one_cycle'"]),
        ("precision=bf61", ["precision", "'bf61'", "did you mean 'bf16'"]),
        ("augment.flip=alternate", ["augment.flip", "did you mean 'alternating'"]),
        ("augment.padding=black", ["augment.padding", "zeros", "reflect"]),
        ("schedule.shape=cos", ["schedule.shape", "did you mean 'cosine'"]),
        ("data.image_size=4", ["data.image_size", "4", "8"]),
        ("schedule.name=constant", ["schedule.lr is missing", "constant"]),
        ("schedule.name=piecewise_linear", ["schedule.knots is missing"]),
        ("schedule.epochs=many", ["schedule.epochs", "'many'"]),
        ("schedule.epochs=2.5", ["schedule.epochs", "2.5"]),
        ("schedule.epochs=null", ["schedule.epochs", "None"]),
        ("schedule.lr_max=[1]", ["schedule.lr_max", "[1]"]),
        ("schedule.lr_max=.inf", ["schedule.lr_max", "inf", "finite"]),
        ("schedule.lr_max=.nan", ["schedule.lr_max", "nan", "finite"]),
        ("schedule.lr_final=.nan", ["schedule.lr_final", "nan"]),
        ("schedule.peak_epoch=.nan", ["schedule.peak_epoch", "nan"]),
        ("schedule.peak_epoch=24", ["schedule.peak_epoch", "24"]),
        ("schedule.lr_max=1e-9", ["schedule.lr_max", "below"]),
        ("optimizer.weight_decay=.inf", ["optimizer.weight_decay", "inf"]),
        ("optimizer.betas=[0.9, .nan]", ["optimizer.betas"]),
        ("loss.label_smoothing=.nan", ["loss.label_smoothing"]),
        ("schedule.lr_max=1e7", ["schedule.lr_max 1e+07 is above 1,000,000"]),
        ("schedule={name: plateau, epochs: 3, lr: 0.1, threshold: 1}", ["schedule.threshold 1", "less than 1"]),
        ("schedule={name: piecewise_linear, epochs: 3, knots: [[0, 1e7]]}", ["schedule.knots", "above 1,000,000"]),
        ("optimizer.eps=1e300", ["optimizer.eps", "less than or equal to 1000000"]),
        ("loss.label_smoothing=1", ["loss.label_smoothing", "1", "less than 1"]),
        ("seed=-1", ["seed", "-1", "0"]),
        ("seed=9223372036854775808", ["seed", "9223372036854775808"]),
        ("data.batch_size=0", ["data.batch_size", "0", "1"]),
        ("data.val_fraction=1", ["data.val_fraction", "1"]),
        ("data.train_limit=0", ["data.train_limit", "0"]),
        ("data.std=[1, 0, 1]", ["data.std"]),
        ("ema.decay=1", ["ema.decay", "1"]),
        ("checkpoint.every_seconds=0", ["checkpoint.every_seconds", "0"]),
        ("augment.cutout=33", ["augment.cutout 33", "at most data.image_size, 32"]),
        ("augment.cutout_probability=1.5", ["augment.cutout_probability", "1.5"]),
        ("augment.crop_padding=-1", ["augment.crop_padding", "-1"]),
        ("augment.shift=1.1", ["augment.shift", "1.1", "less than or equal to 1"]),
        ("augment.scale=1", ["augment.scale", "1", "less than 1"]),
        ("augment.rotate=181", ["augment.rotate", "181", "180"]),
        ("augment.rotat=3", ["augment.rotat", "did you mean 'rotate'"]),
        ("augment.affine_probability=1.5", ["augment.affine_probability", "1.5"]),
        ("model.norm=batchnorm", ["model.norm", "'batchnorm'", "did you mean 'batch'"]),
        ("model.order=conv-relu", ["model.order", "conv-pool-relu-norm"]),
        ("model.block_dropout=1", ["model.block_dropout", "1", "less than 1"]),
        ("augment=3", ["augment", "3"]),
        ("schedule=one_cycle", ["schedule", "'one_cycle'"]),
        ("schedule.name=[one_cycle]", ["schedule.name"]),
        ("seed.value=3", ["seed.value"]),
    ],
)
def test_one_wrong_value_is_one_clear_line(pair: str, parts: list[str]) -> None:
    line = problem(pair)
    assert line.startswith("recipe custom_resnet: ")
    assert all(part in line for part in parts), line


def test_contradictory_values_are_refused() -> None:
    assert "crop_padding 32" in problem("augment.padding=reflect", "augment.crop_padding=32")
    with_set("augment.padding=reflect", "augment.crop_padding=31")
    with_set("augment.padding=zeros", "augment.crop_padding=32")
    with_set("augment.cutout=32")
    plateau = ["schedule.name=plateau", "schedule.lr=0.1", "schedule.monitor=val_loss"]
    line = problem(*plateau)
    assert "val_loss" in line
    assert "data.val_fraction" in line
    with_set(*plateau, "data.val_fraction=0.1")


@pytest.mark.parametrize("value", [".inf", ".nan"])
def test_a_schedule_is_not_built_from_numbers_that_are_not_finite(value: str) -> None:
    assert "half_cycle_epochs" in problem("schedule.name=cyclic", f"schedule.half_cycle_epochs={value}")
    found = problems(lambda: with_set("schedule.name=piecewise_linear", f"schedule.knots=[[0, 0.1], [1, {value}]]"))
    assert "schedule.knots" in found[0]


def test_all_problems_come_at_once() -> None:
    found = problems(
        lambda: with_set(
            "sede=1",
            "seed=-1",
            "data.name=cifar11",
            "data.batch_size=none",
            "augment.flip=sometimes",
            "model.nme=x",
            "optimizer.name=adamm",
            "schedule.epochs=0",
            "schedule.lr_min=-1",
        )
    )
    keys = [
        "'sede'",
        "seed -1",
        "data.name",
        "data.batch_size",
        "augment.flip",
        "model.nme",
        "optimizer.name",
        "schedule.epochs 0",
        "schedule.lr_min -1",
    ]
    for key in keys:
        assert sum(key in line for line in found) == 1, (key, found)


@pytest.mark.parametrize(
    ("pairs", "keys"),
    [
        (["augment.cutout=99", "seed=-1"], ["seed -1", "augment.cutout 99"]),
        (["augment.cutout=99", "data.batch_size=0"], ["data.batch_size 0", "augment.cutout 99"]),
        (["augment.cutout=99", "optimizer.name=adamm"], ["optimizer.name", "augment.cutout 99"]),
        (["schedule.peak_epoch=99", "schedule.shape=lin"], ["schedule.shape 'lin'", "schedule.peak_epoch 99"]),
        (["schedule.peak_epoch=99", "schedule.epoch=3"], ["'schedule.epoch'", "schedule.peak_epoch 99"]),
        (
            ["schedule={name: plateau, epochs: 3, lr: 0.1, factor: x, monitor: val_loss}", "evaluate_every=2"],
            ["schedule.factor 'x'", "data.val_fraction is 0", "evaluate_every is 2"],
        ),
    ],
)
def test_a_contradiction_is_named_beside_other_problems(pairs: list[str], keys: list[str]) -> None:
    found = problems(lambda: with_set(*pairs))
    assert len(found) == len(keys), found
    assert all(key in line for key, line in zip(keys, found, strict=True)), found


@pytest.mark.parametrize(
    "pairs",
    [
        ["augment.cutout=99", "data.image_size=4"],
        ["augment.crop_padding=40", "augment.padding=black"],
        ["schedule.epochs=many", "schedule.peak_epoch=30"],
        ["schedule.epochs=3", "schedule.peak_epoch=x"],
        ["schedule={name: platau, monitor: val_loss}"],
        ["schedule={name: plateau, epochs: 3, lr: 0.1, monitor: val}", "evaluate_every=2"],
        ["schedule.name=constant", "schedule.epochs=0"],
    ],
)
def test_what_a_default_would_stand_in_for_is_no_contradiction(pairs: list[str]) -> None:
    problem(*pairs)


@pytest.mark.parametrize("key", [1, 1.5, None, True])
def test_a_key_that_is_no_text_is_refused(key: Any) -> None:
    values = recipe("custom_resnet").model_dump()
    found = problems(lambda: checked({**values, "data": {key: 1}, "augment": {"cutout": 99}}, "mine"))
    assert len(found) == 2


def test_an_unknown_part_does_not_hide_other_problems() -> None:
    found = problems(lambda: with_set("optimzer.weight_decay=1", "seed=-1"))
    assert len(found) == 2


@pytest.mark.parametrize(
    ("pair", "end"),
    [
        ("data.mean=grey", "data.mean 'grey': must be auto or three numbers"),
        ("data.mean=[0.1, 0.2]", "data.mean [0.1, 0.2]: must be auto or three numbers"),
        ("data.mean=[1, 2, 3, 4]", "must be auto or three numbers"),
        ("data.mean=[1, 2, x]", "must be auto or three numbers"),
        ("data.std=[1, 1, .inf]", "data.std inf: must be a finite number"),
        ("data.train_limit=some", "must be a whole number or null"),
        ("ema=3", "ema 3: must be a mapping of keys or null"),
        ("schedule.lr_final=low", "schedule.lr_final 'low': must be a number or lr_min"),
        ("optimizer.betas=[0.9]", "optimizer.betas [0.9]: must be two numbers"),
        ("optimizer.betas=[0.9, 0.9, 0.9]", "must be two numbers"),
        ("optimizer.betas=0.9", "optimizer.betas 0.9: must be two numbers"),
        ("optimizer.betas=[2, 0.9]", "optimizer.betas 2: must be less than 1"),
        (
            "schedule={name: piecewise_linear, epochs: 3, knots: [[1]]}",
            "schedule.knots [[1]]: must be a list with two numbers in each place",
        ),
    ],
)
def test_a_value_of_the_wrong_form_is_told_the_right_one(pair: str, end: str) -> None:
    assert problem(pair).endswith(end)


@pytest.mark.parametrize(
    "pair",
    [
        "seed=true",
        "data.batch_size=yes",
        "data.val_fraction=false",
        "data.train_limit=true",
        "data.std=[true, 1, 1]",
        "schedule.epochs=true",
        "schedule.lr_max=true",
        "schedule.lr_final=true",
        "optimizer.betas=[false, 0.9]",
        "ema.decay=on",
        "schedule={name: piecewise_linear, epochs: 3, knots: [[0, true]]}",
    ],
)
def test_a_boolean_is_no_number(pair: str) -> None:
    assert problem(pair).endswith("a number is needed, not true or false")


def test_booleans_and_numbers_as_text_go_on_working() -> None:
    made = with_set("data.drop_last=on", "optimizer.decay_norms_and_biases=true", "data.val_fraction='1e-1'")
    assert made.data.drop_last is True
    assert made.optimizer.options["decay_norms_and_biases"] is True
    assert made.data.val_fraction == 0.1
    assert "random, alternating, none" in problem("augment.flip=no")  # YAML 1.1 reads no as false


@pytest.mark.parametrize("pair", ["optimizer.weight_decay=-1", "optimizer.betas=[2, 0.9]", "optimizer.eps=-1"])
def test_an_option_that_the_optimiser_refuses_is_refused_here(pair: str) -> None:
    assert pair.partition("=")[0] in problem(pair)


@pytest.mark.parametrize("kind", ["optimizer", "schedule"])
def test_only_nets_can_be_ones_own(kind: str) -> None:
    assert f"{kind}.name" in problem(f"{kind}.name=own:thing")


@pytest.mark.parametrize("name", ["mine", "my run 1.5", "...", "größer", "x" * 100, "漢" * 66])
def test_the_name_can_be_set(name: str) -> None:
    made = recipe("custom_resnet", name=name)
    assert made.name == name
    assert checked(yaml.safe_load(made.to_yaml()), "again") == made


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "..", "../up", "a/b", "a\\b", "a\nb", "a\tb", "a\0b", "\x7f", "\u2028", "\ud800"),
        "x" * 101,
        "漢" * 67,
    ],
)
def test_a_name_that_fits_no_folder_is_refused(name: str) -> None:
    (line,) = problems(lambda: recipe("custom_resnet", name=name))
    assert "name " in line
    assert "1 to 100 printable characters (200 bytes) without / and \\" in line


def test_a_line_break_in_a_key_or_value_stays_within_its_line() -> None:
    for key in ("a\nb", "data.a\nb", "optimizer.a\nb", "a\nb.c", "schedule.lr_max"):
        problems(lambda key=key: recipe("custom_resnet", **{key: "x\ny"}))  # type: ignore[misc]


# --- files -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "no mapping"),
        (b"- 1\n- 2\n", "no mapping"),
        (b"just text", "no mapping"),
        (b"1: 2\n", "no mapping"),
        (b"a: {", "not readable as YAML at line 1"),
        (b"a: 1\nb: [1, 2\nc: 3\n", "not readable as YAML at line 3"),
        (b"a:\n\t- b\n", "not readable as YAML at line 2"),
        (b"a: \x00\x01", "not readable as YAML"),
        (b"\xff\xfe\xfa", "not readable"),
        (b"a: !!python/object/apply:os.system [exit]", "not readable as YAML"),
        (b"a: 2020-13-45", "not readable"),
        (b"[" * 5000, "not readable"),
        (b"\x80\x04\x95", "not readable"),
    ],
)
def test_a_file_that_is_no_recipe_is_named_with_its_place(tmp_path: Path, content: bytes, part: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    (line,) = problems(lambda: recipe(path))
    assert line.startswith(f"recipe {path}: ")
    assert part in line


@pytest.mark.parametrize(
    ("content", "key", "line", "first"),
    [
        ("seed: 1\ntta: none\nseed: 2\n", "seed", 3, 1),
        ("seed: 1\n'seed': 2\n", "seed", 2, 1),
        ("data:\n  name: digits\n  batch_size: 4\n  batch_size: 8\n", "batch_size", 4, 3),
        ("ema: {decay: 0.9, decay: 0.99}\n", "decay", 1, 1),
    ],
)
def test_a_key_that_is_there_twice_is_refused(tmp_path: Path, content: str, key: str, line: int, first: int) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(content)
    (found,) = problems(lambda: recipe(path))
    assert found.startswith(f"recipe {path}: not readable as YAML at line {line} ")
    assert f"the key {key!r} is there twice, first at line {first}" in found
    assert "'decay' is there twice" in problems(lambda: assignments(["ema={decay: 0.9, decay: 0.99}"]))[0]


def test_a_merged_key_can_be_overridden(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("a: {b: &b {<<: &c {x: 1, y: 1}, x: 2}}\nd: {<<: *b, y: 3}\ne: [*b, *b]\n")
    values = read_yaml(path)
    assert values["d"] == {"x": 2, "y": 3}
    assert values["a"]["b"] == {"x": 2, "y": 1}


def test_a_recipe_that_is_not_there_is_named_with_the_nearest() -> None:
    (line,) = problems(lambda: recipe("custom_resnt"))
    assert "'custom_resnt'" in line
    assert "did you mean 'custom_resnet'" in line
    (line,) = problems(lambda: recipe("none/of/these.yaml"))
    assert line == "recipe none/of/these.yaml: no such file"
    for name in ("", ".", "x" * 300, "x" * 300 + ".yaml", "a\0b", "/"):
        problems(lambda name=name: recipe(name))  # type: ignore[misc]


def test_a_file_with_unknown_and_missing_keys_says_all_of_it(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("dat: {}\nseed: 1\nmodel: {name: custom_resnet}\noptimizer: {name: adam, lr: 3}\n")
    found = problems(lambda: recipe(path))
    assert len(found) == 3
    text = "\n".join(found)
    assert all(part in text for part in ("'dat'; did you mean 'data'", "schedule is missing", "'optimizer.lr'"))


def test_a_file_needs_only_what_has_no_default(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "model: {name: custom_resnet}\noptimizer: {name: sgd}\n"
        "schedule: {name: piecewise_linear, epochs: 24, knots: [[0, 0], [5, 4e-1], [24, 0]]}\n"
    )
    made = recipe(path, seed=3)
    assert made.name == "mine"
    assert made.seed == 3
    assert made.data.name == "cifar10"
    assert [tuple(knot) for knot in made.schedule.options["knots"]] == [(0, 0), (5, 0.4), (24, 0)]
    path.write_text(made.to_yaml())
    assert recipe(path) == made


@pytest.mark.parametrize("kind", [list, tuple])
def test_knots_go_through_yaml(kind: type, tmp_path: Path) -> None:
    knots = kind(kind(knot) for knot in ((0, 0), (5, "4e-1"), (24, 1e-30)))
    made = recipe("custom_resnet", schedule={"name": "piecewise_linear", "epochs": 24, "knots": knots})
    resolved = made.evolve(precision="fp32", data={"mean": (0.5, 0.4, 1 / 3), "std": (0.2, 0.2, 1e-30)})
    for one in (made, resolved):
        assert one.schedule.options["knots"] == ((0.0, 0.0), (5.0, 0.4), (24.0, 1e-30))
        path = tmp_path / "stored.yaml"
        path.write_text(one.to_yaml(), encoding="utf-8")
        assert recipe(path) == one
        assert recipe(path).to_yaml() == one.to_yaml()
    hash(made.schedule.options["knots"])  # as frozen as the recipe


# --- the value ---------------------------------------------------------------------------------------------------


def test_a_recipe_is_frozen() -> None:
    made = recipe("custom_resnet")
    parts: list[tuple[Any, str]] = [
        (made, "seed"),
        (made.data, "batch_size"),
        (made.schedule, "epochs"),
        (made, "other"),
    ]
    for part, key in parts:
        with pytest.raises(ValidationError):
            setattr(part, key, 1)
    assert made == recipe("custom_resnet")


def test_evolve_changes_one_key_of_a_part() -> None:
    base = recipe("custom_resnet")
    longer = base.evolve(name="longer", schedule={"epochs": 40}, ema={"decay": 0.9})
    assert differences(base, longer) == {
        "name": ("custom_resnet", "longer"),
        "schedule.epochs": (24, 40),
        "ema.decay": (None, 0.9),
    }
    assert base == recipe("custom_resnet")


def test_differences_are_exactly_the_changed_keys() -> None:
    base = recipe("custom_resnet")
    changes = {"seed": 4, "data.batch_size": 128, "schedule.lr_max": 0.01, "optimizer.betas": [0.8, 0.9]}
    other = recipe(base, **changes)
    found = differences(base, other)
    assert {key: pair[1] for key, pair in found.items()} == changes
    assert {key: pair[::-1] for key, pair in found.items()} == differences(other, base)
    assert differences(base, base) == {}
    renamed = differences(base, recipe(base, **{"schedule.name": "constant", "schedule.lr": 0.1}))
    assert renamed["schedule.name"] == ("one_cycle", "constant")
    assert renamed["schedule.lr"] == (None, 0.1)
    assert renamed["schedule.peak_epoch"] == (5, None)
    assert set(renamed) == {"schedule.name", "schedule.lr"} | {
        f"schedule.{key}" for key in ("peak_epoch", "lr_min", "lr_max", "lr_final", "shape")
    }


# --- what is loaded ----------------------------------------------------------------------------------------------


def test_importing_recipes_loads_no_torch() -> None:
    code = """
import json, sys
import onecycle
bare = sorted({"torch", "pydantic", "numpy", "yaml"} & set(sys.modules))
import onecycle.recipes, onecycle.schedule, onecycle.registry, onecycle.randomness, onecycle.files
onecycle.recipe, onecycle.UserError, dir(onecycle), onecycle.registry.names("model")
onecycle.registry.load("schedule", "one_cycle"), onecycle.registry.load("recipe", "custom_resnet")()
print(json.dumps([bare, "torch" in sys.modules, "pydantic" in sys.modules]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert json.loads(done.stdout) == [[], False, True]


def test_every_registered_name_can_be_loaded() -> None:
    for kind in registry.ENTRIES:
        for name in registry.names(kind):
            assert callable(registry.load(kind, name))
        (line,) = problems(lambda kind=kind: registry.load(kind, "nothing_like_it"))  # type: ignore[misc]
        assert "nothing_like_it" in line


# --- whatever comes in, a recipe or a UserError goes out ----------------------------------------------------------

KEYS = [*flatten(recipe("custom_resnet").model_dump()), "ema.decay", "schedule.lr", "schedule.half_cycle_epochs"]
PARTS = sorted({key.partition(".")[0] for key in KEYS})
COMPONENT_NAMES = [name for kind in ("model", "optimizer", "schedule") for name in registry.names(kind)]
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.integers(-2, 40)
    | st.floats()
    | st.sampled_from([*COMPONENT_NAMES, "none", "auto", "lr_min", "1e-3", "find", ""])
    | st.text(max_size=8)
)
words = st.sampled_from([*sorted({key.rpartition(".")[2] for key in KEYS}), "knots", "factor"]) | st.text(max_size=5)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4),
    max_leaves=8,
)
dotted = st.sampled_from([key for key in KEYS if key != "name"]) | st.text(max_size=8).filter(lambda key: key != "name")
fuzz = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def recipe_or_user_error(call: Callable[[], Recipe]) -> None:
    try:
        made = call()
    except UserError as error:
        assert error.problems
        assert all(line.strip() and "\n" not in line for line in error.problems)
        return
    assert isinstance(made, Recipe)
    again = checked(yaml.safe_load(made.to_yaml()), "again")
    assert again == made
    assert all(math.isfinite(value) for value in flatten(made.model_dump()).values() if isinstance(value, float))


@fuzz
@given(changes=st.dictionaries(dotted, values, max_size=4))
def test_any_changes_give_a_recipe_or_a_user_error(changes: dict[str, Any]) -> None:
    recipe_or_user_error(lambda: recipe("custom_resnet", **changes))


@fuzz
@given(
    content=st.dictionaries(
        st.sampled_from(PARTS) | words, values | st.fixed_dictionaries({"name": scalars}), max_size=6
    )
)
def test_any_file_content_gives_a_recipe_or_a_user_error(content: dict[str, Any]) -> None:
    recipe_or_user_error(lambda: checked(content, "mine.yaml"))


texts = (
    st.text(max_size=12)
    | st.text("[]{}:,&*!|>'\"#%@-?~.e0123 \n\tab", max_size=12)
    | values.map(lambda value: yaml.safe_dump(value, default_flow_style=True))
    | st.sampled_from(
        ["&a [*a]", "2020-01-01", "!!binary aGk=", "!!set {a, b}", "<<: 3", "0x1F", "1_000", "12:30:45", "="]
    )
)


@fuzz
@given(pairs=st.lists(st.tuples(dotted | st.text(max_size=5), texts).map("=".join) | texts, max_size=4))
def test_any_assignments_give_a_recipe_or_a_user_error(pairs: list[str]) -> None:
    if any(pair.partition("=")[0].strip() == "name" for pair in pairs):
        return
    recipe_or_user_error(lambda: with_set(*pairs))


def test_a_part_may_be_handed_in_as_the_value_that_it_is() -> None:
    base = recipe("custom_resnet")
    assert recipe("custom_resnet", schedule=base.schedule, data=base.data) == base
    with pytest.raises(UserError, match="lr_mx"):
        recipe("custom_resnet", schedule=type(base.schedule)(name="one_cycle", lr_mx=1))
