"""Muon: momentum whose directions all get the same length, for filters; AdamW for what is no filter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.optim import Optimizer

from .groups import BelowOne, NotNegative, trained_parameters

# Of the quintic a x + b x^3 + c x^5, steep at 0: singular values soon land somewhere between 0.5 and 1.5.
_QUINTIC = (3.4445, -4.7750, 2.0315)
_TINY = 1e-7  # keeps a norm of 0 from dividing


def muon(
    net: nn.Module,
    *,
    momentum: BelowOne = 0.6,
    iterations: Annotated[int, Field(ge=1, le=20)] = 3,
    adamw_lr: NotNegative = 0.08,
    betas: tuple[BelowOne, BelowOne] = (0.9, 0.95),
    eps: NotNegative = 1e-10,
    weight_decay: NotNegative = 0.0,
) -> Muon:
    """Muon for the filters of nn.Conv2d and nn.ConvTranspose2d, whose norm is held; AdamW for all else.

    The schedule's rate is that of the filters: how far a step turns them. All else learns at `adamw_lr` times that
    rate, with AdamW's `betas` and `eps`; `weight_decay` is that of its matrices: no bias, scale or shift decays.
    Sources: https://kellerjordan.github.io/posts/muon; momentum, iterations and the held norm are airbench94_muon's.
    """
    parameters = trained_parameters(net)
    convolutions = [layer for layer in net.modules() if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)]
    # Not each of four dimensions: a gain a channel has them too, such as that of torch's weight_norm.
    filters = {id(p) for layer in convolutions for p in layer.parameters() if p.shape == layer.weight.shape}
    adamw = {"lr_factor": adamw_lr, "betas": betas, "eps": eps}
    others = [p for p in parameters if id(p) not in filters]
    decayed = {id(p) for p in others if p.ndim == 2 or p.numel() > max(p.shape, default=1)}  # and so no gain
    groups: list[dict[str, Any]] = [
        {"params": [p for p in parameters if id(p) in filters], "momentum": momentum, "iterations": iterations},
        {"params": [p for p in others if id(p) in decayed], "weight_decay": weight_decay, **adamw},
        {"params": [p for p in others if id(p) not in decayed], **adamw},
    ]
    return Muon([group for group in groups if group["params"]])


class Muon(Optimizer):
    """Groups of filters [out, in, h, w] where `iterations` is above 0, and of anything else, for AdamW, where it is 0.

    Filters: the Nesterov momentum of the gradient as a matrix [out, in x h x w] is orthogonalised, the filters are
    scaled to the Frobenius norm sqrt(out), and lr x the one is taken from the other.
    """

    def __init__(self, groups: list[dict[str, Any]]) -> None:
        defaults = {
            "lr": 0.0,
            "lr_factor": 1.0,
            "momentum": 0.0,
            "iterations": 0,
            "betas": (0.9, 0.95),
            "eps": 1e-10,
            "weight_decay": 0.0,
            "steps": 0,
        }
        super().__init__(groups, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if parameters:
                gradients = [p.grad for p in parameters]
                (self._turn if group["iterations"] else self._adamw)(parameters, gradients, group)
        return loss

    def _turn(self, filters: list[Tensor], gradients: list[Tensor], group: dict[str, Any]) -> None:
        momenta = self._state("momentum", filters)
        torch._foreach_mul_(momenta, group["momentum"])
        torch._foreach_add_(momenta, gradients)
        ahead = torch._foreach_add(gradients, momenta, alpha=group["momentum"])
        norms = torch._foreach_norm(filters)
        # Filters may begin at 0, as those of some residual blocks do: they stay there until the update.
        factors = [len(one) ** 0.5 / norm.clamp(min=_TINY) for one, norm in zip(filters, norms, strict=True)]
        torch._foreach_mul_(filters, factors)
        torch._foreach_add_(filters, _orthogonalized_filters(ahead, group["iterations"]), alpha=-group["lr"])

    def _adamw(self, parameters: list[Tensor], gradients: list[Tensor], group: dict[str, Any]) -> None:
        """As torch.optim.AdamW does it, https://arxiv.org/abs/1711.05101."""
        means, squares = self._state("mean", parameters), self._state("square", parameters)
        (beta1, beta2), lr = group["betas"], group["lr"]
        group["steps"] += 1
        torch._foreach_lerp_(means, gradients, 1 - beta1)
        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - beta2)
        deviations = torch._foreach_sqrt(squares)
        torch._foreach_div_(deviations, (1 - beta2 ** group["steps"]) ** 0.5)
        torch._foreach_add_(deviations, group["eps"])
        torch._foreach_mul_(parameters, 1 - lr * group["weight_decay"])
        torch._foreach_addcdiv_(parameters, means, deviations, -lr / (1 - beta1 ** group["steps"]))

    def _state(self, name: str, parameters: list[Tensor]) -> list[Tensor]:
        """What is remembered under that name for each parameter; zeros at first."""
        for parameter in parameters:
            if name not in self.state[parameter]:
                self.state[parameter][name] = torch.zeros_like(parameter)
        return [self.state[parameter][name] for parameter in parameters]


def orthogonalized(matrices: Tensor, iterations: int) -> Tensor:
    """Matrices [..., m, n] with their singular values brought near 1 by Newton-Schulz steps, 1 or more, of a quintic.

    All steps are taken on the m x m products of the rows, and their outcome is multiplied with the matrices once: less
    arithmetic than to multiply in each step, and less rounding, as the small products keep the matrices' own precision.
    The two large products are in autocast's where that is on.
    """
    a, b, c = _QUINTIC
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=_TINY)
    gram = (x @ x.mT).to(x.dtype)
    with torch.autocast(x.device.type, enabled=False):
        one = torch.eye(gram.shape[-1], dtype=x.dtype, device=x.device)
        steps = step = a * one + b * gram + c * (gram @ gram)
        for _ in range(iterations - 1):
            gram = step @ gram @ step
            step = a * one + b * gram + c * (gram @ gram)
            steps = step @ steps
    result: Tensor = steps @ x
    return result.mT if tall else result


def _orthogonalized_filters(filters: Sequence[Tensor], iterations: int) -> list[Tensor]:
    """Those of one shape go together: a GPU then does them all at once."""
    by_shape: dict[torch.Size, list[int]] = {}
    for number, one in enumerate(filters):
        by_shape.setdefault(one.shape, []).append(number)
    results = list(filters)
    for shape, numbers in by_shape.items():
        # Rows as they lie in memory: channels-last filters would have to be copied to be flattened in their own order,
        # and the order of a row's elements changes nothing.
        matrices = torch.stack([filters[number].permute(0, 2, 3, 1).flatten(1) for number in numbers])
        out, inputs, height, width = shape
        for number, matrix in zip(numbers, orthogonalized(matrices, iterations), strict=True):
            results[number] = matrix.to(filters[number].dtype).view(out, height, width, inputs).permute(0, 3, 1, 2)
    return results
