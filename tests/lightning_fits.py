"""Fits of the small net with Lightning, and what they log."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.loggers.logger import Logger
from small import dataset, net, small_recipe

from onecycle.launch.lightning import ImageDataModule, LitClassifier


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
