"""What is said of the time that a training still takes, on a clock that a step moves on by as much as it costs."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from small import StopAt, dataset, net, small_recipe

import onecycle
from onecycle import Observer, Progress, Stopped, evaluator, pace, training

SMALL_FIRST = {"augment.resize": [[0, 16], [1, 32]], "augment.cutout": 0, "evaluate_every": 0, "precision": "fp32"}
COSTS = [1.0] * 4 + [4.0] * 8  # of the steps on 16 and on 32 pixels


class Clock:
    """Seconds that pass in steps alone."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.slowness = 0.0, 1.0
        original = training._Training.train_step

        def step(training: Any, epoch: int, batch: Any) -> None:
            self.now += self.slowness * batch.images_nchw.shape[-1] ** 2 / 256
            original(training, epoch, batch)

        monkeypatch.setattr(training._Training, "train_step", step)
        monkeypatch.setattr(training, "FLUSH_SECONDS", 0.0)
        for module in (training, pace, evaluator):
            monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: self.now))


class Told(StopAt):
    """The seconds that were said to be left after each step, and after each epoch."""

    def __init__(self, stop: int = 0) -> None:
        super().__init__(stop)
        self.after_step: dict[int, float] = {}
        self.after_epoch: list[float] = []

    def on_progress(self, progress: Progress) -> None:
        self.after_step[progress.step] = progress.seconds_left
        super().on_progress(progress)

    def on_epoch(self, row: Any, seconds_left: float) -> None:
        self.after_epoch.append(seconds_left)


def start(folder: Path, observer: Observer) -> None:
    recipe = small_recipe(**SMALL_FIRST)
    onecycle.train(recipe, model=net(), data=dataset(), out=folder, device="cpu", observer=observer)


def test_small_images_first_promise_no_early_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Clock(monkeypatch)
    start(tmp_path / "run", told := Told())
    assert told.after_step == pytest.approx({step: sum(COSTS[step:]) for step in range(1, 13)})
    assert told.after_epoch == pytest.approx([32, 16, 0])


def test_a_training_that_goes_on_is_as_fast_as_it_is_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    clock.slowness = 100.0
    with pytest.raises(Stopped):
        start(tmp_path / "run", Told(stop=6))
    clock.slowness = 1.0
    onecycle.resume(tmp_path / "run", model=net(), data=dataset(), device="cpu", observer=(told := Told()))
    assert told.after_step == pytest.approx({step: sum(COSTS[step:]) for step in range(7, 13)})
