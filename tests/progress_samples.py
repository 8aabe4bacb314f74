"""Progress in the middle of a training, and names that markup would take for its own."""

from __future__ import annotations

from onecycle.observer import Progress

ODD = "x[/b] y[red]z :rocket: [link=a]"
NAME = ODD.replace("/", "")  # of a recipe, where a path's separator may not be
AT = Progress(
    step=1200,
    steps=2352,
    epoch=13,
    epochs=24,
    step_in_epoch=24,
    steps_in_epoch=98,
    lr=0.1234,
    loss=1.23456,
    accuracy=0.4567,
    images_per_second=12345.6,
    seconds_left=754.0,
)
ROW: dict[str, float | None] = {
    "epoch": 13.0,
    "lr": 0.1,
    "train_loss": 1.2,
    "train_accuracy": 0.5,
    "test_loss": None,
    "test_accuracy": None,
    "images_per_second": 12345.0,
    "train_seconds": 61.0,
}
