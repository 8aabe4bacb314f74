"""The sweep: a few steps of training on a copy of the net, at rising rates."""

from __future__ import annotations

import contextlib
import copy
import inspect
import math
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from .. import optim
from ..errors import UserError, shown
from ..hardware import autocast, fast, resolve_precision, reused_memory, seed_generators
from ..randomness import step_seed
from .noise import batch_noise

STEPS = 100
FEWEST_STEPS, MOST_STEPS = 20, 1000
LEAST_FACTOR = 10.0  # of the last rate over the first: a narrower range shows no descent and no divergence
_LEVEL_SHARE, _LEAST_LEVEL = 0.07, 5  # of the steps, over which the loss's level is taken; no fewer steps than these

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
    stop: bool = True,
    on_step: Callable[[float, float], None] = lambda lr, loss: None,
) -> Sweep:
    """Train a copy of `net` and `optimizer` for at most `steps` steps while the rate rises from lr_start to lr_end.

    A batch is (images, labels, ...); `batches` is gone through again where it ends. `loss` takes the net's output in
    float32 and the labels. `seed` is that of torch, NumPy and Python, for the order that a loader draws and what the
    net draws, such as dropout. Where the optimiser's groups have rates of their own, the largest is swept and the
    others keep their ratio to it. The sweep ends early where the loss is not finite, and with `stop` where it has
    climbed back above what it began with, by more than its noise. Net, optimiser and the random states of torch, NumPy
    and Python are left bit for bit as they were. `precision` is auto, fp32, bf16 or fp16. Raises UserError where the
    range, the number of steps, the precision, the net, the optimiser or the batches cannot be swept.
    """
    check_range(lr_start, lr_end, steps)
    rates = np.geomspace(lr_start, lr_end, steps).tolist()
    losses: list[float] = []
    end: End = "range"
    device = next(net.parameters()).device
    precision = resolve_precision(precision, device)
    with _untouched_randomness(device), reused_memory(device):
        net, optimizer = _copied(net, optimizer)
        optim.keep_ratios(optimizer)
        net.train()
        seed_generators(step_seed(seed, steps))  # for what the batches draw, such as their order
        scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
        for step, (rate, batch) in enumerate(zip(rates, _endless(batches, steps), strict=False)):
            optim.set_lr(optimizer, rate)
            seed_generators(step_seed(seed, step))  # for what the net draws itself, such as dropout
            with fast(precision, device):
                output = net(batch[0].to(device))
            batch_loss = loss(output.float(), batch[1].to(device))
            value = batch_loss.item()
            if not math.isfinite(value):
                end = "not finite"
                break
            losses.append(value)
            on_step(rate, value)
            if stop and has_diverged(losses, steps):
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
    if not isinstance(steps, int) or not FEWEST_STEPS <= steps <= MOST_STEPS:
        problems.append(f"a sweep of {shown(steps)} steps shows nothing; {FEWEST_STEPS} to {MOST_STEPS} are needed")
    if problems:
        raise UserError(*problems)


def has_diverged(losses: Sequence[float], steps: int) -> bool:
    """Whether the newest losses of a sweep of so many steps lie above the first, by a tenth and by more than noise.

    The difference of two medians has a standard deviation of about 1.25 * sqrt(2 / length) of a single loss's; four of
    them, as it is looked at after every step.
    """
    length = max(_LEAST_LEVEL, round(_LEVEL_SHARE * steps))
    if len(losses) < 2 * length:
        return False
    first, last = float(np.median(losses[:length])), float(np.median(losses[-length:]))
    return last - first > max(0.1 * abs(first), 4 * 1.25 * math.sqrt(2 / length) * batch_noise(losses))


def _endless(batches: Iterable[Sequence[Tensor]], steps: int) -> Iterator[Sequence[Tensor]]:
    taken = 0
    while True:
        before = taken
        for batch in batches:
            if isinstance(batch, Tensor) or not isinstance(batch, Sequence):
                raise UserError(f"a batch is a {type(batch).__name__}; a tuple or list of images, labels is needed")
            taken += 1
            yield batch
        if taken == before:
            raise UserError(f"the batches end after {taken}; {steps} are needed, or batches that can be had again")


def _copied(net: nn.Module, optimizer: Optimizer) -> tuple[nn.Module, Optimizer]:
    """Both copied at once, so that the optimiser's copy holds the net's copy."""
    kind = type(optimizer).__name__
    closure = inspect.signature(type(optimizer).step).parameters.get("closure")
    if closure is not None and closure.default is inspect.Parameter.empty:
        raise UserError(f"the optimizer {kind} asks for the loss again within a step; a sweep needs one like Adam")
    if any("lr" not in group for group in optimizer.param_groups):
        raise UserError(f"the optimizer {kind} has groups without lr, a learning rate that could be swept")
    known: dict[int, Any] = {}
    try:
        own_net, own = copy.deepcopy((net, optimizer), known)
        # torch's optimisers copy their groups and state, and leave what a class has added behind. Functions, such as
        # the step that a scheduler has wrapped, belong to the original.
        for name in vars(optimizer).keys() - vars(own).keys():
            if not inspect.isroutine(value := getattr(optimizer, name)):
                setattr(own, name, copy.deepcopy(value, known))
    except (RuntimeError, TypeError) as error:
        raise UserError(f"the net {type(net).__name__} cannot be copied for the sweep ({error})") from None
    parameters = {id(parameter) for parameter in own_net.parameters()}
    if not all(id(one) in parameters for group in own.param_groups for one in group["params"]):
        raise UserError(f"the optimizer trains what is not in the net {type(net).__name__}; make it for this net")
    return own_net, own


@contextlib.contextmanager
def _untouched_randomness(device: torch.device) -> Iterator[None]:
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
