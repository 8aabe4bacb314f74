"""The run folder: what is in it is read and written here alone."""

from __future__ import annotations

import contextlib
import datetime
import io
import json
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import nn

from . import files
from .checkpoint import check_header
from .errors import UserError
from .files import (
    atomic_path,
    check_writable,
    disk_errors,
    write_bytes,
)
from .recipes import Recipe, checked, read_yaml
from .run_files import RunFiles
from .sealing import check_sealed_text, damaged, digest, read_sealed_json, write_sealed_json, write_sealed_text

_BEFORE_RECIPE = (".", "environment.json", "lr_range.json")  # how the names begin of what is written before recipe.yaml
FOLDS_PLAN = "cross_validation.json"  # is in a folder that holds the runs of a cross-validation
_BEST = "best.safetensors"
_DIGESTED = ("metrics.csv", "steps.csv", "lr_range.json", _BEST, "model.safetensors", "predictions.npz")
_NEEDED = (*_DIGESTED, "recipe.yaml", "environment.json", "model.json", "summary.json")
_NUMBER = (int, float)
_SUMMARY: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("epochs", "steps", "parameters", "train_seconds", "wall_seconds", "images_per_second"), _NUMBER),
    "device": str,
    "test": dict,
}


class Run(RunFiles):
    """One training on disk. `Run.create` makes the folder, `Run.open` takes one that is there."""

    @classmethod
    def create(
        cls,
        path: Path | None,
        recipe: Recipe,
        environment: Mapping[str, Any],
        lr_range: Mapping[str, Any] | None = None,
    ) -> Self:
        """Make the folder, by default runs/TIME_NAME_sSEED, and store what the training starts from.

        `lr_range` are the sweeps of a range test and what was chosen. The recipe is written last: a folder that has
        one has all of it. Raises UserError where the folder exists.
        """
        run = cls.begin(path or cls.new_path(f"{recipe.name}_s{recipe.seed}"), environment, lr_range)
        run.write_recipe(recipe)
        return run

    @classmethod
    def begin(cls, path: Path, environment: Mapping[str, Any], lr_range: Mapping[str, Any] | None = None) -> Self:
        """Make the folder, and store in it what comes before the recipe; without one it is no run yet."""
        with disk_errors(path):
            try:
                path.mkdir(parents=True)
            except FileExistsError:
                raise _exists(path) from None
        run = cls(path)
        write_sealed_json(path / "environment.json", environment)
        if lr_range is not None:
            run.write_lr_range(lr_range)
        return run

    @staticmethod
    def new_path(label: str, beside: Path | None = None) -> Path:
        """A folder that is not there yet: runs/TIME_LABEL, or NAME_LABEL beside one that is called NAME."""
        if beside is not None:
            return _unused(beside.with_name(f"{beside.name}_{label}"))
        now = datetime.datetime.now().strftime("%Y-%m-%dT%H-%M-%S")
        return _unused(Path("runs") / f"{now}_{label}")

    @staticmethod
    def check_unused(path: str | Path | None) -> None:
        """Raise UserError where a folder of this name exists or none can be made, before work is done for it.

        None stands for a new one in runs/.
        """
        wanted = Path("runs/new" if path is None else path)
        if path is not None and wanted.exists():
            raise _exists(wanted)
        check_writable(wanted)

    @classmethod
    def open(cls, path: Path) -> Self:
        """The run in an existing folder. Raises UserError where it is none."""
        what, needed = "holds no recipe.yaml", "the folder of a run is needed, such as runs/demo"
        try:
            found = (path / "recipe.yaml").is_file()
            if not path.is_dir():
                what = "no such folder"
            elif not found and (path / FOLDS_PLAN).is_file():
                what = "holds the runs of a cross-validation"
                needed = f"name one, such as {path / 'fold1'}; for all, onecycle evaluate {path}"
            elif not found and all(entry.name.startswith(_BEFORE_RECIPE) for entry in path.iterdir()):
                needed = "where a training was killed before it had one, remove the folder and start anew"
        except OSError as error:  # a name that is too long, a folder that may not be read
            found, what = False, str(error.strerror)
        if not found:
            raise UserError(f"{path}: {what}; {needed}")
        return cls(path)

    @staticmethod
    def remove_unbegun(path: Path) -> None:
        """Remove a folder that holds nothing but what is written before the recipe: a kill left it."""
        with disk_errors(path):
            if path.is_dir() and all(entry.name.startswith(_BEFORE_RECIPE) for entry in path.iterdir()):
                shutil.rmtree(path)

    @property
    def complete(self) -> bool:
        """Whether the training has ended and its report, which comes last, is written."""
        return self.finished and (self.path / "report.html").exists()

    @property
    def recipe(self) -> Recipe:
        """The resolved recipe. Raises UserError where it is damaged, or was changed by hand."""
        path = self.path / "recipe.yaml"
        check_sealed_text(path)
        return checked(read_yaml(path), str(path))

    @property
    def environment(self) -> dict[str, Any]:
        """Versions, device, threads, commit and command line of the start, and of each time it was resumed."""
        found = read_sealed_json(self.path / "environment.json")
        resumed, argv = found.get("resumed", []), found.get("argv", [])
        forms = isinstance(argv, list) and isinstance(resumed, list) and isinstance(found.get("init", {}), dict)
        if not forms or not all(isinstance(one, dict) and isinstance(one.get("step"), int) for one in resumed):
            raise damaged(self.path / "environment.json")
        return found

    @property
    def summary(self) -> dict[str, Any]:
        """The result. Raises UserError where the training has not ended, or the file is damaged."""
        if not self.finished:
            raise self._missing("summary.json")
        found = read_sealed_json(self.path / "summary.json")
        wrong = [key for key, kind in _SUMMARY.items() if not isinstance(found.get(key), kind)]
        if wrong:
            raise damaged(self.path / "summary.json", f"it has no {', '.join(wrong)}")
        return {key: value for key, value in found.items() if key != "files"}

    @classmethod
    def of(cls, run: str | Path | Self) -> Self:
        """The run itself, or the one in the folder that is named. Raises UserError where that is none."""
        return cls.open(Path(run)) if isinstance(run, str | Path) else run

    @property
    def saved(self) -> bool:
        """Whether a checkpoint was ever written, even if it is gone.

        An epoch's row is written before its checkpoint, so two rows are proof of one.
        """
        return bool(self.checkpoints.paths()) or len(self.metrics()) > 1

    @property
    def plots(self) -> Path:
        """The folder for pictures, made where it is missing."""
        folder = self.path / "plots"
        with disk_errors(folder):
            folder.mkdir(exist_ok=True)
        return folder

    def predictions(self) -> dict[str, NDArray[Any]]:
        """Logits [n, classes] in float32, labels and index [n] of the test set.

        Raises UserError where the file is missing or damaged; it is written when a training ends.
        """
        content = self.content("predictions.npz")
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as file:
                if any(member.compress_type != zipfile.ZIP_STORED for member in file.zip.infolist()):
                    raise ValueError("it is packed, and so of unknown size")
                found = {name: file[name] for name in ("logits", "labels", "index")}
            if not all(isinstance(one, np.ndarray) for one in found.values()):
                raise ValueError("it holds something else")
            return found
        except Exception as error:  # NumPy lets through whatever its parts raise: TokenError, OverflowError, ...
            raise damaged(self.path / "predictions.npz", f"not readable as arrays ({error})") from None

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes. Raises UserError where the training has not ended."""
        if not (self.path / "model.json").exists():
            raise self._missing("model.json")
        classes = read_sealed_json(self.path / "model.json").get("classes")
        if not isinstance(classes, list) or not all(isinstance(one, str) for one in classes):
            raise damaged(self.path / "model.json")
        return tuple(classes)

    def weights(self) -> dict[str, torch.Tensor]:
        """The final weights and buffers by name, on the CPU. Raises UserError where the file is missing or damaged."""
        content = self.content("model.safetensors")
        try:
            check_header(content)
            return load(content)
        except (SafetensorError, ValueError) as error:
            raise damaged(self.path / "model.safetensors", f"not readable as weights ({error})") from None

    def write_recipe(self, recipe: Recipe) -> None:
        """Store the resolved recipe."""
        write_sealed_text(self.path / "recipe.yaml", recipe.to_yaml())

    def add_resumption(self, recipe: Recipe, description: Mapping[str, Any]) -> None:
        """Note that the training goes on: from what step, on what machine, with what changed in the recipe."""
        known = self.environment
        before = known.get("resumed", [])
        write_sealed_json(self.path / "environment.json", {**known, "resumed": [*before, dict(description)]})
        self.write_recipe(recipe)

    @property
    def lr_range(self) -> dict[str, Any]:
        """The sweeps of a range test and what was chosen. Raises UserError where there is none, or it is damaged."""
        return read_sealed_json(self.path / "lr_range.json")

    def write_lr_range(self, found: Mapping[str, Any]) -> None:
        """Store the sweeps of a range test and what was chosen."""
        write_sealed_json(self.path / "lr_range.json", found)

    def remove_left_over(self) -> None:
        """Remove the temporary files that a kill left half-written."""
        for folder in (self.path, self.checkpoints.path, self.path / "plots"):
            files.remove_left_over(folder)

    def write_model(self, net: nn.Module, description: Mapping[str, Any]) -> None:
        """Store the final weights, and what is needed to build the net and feed it."""
        self._write_weights("model.safetensors", net)
        write_sealed_json(self.path / "model.json", description)

    def write_best(self, net: nn.Module, epoch: int) -> None:
        """Store the weights that did best on the held-out part, those after `epoch`."""
        self._write_weights(_BEST, net, "epoch", str(epoch))

    def remove_best_but(self, epoch: int | None) -> bool:
        """Remove the best weights where they are of another epoch, which is to be trained anew; whether they were."""
        path, known = self.path / _BEST, None
        with contextlib.suppress(OSError, SafetensorError), safe_open(path, framework="pt") as file:
            known = (file.metadata() or {}).get("epoch")
        if known in (None, str(epoch)):
            return False
        path.unlink()
        return True

    def write_predictions(self, logits_nk: torch.Tensor, labels: torch.Tensor) -> None:
        """Store the test set's logits and labels."""
        with atomic_path(self.path / "predictions.npz") as temporary, temporary.open("wb") as file:
            np.savez(file, logits=logits_nk.numpy(), labels=labels.numpy(), index=np.arange(len(labels)))

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Store the result, with the digests of the files that cannot carry their own; so the run counts as ended."""
        there = [self.path / name for name in _DIGESTED if (self.path / name).exists()]
        digests = {path.name: digest(path.read_bytes()) for path in there}
        write_sealed_json(self.path / "summary.json", {**summary, "files": digests})

    def locked(self) -> AbstractContextManager[None]:
        """Hold the folder against a second training. Raises UserError where another process holds it."""
        return locked_for_training(self.path)

    def __repr__(self) -> str:
        return f"Run({json.dumps(str(self.path))})"

    def _write_weights(self, name: str, net: nn.Module, key: str = "format", value: str = "pt") -> None:
        # Copies, as safetensors refuses tensors that share memory, which tied weights do.
        tensors = {key: value.detach().cpu().contiguous().clone() for key, value in net.state_dict().items()}
        write_bytes(self.path / name, save(tensors, {key: value}))  # of several keys the order is another each time


@contextlib.contextmanager
def locked_for_training(folder: Path) -> Iterator[None]:
    """Hold a folder against a second training. Raises UserError where another process holds it."""
    try:
        with files.locked(folder / ".lock", wait=False):
            yield
    except files.Locked:
        raise UserError(f"{folder}: another process is training here; wait for it or stop it") from None


def check_no_run_file(out: Path, instead: str = "export") -> None:
    """Raise UserError where what is to be written there would take the place of a file that a run cannot do without.

    `instead`, in the folder of the run, would be a better place: a file, or a folder for one of that name.
    """
    for run in (out.parent, out.parent.parent):
        inside = out.name in _NEEDED if run == out.parent else out.parent.name == "checkpoints"
        plan = run == out.parent and out.name == FOLDS_PLAN and out.exists()
        if plan or (inside and (run / "recipe.yaml").exists()):
            other = run / instead if Path(instead).suffix else run / instead / out.name
            raise UserError(f"--out {out}: is a file of the run {run}; name another place, such as {other}")


def _exists(path: Path) -> UserError:
    if not (path / "recipe.yaml").exists() and not (path / FOLDS_PLAN).exists():
        return UserError(f"--out {path}: exists, and holds no run; name a new folder")
    return UserError(f"--out {path}: exists; name a new folder, or go on with --resume {path}")


def _unused(path: Path) -> Path:
    """The path itself, or with a number where two runs start within a second."""
    candidate, number = path, 1
    while candidate.exists():
        number += 1
        candidate = path.with_name(f"{path.name}_{number}")
    return candidate
