"""Data, nets and logs that a training refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small import dataset, images, net, small_recipe
from torch import nn

import onecycle
from onecycle import Observer, UserError, registry


@pytest.mark.parametrize(
    "data, what",
    [
        (5, "data is a int"),
        ((images(40), None), "data is a tuple"),
        ((images(40), images(20, classes=3)), "the classes differ"),
        ((images(40), images(40).subset(np.arange(0))), "40 training and 0 test images"),
        (images(40, classes=1), "two or more are needed"),
        ({"batch_size": 7000}, "7000 is larger"),
    ],
)
def test_data_that_does_not_fit_is_refused_before_anything_is_written(data: Any, what: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=what):
        onecycle.train("digits", data=data, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_parts_that_do_not_fit_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    frozen = net().requires_grad_(False)
    with pytest.raises(UserError, match="no parameter that trains"):
        onecycle.train(small_recipe(), model=frozen, data=dataset(), out=tmp_path / "run")
    with pytest.raises(UserError, match="cutout 40 is larger"):
        large = small_recipe(**{"data.image_size": 64, "augment.cutout": 40})
        onecycle.train(large, model=net(), data=dataset(), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def adagrad(net: nn.Module) -> torch.optim.Optimizer:
    """An optimiser of somebody else's, without momentum."""
    return torch.optim.Adagrad(net.parameters())


def test_a_momentum_for_an_optimiser_without_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.ENTRIES["optimizer"], "adagrad", "test_training_refused:adagrad")
    for momentum in ([0.8, 0.9], None):
        wanted = small_recipe(optimizer={"name": "adagrad"}, **{"schedule.momentum": momentum})
        given: dict[str, Any] = {"model": net(), "data": dataset(), "device": "cpu", "observer": Observer()}
        if momentum is None:
            assert onecycle.train(wanted, out=tmp_path / "run", **given).finished
            continue
        with pytest.raises(UserError, match=r"schedule\.momentum: the optimizer adagrad has none; null") as caught:
            onecycle.train(wanted, out=tmp_path / "run", **given)
        assert len(caught.value.problems) == 1 and not (tmp_path / "run").exists()


def test_a_single_set_is_split(tmp_path: Path) -> None:
    run = onecycle.train(small_recipe(), model=net(), data=images(200), out=tmp_path / "run", device="cpu")
    assert run.summary["test"]["images"] == 40 and run.summary["steps"] == 9


def test_damaged_logs_are_named(tmp_path: Path) -> None:
    run = onecycle.train(small_recipe(), model=net(), data=dataset(), out=tmp_path / "run")
    (run.path / "metrics.csv").write_text("epoch,lr\n1,much\n")
    with pytest.raises(UserError, match=r"metrics\.csv: damaged"):
        run.metrics()
    (run.path / "environment.json").write_text("[]")
    with pytest.raises(UserError, match=r"environment\.json: damaged"):
        run.environment  # noqa: B018
