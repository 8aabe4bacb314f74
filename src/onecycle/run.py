"""The run folder: what is in it is read and written here alone."""

from __future__ import annotations

import contextlib
import datetime
import json
import math
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from . import files
from .checkpoint import CheckpointFolder
from .errors import UserError
from .files import (
    append_csv,
    atomic_path,
    disk_errors,
    read_csv,
    read_json,
    write_bytes,
    write_csv,
    write_json,
    write_text,
)
from .recipes import Recipe, checked, read_yaml

STEP_COLUMNS = ("step", "epoch", "lr", "loss", "elapsed_s")
_NEEDED_COLUMNS = {"metrics.csv": ("epoch", "train_loss", "train_accuracy"), "steps.csv": STEP_COLUMNS}
_NUMBER = (int, float)
_SUMMARY: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("epochs", "steps", "parameters", "train_seconds", "wall_seconds", "images_per_second"), _NUMBER),
    "device": str,
    "test": dict,
}


class Run:
    """One training on disk. `Run.create` makes the folder, `Run.open` takes one that is there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = CheckpointFolder(path / "checkpoints")

    @classmethod
    def create(cls, path: Path | None, recipe: Recipe, environment: Mapping[str, Any]) -> Self:
        """Make the folder, by default runs/TIME_NAME_sSEED, and store what the training starts from.

        Raises UserError where the folder exists.
        """
        if path is None:
            path = cls.new_path(f"{recipe.name}_s{recipe.seed}")
        with disk_errors(path):
            try:
                path.mkdir(parents=True)
            except FileExistsError:
                raise _exists(path) from None
        run = cls(path)
        run.write_recipe(recipe)
        write_json(path / "environment.json", dict(environment))
        return run

    @staticmethod
    def new_path(label: str) -> Path:
        """A folder that is not there yet: runs/TIME_LABEL."""
        now = datetime.datetime.now().strftime("%Y-%m-%dT%H-%M-%S")
        return _unused(Path("runs") / f"{now}_{label}")

    @staticmethod
    def check_unused(path: str | Path | None) -> None:
        """Raise UserError where a folder of this name exists, before work is done that is to be kept in it."""
        if path is not None and Path(path).exists():
            raise _exists(Path(path))

    @classmethod
    def open(cls, path: Path) -> Self:
        """The run in an existing folder. Raises UserError where it is none."""
        what = "holds no recipe.yaml"
        try:
            found = (path / "recipe.yaml").is_file()
            what = what if path.is_dir() else "no such folder"
        except OSError as error:  # a name that is too long, a folder that may not be read
            found, what = False, str(error.strerror)
        if not found:
            raise UserError(f"{path}: {what}; the folder of a run is needed, such as runs/demo")
        return cls(path)

    @property
    def recipe(self) -> Recipe:
        """The resolved recipe."""
        return checked(read_yaml(self.path / "recipe.yaml"), str(self.path / "recipe.yaml"))

    @property
    def environment(self) -> dict[str, Any]:
        """Versions, device, threads, commit and command line of the start, and of each time it was resumed."""
        found = self._read_object("environment.json")
        resumed, argv = found.get("resumed", []), found.get("argv", [])
        lists = isinstance(argv, list) and isinstance(resumed, list)
        if not lists or not all(isinstance(one, dict) and isinstance(one.get("step"), int) for one in resumed):
            raise _damaged(self.path / "environment.json")
        return found

    @property
    def summary(self) -> dict[str, Any]:
        """The result. Raises UserError where the training has not ended, or the file is damaged."""
        if not self.finished:
            raise self._missing("summary.json")
        found = self._read_object("summary.json")
        wrong = [key for key, kind in _SUMMARY.items() if not isinstance(found.get(key), kind)]
        if wrong:
            raise _damaged(self.path / "summary.json", f"it has no {', '.join(wrong)}")
        return found

    @property
    def finished(self) -> bool:
        """Whether the training has ended; its summary is written last."""
        return (self.path / "summary.json").exists()

    @property
    def plots(self) -> Path:
        """The folder for pictures, made where it is missing."""
        folder = self.path / "plots"
        with disk_errors(folder):
            folder.mkdir(exist_ok=True)
        return folder

    def metrics(self) -> list[dict[str, float]]:
        """A row an epoch; what was not measured in it, or came out as no finite number, is left out of its row."""
        return self._read_numbers("metrics.csv")

    def steps(self) -> list[dict[str, float]]:
        """A row an optimiser step."""
        return self._read_numbers("steps.csv")

    def predictions(self) -> dict[str, NDArray[Any]]:
        """Logits [n, classes] in float32, labels and index [n] of the test set.

        Raises UserError where the file is missing or damaged; it is written when a training ends.
        """
        path = self.path / "predictions.npz"
        try:
            with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                return {name: file[name] for name in ("logits", "labels", "index")}
        except FileNotFoundError:
            raise self._missing(path.name) from None
        except (KeyError, ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
            raise UserError(f"{path}: cannot be read, or is damaged ({error})") from None

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes. Raises UserError where the training has not ended."""
        if not (self.path / "model.json").exists():
            raise self._missing("model.json")
        classes = self._read_object("model.json").get("classes")
        if not isinstance(classes, list) or not all(isinstance(one, str) for one in classes):
            raise _damaged(self.path / "model.json")
        return tuple(classes)

    def weights(self) -> dict[str, torch.Tensor]:
        """The final weights and buffers by name, on the CPU. Raises UserError where the file is missing or damaged."""
        path = self.path / "model.safetensors"
        try:
            return load(path.read_bytes())
        except FileNotFoundError:
            raise self._missing(path.name) from None
        except (SafetensorError, ValueError, OSError) as error:
            raise UserError(f"{path}: cannot be read, or is damaged ({error})") from None

    def write_recipe(self, recipe: Recipe) -> None:
        """Store the resolved recipe."""
        write_text(self.path / "recipe.yaml", recipe.to_yaml())

    def add_resumption(self, recipe: Recipe, description: Mapping[str, Any]) -> None:
        """Note that the training goes on: from what step, on what machine, with what changed in the recipe."""
        known = self.environment
        before = known.get("resumed", [])
        write_json(self.path / "environment.json", {**known, "resumed": [*before, dict(description)]})
        self.write_recipe(recipe)

    def append_metrics(self, row: Mapping[str, float | None]) -> None:
        """Add an epoch's row."""
        append_csv(self.path / "metrics.csv", [row], list(row))

    def append_steps(self, rows: Sequence[Mapping[str, float]]) -> None:
        """Add rows of steps."""
        append_csv(self.path / "steps.csv", rows, STEP_COLUMNS)

    def cut_back(self, epoch: int, step: int) -> None:
        """Drop the rows that were written after the checkpoint which the training goes on from."""
        for name, column, end in (("metrics.csv", "epoch", epoch), ("steps.csv", "step", step)):
            rows = read_csv(self.path / name)
            kept = [row for row, numbers in zip(rows, self._read_numbers(name), strict=True) if numbers[column] <= end]
            if kept:
                write_csv(self.path / name, kept, list(kept[0]))  # in any case: a row may be cut short
            else:
                (self.path / name).unlink(missing_ok=True)

    def write_lr_range(self, found: Mapping[str, Any]) -> None:
        """Store the sweeps of a range test and what was chosen."""
        write_json(self.path / "lr_range.json", dict(found))

    def write_model(self, net: nn.Module, description: Mapping[str, Any]) -> None:
        """Store the final weights, and what is needed to build the net and feed it."""
        self._write_weights("model.safetensors", net)
        write_json(self.path / "model.json", dict(description))

    def write_best(self, net: nn.Module) -> None:
        """Store the weights that did best on the held-out part."""
        self._write_weights("best.safetensors", net)

    def write_predictions(self, logits_nk: torch.Tensor, labels: torch.Tensor) -> None:
        """Store the test set's logits and labels."""
        with atomic_path(self.path / "predictions.npz") as temporary, temporary.open("wb") as file:
            np.savez(file, logits=logits_nk.numpy(), labels=labels.numpy(), index=np.arange(len(labels)))

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Store the result; with this the run counts as ended."""
        write_json(self.path / "summary.json", dict(summary))

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder against a second training. Raises UserError where another process holds it."""
        try:
            with files.locked(self.path / ".lock", wait=False):
                yield
        except files.Locked:
            raise UserError(f"{self.path}: another process is training here; wait for it or stop it") from None

    def __repr__(self) -> str:
        return f"Run({json.dumps(str(self.path))})"

    def _write_weights(self, name: str, net: nn.Module) -> None:
        # Copies, as safetensors refuses tensors that share memory, which tied weights do.
        tensors = {key: value.detach().cpu().contiguous().clone() for key, value in net.state_dict().items()}
        write_bytes(self.path / name, save(tensors, {"format": "pt"}))

    def _read_object(self, name: str) -> dict[str, Any]:
        value = read_json(self.path / name)
        if not isinstance(value, dict):
            raise _damaged(self.path / name)
        return value

    def _read_numbers(self, name: str) -> list[dict[str, float]]:
        """The rows of a CSV file as numbers; values that are not there, or not finite, are left out of their row."""
        rows = read_csv(self.path / name)
        try:
            numbers = [{key: float(value) for key, value in row.items() if value} for row in rows]
        except ValueError as error:
            raise _damaged(self.path / name, f"a value is no number ({error})") from None
        finite = [{key: value for key, value in row.items() if math.isfinite(value)} for row in numbers]
        for row in finite:
            missing = [column for column in _NEEDED_COLUMNS[name] if column not in row]
            if missing:
                raise _damaged(self.path / name, f"a row has no {', '.join(missing)}")
        return finite

    def _missing(self, name: str) -> UserError:
        """The error on a file that a training writes when it ends."""
        if self.finished:
            return UserError(
                f"{self.path / name}: no such file; the training wrote it when it ended, the whole folder is needed"
            )
        if not self.steps() and not self.checkpoints.paths():  # as find-lr leaves it
            recipe = self.path / "recipe.yaml"
            return UserError(f"{self.path}: no training has begun here; start it with: onecycle train {recipe}")
        return UserError(f"{self.path}: the training has not ended; go on with: onecycle train --resume {self.path}")


def _exists(path: Path) -> UserError:
    return UserError(f"--out {path}: exists; name a new folder, or go on with --resume {path}")


def _damaged(path: Path, why: str = "it is not what was written") -> UserError:
    return UserError(f"{path}: damaged; {why}")


def _unused(path: Path) -> Path:
    """The path itself, or with a number where two runs start within a second."""
    candidate, number = path, 1
    while candidate.exists():
        number += 1
        candidate = path.with_name(f"{path.name}_{number}")
    return candidate
