"""The loop: what it computes, what it writes, and that stopping and going on changes nothing."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from small import StopAt, assert_same_run, dataset, files, net, small_recipe, weights

import onecycle
from onecycle import (
    Observer,
    Progress,
    Run,
    Stopped,
    TrainingFailed,
    evaluator,
    randomness,
    schedule,
    training,
)
from onecycle.data import Augmentation, Loader


@pytest.fixture
def tell_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "FLUSH_SECONDS", 0.0)


def run_small(out: Path, observer: Observer | None = None, **changes: Any) -> Run:
    recipe = small_recipe(**{"precision": "fp32", **changes})
    return onecycle.train(recipe, model=net(), data=dataset(), out=out, device="cpu", observer=observer)


def test_the_same_recipe_gives_the_same_run(tmp_path: Path) -> None:
    torch.manual_seed(123)
    one = run_small(tmp_path / "one")
    torch.manual_seed(321)
    assert_same_run(one, run_small(tmp_path / "other"))


def test_the_callers_random_state_is_left_alone(tmp_path: Path) -> None:
    model = net()
    before = torch.get_rng_state()
    onecycle.train(small_recipe(), model=model, data=dataset(), out=tmp_path / "run", device="cpu")
    assert torch.equal(before, torch.get_rng_state())


def test_it_learns(tmp_path: Path) -> None:
    run = run_small(tmp_path / "run", **{"schedule.epochs": 8, "augment.crop_padding": 0, "augment.cutout": 0})
    assert run.summary["test"]["accuracy"] > 0.9


@pytest.mark.parametrize("momentum", [None, (0.7, 0.95)])
def test_it_equals_a_plain_loop(momentum: tuple[float, float] | None, tmp_path: Path) -> None:
    """The same batches through a loop written here, with torch's own AdamW and OneCycleLR."""
    changes: dict[str, Any] = {"optimizer.weight_decay": 0.05, "loss.label_smoothing": 0.1}
    run = run_small(tmp_path / "run", **changes, **{"schedule.momentum": momentum})
    model = net().to(memory_format=torch.channels_last)
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": 0.05}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=0.02,
        total_steps=12,
        pct_start=1 / 3,
        anneal_strategy="linear",
        cycle_momentum=momentum is not None,
        base_momentum=momentum[0] if momentum else 0.85,
        max_momentum=momentum[1] if momentum else 0.95,
        div_factor=20,
        final_div_factor=1,
    )
    loader = Loader(dataset().train, batch_size=60, augmentation=Augmentation(flip="none", padding="reflect"), seed=0)
    step, losses = 0, []
    for epoch in range(3):
        for batch in loader.epoch(epoch):
            torch.manual_seed(randomness.step_seed(0, step))
            loss = F.cross_entropy(model(batch.images_nchw), batch.labels, label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if step < 11:
                schedule.step()
            losses.append(loss.item())
            step += 1
    np.testing.assert_allclose([row["loss"] for row in run.steps()], losses, rtol=2e-4)
    for name, value in weights(run).items():
        torch.testing.assert_close(value, model.state_dict()[name], rtol=2e-3, atol=2e-4)


@pytest.mark.usefixtures("drawn")
def test_what_the_run_folder_holds(tmp_path: Path) -> None:
    run = run_small(tmp_path / "run", **{"data.val_fraction": 0.2, "tta": "flip_shift"})
    assert files(run.path) >= {
        "recipe.yaml",
        "environment.json",
        "metrics.csv",
        "steps.csv",
        "model.safetensors",
        "model.json",
        "best.safetensors",
        "predictions.npz",
        "summary.json",
        "plots/curves.png",
    }
    assert len(run.checkpoints.paths()) == 2
    header = (run.path / "metrics.csv").read_text().splitlines()[0].split(",")
    assert header == [
        *("epoch", "lr", "train_loss", "train_accuracy", "test_loss", "test_accuracy", "val_loss", "val_accuracy"),
        *("train_seconds", "images_per_second"),
    ]
    assert (run.path / "steps.csv").read_text().splitlines()[0] == "step,epoch,lr,loss,elapsed_s"
    assert [row["step"] for row in run.steps()] == list(range(1, 10))  # 160 images in batches of 60, three times
    summary = run.summary
    assert summary["steps"] == 9 and summary["epochs"] == 3 and summary["seed"] == 0
    assert summary["parameters"] == sum(p.numel() for p in net().parameters())
    assert set(summary["test"]) == {"accuracy", "loss", "images", "accuracy_tta", "tta_seconds"}
    predictions = run.predictions()
    assert predictions["logits"].dtype == np.float32 and predictions["logits"].shape == (60, 4)
    assert summary["test"]["accuracy"] == np.mean(predictions["logits"].argmax(1) == predictions["labels"])
    assert summary["test"]["accuracy"] == run.metrics()[-1]["test_accuracy"]


def test_the_resolved_recipe_runs_again_to_the_same_end(tmp_path: Path) -> None:
    changes = {"model.name": "compact", "data.name": "digits", "data.train_limit": 64, "data.batch_size": 32}
    changes |= {"schedule.epochs": 1, "schedule.peak_epoch": 0.5, "precision": "auto"}
    one = onecycle.train("digits", out=tmp_path / "one", device="cpu", **changes)
    assert one.recipe.precision != "auto" and one.recipe.data.mean != "auto"
    other = onecycle.train(one.path / "recipe.yaml", out=tmp_path / "other", device="cpu")
    assert_same_run(one, other)


def test_every_step_uses_the_schedules_rate(tmp_path: Path) -> None:
    run = run_small(tmp_path / "run")
    schedule = training.build_schedule(run.recipe, 4)
    assert [row["lr"] for row in run.steps()] == [schedule(step) for step in range(12)]
    assert run.steps()[3]["lr"] == 0.02 and run.steps()[-1]["lr"] == 0.001


def test_the_stored_weights_give_the_stored_predictions(tmp_path: Path) -> None:
    run = run_small(tmp_path / "run", **{"ema.decay": 0.9})
    model = net().to(memory_format=torch.channels_last)
    model.load_state_dict(weights(run))
    mean, std = run.recipe.data.statistics
    with torch.no_grad():
        logits = [
            model.eval()(batch.images_nchw)
            for batch in Loader(dataset().test, batch_size=60, mean=mean, std=std).in_order()
        ]
    np.testing.assert_allclose(torch.cat(logits).numpy(), run.predictions()["logits"], atol=1e-6)


@pytest.mark.parametrize("changes", [{}, {"ema.decay": 0.9}], ids=str)
def test_ones_own_net_is_left_as_it_was_tested(tmp_path: Path, changes: dict[str, Any]) -> None:
    own, data = net(), dataset()
    run = onecycle.train(small_recipe(precision="fp32", **changes), model=own, data=data, out=tmp_path / "run")
    mean, std = run.recipe.data.statistics
    with torch.no_grad():
        logits = [own(one.images_nchw) for one in Loader(data.test, batch_size=60, mean=mean, std=std).in_order()]
    np.testing.assert_allclose(torch.cat(logits).numpy(), run.predictions()["logits"], atol=1e-6)


@pytest.mark.parametrize("changes", [{}, {"data.val_fraction": 0.2}, {"evaluate_every": 0}], ids=str)
def test_test_time_augmentation_takes_the_plain_pass_over_the_test_set_too(
    changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock that goes on by a second an image that is predicted."""
    seconds = [0.0]

    def taking(original: Any, images_of: Any) -> Any:
        def predict(net: Any, loader: Loader, *arguments: Any, **options: Any) -> Any:
            seconds[0] += images_of(loader)
            return original(net, loader, *arguments, **options)

        return predict

    for module in (training, evaluator):
        monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: seconds[0]))
    monkeypatch.setattr(evaluator, "predict_logits", taking(evaluator.predict_logits, lambda loader: loader.samples))
    monkeypatch.setattr(evaluator, "predict_unsure", taking(evaluator.predict_unsure, lambda loader: 0.5))
    monkeypatch.setattr(training._Training, "train_step", step_of_a_second(seconds))
    run = run_small(tmp_path / "run", **{"tta": "flip", "tta_share": 0.3, **changes})
    assert run.summary["test"]["tta_seconds"] == 60.5


def step_of_a_second(seconds: list[float]) -> Any:
    original = training._Training.train_step

    def step(self: Any, epoch: int, batch: Any) -> None:
        seconds[0] += 1
        original(self, epoch, batch)

    return step


@pytest.mark.parametrize("decay", [0.25, 0.9])
def test_the_average_of_the_weights_is_what_is_stored(
    decay: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its decay rises to the recipe's as TensorFlow's does with num_updates: the first steps must not stay."""
    seen: list[dict[str, torch.Tensor]] = []
    original = training._Training.train_step

    def step(self: Any, epoch: int, batch: Any) -> None:
        original(self, epoch, batch)
        seen.append({name: value.clone() for name, value in self.state.net.state_dict().items()})

    monkeypatch.setattr(training._Training, "train_step", step)
    stored = weights(run_small(tmp_path / "run", **{"ema.decay": decay}))
    for name in ("0.weight", "1.running_var", "9.bias"):
        average = seen[0][name].double()
        for updates, one in enumerate(seen[1:], start=1):
            kept = min(decay, (1 + updates) / (10 + updates))
            average = kept * average + (1 - kept) * one[name].double()
        torch.testing.assert_close(stored[name].double(), average, rtol=1e-5, atol=1e-6)
        assert not torch.equal(stored[name], seen[-1][name])


@pytest.mark.parametrize(("changes", "count"), [({}, 12), ({"data.hardest": [[1, 0.5]]}, 8)], ids=str)
def test_the_loop_asks_nothing_back_from_the_device_between_flushes(
    changes: dict[str, Any], count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "FLUSH_SECONDS", 1e9)
    asked: list[str] = []
    for name in ("item", "tolist", "__bool__", "__float__", "__int__", "cpu", "numpy"):
        original = getattr(torch.Tensor, name)

        def counting(self: torch.Tensor, *args: Any, _name: str = name, _original: Any = original, **kw: Any) -> Any:
            asked.append(_name)
            return _original(self, *args, **kw)

        monkeypatch.setattr(torch.Tensor, name, counting)
    steps: list[int] = []
    original_step = training._Training.train_step

    def step(self: Any, epoch: int, batch: Any) -> None:
        before = len(asked)
        original_step(self, epoch, batch)
        steps.append(len(asked) - before)

    monkeypatch.setattr(training._Training, "train_step", step)
    run_small(tmp_path / "run", **changes)
    assert steps == [0] * count
    assert asked, "nothing was counted at all"


def test_a_loss_that_is_no_number_stops_the_run_and_a_lower_rate_saves_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, "MOST_RATE", 1e38)
    folder = tmp_path / "run"
    explodes = {"schedule": {"name": "piecewise_linear", "epochs": 3, "knots": [[0, 0.01], [1.4, 0.01], [1.5, 1e30]]}}
    with pytest.raises(TrainingFailed, match=r"step 8 of 12, learning rate 1e\+30.*--resume") as failed:
        run_small(folder, **explodes)
    assert failed.value.exit_code == 3
    last_good = Run.open(folder).checkpoints.paths()[-1]
    assert last_good.name == "step-00000004.safetensors" and str(last_good) in str(failed.value)
    assert "--set schedule.knots=" in str(failed.value)
    lower = {"schedule.knots": [[0, 0.01], [3, 0.001]]}
    run = onecycle.resume(folder, model=net(), data=dataset(), changes=lower)
    assert run.summary["steps"] == 12 and [row["step"] for row in run.steps()] == list(range(1, 13))
    (resumed,) = run.environment["resumed"]
    assert resumed["step"] == 4 and resumed["changed"]["schedule.knots"] == [
        [[0, 0.01], [1.4, 0.01], [1.5, 1e30]],
        [[0, 0.01], [3, 0.001]],
    ]


def test_a_run_whose_numbers_went_wrong_at_once_has_no_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, "MOST_RATE", 1e38)
    folder = tmp_path / "run"
    with pytest.raises(TrainingFailed, match="there is no checkpoint yet, begin anew with a lower rate"):
        run_small(folder, **{"schedule.lr_max": 1e30})
    assert not Run.open(folder).checkpoints.paths()


