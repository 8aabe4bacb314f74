"""Recipes: the shipped ones, `--set`, a component by another name, and what a recipe is as a value."""

from __future__ import annotations

import json
import subprocess
import sys
from inspect import Parameter
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError
from recipe_problems import problem, problems, with_set

import onecycle
from onecycle import registry
from onecycle.recipes import Recipe, assignments, differences, flatten, recipe

SHIPPED = registry.names("recipe")


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
