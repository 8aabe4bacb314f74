"""Optimisers and schedules from outside, trained, stopped and resumed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from small import StopAt, assert_same_run, dataset, images, net, small_recipe, weights
from torch import nn

import onecycle
from onecycle import ImageSet, Observer, Stopped, TrainingFailed, UserError, registry, training
from onecycle.checkpoint import load_state


class Counting(torch.optim.Optimizer):
    """Momentum whose state has plain numbers, as that of many published optimisers."""

    def __init__(self, parameters: Iterable[Any]) -> None:
        super().__init__(parameters, {"lr": None})  # as Adafactor has it

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                state = self.state[parameter]
                if not state:
                    state.update(step=0, scale=1.0, warm=False, moment=torch.zeros_like(parameter))
                state.update(step=state["step"] + 1, scale=state["scale"] * 0.99, warm=True)
                state["moment"].mul_(0.9).add_(parameter.grad)
                parameter.sub_(state["moment"], alpha=group["lr"] * state["scale"] / state["step"] ** 0.5)


def counting(net: nn.Module) -> Counting:
    return Counting(net.parameters())


def backbone_and_head(net: nn.Module) -> torch.optim.Optimizer:
    *backbone, weight, bias = net.parameters()
    return torch.optim.SGD([{"params": backbone, "lr": 0.001}, {"params": [weight, bias], "lr": 0.1}])


def steep(steps_per_epoch: int, *, epochs: int, peak_lr: float) -> Callable[[float], float]:
    return lambda step: peak_lr


def careless(num_classes: int, *, width=8) -> nn.Module:  # type: ignore[no-untyped-def]
    return nn.Sequential(nn.AvgPool2d(8), nn.Flatten(), nn.Linear(48, width), nn.Linear(width, num_classes))


def nothing(*_: Any, epochs: int = 1, **__: Any) -> None:
    """What a builder gives that lacks its return."""


def with_closure(net: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.LBFGS(net.parameters())


def in_one_piece(*, data_dir: Path | None, image_size: int) -> ImageSet:
    return images(200)


def in_two(*, data_dir: Path | None, image_size: int) -> tuple[ImageSet, ImageSet]:
    return tuple(dataset())


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "ENTRIES", {kind: dict(entries) for kind, entries in registry.ENTRIES.items()})
    onecycle.register("optimizer", "counting", f"{__name__}:counting")
    onecycle.register("optimizer", "backbone_and_head", f"{__name__}:backbone_and_head")
    onecycle.register("schedule", "steep", f"{__name__}:steep")


def trained(out: Path, observer: Observer | None = None, **changes: Any) -> onecycle.Run:
    given: dict[str, Any] = {"model": net(), "data": dataset(), "report": False, "observer": observer or Observer()}
    return onecycle.train(small_recipe(**changes), out=out, **given)


def test_an_optimiser_that_keeps_plain_numbers_is_resumed_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "FLUSH_SECONDS", 0.0)  # so that each step is told
    optimizer = {"name": "counting"}
    whole = trained(tmp_path / "whole", optimizer=optimizer)
    with pytest.raises(Stopped):
        trained(tmp_path / "stopped", StopAt(6), optimizer=optimizer)
    given: dict[str, Any] = {"model": net(seed=1), "data": dataset(), "report": False, "observer": Observer()}
    assert_same_run(onecycle.resume(tmp_path / "stopped", **given), whole)


def test_groups_with_rates_of_their_own_keep_their_ratio(tmp_path: Path) -> None:
    schedule = {"name": "constant", "epochs": 1, "lr": 0.05}
    run = trained(tmp_path / "run", optimizer={"name": "backbone_and_head"}, schedule=schedule)
    saved = load_state(run.checkpoints.paths()[-1])
    assert [group["lr"] for group in saved["optimizer"]["param_groups"]] == pytest.approx([0.0005, 0.05])


def test_numbers_that_go_wrong_under_a_schedule_of_unknown_keys(tmp_path: Path) -> None:
    with pytest.raises(TrainingFailed, match=r"the loss is nan at step 2 of 8, .*, begin anew with a lower rate$"):
        trained(tmp_path / "run", schedule={"name": "steep", "epochs": 2, "peak_lr": 1e30})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": {"name": "nothing"}}, "model 'nothing' builds a NoneType; an nn.Module is needed"),
        ({"data.name": "nothing"}, "data is a NoneType; a name, an ImageSet or a Dataset of two is needed"),
        ({"optimizer": {"name": "nothing"}}, "optimizer 'nothing' builds a NoneType; a torch.optim.Optimizer is"),
        (
            {"optimizer": {"name": "with_closure"}},
            "optimizer 'with_closure' builds a LBFGS, whose step needs a closure",
        ),
        ({"schedule": {"name": "nothing", "epochs": 1}}, "schedule 'nothing' builds a NoneType; a function from step"),
    ],
)
def test_a_part_that_is_none_leaves_no_folder(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    for kind in ("model", "data", "optimizer", "schedule"):
        onecycle.register(kind, "nothing", f"{__name__}:nothing")
    onecycle.register("optimizer", "with_closure", f"{__name__}:with_closure")
    own = {"data.name": {}, "model": {"data": dataset()}}.get(next(iter(changes)), {"data": dataset(), "model": net()})
    with pytest.raises(UserError, match=said):
        onecycle.train(small_recipe(**changes), out=tmp_path / "run", observer=Observer(), **own)
    assert not (tmp_path / "run").exists()


def test_an_option_without_annotation_takes_any_value() -> None:
    onecycle.register("model", "careless", f"{__name__}:careless")
    assert small_recipe(model={"name": "careless", "width": 4}).model.options == {"width": 4}


@pytest.mark.parametrize("name", ["in_one_piece", "in_two"])
def test_a_data_set_may_come_as_those_that_are_handed_in(tmp_path: Path, name: str) -> None:
    onecycle.register("data", name, f"{__name__}:{name}")
    given: dict[str, Any] = {"model": net(), "report": False, "observer": Observer()}
    run = onecycle.train(small_recipe(**{"data.name": name}), out=tmp_path / "named", **given)
    handed_in = images(200) if name == "in_one_piece" else dataset()
    other = onecycle.train(small_recipe(), data=handed_in, out=tmp_path / "handed in", **{**given, "model": net()})
    assert run.summary["test"]["accuracy"] == other.summary["test"]["accuracy"]
    for one, its in zip(weights(run).values(), weights(other).values(), strict=True):
        assert torch.equal(one, its)
