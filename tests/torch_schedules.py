"""The rates that one of torch's schedulers gives."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.optim.lr_scheduler import LRScheduler


def parameter_and_optimizer(lr: float = 1.0) -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)


def rates_of_torch(make: Callable[[torch.optim.Optimizer], LRScheduler], steps: int) -> list[float]:
    """The rate of each step, with the scheduler stepped after the optimiser."""
    optimizer = parameter_and_optimizer()
    scheduler = make(optimizer)
    found = []
    for step in range(steps):
        found.append(float(optimizer.param_groups[0]["lr"]))
        if step < steps - 1:
            optimizer.step()
            scheduler.step()
    return found
