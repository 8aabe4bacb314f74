"""Max-pooling that remembers a byte for each window, where PyTorch's remembers eight and scatters the gradient."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from . import native


def max_pooled(images_nchw: Tensor) -> Tensor:
    """Images [n, c, h, w], channels last, to the largest of each 2x2 pixels [n, c, h // 2, w // 2]."""
    out: Tensor = _MaxPool.apply(images_nchw)  # type: ignore[no-untyped-call]
    return out


class _MaxPool(torch.autograd.Function):
    """The first of the largest pixels has the gradient; a NaN counts as the largest."""

    @staticmethod
    def forward(ctx: Any, images_nchw: Tensor) -> Tensor:
        """The largest of each window."""
        images, channels, height, width = images_nchw.shape
        size = images, channels, height // 2, width // 2
        pooled = torch.empty(size, dtype=images_nchw.dtype, device="cpu", memory_format=torch.channels_last)
        winner = torch.empty_like(pooled, dtype=torch.uint8)
        native.call("loops", "max_pool", pooled.dtype, images_nchw, pooled, winner, images, height, width, channels)
        ctx.save_for_backward(winner)
        ctx.shape = images_nchw.shape
        return pooled

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_nchw: Tensor) -> Tensor:
        """The gradient for the images."""
        (winner,) = ctx.saved_tensors
        images, channels, height, width = ctx.shape
        grad_nchw = grad_nchw.contiguous(memory_format=torch.channels_last)
        out = torch.empty(ctx.shape, dtype=grad_nchw.dtype, device="cpu", memory_format=torch.channels_last)
        native.call("loops", "max_pool_backward", out.dtype, grad_nchw, winner, out, images, height, width, channels)
        return out
