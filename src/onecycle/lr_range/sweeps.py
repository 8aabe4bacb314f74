"""The sweep: a few steps of training on a copy of the net, at rising rates."""

from __future__ import annotations

import contextlib
import copy
import math
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from .. import optim
from ..errors import UserError
from ..hardware import autocast, reused_memory, seed_generators
from ..randomness import step_seed

STEPS = 100
FEWEST_STEPS, MOST_STEPS = 20, 1000
LEAST_FACTOR = 10.0  # of the last rate over the first: a narrower range shows no descent and no divergence

End = Literal["range", "diverged", "not finite"]


@dataclass(frozen=True)
class Sweep:
    """The rate of each step, ascending, the loss of its batch before the update, and why the sweep ended."""

    seed: int
    lrs: tuple[float, ...]
    losses: tuple[float, ...]
    end: End


def sweep(
    net: nn.Module,
    optimizer: Optimizer,
    batches: Iterable[Sequence[Tensor]],
    *,
    lr_start: float,
    lr_end: float,
    steps: int = STEPS,
    loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
    precision: str = "fp32",
    seed: int = 0,
    on_step: Callable[[float, float], None] = lambda lr, loss: None,
) -> Sweep:
    """Train a copy of `net` and `optimizer` for at most `steps` steps while the rate rises from lr_start to lr_end.

    A batch is (images, labels, ...); `batches` is gone through again where it ends. `loss` takes the net's output in
    float32 and the labels. The sweep stops early where the loss is not finite, or has climbed back above what it began
    with. Net, optimiser and the random states of torch, NumPy and Python are left bit for bit as they were.
    Raises UserError where the range or the number of steps cannot be swept.
    """
    check_range(lr_start, lr_end, steps)
    rates = np.geomspace(lr_start, lr_end, steps).tolist()
    losses: list[float] = []
    end: End = "range"
    device = next(net.parameters()).device
    with _untouched_randomness(device), reused_memory(device):
        net, optimizer = _copied(net, optimizer)
        net.train()
        scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
        for step, (rate, batch) in enumerate(zip(rates, _endless(batches, steps), strict=False)):
            optim.set_lr(optimizer, rate)
            seed_generators(step_seed(seed, step))  # for what the net draws itself, such as dropout
            with autocast(precision, device):
                output = net(batch[0].to(device))
            batch_loss = loss(output.float(), batch[1].to(device))
            value = batch_loss.item()
            if not math.isfinite(value):
                end = "not finite"
                break
            losses.append(value)
            on_step(rate, value)
            if _has_diverged(losses):
                end = "diverged"
                break
            optimizer.zero_grad(set_to_none=True)
            scaler.scale(batch_loss).backward()
            with autocast(precision, device):  # as in training
                scaler.step(optimizer)
            scaler.update()
    return Sweep(seed, tuple(rates[: len(losses)]), tuple(losses), end)


def check_range(lr_start: float, lr_end: float, steps: int) -> None:
    """Raise UserError where these cannot be swept."""
    problems = []
    if not (math.isfinite(lr_start) and math.isfinite(lr_end) and lr_start > 0):
        problems.append(f"the sweep runs from {lr_start:g} to {lr_end:g}; finite rates above 0 are needed")
    elif lr_end <= lr_start:
        problems.append(f"the sweep's range is inverted, {lr_start:g} to {lr_end:g}; the lower rate comes first")
    elif lr_end / lr_start < LEAST_FACTOR:
        problems.append(f"the sweep's range is too short, {lr_start:g} to {lr_end:g}; a factor of 10 is the least")
    if not FEWEST_STEPS <= steps <= MOST_STEPS:
        problems.append(f"a sweep of {steps} steps shows nothing; {FEWEST_STEPS} to {MOST_STEPS} are needed")
    if problems:
        raise UserError(*problems)


def _has_diverged(losses: Sequence[float]) -> bool:
    """Whether the newest losses lie above the first ones; single batches do not count."""
    if len(losses) < FEWEST_STEPS // 2:
        return False
    return float(np.median(losses[-3:])) > 1.1 * float(np.median(losses[:5]))


def _endless(batches: Iterable[Sequence[Tensor]], steps: int) -> Iterator[Sequence[Tensor]]:
    taken = 0
    while True:
        before = taken
        for batch in batches:
            taken += 1
            yield batch
        if taken == before:
            raise UserError(f"the batches end after {taken}; {steps} are needed, or batches that can be had again")


def _copied(net: nn.Module, optimizer: Optimizer) -> tuple[nn.Module, Optimizer]:
    """Both copied at once, so that the optimiser's copy holds the net's copy."""
    try:
        copied = copy.deepcopy((net, optimizer))
    except (RuntimeError, TypeError) as error:
        raise UserError(f"the net {type(net).__name__} cannot be copied for the sweep ({error})") from None
    own = {id(parameter) for parameter in copied[0].parameters()}
    if not all(id(one) in own for group in copied[1].param_groups for one in group["params"]):
        raise UserError(f"the optimizer trains what is not in the net {type(net).__name__}; make it for this net")
    return copied


@contextlib.contextmanager
def _untouched_randomness(device: torch.device) -> Iterator[None]:
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
