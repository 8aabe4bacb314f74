"""Metrics of an epoch as sums and counts, divided once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


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
