"""Training steps made of the loop's own pieces, one by one, so that each can be timed, counted or profiled."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

import onecycle
from onecycle import optim
from onecycle.compiling import CompiledNet
from onecycle.data import Batch, ImageSet
from onecycle.hardware import autocast, fast, reused_memory, synchronize
from onecycle.preparation import Sets, build_loader, build_net, build_schedule, initialize, resolve
from onecycle.schedule import provisional
from onecycle.state import TrainingState


class Steps:
    """Net, batches, optimiser and sums of a recipe on `device`, as a training has them before its first step.

    With `side`, images of so many pixels a side are trained on, whatever the recipe's plan. Learning rates that a range
    test would find are stood in for: they do not change what a step costs.
    """

    def __init__(
        self, recipe: onecycle.Recipe, images: ImageSet, device: torch.device, *, side: int | None = None
    ) -> None:
        if side is not None:
            recipe = recipe.evolve(augment={"resize": ((0, side),)})
        self.recipe, self.device = resolve(recipe, Sets(images, None, images), device), device
        self.loader = build_loader(self.recipe, images, device, train=True)
        options = provisional(self.recipe.schedule.options)
        self._schedule = build_schedule(self.recipe, len(self.loader), options)
        self.state = TrainingState.new(self.recipe, build_net(self.recipe, len(images.classes)), self._schedule, device)
        initialize(self.state.net, build_loader(self.recipe, images, device, train=False))
        self.state.net.train()
        self.fast_layers = recipe.compile == "none"  # as in the loop
        self._net: Callable[[Tensor], Tensor] = self.state.net
        self.compile_seconds = 0.0
        if recipe.compile != "none":
            self._net = compiled = CompiledNet(self.state.net, recipe.compile)
            begin = time.perf_counter()
            compiled.warm_up(self.loader.blanks([0]), self.recipe.precision)
            synchronize(device)
            self.compile_seconds = time.perf_counter() - begin

    def batches(self) -> Iterator[Batch]:
        """Augmented batches without end: the first epoch again and again, its plan drawn each time."""
        return itertools.chain.from_iterable(self.loader.epoch(0) for _ in itertools.count())

    def forward(self, batch: Batch) -> Tensor:
        """The logits [b, classes] in the recipe's precision."""
        with (fast if self.fast_layers else autocast)(self.recipe.precision, self.device):
            return self._net(batch.images_nchw)

    def loss(self, logits_nk: Tensor, batch: Batch) -> Tensor:
        """The mean loss, and the batch in the epoch's sums."""
        logits_nk = logits_nk.float()
        loss = F.cross_entropy(logits_nk, batch.labels, label_smoothing=self.recipe.loss.label_smoothing)
        self.state.count(loss.detach(), logits_nk.detach(), batch.labels, len(batch.labels))
        return loss

    def backward(self, loss: Tensor) -> None:
        """New gradients."""
        self.state.optimizer.zero_grad(set_to_none=True)
        self.state.scaler.scale(loss).backward()

    def update(self) -> None:
        """The optimiser's step, and the averages' where there are any."""
        state = self.state
        optim.set_lr(state.optimizer, self._schedule(state.step))
        with autocast(self.recipe.precision, self.device):
            state.scaler.step(state.optimizer)
        state.scaler.update()
        if state.ema:
            state.ema.update_parameters(state.net)
        state.step += 1

    def step(self, batch: Batch) -> None:
        """All of it."""
        self.backward(self.loss(self.forward(batch), batch))
        self.update()

    def seconds(self, times: int, warmup: int, *, keep_memory: bool = True) -> list[float]:
        """Of each of so many steps after the warm-up, augmentation included; with its memory kept, as in a training."""
        found = []
        with reused_memory(self.device) if keep_memory else contextlib.nullcontext():
            batches = self.batches()
            for _ in range(warmup + times):
                begin = time.perf_counter()
                self.step(next(batches))
                synchronize(self.device)
                found.append(time.perf_counter() - begin)
        return found[warmup:]
