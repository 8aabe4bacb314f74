"""How much is measured, and in what precision."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import torch
from torch import nn

from onecycle.hardware import AUTOCAST_DTYPES, resolve_precision
from onecycle.models import custom_resnet

from .compact_net import compact_net

Samples = defaultdict[str, list[list[float]]]  # by row: its rounds, each with its samples in the row's unit

CPU = torch.device("cpu")
PRECISION = resolve_precision("auto", CPU)
AUTOCAST_DTYPE = AUTOCAST_DTYPES.get(PRECISION)  # None: float32 throughout
LABEL_SMOOTHING = 0.1  # on every side alike


@dataclass(frozen=True)
class Settings:
    """How much is measured; steps and epochs are those after the warm-up."""

    batch: int = 512
    images: int = 50_000
    custom_resnet: bool = True  # otherwise the compact net stands in for it
    matrix: int = 4096  # side
    matrix_products: int = 4  # in a round
    rounds: int = 3
    train_warmup: int = 3
    train_steps: int = 6
    usual_warmup: int = 1
    usual_steps: int = 2
    loop_rounds: int = 12  # many and short: the load of a machine changes within minutes
    loop_warmup: int = 2
    loop_steps: int = 9
    loop_block: int = 3  # steps whose mean is one sample, as not every step writes down losses
    epochs: int = 5
    usual_epochs: int = 3  # in the first rounds of `epochs`
    usual_warmup_batches: int = 10
    starts: int = 10

    def net(self) -> nn.Module:
        """The net whose training is measured, with fresh weights."""
        return custom_resnet(10) if self.custom_resnet else compact_net()


FULL = Settings()
QUICK = Settings(
    batch=16,
    images=320,
    custom_resnet=False,
    matrix=128,
    matrix_products=3,
    rounds=2,
    train_warmup=1,
    train_steps=3,
    usual_steps=2,
    loop_rounds=2,
    loop_warmup=1,
    loop_steps=4,
    loop_block=2,
    epochs=2,
    usual_epochs=1,
    usual_warmup_batches=2,
    starts=2,
)
