"""Whether net, images, optimiser and schedule go together, tried before anything is written."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from .epochs import in_force
from .errors import UserError, lacks_memory
from .hardware import AUTOCAST_DTYPES, autocast
from .optim import build_optimizer, trained_parameters
from .preparation import Sets, build_loader, build_schedule, class_weights
from .recipes import Recipe
from .schedule import momentum_at, provisional


def rehearse(recipe: Recipe, net: nn.Module, sets: Sets, device: torch.device) -> None:
    """Raise UserError where the parts do not fit together, before anything is written; rates may be still to find.

    The net may still be elsewhere than on the device that it is to train on.
    """
    check_weights(net)
    class_weights(recipe, sets.train, torch.device("cpu"))
    loader = build_loader(recipe, sets.train, torch.device("cpu"), train=True)
    schedule = build_schedule(recipe, len(loader), provisional(recipe.schedule.options))
    optimizer = build_optimizer(net, recipe.optimizer)
    if momentum_at(schedule, 0) is not None and not {"momentum", "betas"} & optimizer.defaults.keys():
        raise UserError(
            f"schedule.momentum: the optimizer {recipe.optimizer.name} has none; null, or another optimizer"
        )
    for side in sorted({sets.train.image_size, *(side for _, side in recipe.augment.resize)}):
        found = try_side(net, side, f"takes no images of {side} pixels a side", recipe.precision, device)
        check_logits(net, found, len(sets.train.classes))
    size = recipe.data.batch_size
    for epoch in sorted({0, *(epoch for pairs in (recipe.augment.resize, recipe.data.hardest) for epoch, _ in pairs)}):
        if size == 1 or (loader.images_in(epoch) % size == 1 and not recipe.data.drop_last):
            side = in_force(recipe.augment.resize, epoch, sets.train.image_size)
            what = f"cannot train on a batch of one image of {side} pixels a side, as data.batch_size {size} gives"
            try_side(net, side, what, recipe.precision, device, train=True)
    if recipe.ema and _copy(net) is None:
        raise UserError(f"ema: the net {type(net).__name__} cannot be copied, which an average of weights needs; null")


def check_weights(net: nn.Module) -> None:
    """Raise UserError where a net has no weights to train, or does not know them yet."""
    if any(isinstance(one, nn.parameter.UninitializedParameter) for one in net.parameters()):
        raise UserError(f"the net {type(net).__name__} has lazy layers that have seen no image yet; show it one before")
    trained_parameters(net)


def try_side(net: nn.Module, side: int, what: str, precision: str, device: torch.device, *, train: bool = False) -> Any:
    """What a copy of the net gives for an image of `side` x `side` pixels; None where the net cannot be copied.

    The image comes as in training on the device, in a resolved precision; in the type of the net where that is on
    another device, which may lack what this one has. Raises UserError with `what` where the net cannot take it.
    """
    tried = _copy(net)
    if tried is None:  # such a net may train all the same
        return None
    tried.train(train)
    first = next(tried.parameters())
    there = first.device.type == device.type
    dtype = AUTOCAST_DTYPES.get(precision, torch.float32) if there else first.dtype
    try:
        with torch.no_grad(), torch.random.fork_rng([]), autocast(precision if there else "fp32", first.device):
            return tried(torch.zeros(1, 3, side, side, device=first.device, dtype=dtype))
    except Exception as error:  # a stranger's forward raises what it likes
        if lacks_memory(error):
            raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"the net {type(net).__name__} {what} ({reason})") from error


def _copy(net: nn.Module) -> nn.Module | None:
    """A copy of the net; None where it cannot be copied."""
    try:
        return copy.deepcopy(net)
    except (RuntimeError, TypeError):
        return None


def check_logits(net: nn.Module, found: Any, classes: int) -> None:
    """Raise UserError where what a net gives for one image, or None where that is not known, is no row of logits."""
    if found is None:
        return
    if not isinstance(found, Tensor):
        given = f"a {type(found).__name__}"
    elif found.shape == (1, classes) and found.is_floating_point():
        return
    else:
        given = f"{str(found.dtype).removeprefix('torch.')} {list(found.shape)}"
    raise UserError(
        f"the net {type(net).__name__} gives {given} for one image; floats [1, {classes}] are needed, a logit a class"
    )
