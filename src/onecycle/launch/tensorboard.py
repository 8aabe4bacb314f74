"""A training's numbers and pictures for TensorBoard, in the folder `tensorboard` of its run.

`Observers(TerminalObserver(), TensorBoardObserver())` as the observer of a training writes the numbers while it trains;
`write_pictures(run)` adds the run's pictures once they are drawn. Each number stands at its optimiser step, also those
of an epoch: so all share one axis, and a resumed training drops what was written after its checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from ..errors import UserError
from ..observer import Observer, Progress
from ..recipes import Recipe
from ..run import Run
from .importing import explanation

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class TensorBoardObserver(Observer):
    """Writes loss, accuracy, learning rate and images/s of each epoch, and where the training is in between.

    The losses and accuracies under `progress` are means over the epoch so far. Raises UserError where the extra
    `tensorboard` is missing.
    """

    def __init__(self) -> None:
        self._open = _summary_writer()
        self._writer: SummaryWriter | None = None
        self._step = 0

    def on_start(self, recipe: Recipe, run: Run, device: str, step: int) -> None:
        """Begin a file of events; in a resumed training it takes the place of what was written after `step`."""
        self._step = step
        before = any(_folder(run).glob("events.*"))  # as where it was stopped ahead of its first checkpoint
        self._writer = self._open(str(_folder(run)), purge_step=step + 1 if before else None)
        self._writer.add_text("recipe", f"```yaml\n{recipe.to_yaml()}```", step)

    def on_progress(self, progress: Progress) -> None:
        """Write where the training is."""
        self._step = progress.step
        for name in ("loss", "accuracy", "lr"):
            self._add(f"progress/{name}", getattr(progress, name))

    def on_epoch(self, row: Mapping[str, float | None], seconds_left: float) -> None:
        """Write what was measured of the epoch, at its last step."""
        for column, value in row.items():
            name, _, what = column.rpartition("_")
            if what in ("loss", "accuracy") and value is not None:
                self._add(f"{what}/{name}", value)
        for name in ("lr", "images_per_second"):
            self._add(f"epoch/{name}", row[name] or 0.0)
        if self._writer is not None:
            self._writer.flush()

    def on_end(self) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _add(self, tag: str, value: float) -> None:
        if self._writer is not None:
            self._writer.add_scalar(tag, value, self._step)


def write_pictures(run: Run) -> None:
    """Add the pictures in the plots folder of a finished run, at its last step.

    Raises UserError where the extra `tensorboard` is missing, or the run has not ended.
    """
    step = run.summary["steps"]
    writer = _summary_writer()(str(_folder(run)))
    try:
        for path in sorted(run.plots.glob("*.png")):
            with Image.open(path) as picture:
                writer.add_image(path.stem, np.asarray(picture.convert("RGB")), step, dataformats="HWC")
    finally:
        writer.close()


def _folder(run: Run) -> Path:
    return run.path / "tensorboard"


def _summary_writer() -> type[SummaryWriter]:
    """Torch's writer of events, which needs the package tensorboard."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except Exception as error:  # whatever a package raises that does not fit the others
        raise UserError(explanation(error, "tensorboard")) from error
    return SummaryWriter
