"""Whether net, images, optimiser and schedule go together, tried before anything is written."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from . import registry
from .epochs import in_force
from .errors import UserError
from .preparation import Sets, build_loader, build_schedule, class_weights
from .recipes import Recipe
from .schedule import momentum_at, provisional


def rehearse(recipe: Recipe, net: nn.Module, sets: Sets) -> None:
    """Raise UserError where the parts do not fit together, before anything is written; rates may be still to find."""
    if any(isinstance(one, nn.parameter.UninitializedParameter) for one in net.parameters()):
        raise UserError(f"the net {type(net).__name__} has lazy layers that have seen no image yet; show it one before")
    class_weights(recipe, sets.train, torch.device("cpu"))
    loader = build_loader(recipe, sets.train, torch.device("cpu"), train=True)
    schedule = build_schedule(recipe, len(loader), provisional(recipe.schedule.options))
    optimizer = registry.load("optimizer", recipe.optimizer.name)(net, **recipe.optimizer.options)
    if momentum_at(schedule, 0) is not None and not {"momentum", "betas"} & optimizer.defaults.keys():
        raise UserError(
            f"schedule.momentum: the optimizer {recipe.optimizer.name} has none; null, or another optimizer"
        )
    for side in sorted({sets.train.image_size, *(side for _, side in recipe.augment.resize)}):
        found = try_side(net, side, f"takes no images of {side} pixels a side")
        check_logits(net, found, len(sets.train.classes))
    size = recipe.data.batch_size
    for epoch in sorted({0, *(epoch for pairs in (recipe.augment.resize, recipe.data.hardest) for epoch, _ in pairs)}):
        if size == 1 or (loader.chosen(epoch) % size == 1 and not recipe.data.drop_last):
            side = in_force(recipe.augment.resize, epoch, sets.train.image_size)
            what = f"cannot train on a batch of one image of {side} pixels a side, as data.batch_size {size} gives"
            try_side(net, side, what, train=True)


def try_side(net: nn.Module, side: int, what: str, *, train: bool = False) -> Any:
    """What a copy of the net gives for an image of `side` x `side` pixels; None where the net cannot be copied.

    Raises UserError with `what` where it cannot take the image.
    """
    try:
        tried = copy.deepcopy(net).train(train)
    except (RuntimeError, TypeError):  # such a net may train all the same
        return None
    first = next(tried.parameters())
    try:
        with torch.no_grad(), torch.random.fork_rng([]):
            return tried(torch.zeros(1, 3, side, side, device=first.device, dtype=first.dtype))
    except (RuntimeError, ValueError, TypeError, AttributeError, IndexError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"the net {type(net).__name__} {what} ({reason})") from error


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
