"""All that a training needs to go on as if it had never stopped."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from . import optim
from .hardware import to_channels_last
from .recipes import Recipe
from .schedule import Plateau, Schedule


class TrainingState:
    """Net, optimiser, averages, sums and counters; it goes through the checkpoint whole."""

    def __init__(
        self,
        net: nn.Module,
        optimizer: Optimizer,
        ema: AveragedModel | None,
        plateau: Plateau | None,
        scaler: torch.amp.GradScaler,
        device: torch.device,
    ) -> None:
        self.net, self.optimizer, self.ema, self.plateau, self.scaler = net, optimizer, ema, plateau, scaler
        self.step = 0  # optimiser steps done
        self.epoch = 0  # epochs whose row is written
        self.train_seconds = self.wall_seconds = 0.0
        self.epoch_seconds = 0.0  # of training in the epoch under way
        # Of the epoch under way: loss x images, images classified rightly, images.
        self.sums = torch.zeros(3, dtype=torch.float64, device=device)
        self.sample_losses: Tensor | None = None  # the last of each training image; infinite before there is one
        self.chosen: Tensor | None = None  # whether each training image is among those of the epoch under way
        self._unmerged: list[Tensor] = []  # samples whose loss was computed by one rank only since the last merge
        self.best: dict[str, float] | None = None  # on the held-out part
        # Attention masks, which hold infinities on purpose.
        self._masks = {name for name, buffer in net.named_buffers() if not _finite([buffer])}

    @classmethod
    def new(cls, recipe: Recipe, net: nn.Module, schedule: Schedule, device: torch.device) -> TrainingState:
        """The state before the first step; moves the net to the device, channels-last."""
        to_channels_last(net, device)
        optimizer = optim.build_optimizer(net, recipe.optimizer)
        ema = optim.averaged_net(net, recipe.ema.decay) if recipe.ema else None
        scaler = torch.amp.GradScaler(device.type, enabled=recipe.precision == "fp16")
        return cls(net, optimizer, ema, schedule if isinstance(schedule, Plateau) else None, scaler, device)

    @property
    def evaluated_net(self) -> nn.Module:
        """The net whose accuracy counts: the average of the weights where there is one."""
        return self.ema.module if self.ema else self.net

    def settle(self) -> None:
        """Leave the net, which may be somebody's own, as it was tested: with averaged weights, in eval mode."""
        if self.ema:
            self.net.load_state_dict(self.ema.module.state_dict())
        self.net.eval()

    def count(self, loss: Tensor, logits_nk: Tensor, labels: Tensor, images: int) -> None:
        """Add a batch to the epoch's sums; asks nothing back from the device.

        `loss` is what the images of these labels give to the mean of all `images` of the batch.
        """
        right = (logits_nk.argmax(1) == labels).sum()
        batch = torch.stack([loss.double() * images, right.double(), torch.full_like(loss, len(labels)).double()])
        self.sums += batch

    def watch_samples(self, count: int) -> None:
        """Keep the loss of each of so many training images, to choose the hardest by."""
        self.sample_losses = torch.full((count,), torch.inf, device=self.sums.device)
        self.chosen = torch.ones(count, dtype=torch.bool, device=self.sums.device)

    def note_losses(self, samples: Tensor, own: slice, losses: Tensor) -> None:
        """Note the losses of this process's `own` of the samples of a batch, where they are watched."""
        if self.sample_losses is None:
            return
        if own != slice(None):
            self.sample_losses.index_fill_(0, samples, 0.0)  # so that the sum over all processes is each one's loss
            self._unmerged.append(samples)
        self.sample_losses.index_copy_(0, samples[own], losses)

    def merge_losses(self, all_reduce_sum: Callable[[Tensor], Tensor]) -> None:
        """Take over the losses that other processes have noted; `all_reduce_sum` sums over all of them."""
        if self.sample_losses is not None and self._unmerged:
            samples = torch.cat(self._unmerged)
            self.sample_losses.index_copy_(0, samples, all_reduce_sum(self.sample_losses.index_select(0, samples)))
            self._unmerged.clear()

    def choose_hardest(self, count: int) -> None:
        """Choose the `count` images of the largest losses for the next epoch, those not seen yet first."""
        if self.sample_losses is not None and self.chosen is not None:
            hardest = self.sample_losses.argsort(descending=True, stable=True)[:count]
            self.chosen.zero_().index_fill_(0, hardest, True)

    def begin_epoch(self, epoch: int) -> None:
        """Close the epoch's books and open those of the next."""
        self.epoch = epoch
        self.train_seconds += self.epoch_seconds
        self.epoch_seconds = 0.0
        self.sums.zero_()

    def not_finite(self) -> str | None:
        """What is no longer finite and must not be saved, with its verb; None where all is."""
        averaged = list(self.ema.module.parameters()) if self.ema else []
        moments = [value for state in self.optimizer.state.values() for value in state.values()]
        for what, values in (
            ("the weights are", self.net.parameters()),
            ("the average of the weights is", averaged),
            ("the state of the optimizer is", moments),
        ):
            if not _finite(values):
                return what
        nets = [self.net, self.ema.module] if self.ema else [self.net]
        buffers = [pair for net in nets for pair in net.named_buffers() if pair[0] not in self._masks]
        if _finite(buffer for _, buffer in buffers):
            return None
        return f"the buffer {next(name for name, buffer in buffers if not _finite([buffer]))} is"

    def to_dict(self) -> dict[str, Any]:
        """As nested plain values and tensors."""
        return {
            "step": self.step,
            "epoch": self.epoch,
            "train_seconds": self.train_seconds,
            "epoch_seconds": self.epoch_seconds,
            "wall_seconds": self.wall_seconds,
            "sums": self.sums,
            "best": self.best,
            "sample_losses": self.sample_losses,
            "chosen": self.chosen,
            "net": dict(self.net.state_dict()),
            "buffers": _unsaved_buffers(self.net),
            "ema": dict(self.ema.state_dict()) if self.ema else None,
            "ema_buffers": _unsaved_buffers(self.ema.module) if self.ema else {},
            "optimizer": self.optimizer.state_dict(),
            "plateau": self.plateau.state() if self.plateau else None,
            "scaler": self.scaler.state_dict(),
        }

    def restore(self, saved: dict[str, Any]) -> None:
        """Take up what `to_dict` gave. Raises one of Python's errors where it is of another training, or of none."""
        _check_plain_values(saved)
        self.step, self.epoch, self.best = saved["step"], saved["epoch"], saved["best"]
        self.train_seconds, self.epoch_seconds = saved["train_seconds"], saved["epoch_seconds"]
        self.wall_seconds = saved["wall_seconds"]
        self.sums.copy_(saved["sums"])
        if self.sample_losses is not None and self.chosen is not None:
            self.sample_losses.copy_(saved["sample_losses"])
            self.chosen.copy_(saved["chosen"])
        for name, value in self.net.state_dict().items():
            if saved["net"][name].dtype != value.dtype:  # torch would convert it, a complex one to its real part
                raise ValueError(f"{name} is {saved['net'][name].dtype}; {value.dtype} is needed")
        self.net.load_state_dict(saved["net"])
        for name, buffer in _unsaved_buffers(self.net).items():
            buffer.copy_(saved["buffers"][name])
        if self.ema:
            self.ema.load_state_dict(saved["ema"])
            for name, buffer in _unsaved_buffers(self.ema.module).items():
                buffer.copy_(saved["ema_buffers"][name])
        optim.restore(self.optimizer, self._of_this_optimizer(saved["optimizer"]))
        if self.plateau:
            self.plateau.restore(saved["plateau"])
        if saved["scaler"]:  # empty where the training began without one
            self.scaler.load_state_dict(saved["scaler"])

    def _of_this_optimizer(self, saved: dict[str, Any]) -> dict[str, Any]:
        """The saved state of the optimiser, with this machine's on/off switches such as `fused`.

        Raises ValueError where a hyperparameter or a moment has the wrong type.
        """
        groups = []
        for own, group in zip(self.optimizer.param_groups, saved["param_groups"], strict=True):
            for key, value in own.items():
                if type(value) is float and type(group[key]) not in (float, int):
                    raise ValueError(f"{key} of the optimizer is {group[key]!r:.40}")
            groups.append({**group, **{key: value for key, value in own.items() if isinstance(value, bool | None)}})
        moments = [value for values in saved["state"].values() for value in values.values()]
        # Some published ones count their steps in plain numbers; torch's and ours would fail at them in the first step.
        kinds = Tensor if optim.keeps_tensors(self.optimizer) else Tensor | bool | int | float
        if not all(value is None or isinstance(value, kinds) for value in moments):
            raise ValueError("a moment of the optimizer is no tensor")
        return {**saved, "param_groups": groups}


