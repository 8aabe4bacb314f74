"""What TensorBoard itself reads back from a run's event files."""

from __future__ import annotations

import io
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small import dataset, net, small_recipe
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import onecycle
from onecycle import Run, UserError
from onecycle.errors import Stopped
from onecycle.launch.tensorboard import TensorBoardObserver, write_pictures
from onecycle.observer import Observer, Observers, Progress

STEPS_PER_EPOCH = 4


def events(run: Run) -> EventAccumulator:
    return EventAccumulator(str(run.path / "tensorboard")).Reload()


def points(run: Run, tag: str) -> dict[int, float]:
    """The values of a tag by step."""
    return {event.step: event.value for event in events(run).Scalars(tag)}


class Memory(Observer):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.progress: list[Progress] = []
        self.ended = 0

    def on_progress(self, progress: Progress) -> None:
        self.progress.append(progress)

    def on_end(self) -> None:
        self.ended += 1


class StopsAt(Observer):
    """Ends the training as a signal would, after an epoch."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_epoch(self, row: object, seconds_left: float) -> None:
        self.epoch -= 1
        if not self.epoch:
            raise Stopped("stopped", 15)


def test_the_numbers_of_epochs_stand_at_their_steps(tmp_path: Path) -> None:
    memory = Memory()
    observer = Observers(memory, TensorBoardObserver())
    run = onecycle.train(
        small_recipe(**{"data.val_fraction": 0.2}), model=net(), data=dataset(), out=tmp_path / "run", observer=observer
    )
    rows = run.metrics()
    steps = [int(one["step"]) for one in run.steps()]
    ends = [steps[-1] * (number + 1) // 3 for number in range(3)]
    for name in ("train", "test", "val"):
        for what in ("loss", "accuracy"):
            expected = dict(zip(ends, [row[f"{name}_{what}"] for row in rows], strict=True))
            assert points(run, f"{what}/{name}") == pytest.approx(expected)
    for what in ("lr", "images_per_second"):
        expected = dict(zip(ends, [row[what] for row in rows], strict=True))
        assert points(run, f"epoch/{what}") == pytest.approx(expected)
    assert memory.ended == 1
    told = {one.step: one for one in memory.progress}
    assert points(run, "progress/loss") == pytest.approx({step: one.loss for step, one in told.items()})
    assert points(run, "progress/lr") == pytest.approx({step: one.lr for step, one in told.items()})


def test_what_was_not_measured_is_not_there(tmp_path: Path) -> None:
    recipe = small_recipe(evaluate_every=2)
    run = onecycle.train(recipe, model=net(), data=dataset(), out=tmp_path / "run", observer=TensorBoardObserver())
    assert list(points(run, "accuracy/test")) == [8, 12]
    assert list(points(run, "accuracy/train")) == [4, 8, 12]
    assert "accuracy/val" not in events(run).Tags()["scalars"]


def test_a_resumed_training_takes_the_place_of_what_came_after_its_checkpoint(tmp_path: Path) -> None:
    whole = onecycle.train(
        small_recipe(), model=net(), data=dataset(), out=tmp_path / "whole", observer=TensorBoardObserver()
    )
    with pytest.raises(Stopped):
        onecycle.train(
            small_recipe(),
            model=net(),
            data=dataset(),
            out=tmp_path / "run",
            observer=Observers(TensorBoardObserver(), StopsAt(2)),
        )
    max((tmp_path / "run" / "checkpoints").iterdir()).unlink()  # as if it had crashed in the second epoch
    run = onecycle.resume(tmp_path / "run", model=net(), data=dataset(), observer=TensorBoardObserver())
    assert [one["step"] for one in run.environment["resumed"]] == [STEPS_PER_EPOCH]
    for tag in ("loss/test", "accuracy/train", "epoch/lr"):
        assert points(run, tag) == points(whole, tag)
        assert len(events(run).Scalars(tag)) == 3


def test_a_training_that_begins_anew_takes_the_place_of_all(tmp_path: Path) -> None:
    """As where it was stopped before its first checkpoint."""
    run = onecycle.train(small_recipe(), model=net(), data=dataset(), out=tmp_path / "run", observer=Observer())
    at = Progress(1, 12, 1, 3, 1, 4, lr=0.1, loss=1.0, accuracy=0.5, images_per_second=1.0, seconds_left=0.0)
    for last in (8, 5):
        observer = TensorBoardObserver()
        observer.on_start(run.recipe, run, "cpu", 0)
        for step in range(1, last + 1):
            observer.on_progress(replace(at, step=step))
        observer.on_end()
    assert [event.step for event in events(run).Scalars("progress/loss")] == [1, 2, 3, 4, 5]


def test_the_pictures_of_a_run(tmp_path: Path) -> None:
    run = onecycle.train(
        small_recipe(), model=net(), data=dataset(), out=tmp_path / "run", observer=TensorBoardObserver()
    )
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    Image.fromarray(pixels).save(run.plots / "curves.png")
    write_pictures(run)
    (event,) = events(run).Images("curves")
    assert event.step == 12
    assert (event.width, event.height) == (7, 5)
    with Image.open(io.BytesIO(event.encoded_image_string)) as stored:
        np.testing.assert_array_equal(np.asarray(stored), pixels)
    assert len(points(run, "loss/test")) == 3


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("torch.utils.tensorboard")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(UserError, match=r"pip install 'onecycle\[tensorboard\]'"):
        TensorBoardObserver()
