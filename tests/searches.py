"""A small search, and what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from small import dataset, net, small_recipe

import onecycle
from onecycle import Observer, Search

SPACE: dict[str, Any] = {
    "schedule.lr_max": {"low": 0.002, "high": 0.05, "log": True},
    "loss.label_smoothing": [0.0, 0.1],
    "data.batch_size": {"low": 30, "high": 60, "step": 15},
}
BASE = small_recipe(**{"schedule.epochs": 2, "precision": "fp32"})


class Heard(Observer):
    def __init__(self) -> None:
        self.said: list[str] = []

    def on_message(self, text: str) -> None:
        self.said.append(text)


def search(out: Path, **options: Any) -> Search:
    asked = {"space": SPACE, "trials": 3, "model": net(), "data": dataset(), "pruner": "none"}
    return onecycle.search(BASE, **{**asked, "observer": Observer(), "out": out, **options})