def _unsaved_buffers(net: nn.Module) -> dict[str, Tensor]:
    """The buffers that a net keeps out of its state dict; a training may depend on them all the same."""
    known = net.state_dict().keys()
    return {name: buffer for name, buffer in net.named_buffers() if name not in known}


def _check_plain_values(saved: dict[str, Any]) -> None:
    """Raise ValueError where a counter or a time is none: a checkpoint may be a stranger's, its digest right."""
    kinds = dict.fromkeys(("step", "epoch"), (int,)) | dict.fromkeys(
        ("train_seconds", "epoch_seconds", "wall_seconds"), (int, float)
    )
    wrong = [name for name, kind in kinds.items() if type(saved[name]) not in kind or not 0 <= saved[name] < 2**53]
    best = saved["best"]
    if best is not None and (type(best["epoch"]), type(best["val_accuracy"])) != (int, float):
        wrong.append("best")
    if wrong:
        raise ValueError(f"{wrong[0]} is {saved[wrong[0]]!r:.40}")


def _finite(values: Iterable[Any]) -> bool:
    """Whether all tensors of floats among the values hold nothing but finite numbers; one answer from the device."""
    floats = [one.detach() for one in values if isinstance(one, Tensor) and one.is_floating_point() and one.numel()]
    if not floats:
        return True
    largest = torch._foreach_norm(floats, math.inf)
    # An optimiser's counters may be on another device than its moments.
    return bool(torch.stack([one.isfinite().to(largest[-1].device) for one in largest]).all())
