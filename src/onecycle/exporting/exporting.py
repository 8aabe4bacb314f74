"""From a finished run to a file that is written, tried, and kept only where it agrees with the net."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ..errors import UserError, suggestion
from ..evaluation import evaluate_run, percent
from ..files import atomic_path, made_folder
from ..outputs import check_output
from ..preparation import Sets, trained_net
from ..progress import default_observer
from ..run import Run
from . import card, onnx_file, torch_files
from .deployed import Deployed, traced
from .description import describe
from .verifying import Verification, check, verify

FORMATS: Final = ("onnx", "pt2", "safetensors")
_Function = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


@dataclass(frozen=True)
class Export:
    """A file that was written: its path, format and bytes, how it was tried, and the model card beside it."""

    path: Path
    format: str
    int8: bool
    size: int
    verification: Verification
    card: Path
    why_random: str = ""  # why it was tried on random images rather than the run's

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        paths = {"path": str(self.path), "card": str(self.card)}
        return {**self.__dict__, **paths, "verification": self.verification.to_dict()}

    def in_words(self) -> str:
        """What was written, and how it was tried; a line each."""
        found = self.verification
        lines = [f"wrote {self.path} ({self.size / 1e6:.1f} MB) and {self.card}"]
        where = f"{found.images:,} {found.kind} images"
        if found.kind == "random":
            where += f", as the test images are not at hand ({self.why_random})"
        lines.append(f"largest difference from the net's float32 logits: {found.largest_difference:.2g}, on {where}")
        if found.accuracy is not None and found.accuracy_float32 is not None:
            own = f"; the net in float32: {percent(found.accuracy_float32, 2)}" if self.int8 else ""
            lines.append(f"accuracy of the file on them: {percent(found.accuracy, 2)}{own}")
        if self.int8:
            lines.append(f"the same class as in float32: {percent(found.agreement, 2)}")
        return "\n".join(lines)


def write_export(
    run: Run,
    *,
    form: str,
    int8: bool,
    out: Path | None,
    model: nn.Module | None,
    sets: Sets | None,
    why_no_images: str = "",
) -> Export:
    """Write the file and its card; `sets` are the run's images, None where they are not at hand, and why.

    Raises UserError, with nothing written, where the file does not agree with the net, and where something is missing.
    """
    _check_wanted(form, int8, sets)
    if form == "onnx":
        onnx_file.check_extra()
    recipe = run.recipe
    mean, std = recipe.data.statistics
    side = recipe.data.image_size
    net = trained_net(run, model=model, device=torch.device("cpu"))
    deployed = Deployed(net, mean=mean, std=std)
    path = out or _default(run, form, int8)
    _check_place(path, form)
    description, evaluation = describe(run), evaluate_run(run)
    with made_folder(path.parent), atomic_path(path) as part:
        exported = _write(part, form, int8, deployed, side, description, sets)
        with default_observer().progress_of("verification") as say:
            found = verify(exported, torch_files.as_function(deployed), sets.test if sets else None, side, say)
        if int8:
            description |= {"int8": _int8_result(found, sets)}
            onnx_file.add_description(part, description)
        else:
            check(found, path)
    done = Export(path, form, int8, path.stat().st_size, found, path.parent / card.NAME, why_no_images)
    card.write_card(run, net, description, evaluation, done.path, form, int8, found, sets)
    return done


def _write(
    part: Path, form: str, int8: bool, deployed: Deployed, side: int, description: dict[str, Any], sets: Sets | None
) -> _Function:
    """Write the file, and open it again."""
    if form == "safetensors":
        torch_files.write_safetensors(part, deployed, description)
        return torch_files.open_safetensors(part, deployed)
    program = traced(deployed, side)
    if form == "pt2":
        torch_files.write_pt2(part, program, description)
        return torch_files.open_pt2(part)
    if not int8:
        onnx_file.write_onnx(part, program, description)
        return onnx_file.open_onnx(part)
    assert sets is not None
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "float32.onnx"
        onnx_file.write_onnx(whole, program, description)
        onnx_file.quantize(whole, part, sets.train)
    return onnx_file.open_onnx(part)


def _check_wanted(form: str, int8: bool, sets: Sets | None) -> None:
    if form not in FORMATS:
        raise UserError(f"format {form!r} is not allowed; {suggestion(form, FORMATS)}")
    if int8 and form != "onnx":
        raise UserError(f"int8 goes with the format onnx alone, not with {form}")
    if int8 and sets is None:
        raise UserError("int8 needs training images for its ranges; name where they are, or hand them in")


def _check_place(path: Path, form: str) -> None:
    """Raise UserError where the file would take another's place, or have another format than its name says."""
    check_output(path, f"model.{form}")
    card.check_place(path.parent)
    if path.name.lower() == card.NAME.lower():
        raise UserError(f"{path}: is the name of the model card; {path.with_name(f'model.{form}')}")
    if os.path.exists(path) and not os.path.isfile(path):  # noqa: PTH110, PTH113 - Path's raise, as of a long name
        raise UserError(f"{path}: is no regular file; another, such as model.{form}")
    named = path.suffix.lower().removeprefix(".")
    if named != form and named in FORMATS:
        raise UserError(f"{path}: is to be written as {form}; {path.stem}.{form}, or --format {named}")


def _default(run: Run, form: str, int8: bool) -> Path:
    return run.path / "export" / f"model{'_int8' if int8 else ''}.{form}"


def _int8_result(found: Verification, sets: Sets | None) -> dict[str, Any]:
    """What the metadata say of the int8 variant."""
    return {
        "accuracy": found.accuracy,
        "accuracy_float32": found.accuracy_float32,
        "same_class": found.agreement,
        "test_images": found.images,
        "calibration_images": min(onnx_file.CALIBRATION_IMAGES, len(sets.train) if sets else 0),
    }
