"""A run's net, ready to predict."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ..data import ImageSet, Pixels
from ..errors import UserError, shown, suggestion
from ..evaluation import predict_logits
from ..hardware import fast
from ..preparation import build_loader, trained_net
from ..run import Run

TTA: Final = ("none", "flip", "flip_shift")
_MOST_IMAGES: Final = 1_000_000  # of a batch


class Predictor:
    """The final net of a finished run on a device, in the run's precision; fp16 becomes fp32 on a CPU.

    A batch is as large as the training's unless `batch_size` says otherwise: with that, on the machine of the training,
    the logits of its test set are bit for bit those that it stored. `tta` averages over views of an image, see
    `onecycle.evaluation.with_tta`. `model` is the net, where the training was handed one; `precision`, fp32, bf16 or
    fp16, replaces the run's. Raises UserError where something is missing or not allowed.
    """

    def __init__(
        self,
        run: Run,
        *,
        device: torch.device,
        model: nn.Module | None = None,
        batch_size: int | None = None,
        tta: str = "none",
        precision: str | None = None,
    ) -> None:
        if tta not in TTA:
            raise UserError(f"tta {tta!r} is not allowed; {suggestion(tta, TTA)}")
        whole = isinstance(batch_size, int) and not isinstance(batch_size, bool)
        if batch_size is not None and not (whole and 1 <= batch_size <= _MOST_IMAGES):
            raise UserError(f"batch size {shown(batch_size)} is not allowed; a whole number from 1 to {_MOST_IMAGES:,}")
        self.net = trained_net(run, model=model, device=device)
        self.classes = run.classes
        recipe = run.recipe
        wanted = precision or ("fp32" if recipe.precision == "fp16" and device.type == "cpu" else recipe.precision)
        data = {"batch_size": batch_size or recipe.data.batch_size}
        self.recipe = recipe.evolve(precision=wanted, data=data)
        self.device, self._tta = device, tta

    @property
    def side(self) -> int:
        """Height, and width, of the images that the net was trained on, in pixels."""
        return self.recipe.data.image_size

    @property
    def batch_size(self) -> int:
        """Images in a batch."""
        return self.recipe.data.batch_size

    def logits(self, images_nhwc: Pixels, on_batch: Callable[[int], None] = lambda images: None) -> NDArray[np.float32]:
        """Float32 logits [n, classes] of uint8 images [n, side, side, 3]; `on_batch` is told how many are done."""
        found = [np.zeros((0, len(self.classes)), np.float32)]
        with fast(self.recipe.precision, self.device):
            for start in range(0, len(images_nhwc), self.batch_size):
                # A batch at a time: only its pixels go to a GPU, or come from a set that is mapped.
                batch_nhwc = images_nhwc[start : start + self.batch_size]
                unlabelled = ImageSet(batch_nhwc, np.zeros(len(batch_nhwc), np.int64), self.classes)
                loader = build_loader(self.recipe, unlabelled, self.device, train=False)
                found.append(predict_logits(self.net, loader, tta=self._tta).numpy())
                on_batch(start + len(batch_nhwc))
        return np.concatenate(found)
