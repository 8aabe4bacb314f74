"""Finished runs to compare, whose nets were never trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from onecycle.recipes import recipe
from onecycle.run import Run

CLASSES = ("cat", "dog", "$x_1$ & <b>", "דג")


def made_run(
    path: Path,
    *,
    strength: float = 2.0,
    noise: int = 0,
    labels: NDArray[np.int64] | None = None,
    classes: tuple[str, ...] = CLASSES,
    logits_nk: NDArray[np.float32] | None = None,
    fingerprint: str = "f",
    epochs: int = 3,
    device: str = "cpu, 2 threads",
    finished: bool = True,
    **changes: Any,
) -> Run:
    """A run on disk that is right the more often the larger `strength` is, on 200 test images where none are named."""
    labels = np.arange(200) % len(classes) if labels is None else labels
    run = Run.create(path, recipe("digits", **changes), {"test_fingerprint": fingerprint})
    if logits_nk is None:
        logits_nk = np.random.default_rng(noise).normal(0, 1, (len(labels), len(classes))).astype(np.float32)
        logits_nk[np.arange(len(labels)), labels] += strength
    run.write_predictions(torch.from_numpy(logits_nk), torch.from_numpy(labels))
    (path / "model.json").write_text(json.dumps({"classes": list(classes)}))
    for epoch in range(1, epochs + 1):
        row = {"epoch": epoch, "lr": 0.1, "train_loss": 1 / epoch, "train_accuracy": 1 - 1 / (epoch + 1)}
        run.append_metrics(
            {**row, "test_loss": (1.2 + noise / 9) / epoch, "test_accuracy": 1 - 1.1 / (epoch + noise + 1)}
        )
    if finished:
        facts = {"epochs": epochs, "train_seconds": 61.0, "images_per_second": 1234.5, "parameters": 6_573_130}
        run.write_summary({**facts, "device": device, "steps": 9, "wall_seconds": 70.0, "test": {}})
    return run


def three_runs(folder: Path, base: str = "base") -> list[Run]:
    """The second is much better than the first, the third as good."""
    return [
        made_run(folder / base, noise=1),
        made_run(folder / "wide", noise=2, strength=4, epochs=5, seed=7, **{"schedule.lr_max": 0.02}),
        made_run(folder / "third", noise=3, **{"ema.decay": 0.9}),
    ]
