"""Optimisers and their parameter groups. The learning rate is not an option here: the schedule sets it every step."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import Field
from torch import nn
from torch.optim import Optimizer

from .errors import UserError

# The bounds that torch's optimisers have too, so that a recipe is held against them before anything is begun.
NotNegative = Annotated[float, Field(ge=0)]
Decay = Annotated[float, Field(ge=0, lt=1)]


def adam(
    net: nn.Module,
    *,
    weight_decay: NotNegative = 0.0,
    decay_norms_and_biases: bool = True,
    betas: tuple[Decay, Decay] = (0.9, 0.999),
    eps: NotNegative = 1e-8,
) -> Optimizer:
    """Adam; `weight_decay` is added to the gradient (L2), as torch.optim.Adam does."""
    return torch.optim.Adam(_groups(net, weight_decay, decay_norms_and_biases), betas=betas, eps=eps, fused=True)


def adamw(
    net: nn.Module,
    *,
    weight_decay: NotNegative = 0.01,
    decay_norms_and_biases: bool = True,
    betas: tuple[Decay, Decay] = (0.9, 0.999),
    eps: NotNegative = 1e-8,
) -> Optimizer:
    """AdamW: `weight_decay` x lr x weight is subtracted beside the Adam step. https://arxiv.org/abs/1711.05101."""
    return torch.optim.AdamW(_groups(net, weight_decay, decay_norms_and_biases), betas=betas, eps=eps, fused=True)


def sgd(
    net: nn.Module,
    *,
    momentum: Decay = 0.9,
    nesterov: bool = True,
    weight_decay: NotNegative = 0.0,
    decay_norms_and_biases: bool = True,
) -> Optimizer:
    """Stochastic gradient descent with momentum, Nesterov's by default; `weight_decay` as in torch.optim.SGD."""
    groups = _groups(net, weight_decay, decay_norms_and_biases)
    return torch.optim.SGD(groups, momentum=momentum, nesterov=nesterov and momentum > 0, fused=True)


def set_lr(optimizer: Optimizer, lr: float) -> None:
    """Set the learning rate of every group."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def restore(optimizer: Optimizer, state: dict[str, Any]) -> None:
    """Load a state dict so that each tensor shaped as its parameter gets its memory format too.

    The fused kernels walk memory in order: a momentum in NCHW beside a channels-last weight would silently be wrong.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    states = {
        number: {key: _like(value, parameters[number]) for key, value in values.items()}
        for number, values in state["state"].items()
    }
    optimizer.load_state_dict({**state, "state": states})


def _groups(net: nn.Module, weight_decay: float, decay_norms_and_biases: bool) -> list[dict[str, Any]]:
    parameters = [parameter for parameter in net.parameters() if parameter.requires_grad]
    if not parameters:
        raise UserError(f"the net {type(net).__name__} has no parameter that trains")
    if decay_norms_and_biases or weight_decay == 0:
        return [{"params": parameters, "weight_decay": weight_decay}]
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def _like(value: Any, parameter: torch.Tensor) -> Any:
    if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
        return torch.empty_like(parameter, dtype=value.dtype).copy_(value)
    return value
