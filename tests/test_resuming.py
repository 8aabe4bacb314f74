"""Trainings that stop and go on: nothing is changed by it, and what does not fit is refused."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from small import StopAt, assert_same_run, dataset, files, images, net, small_recipe
from test_training import run_small, tell_every_step  # noqa: F401  # a fixture

import onecycle
from onecycle import (
    Observer,
    Run,
    Stopped,
    UserError,
)
from onecycle.evaluator import Evaluator

PLATEAU = {"schedule": {"name": "plateau", "epochs": 3, "lr": 0.02, "patience": 0, "threshold": 0.5}}


VARIANTS: dict[str, dict[str, Any]] = {
    "adamw": {},
    "bf16": {"precision": "bf16"},
    "adam": {"optimizer.name": "adam"},
    "sgd": {"optimizer.name": "sgd", "schedule.lr_max": 0.1},
    "momentum": {"optimizer.name": "sgd", "schedule.lr_max": 0.1, "schedule.momentum": [0.8, 0.95]},
    "momentum of adam": {"optimizer.name": "adam", "schedule.momentum": [0.8, 0.95], "schedule.shape": "cosine"},
    "ema": {"ema.decay": 0.9},
    "held out": {"data.val_fraction": 0.2},
    "plateau": PLATEAU,
    "drop last": {"data.drop_last": True, "augment.flip": "alternating", "augment.padding": "reflect"},
}


@pytest.mark.usefixtures("tell_every_step")
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_stopped_and_resumed_run_is_the_same_run(variant: str, tmp_path: Path) -> None:
    changes = VARIANTS[variant]
    whole = run_small(tmp_path / "whole", **changes)
    steps = whole.summary["steps"]
    for step in range(1, steps, 2):
        folder = tmp_path / f"stopped{step}"
        with pytest.raises(Stopped) as stopped:
            run_small(folder, StopAt(step), **changes)
        assert stopped.value.exit_code == 130
        resumed = onecycle.resume(folder, model=net(dropout=0.2, seed=99), data=dataset(), device="cpu")
        assert_same_run(whole, resumed)


@pytest.mark.usefixtures("tell_every_step")
def test_it_may_be_stopped_again_and_again(tmp_path: Path) -> None:
    whole = run_small(tmp_path / "whole", **{"ema.decay": 0.9})
    folder = tmp_path / "stopped"
    with pytest.raises(Stopped) as stopped:
        run_small(folder, StopAt(1, signal.SIGTERM), **{"ema.decay": 0.9})
    assert stopped.value.exit_code == 143 and "--resume" in str(stopped.value)
    for step in range(2, 12):
        with pytest.raises(Stopped):
            onecycle.resume(folder, model=net(seed=step), data=dataset(), device="cpu", observer=StopAt(step))
        assert len(Run.open(folder).checkpoints.paths()) <= 2
    assert_same_run(whole, onecycle.resume(folder, model=net(seed=5), data=dataset(), device="cpu"))
    assert len(Run.open(folder).environment["resumed"]) == 11


@pytest.mark.usefixtures("tell_every_step")
@pytest.mark.parametrize(
    ("change", "noticed"),
    [
        (lambda text: text.replace("\n2,1,", "\n2,2,"), True),
        (lambda text: text.partition("\n2,")[0] + "\n", True),  # cut to one row
        (lambda text: text.replace("\n", "\r\n"), False),  # as an editor leaves it
        (
            lambda text: text + "99,9,0.1,2.3,9.9\n" + "100,9,0.",
            False,
        ),  # written after the checkpoint, the last cut short
    ],
)
def test_rows_that_are_not_the_checkpoints_are_said(
    tmp_path: Path, change: Callable[[str], str], noticed: bool
) -> None:
    with pytest.raises(Stopped):
        run_small(tmp_path / "run", StopAt(6))
    rows = tmp_path / "run" / "steps.csv"
    changed = change(rows.read_bytes().decode())
    assert changed != rows.read_bytes().decode()
    rows.write_bytes(changed.encode())
    heard: list[str] = []

    class Listener(Observer):
        def on_message(self, text: str) -> None:
            heard.append(text)

    onecycle.resume(tmp_path / "run", model=net(), data=dataset(), device="cpu", observer=Listener())
    assert (
        any("is not what was written before the checkpoint; its curves may be wrong" in line for line in heard)
        is noticed
    )


@pytest.mark.usefixtures("tell_every_step")
def test_a_damaged_newest_checkpoint_is_passed_over(tmp_path: Path) -> None:
    whole = run_small(tmp_path / "whole")
    folder = tmp_path / "stopped"
    with pytest.raises(Stopped):
        run_small(folder, StopAt(6))
    newest = Run.open(folder).checkpoints.paths()[-1]
    content = bytearray(newest.read_bytes())
    content[-100] ^= 1
    newest.write_bytes(content)
    heard: list[str] = []

    class Listener(Observer):
        def on_message(self, text: str) -> None:
            heard.append(text)

    resumed = onecycle.resume(folder, model=net(), data=dataset(), device="cpu", observer=Listener())
    assert str(newest) in heard[0]
    assert_same_run(whole, resumed)


@pytest.mark.usefixtures("tell_every_step")
def test_a_resume_with_other_images_or_keys_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(Stopped):
        run_small(folder, StopAt(5))
    other = onecycle.Dataset(images(200, 7), images(60, 1))
    with pytest.raises(UserError, match="not those that the run began with"):
        onecycle.resume(folder, model=net(), data=other, device="cpu")
    with pytest.raises(UserError, match=r"keeps its data\.batch_size, schedule\.epochs"):
        onecycle.resume(folder, model=net(), data=dataset(), changes={"data.batch_size": 50, "schedule.epochs": 9})
    resumed = onecycle.resume(folder, model=net(), data=dataset(), changes={"schedule.lr_max": 0.01})
    assert (
        resumed.steps()[4]["lr"] > 0.01 > resumed.steps()[5]["lr"] and resumed.recipe.schedule.options["lr_max"] == 0.01
    )


@pytest.mark.usefixtures("tell_every_step")
def test_a_recipe_that_is_named_again_takes_no_change_back(tmp_path: Path) -> None:
    folder, usual = tmp_path / "run", small_recipe()
    with pytest.raises(Stopped):
        run_small(folder, StopAt(5), **{"schedule.lr_max": 0.004, "checkpoint.every_seconds": 7.0})
    with pytest.raises(Stopped):
        changes = {"checkpoint.every_seconds": 9.0}
        onecycle.resume(
            folder, name=usual, model=net(), data=dataset(), changes=changes, observer=StopAt(6), device="cpu"
        )
    assert onecycle.load(folder).recipe.schedule.options["lr_max"] == 0.004
    resumed = onecycle.resume(folder, name=usual, model=net(), data=dataset(), device="cpu")
    assert resumed.recipe.checkpoint.every_seconds == 9.0
    assert max(row["lr"] for row in resumed.steps()) <= 0.004


@pytest.mark.usefixtures("tell_every_step")
def test_best_weights_of_an_epoch_that_is_lost_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the checkpoint of the epoch that did best was damaged, and the one before it knows another best."""
    original, accuracies = Evaluator.columns, iter([0.5, 0.4, 0.3, 0.6])

    def columns(*arguments: Any, **named: Any) -> Any:
        return original(*arguments, **named) | {"val_accuracy": next(accuracies)}

    monkeypatch.setattr(Evaluator, "columns", columns)
    folder = tmp_path / "run"
    with pytest.raises(Stopped):
        run_small(folder, StopAt(8), **{"data.val_fraction": 0.2, "schedule.epochs": 4})
    Run.open(folder).write_best(net(), 3)
    heard: list[str] = []

    class Listener(Observer):
        def on_message(self, text: str) -> None:
            heard.append(text)

    resumed = onecycle.resume(folder, model=net(), data=dataset(), device="cpu", observer=Listener())
    assert "the weights that did best were of an epoch after the checkpoint, and are removed" in heard
    with safe_open(resumed.path / "best.safetensors", framework="pt") as file:
        assert int(file.metadata()["epoch"]) == resumed.summary["best"]["epoch"] == 4