def test_evaluation_comes_as_often_as_asked(tmp_path: Path) -> None:
    run = run_small(tmp_path / "run", evaluate_every=2)
    assert ["test_accuracy" in row for row in run.metrics()] == [False, True, True]
    only_last = run_small(tmp_path / "last", evaluate_every=0)
    assert ["test_accuracy" in row for row in only_last.metrics()] == [False, False, True]
    assert torch.equal(weights(run)["0.weight"], weights(only_last)["0.weight"])


def test_the_best_is_chosen_on_the_held_out_part(tmp_path: Path) -> None:
    run = run_small(tmp_path / "run", **{"data.val_fraction": 0.2, "schedule.epochs": 4})
    accuracies = [row["val_accuracy"] for row in run.metrics()]
    assert run.summary["best"] == {"epoch": accuracies.index(max(accuracies)) + 1, "val_accuracy": max(accuracies)}
    best = load_file(run.path / "best.safetensors")
    assert best.keys() == weights(run).keys()
    assert not (run_small(tmp_path / "none").path / "best.safetensors").exists()


@pytest.mark.usefixtures("tell_every_step")
def test_what_an_observer_raises_loses_nothing(tmp_path: Path) -> None:
    class Broken(Observer):
        def on_progress(self, progress: Progress) -> None:
            if progress.step == 7:
                raise ZeroDivisionError

    whole = run_small(tmp_path / "whole")
    with pytest.raises(ZeroDivisionError):
        run_small(tmp_path / "broken", Broken())
    assert Run.open(tmp_path / "broken").checkpoints.paths()[-1].name == "step-00000007.safetensors"
    assert_same_run(whole, onecycle.resume(tmp_path / "broken", model=net(), data=dataset(), device="cpu"))


def test_tied_weights_and_buffers_of_all_kinds(tmp_path: Path) -> None:
    class Odd(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.other = torch.nn.Linear(192, 192, bias=False), torch.nn.Linear(192, 192, bias=False)
            self.other.weight = self.one.weight
            self.head = torch.nn.Linear(192, 4)
            self.register_buffer("mask", torch.full((2, 2), -torch.inf))
            self.register_buffer("seen", torch.zeros(()), persistent=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if self.training:
                self.seen += 1
            out: torch.Tensor = self.head(self.other(self.one(x[..., ::4, ::4].flatten(1)))) * (1 + self.seen / 100)
            return out

    def start(folder: Path, observer: Observer | None = None) -> Run:
        torch.manual_seed(0)
        return onecycle.train(small_recipe(), model=Odd(), data=dataset(), out=folder, device="cpu", observer=observer)

    whole = start(tmp_path / "whole")
    with pytest.MonkeyPatch.context() as often, pytest.raises(Stopped):
        often.setattr(training, "FLUSH_SECONDS", 0.0)
        start(tmp_path / "stopped", StopAt(5))
    assert_same_run(whole, onecycle.resume(tmp_path / "stopped", model=Odd(), data=dataset(), device="cpu"))
