"""The recipes of the course's systems: their nets, rates and augmentation, as the documents give them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from small import images
from torch import nn

import onecycle
from onecycle import Dataset, Recipe, registry
from onecycle.preparation import build_net, build_schedule
from onecycle.recipes import differences, flatten, recipe

SYSTEMS = {
    "eva6_s9_dropout": 6_573_120,
    "eva6_s9_dropout_logged": 6_573_120,
    "eva6_s9_sgd": 6_573_130,
    "eva6_s9_sgd_plateau": 6_573_130,
    "era_s10_package": 6_573_130,
    "era1_s10_compact": 190_762,
    "era_s12_lightning": 6_573_130,
}
STEPS = 98  # an epoch of CIFAR-10 in batches of 512
FOUND = {"schedule.lr_min": 1e-4, "schedule.lr_max": 1e-2}  # in the place of "find", which would cost a range test


def values(name: str) -> dict[str, Any]:
    return flatten(recipe(name).model_dump())


def rates(name: str) -> list[float]:
    """The learning rate of every step."""
    wanted = recipe(name)
    schedule = build_schedule(wanted, STEPS)
    return [schedule(step) for step in range(wanted.epochs * STEPS)]


def rates_of_torch(lr_max: float, steps: int, **options: Any) -> list[float]:
    """OneCycleLR with its maximum at 5/24, stepped after each of `steps` updates; the last is one past them."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, lr_max, total_steps=24 * STEPS, pct_start=5 / 24, **options
    )
    found = []
    for _ in range(steps):
        found.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return [*found, scheduler.get_last_lr()[0]]


@pytest.mark.parametrize("name", SYSTEMS)
def test_all_have_the_net_the_data_and_the_batch_of_their_documents(name: str) -> None:
    found = values(name)
    assert (found["data.name"], found["data.image_size"], found["data.batch_size"]) == ("cifar10", 32, 512)
    assert (found["data.drop_last"], found["seed"], found["precision"]) == (False, 0, "auto")
    assert found["loss.label_smoothing"] == 0
    assert found["ema"] is None
    assert found["tta"] == "none"
    assert found["optimizer.name"] == ("sgd" if "sgd" in name else "adam")
    assert found["augment.flip"] == "random"
    assert sum(p.numel() for p in build_net(recipe(name), 10).parameters()) == SYSTEMS[name]
    document = registry.load("recipe", name).__doc__ or ""
    assert document.rstrip().endswith(f"onecycle train {name}")
    assert "Published: " in document


@pytest.mark.parametrize("name", sorted(set(SYSTEMS) - {"era1_s10_compact"}))
def test_all_but_the_compact_one_crop_flip_and_cut_out(name: str) -> None:
    expected = {
        "augment.crop_padding": 4,
        "augment.padding": "zeros",
        "augment.cutout": 8,
        "augment.cutout_probability": 0.5 if "dropout" in name else 1.0,
        "augment.shift": 0.0,
        "augment.scale": 0.0,
        "augment.rotate": 0.0,
        "model.name": "custom_resnet",
        "model.norm": "batch",
    }
    found = values(name)
    assert {key: found[key] for key in expected} == expected


def test_what_sets_each_net_apart() -> None:
    usual = values("custom_resnet")
    apart = {
        name: {key: value for key, value in values(name).items() if key.startswith("model.") and value != usual[key]}
        for name in SYSTEMS
        if name != "era1_s10_compact"
    }
    dropout = apart["eva6_s9_dropout"].pop("model.stage_dropout")
    assert apart["eva6_s9_dropout_logged"].pop("model.stage_dropout") == dropout
    block_dropout = apart["era_s12_lightning"].pop("model.block_dropout")
    assert 0 < dropout < 0.3
    assert 0 < block_dropout < 0.3
    assert apart == {
        "eva6_s9_dropout": {"model.linear_bias": False},
        "eva6_s9_dropout_logged": {"model.linear_bias": False},
        "eva6_s9_sgd": {},
        "eva6_s9_sgd_plateau": {},
        "era_s10_package": {"model.log_softmax": True},
        "era_s12_lightning": {"model.order": "conv-pool-relu-norm"},
    }


def test_the_compact_one_flips_shifts_scales_turns_and_drops_out_coarsely() -> None:
    found = values("era1_s10_compact")
    assert found["model.name"] == "compact"
    assert found["schedule.epochs"] == 30
    assert found["augment.crop_padding"] == 0
    assert (found["augment.cutout"], found["augment.cutout_probability"]) == (16, 0.5)
    assert (found["augment.shift"], found["augment.scale"]) == (0.0625, 0.1)
    assert found["augment.rotate"] > 0
    assert found["augment.affine_probability"] == 0.5
    assert found["optimizer.weight_decay"] == 0


# --- the learning rates ------------------------------------------------------------------------------------------


