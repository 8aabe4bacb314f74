"""Normalisation of feature maps [n, c, h, w]: a net says which kind, and builds one for each number of channels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from torch import nn

from ..errors import UserError

Norm = Literal["batch", "layer", "group"]

MOMENTUM, EPS = 0.1, 1e-5  # PyTorch's defaults
GROUPS = 32  # as the paper has it


@dataclass(frozen=True)
class Norms:
    """The norms of one net: `Norms("group")(64)` is one for 64 channels.

    "batch": BatchNorm2d. "layer": LayerNorm on images, over channels and pixels, which is GroupNorm(1, c). "group":
    GroupNorm of 32 groups, or of the most that divide the channels and 32 (Wu and He, https://arxiv.org/abs/1803.08494).
    The last two keep no running statistics; a `momentum` other than the default is refused there with a UserError.
    """

    kind: Norm = "batch"
    momentum: float = MOMENTUM
    eps: float = EPS

    def __post_init__(self) -> None:
        if self.kind != "batch" and self.momentum != MOMENTUM:
            raise UserError(
                f"model.norm_momentum {self.momentum:g} goes with model.norm batch alone, not with {self.kind}, which "
                f"keeps no running statistics; leave it at {MOMENTUM:g}"
            )

    def __call__(self, channels: int) -> nn.Module:
        """A norm of `channels`, with a learned scale and shift for each."""
        if self.kind == "batch":
            return nn.BatchNorm2d(channels, eps=self.eps, momentum=self.momentum)
        return nn.GroupNorm(math.gcd(GROUPS, channels) if self.kind == "group" else 1, channels, eps=self.eps)
