"""Fits of the small net with Lightning, what is varied in them, and what they log."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.loggers.logger import Logger
from small import dataset, net, small_recipe
from torch import nn

from onecycle.launch.lightning import ImageDataModule, LitClassifier

PLATEAU = {"name": "plateau", "epochs": 3, "lr": 0.02, "patience": 0}
VARIANTS: dict[str, dict[str, Any]] = {
    "adamw": {},
    "bf16": {"precision": "bf16"},
    "sgd": {"optimizer.name": "sgd", "schedule.lr_max": 0.1, "schedule.lr_min": 0.0},
    "ema": {"ema.decay": 0.9},
    "plateau": {"schedule": {**PLATEAU, "threshold": 0.5}},
    "held out": {"schedule": {**PLATEAU, "threshold": 0.99, "monitor": "val_loss"}, "data.val_fraction": 0.2},
    "drop last": {"data.drop_last": True, "augment.flip": "alternating", "tta": "flip"},
    "unsure": {"schedule.lr_max": 2e-3, "tta": "flip_shift", "tta_share": 0.3},
    "muon bf16": {"precision": "bf16", "optimizer.name": "muon", "schedule.lr_max": 0.2},
    "resize": {"augment.resize": [[0, 16], [2, 32]], "optimizer.name": "muon", "schedule.lr_max": 0.2},
    "momentum": {"optimizer.name": "sgd", "schedule.lr_max": 0.1, "schedule.momentum": [0.8, 0.95]},
    "beta1": {"optimizer.name": "adam", "schedule.shape": "cosine", "schedule.momentum": [0.7, 0.95]},
}
KNOTS = {"name": "piecewise_linear", "epochs": 3, "knots": [[0, 0.0], [1, 0.02], [3, 0.0]]}


class Memory(Logger):
    """A logger that keeps what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[dict[str, float]] = []
        self.parameters: Any = None

    name = version = "memory"

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        self.parameters = params

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.rows.append(metrics)

    def all(self, name: str) -> list[float]:
        return [row[name] for row in self.rows if name in row]


class SaveAt(Checkpoint):
    """Writes a checkpoint in one of the hooks, once so many steps are done; the last of all callbacks to be called."""

    def __init__(self, step: int, hook: str, path: Path) -> None:
        self.step, self.path = step, path
        setattr(self, hook, self.save)

    def save(self, trainer: Trainer, *_: Any) -> None:
        if trainer.global_step == self.step and not trainer.sanity_checking:
            trainer.save_checkpoint(self.path)


def trainer_for(folder: Path, memory: Memory | None = None, **options: Any) -> Trainer:
    defaults: dict[str, Any] = {
        "accelerator": "cpu",
        "max_epochs": 3,
        "logger": memory or False,
        "log_every_n_steps": 1,
        "default_root_dir": folder,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return Trainer(**{**defaults, **options})


def fit(folder: Path, changes: dict[str, Any] | None = None, **options: Any) -> tuple[LitClassifier, Memory]:
    """Train the small net; precision is fp32 where `changes` do not say otherwise."""
    recipe = small_recipe(**{"precision": "fp32", **(changes or {})})
    resumed = options.pop("ckpt_path", None)
    lit, memory = LitClassifier(recipe, model=net()), Memory()
    trainer = trainer_for(folder, memory, **{"precision": lit.precision, **options})
    trainer.fit(lit, datamodule=ImageDataModule(recipe, data=dataset()), ckpt_path=resumed)
    return lit, memory


def tiny(num_classes: int) -> nn.Module:
    """A net that a recipe can name."""
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, num_classes))


def assert_same_weights(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name