class Counting(torch.nn.Module):
    """Adds how often it was called in training, which it keeps out of its state dict."""

    def __init__(self) -> None:
        super().__init__()
        self.net = net(dropout=0.0)
        self.register_buffer("calls", torch.zeros(4), persistent=False)

    def forward(self, images_nchw: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.calls += torch.arange(4.0)
        logits: torch.Tensor = self.net(images_nchw) + 0.1 * self.calls
        return logits


@pytest.mark.usefixtures("tell_every_step")
def test_buffers_of_the_average_that_no_state_dict_has_go_on_too(tmp_path: Path) -> None:
    wanted = small_recipe(**{"ema.decay": 0.9})
    whole = onecycle.train(wanted, model=Counting(), data=dataset(), out=tmp_path / "whole", device="cpu")
    with pytest.raises(Stopped):
        onecycle.train(wanted, model=Counting(), data=dataset(), out=tmp_path / "run", device="cpu", observer=StopAt(7))
    assert_same_run(whole, onecycle.resume(tmp_path / "run", model=Counting(), data=dataset(), device="cpu"))


def test_two_trainings_in_one_folder_are_refused(tmp_path: Path) -> None:
    run = run_small(tmp_path / "run")
    with run.locked(), pytest.raises(UserError, match="another process is training here"), run.locked():
        pass
    with pytest.raises(UserError, match="exists"):
        run_small(tmp_path / "run")


def test_a_run_that_has_ended_is_left_as_it_is(tmp_path: Path) -> None:
    run = run_small(tmp_path / "run")
    before = (run.path / "summary.json").read_bytes()
    onecycle.resume(run.path, model=net(), data=dataset())
    assert (run.path / "summary.json").read_bytes() == before


@pytest.mark.usefixtures("tell_every_step")
def test_a_refused_resume_changes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(Stopped):
        run_small(folder, StopAt(5))
    before = {name: (folder / name).read_bytes() for name in files(folder)}
    run = Run.open(folder)
    lower = {"schedule.lr_max": 0.01}
    with run.locked(), pytest.raises(UserError, match="another process"):
        onecycle.resume(folder, model=net(), data=dataset(), changes=lower)
    with pytest.raises(UserError, match="of another net"):
        onecycle.resume(folder, model=torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3072, 4)), data=dataset())
    with pytest.raises(UserError, match="test_fingerprint"):
        onecycle.resume(folder, model=net(), data=onecycle.Dataset(dataset().train, images(60, 5)))
    with pytest.raises(UserError, match=r"keeps its .*data\.batch_size"):
        onecycle.resume(folder, name=small_recipe(**{"data.batch_size": 50}), model=net(), data=dataset())
    assert before == {name: (folder / name).read_bytes() for name in files(folder)}


@pytest.mark.usefixtures("tell_every_step")
def test_a_resume_on_a_full_disk_keeps_what_was_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "run"
    with pytest.raises(Stopped):
        run_small(folder, StopAt(6))
    run = Run.open(folder)
    run.append_steps([{"step": 7, "epoch": 2, "lr": 0.0, "loss": 0.0, "elapsed_s": 9.0}])
    with (folder / "steps.csv").open("a") as cut_short:
        cut_short.write("8,2,0.0")
    before = (folder / "steps.csv").read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as limited, pytest.raises(UserError, match="disk is full"):
        limited.setattr(os, "fsync", full)
        onecycle.resume(folder, model=net(), data=dataset())
    assert (folder / "steps.csv").read_bytes() == before
    resumed = onecycle.resume(folder, model=net(), data=dataset())
    assert [row["step"] for row in resumed.steps()] == list(range(1, 13))
