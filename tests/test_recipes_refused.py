"""Whatever is wrong with a recipe is said in whole, a line a problem; whatever comes in, nothing else goes out."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recipe_problems import problem, problems, with_set

from onecycle import registry
from onecycle.errors import UserError
from onecycle.recipes import Recipe, checked, flatten, recipe


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
