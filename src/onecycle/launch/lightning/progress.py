"""What a training with Lightning knows of the epoch under way, and of a plateau; it goes through the checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ...errors import UserError
from ...schedule import Plateau


class Sums:
    """Loss x images, right answers and images, from `start` on; asks nothing of the device before `totals`."""

    def __init__(self, start: Sequence[float] = (0.0, 0.0, 0.0)) -> None:
        self._start = tuple(start)
        self._batches: list[Tensor] = []  # loss and right answers, float32 [2]
        self._images: list[int] = []

    def add(self, loss: Tensor, logits_nk: Tensor, labels: Tensor) -> None:
        """Count a batch, of which `loss` is the mean."""
        self._batches.append(torch.stack([loss.float(), (logits_nk.argmax(1) == labels).sum().float()]))
        self._images.append(len(labels))

    def totals(self) -> tuple[float, float, float]:
        """The three sums, added up in float64."""
        loss_sum, right, images = self._start
        if self._batches:
            counts = torch.tensor(self._images, dtype=torch.float64)
            losses, rights = torch.stack(self._batches).cpu().double().unbind(1)
            loss_sum, right = loss_sum + (losses * counts).sum().item(), right + rights.sum().item()
        return loss_sum, right, images + sum(self._images)


class Progress:
    """The training epoch under way, and what a plateau schedule remembers of the epochs before it."""

    def __init__(self, state: Mapping[str, Any] | None = None) -> None:
        known = state or {}
        self.sums = Sums(known.get("sums", (0.0, 0.0, 0.0)))
        self.val_loss: float | None = known.get("val_loss")
        self.open: bool = known.get("open", False)  # whether a batch has trained since the last epoch was closed
        self.plateau: dict[str, float] | None = known.get("plateau")

    def state(self) -> dict[str, Any]:
        """For the checkpoint, in numbers."""
        sums = list(self.sums.totals())
        return {"sums": sums, "val_loss": self.val_loss, "open": self.open, "plateau": self.plateau}

    def close(self) -> None:
        """Begin to count anew."""
        self.sums, self.val_loss, self.open = Sums(), None, False

    def tell(self, schedule: Plateau) -> None:
        """Tell a plateau schedule the epoch's loss. Raises UserError where there is none."""
        if schedule.monitor == "train_loss":
            loss_sum, _, images = self.sums.totals()
            loss, step = (loss_sum / images if images else None), "training"
        else:
            loss, step = self.val_loss, "validation"
        if loss is None:
            what = f"schedule.monitor is {schedule.monitor} and an epoch had no {step} by LitClassifier's {step}_step"
            raise UserError(f"{what}; every epoch needs one")
        schedule.observe(loss)
        self.plateau = schedule.state()
