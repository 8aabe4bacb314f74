"""Runs of a net of a few hundred weights, to damage, to fill the disk with and to go on with; what they must end as."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import small
import torch
from safetensors.torch import load_file
from torch import Tensor

import onecycle
from onecycle import Dataset, Observer, Run, Stopped, api, training
from onecycle.api import pictures
from onecycle.checkpoint import load_state
from onecycle.cli.main import _explained

EPOCHS, STEPS = 3, 9
SETTINGS = {"data.val_fraction": 0.2, "checkpoint.every_seconds": 1e-9, "schedule.epochs": EPOCHS, "ema.decay": 0.9}


class Listener(Observer):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def on_message(self, text: str) -> None:
        self.messages.append(text)


@contextlib.contextmanager
def quickly() -> Iterator[None]:
    """Losses are fetched after each step, and nothing is drawn where a training ends: that is tried by itself."""
    with (
        mock.patch.object(training, "FLUSH_SECONDS", 0.0),
        mock.patch.object(pictures, "finish", lambda *arguments, **options: None),
    ):
        yield


def data() -> Dataset:
    """200 training images, 40 of them held out, and 60 to test: nine steps in three epochs."""
    return small.dataset()


def train(out: Path, observer: Observer | None = None, model: torch.nn.Module | None = None, **changes: Any) -> Run:
    """A training with a held-out part, an average of the weights, and a checkpoint after every step."""
    recipe = small.small_recipe(**{**SETTINGS, **changes})
    return onecycle.train(recipe, model=model or small.net(), data=data(), out=out, observer=observer or Listener())


def stopped(out: Path, step: int, **changes: Any) -> Path:
    """The folder of a training that a signal stopped after that step."""
    with contextlib.suppress(Stopped):
        train(out, small.StopAt(step), **changes)
    return out


def resume(path: Path, observer: Observer | None = None, **changes: Any) -> Run:
    """Go on with a training of `train`."""
    return api.resume(path, changes=changes, model=small.net(), data=data(), observer=observer or Listener())


def unlike(run: Run, expected: Run) -> str | None:
    """In what a run did not end as it should have; None where both are bit-equal but for their times."""
    try:
        small.assert_same_run(run, expected)
    except AssertionError as error:
        return f"ended otherwise: {' '.join(str(error).split())[:200] or 'an unequal value'}"
    best = [one.path.joinpath("best.safetensors").read_bytes() for one in (run, expected)]
    return None if best[0] == best[1] else "ended otherwise: best.safetensors"


def said(error: BaseException, code: int = 2) -> tuple[str, str | None]:
    """What the command line says of an error, and what is wrong with that: another exit code, or lines too many."""
    message, found = _explained(error)
    if found != code:
        return message, f"exit code {found} instead of {code}: {type(error).__name__}: {message}"
    lines = message.splitlines()
    if len(lines) != len(getattr(error, "problems", (message,))) or "Traceback" in message:
        return message, f"{len(lines)} lines: {message}"
    return message, None


def left_over(folder: Path) -> list[str]:
    """Temporary files that a failure should have removed."""
    return [str(path.relative_to(folder)) for path in folder.rglob("*") if path.name.endswith(".part")]


def saved(path: Path) -> str | None:
    """What is not finite in the files of a run."""
    for checkpoint in (path / "checkpoints").glob("*.safetensors"):
        for name, tensor in _tensors(load_state(checkpoint)):
            if tensor.is_floating_point() and not tensor.isfinite().all():
                return f"{checkpoint.name} holds {name} that is not finite"
    for weights in path.glob("*.safetensors"):
        if not all(tensor.isfinite().all() for tensor in load_file(weights).values()):
            return f"{weights.name} is not finite"
    for table in path.glob("*.csv"):
        if re.search("nan|inf", table.read_text().split("\n", 1)[1]):
            return f"{table.name} holds what is not finite"
    return None


def _tensors(value: Any, name: str = "state") -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield name, value
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from _tensors(inner, f"{name}.{key}")
