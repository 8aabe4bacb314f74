"""Muon by plain loops in float64, one parameter at a time, and a net with gradients for it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Array = NDArray[np.float64]
OPTIONS: dict[str, Any] = {
    "momentum": 0.7,
    "iterations": 3,
    "adamw_lr": 0.1,
    "betas": (0.8, 0.9),
    "eps": 1e-8,
    "weight_decay": 0.5,
}
RATES = (0.24, 0.1, 0.02, 0.3)


def net() -> nn.Sequential:
    """Filters that are tall, wide, square and of one shape twice; biases, scales and a linear layer."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 40, 3, padding=1),  # 40 x 27
        nn.BatchNorm2d(40),
        nn.ReLU(),
        nn.Conv2d(40, 6, 1, bias=False),  # 6 x 40
        nn.Conv2d(6, 6, 3, padding=1),  # 6 x 54, twice
        nn.ReLU(),
        nn.Conv2d(6, 6, 3, padding=1),
        nn.Conv2d(6, 6, 1, bias=False),  # 6 x 6
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(24, 4),
    )


def gradients(parameters: Sequence[Tensor], step: int) -> list[Tensor]:
    """Noise of very different sizes, as gradients have them."""
    random = torch.Generator().manual_seed(step)
    return [
        torch.randn(p.shape, generator=random, dtype=torch.float64).to(p.dtype) * 10.0 ** (number % 5 - 3)
        for number, p in enumerate(parameters)
    ]


def reference_orthogonalized(matrix: Array, iterations: int) -> Array:
    """Each singular value s, over the root of the sum of all squares, goes through the quintic."""
    u, s, vt = np.linalg.svd(matrix, full_matrices=False)
    s = s / np.sqrt(np.sum(s**2))
    for _ in range(iterations):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    result: Array = u @ np.diag(s) @ vt
    return result


def reference_filters(weight: Array, update: Array, lr: float, iterations: int) -> Array:
    matrix = np.stack([one_filter.ravel() for one_filter in update])
    turned = reference_orthogonalized(matrix, iterations)
    scale = math.sqrt(len(weight)) / math.sqrt(sum(float(value) ** 2 for value in weight.ravel()))
    moved = [scale * one.ravel() - lr * direction for one, direction in zip(weight, turned, strict=True)]
    return np.stack(moved).reshape(weight.shape)


def reference_run(model: nn.Module, rates: tuple[float, ...] = RATES, **options: Any) -> list[Array]:
    """One parameter at a time, in float64."""
    o = {**OPTIONS, **options}
    parameters = list(model.parameters())
    values = [parameter.detach().double().numpy().copy() for parameter in parameters]
    history: list[list[Array]] = [[] for _ in values]
    for step, rate in enumerate(rates):
        for number, gradient in enumerate(gradients(parameters, step)):
            value, seen = values[number], history[number]
            seen.append(gradient.double().numpy())
            if value.ndim == 4:
                momentum = sum(o["momentum"] ** age * g for age, g in enumerate(reversed(seen)))
                update = seen[-1] + o["momentum"] * momentum
                values[number] = reference_filters(value, update, rate, o["iterations"])
            else:
                decay = o["weight_decay"] if value.ndim > 1 else 0.0
                update = reference_adam(seen, o["betas"], o["eps"])
                values[number] = value - rate * o["adamw_lr"] * (update + decay * value)
    return values


def reference_adam(seen: Sequence[Array], betas: tuple[float, float], eps: float) -> Array:
    """The mean of the gradients over the root of the mean of their squares, newer ones with more weight."""
    first, second = (np.array([beta**age for age in reversed(range(len(seen)))]) for beta in betas)
    mean = np.average(seen, axis=0, weights=first)
    result: Array = mean / (np.sqrt(np.average(np.square(seen), axis=0, weights=second)) + eps)
    return result
