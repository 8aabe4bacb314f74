"""torch's own optimisers, fused."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from .groups import BelowOne, NotNegative, trained_parameters


def adam(
    net: nn.Module,
    *,
    weight_decay: NotNegative = 0.0,
    decay_norms_and_biases: bool = True,
    betas: tuple[BelowOne, BelowOne] = (0.9, 0.999),
    eps: NotNegative = 1e-8,
) -> Optimizer:
    """Adam; `weight_decay` is added to the gradient (L2), as torch.optim.Adam does."""
    return torch.optim.Adam(_groups(net, weight_decay, decay_norms_and_biases), betas=betas, eps=eps, fused=True)


def adamw(
    net: nn.Module,
    *,
    weight_decay: NotNegative = 0.01,
    decay_norms_and_biases: bool = True,
    betas: tuple[BelowOne, BelowOne] = (0.9, 0.999),
    eps: NotNegative = 1e-8,
) -> Optimizer:
    """AdamW: `weight_decay` x lr x weight is subtracted beside the Adam step. https://arxiv.org/abs/1711.05101."""
    return torch.optim.AdamW(_groups(net, weight_decay, decay_norms_and_biases), betas=betas, eps=eps, fused=True)


def sgd(
    net: nn.Module,
    *,
    momentum: BelowOne = 0.9,
    nesterov: bool = True,
    weight_decay: NotNegative = 0.0,
    decay_norms_and_biases: bool = True,
) -> Optimizer:
    """Stochastic gradient descent with momentum, Nesterov's by default; `weight_decay` as in torch.optim.SGD."""
    groups = _groups(net, weight_decay, decay_norms_and_biases)
    optimizer = torch.optim.SGD(groups, momentum=momentum, nesterov=nesterov and momentum > 0, fused=True)
    # The fused step would take memory as it finds it, and leave it so where a GradScaler skips the first step.
    for parameter in trained_parameters(net) if momentum > 0 else ():
        optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimizer


def _groups(net: nn.Module, weight_decay: float, decay_norms_and_biases: bool) -> list[dict[str, Any]]:
    parameters = trained_parameters(net)
    if decay_norms_and_biases or weight_decay == 0:
        return [{"params": parameters, "weight_decay": weight_decay}]
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