def test_eva6_s9_dropout_is_the_cosine_cycle_of_torch() -> None:
    found = rates("eva6_s9_dropout")
    expected = rates_of_torch(30 * 6.0909e-4, 24 * STEPS - 1, anneal_strategy="cos", div_factor=30)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-15)
    assert round(max(found), 5) == 0.01827
    assert found.index(max(found)) == 5 * STEPS - 1


def test_eva6_s9_dropout_logged_is_that_cycle_stepped_once_an_epoch() -> None:
    found = rates("eva6_s9_dropout_logged")
    expected = rates_of_torch(30 * 6.0909e-4, 24, anneal_strategy="cos", div_factor=30)
    for epoch in range(24):
        within = found[epoch * STEPS : (epoch + 1) * STEPS]
        torch.testing.assert_close(within, [expected[epoch]] * STEPS, rtol=1e-9, atol=0)
    # The log's first, and its last, which is the one after the last epoch.
    assert f"{found[0]:.4e}" == "6.0909e-04"
    assert f"{expected[24]:.4e}" == "7.1387e-04"
    assert set(differences(recipe("eva6_s9_dropout"), recipe("eva6_s9_dropout_logged"))) == {
        "name",
        *(f"schedule.{key}" for key in ("name", "peak_epoch", "lr_min", "lr_max", "lr_final", "shape", "knots")),
    }


def test_eva6_s9_sgd_is_the_linear_cycle_of_torch_without_its_negative_end() -> None:
    found = rates("eva6_s9_sgd")
    *expected, beyond = rates_of_torch(0.1, 24 * STEPS, anneal_strategy="linear", div_factor=256, final_div_factor=128)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-15)
    assert found[0] == 3.90625e-4
    assert f"{found[-1]:.2e}" == "3.05e-06"
    assert abs(beyond - -5.06e-5) < 1e-7  # what the document's log ends with
    assert build_schedule(recipe("eva6_s9_sgd"), STEPS)(24 * STEPS) == found[-1]


def test_eva6_s9_sgd_plateau_watches_held_out_images_for_40_epochs() -> None:
    wanted = recipe("eva6_s9_sgd_plateau")
    assert (wanted.epochs, wanted.data.val_fraction) == (40, 0.1)
    assert wanted.optimizer == recipe("eva6_s9_sgd").optimizer
    defaults = torch.optim.lr_scheduler.ReduceLROnPlateau(torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1))
    options = wanted.schedule.options
    assert (options["factor"], options["patience"]) == (defaults.factor, defaults.patience)
    assert (options["threshold"], options["monitor"]) == (defaults.threshold, "val_loss")


def test_era_s10_package_finds_its_rates() -> None:
    options = recipe("era_s10_package").schedule.options
    assert options == {
        "epochs": 24,
        "peak_epoch": 5,
        "lr_min": "find",
        "lr_max": "find",
        "lr_final": "lr_min",
        "shape": "linear",
        "momentum": None,
    }


@pytest.mark.parametrize(
    ("name", "start", "peak", "end", "epochs"),
    [("era_s12_lightning", 0.0, 0.0554, 0.0, 24), ("era1_s10_compact", 1e-5, 1e-2, 1e-5, 30)],
)
def test_a_linear_cycle_starts_peaks_and_ends_where_it_should(
    name: str, start: float, peak: float, end: float, epochs: int
) -> None:
    found = rates(name)
    assert len(found) == epochs * STEPS
    assert (found[0], found[5 * STEPS - 1], found[-1]) == (start, peak, end)
    assert math.isclose(found[245], start + (peak - start) * 245 / 489)


def test_era_s12_lightning_decays_weights_as_lit_cifar10_does() -> None:
    assert values("era_s12_lightning")["optimizer.weight_decay"] == 1e-4


# --- each trains -------------------------------------------------------------------------------------------------


def short(name: str) -> Recipe:
    wanted = recipe(name)
    changes: dict[str, Any] = {"schedule.epochs": 1, "data.batch_size": 4, "precision": "fp32", "data.train_limit": 8}
    if wanted.schedule.name == "one_cycle":
        changes["schedule.peak_epoch"] = 0.5
    if wanted.schedule.options.get("lr_max") == "find":
        changes |= FOUND
    return recipe(wanted, **changes)


@pytest.mark.parametrize("name", SYSTEMS)
def test_each_trains_an_epoch_with_finite_losses(name: str, tmp_path: Path) -> None:
    few = Dataset(images(20, 0), images(4, 1))
    run = onecycle.train(short(name), data=few, out=tmp_path / "run", device="cpu", observer=onecycle.Observer())
    losses = [row["loss"] for row in run.steps()]
    assert len(losses) == 2
    assert all(math.isfinite(loss) for loss in losses)
    (row,) = run.metrics()
    assert math.isfinite(row["test_loss"])
    assert run.summary["parameters"] == SYSTEMS[name] - (10 - 4) * (
        128 + 1 if name == "era1_s10_compact" else 512 + (SYSTEMS[name] == 6_573_130)
    )
    assert recipe(run.path / "recipe.yaml") == run.recipe
