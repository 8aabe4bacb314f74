"""What is compared: our recipes and other people's trainings, each as something that trains with a seed."""

from __future__ import annotations

import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch

import onecycle
from onecycle.data import Dataset
from onecycle.hardware import resolve_precision
from onecycle.preparation import load_data, split
from onecycle.schedule import rates_to_find

from .airbench import Peer
from .flops import run_pflop


class Side(Protocol):
    """One of those that take turns."""

    @property
    def name(self) -> str:
        """What it is called in tables and folders."""

    @property
    def precision(self) -> str:
        """What it multiplies in here."""

    def description(self) -> dict[str, Any]:
        """All that decides its results but the seed, as JSON holds it."""

    def pflop(self) -> float | None:
        """PFLOP of a training; None where it is not counted."""

    def warm_up(self) -> None:
        """Do once what the first training would otherwise be slower for."""

    def train(self, seed: int, folder: Path, deadline: float | None) -> dict[str, Any]:
        """The accuracies and seconds of a training, which may use `folder`.

        Raises Stopped where it is not done at the `deadline`, of time.perf_counter, and can be gone on with.
        """


@dataclass
class Ours:
    """A recipe. On `data`, where these are given, in the place of the set that the recipe names."""

    recipe: onecycle.Recipe
    device: torch.device
    data: Dataset | None = None
    _pflop: float | None = field(default=None, init=False)

    @property
    def name(self) -> str:
        """The recipe's."""
        return self.recipe.name

    @property
    def precision(self) -> str:
        """What the recipe's stands for here."""
        return resolve_precision(self.recipe.precision, self.device)

    def description(self) -> dict[str, Any]:
        """The recipe."""
        return self.recipe.model_dump(mode="json", exclude={"seed"})

    def pflop(self) -> float:
        """Counted on real steps."""
        if self._pflop is None:
            self._pflop = run_pflop(self.recipe, split(self.recipe, self.data or load_data(self.recipe)).train)
        return self._pflop

    def warm_up(self) -> None:
        """On a GPU, train the whole plan, each epoch of a few steps, and forget it."""
        if self.device.type != "cuda":
            return
        found = {"lr_min": 1e-4, "lr_max": 1e-3}
        few = self.recipe.evolve(
            data={"train_limit": 4 * self.recipe.data.batch_size},
            schedule={key: found[key] for key in rates_to_find(self.recipe.schedule.options)},
            evaluate_every=0,
        )
        with tempfile.TemporaryDirectory() as folder:
            self._train(few, Path(folder) / "run", onecycle.Observer())

    def train(self, seed: int, folder: Path, deadline: float | None) -> dict[str, Any]:
        """Go on with the run in `folder`, or make it."""
        if folder.exists() and not list((folder / "checkpoints").glob("*")):
            shutil.rmtree(folder)  # it ended before there was anything to go on from
        run = self._train(self.recipe.evolve(seed=seed), folder, _Deadline(deadline))
        summary = run.summary
        test = summary["test"]
        tta_seconds = test.get("tta_seconds", 0.0)
        return {
            "accuracy": test["accuracy"],
            "accuracy_tta": test.get("accuracy_tta"),
            "train_seconds": summary["train_seconds"],
            "tta_seconds": tta_seconds,
            "seconds": summary["train_seconds"] + tta_seconds,
            "resumed": len(run.environment.get("resumed", [])),
        }

    def _train(self, recipe: onecycle.Recipe, folder: Path, observer: onecycle.Observer) -> onecycle.Run:
        """Without a report, which would take longer than the training on a GPU."""
        options: dict[str, Any] = {"data": self.data, "device": str(self.device), "observer": observer, "report": False}
        if folder.exists():
            return onecycle.resume(folder, name=recipe, **options)
        return onecycle.train(recipe, out=folder, **options)


@dataclass
class Theirs:
    """Somebody else's training. `load` reads it, when it is first needed."""

    name: str
    load: Callable[[], Peer]
    _peer: Peer | None = field(default=None, init=False)

    @property
    def peer(self) -> Peer:
        """Loaded."""
        if self._peer is None:
            self._peer = self.load()
        return self._peer

    @property
    def precision(self) -> str:
        """What it multiplies in here."""
        return self.peer.precision

    def description(self) -> dict[str, Any]:
        """Which file, and what was changed of its settings."""
        source = self.peer.source
        return {
            "repository": source.repository,
            "commit": source.commit,
            "file": source.file,
            "epochs": self.peer.epochs,
            "batch": self.peer.batch,
        }

    def pflop(self) -> float | None:
        """Counted on its net."""
        return self.peer.pflop()

    def warm_up(self) -> None:
        """Compile and run what it compiles; on a CPU there is nothing to do."""
        self.peer.warm_up()

    def train(self, seed: int, folder: Path, deadline: float | None) -> dict[str, Any]:
        """A training that cannot be stopped half-way, nor gone on with."""
        result = self.peer.train(seed)
        return {
            "accuracy": result.accuracy,
            "accuracy_tta": result.accuracy_tta,
            "train_seconds": result.train_seconds,
            "tta_seconds": result.tta_seconds,
            "seconds": result.seconds,
            "resumed": 0,
        }


class _Deadline(onecycle.Observer):
    """Stops a training as SIGTERM does, once, when it is late."""

    def __init__(self, deadline: float | None) -> None:
        self._deadline = deadline

    def on_progress(self, progress: onecycle.Progress) -> None:
        """Look at the clock."""
        if self._deadline is not None and time.perf_counter() > self._deadline:
            self._deadline = None
            signal.raise_signal(signal.SIGTERM)


def differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """The keys in which two descriptions differ."""
    return sorted(key for key in {*one, *other} if one.get(key) != other.get(key))
