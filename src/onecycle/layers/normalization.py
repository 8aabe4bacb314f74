"""BatchNorm of a batch, by two sums over its pixels and one pass."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from . import native


def batch_normed(
    images_nchw: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    weight: Tensor,
    bias: Tensor,
    momentum: float,
    eps: float,
) -> Tensor:
    """Images [n, c, h, w], channels last, normalised by their own mean and variance, which go into the running ones."""
    moments = running_mean, running_var
    out: Tensor = _BatchNorm.apply(images_nchw, weight, bias, moments, momentum, eps)  # type: ignore[no-untyped-call]
    return out


class _BatchNorm(torch.autograd.Function):
    """As https://arxiv.org/abs/1502.03167 has it; the running variance is the unbiased one."""

    @staticmethod
    def forward(
        ctx: Any,
        images_nchw: Tensor,
        weight: Tensor,
        bias: Tensor,
        running: tuple[Tensor, Tensor],
        momentum: float,
        eps: float,
    ) -> Tensor:
        """The normalised images."""
        rows, channels = images_nchw.numel() // len(weight), len(weight)
        center = images_nchw[0].float().mean((1, 2))  # near the mean, so that little is lost where that is far from 0
        first, second = _sums("moments", images_nchw, center) / rows
        mean, variance = center + first, (second - first.square()).clamp(min=0)
        for moment, value in zip(running, (mean, variance * (rows / (rows - 1))), strict=True):
            moment.mul_(1 - momentum).add_(value, alpha=momentum)
        inverse = (variance + eps).rsqrt()
        scale = weight * inverse
        scale, shift = scale.float(), (bias - mean * scale).float()
        out = torch.empty_like(images_nchw)
        native.call("loops", "scale_and_shift", out.dtype, images_nchw, scale, shift, out, rows, channels)
        ctx.save_for_backward(images_nchw, weight, mean.float(), inverse)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_nchw: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients for images, weight and bias."""
        images_nchw, weight, mean, inverse = ctx.saved_tensors
        rows, channels = images_nchw.numel() // len(weight), len(weight)
        grad_nchw = grad_nchw.contiguous(memory_format=torch.channels_last)
        of_bias, product = _sums("gradient_moments", grad_nchw, images_nchw, mean)
        of_weight = product * inverse
        scale = weight * inverse
        slope, shift = -scale * inverse * of_weight / rows, -scale * of_bias / rows
        out = torch.empty_like(images_nchw)
        vectors = scale.float(), slope.float(), mean, shift.float()
        native.call("loops", "norm_backward", out.dtype, grad_nchw, images_nchw, *vectors, out, rows, channels)
        return out, of_weight.to(weight.dtype), of_bias.to(weight.dtype), None, None, None


def _sums(name: str, *tensors: Tensor) -> Tensor:
    """Two sums over all pixels for each channel [2, c], in float64."""
    images, center = tensors[0], tensors[-1]
    channels = len(center)
    parts = torch.empty(torch.get_num_threads(), 2, channels, dtype=torch.float64, device="cpu")
    native.call("loops", name, images.dtype, *tensors, parts, images.numel() // channels, channels)
    return parts.sum(0)
