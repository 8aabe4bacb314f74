"""What tests/test_distributed.py runs in several processes: `FOLDER` for all of `main`, or a command line of onecycle.

Called without torchrun it is one process.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import small
import torch
from torch import Tensor, nn

import onecycle
from onecycle import Dataset, Observer, Recipe, Run, Stopped, UserError, registry, training
from onecycle.cli import main as command_line

SGD = {"name": "sgd", "momentum": 0.9, "weight_decay": 0.01}
STOPPED_AT = 10
# Of 180 images in batches of 31 the last has 25, of 22 in batches of 3 one: none for the second process.
CASES: dict[str, dict[str, Any]] = {
    "unequal": {"data.batch_size": 31},
    "empty": {"data.batch_size": 3, "data.train_limit": 22},
    "balanced": {"data.batch_size": 31, "loss.class_weights": "balanced"},
    "hardest": {"data.batch_size": 31, "data.hardest": [[1, 0.6], [2, 0.4]], "evaluate_every": 0},
    "averaged": {"data.batch_size": 31, "ema": {"decay": 0.9}, "tta": "flip", "tta_share": 0.3},
    "plateau": {
        "data.val_fraction": 0.2,
        "data.batch_size": 31,
        "schedule": {"name": "plateau", "epochs": 5, "lr": 0.5, "patience": 0, "factor": 0.1, "monitor": "val_loss"},
    },
}
_WITH_NORMS: dict[str, Any] = {"model": {"name": "with_norms"}, "data.batch_size": 31}


class PlainNet(nn.Sequential):
    """No batch statistics, no dropout, and a layer that takes no part."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(
            nn.Conv2d(3, 8, 3, stride=4, bias=False),
            nn.GroupNorm(2, 8),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3, bias=False),
            nn.GroupNorm(1, 8),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(32, num_classes),
        )
        self.unused = nn.Linear(2, 2)
        self._steps = 0

    def forward(self, images_nchw: Tensor) -> Tensor:
        self._steps += self.training
        if f"{os.environ.get('RANK')} {self._steps}" == os.environ.get("LOST") and not _restarted():
            os.kill(os.getpid(), signal.SIGKILL)
        for layer in list(self.children())[:-1]:
            images_nchw = layer(images_nchw)
        return images_nchw


def with_norms(num_classes: int) -> nn.Module:
    """BatchNorm and dropout."""
    return small.net(seed=3)


def quarters(*, data_dir: Path | None = None, image_size: int = 32) -> Dataset:
    """180 training images, fewer of the last class, and 70 to test: in batches of 31 the last has 8."""
    train, test = small.images(200, 0), small.images(70, 1)
    few = np.flatnonzero(train.labels == 3)[:20]
    return Dataset(train.subset(np.setdiff1d(np.arange(200), few)), test)


def wanted(**changes: Any) -> Recipe:
    usual: dict[str, Any] = {"precision": "fp32", "optimizer": SGD, "model": {"name": "plain"}, "data.name": "quarters"}
    if "schedule" not in changes:
        usual["schedule.epochs"] = 4
    return small.small_recipe(**{**usual, **changes})


def train(out: Path, observer: Observer | None = None, **changes: Any) -> Run:
    return onecycle.train(wanted(**changes), out=out, device="cpu", report=False, observer=observer or Observer())


def resume(out: Path) -> Run:
    return onecycle.resume(out, device="cpu", report=False, observer=Observer())


def train_and_stop(out: Path, **changes: Any) -> None:
    """Stopped by a signal to the process that has the observer; the others hear of it from that one."""
    try:
        with mock.patch.object(training, "FLUSH_SECONDS", 0.0):  # so that the observer hears of each step
            train(out, small.StopAt(STOPPED_AT), **changes)
    except Stopped:
        return
    raise AssertionError("it was not stopped")


def main(folder: Path) -> None:
    """All that several processes are asked for between one start and their end."""
    for name, changes in CASES.items():
        train(folder / name, **changes)
    train(folder / "norms", **_WITH_NORMS)
    train_and_stop(folder / "norms_stopped", **_WITH_NORMS)
    resume(folder / "norms_stopped")
    train_and_stop(folder / "stopped_by_two", **CASES["averaged"])
    resume(folder / "stopped_by_one")
    resume(folder / "stopped_with_hardest")

    rank = int(os.environ["RANK"])
    refused: dict[str, Callable[[], object]] = {
        "recipe": lambda: train(folder / "refused", seed=rank, **CASES["unequal"]),
        "images": lambda: onecycle.train(
            wanted(), data=Dataset(small.images(100, rank), small.images(60, 5)), out=folder / "refused"
        ),
        "net": lambda: onecycle.train(wanted(), model=nn.Sequential(nn.Flatten(), nn.Linear(3072, 4 + rank))),
        "batch": lambda: train(folder / "refused", **{"data.batch_size": 1}),
        "norms": lambda: train(folder / "refused", **{"distributed.sync_batchnorm": True}),
        "compiled": lambda: train(folder / "refused", compile="default"),
        "folder": lambda: train(folder / "unequal", **CASES["unequal"]),
    }
    lines = {}
    for name, refusing in refused.items():
        try:
            refusing()
        except UserError as error:
            lines[name] = str(error)
    (folder / f"refused_{rank}.json").write_text(json.dumps(lines))


def _restarted() -> bool:
    return os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"


if __name__ == "__main__":
    torch.set_num_threads(1)
    registry.register("model", "plain", "distributed_runs:PlainNet")
    registry.register("model", "with_norms", "distributed_runs:with_norms")
    registry.register("data", "quarters", "distributed_runs:quarters")
    if len(sys.argv) == 2:
        main(Path(sys.argv[1]))
    else:
        command_line([word.replace("RANK", os.environ["RANK"]) for word in sys.argv[1:]])
