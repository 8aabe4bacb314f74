"""ReLU and GELU in bfloat16 as fast as memory allows: PyTorch's wait longer, or compute digits that are not kept."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from . import native


def relu(images_nchw: Tensor, *, inplace: bool) -> Tensor:
    """max(x, 0) of bfloat16 images [n, c, h, w], channels last; themselves changed where it is in place."""
    out: Tensor = _Relu.apply(images_nchw, inplace)  # type: ignore[no-untyped-call]
    return out


def gelu(images_nchw: Tensor) -> Tensor:
    """x times the normal distribution at x, of bfloat16 images [n, c, h, w], channels last."""
    out: Tensor = _Gelu.apply(images_nchw)  # type: ignore[no-untyped-call]
    return out


class _Relu(torch.autograd.Function):
    """The gradient at 0 is 0; a NaN stays one."""

    @staticmethod
    def forward(ctx: Any, images_nchw: Tensor, inplace: bool) -> Tensor:
        """The activations."""
        if inplace:
            ctx.mark_dirty(images_nchw)
        out = images_nchw if inplace else torch.empty_like(images_nchw)
        native.call("loops", "relu", out.dtype, images_nchw, out, out.numel())
        ctx.save_for_backward(out)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_nchw: Tensor) -> tuple[Tensor, None]:
        """The gradient for the images."""
        (out_nchw,) = ctx.saved_tensors
        grad_nchw = grad_nchw.contiguous(memory_format=torch.channels_last)
        out = torch.empty_like(out_nchw)
        native.call("loops", "relu_backward", out.dtype, grad_nchw, out_nchw, out, out.numel())
        return out, None


class _Gelu(torch.autograd.Function):
    """As https://arxiv.org/abs/1606.08415 has it, without the approximation by tanh."""

    @staticmethod
    def forward(ctx: Any, images_nchw: Tensor) -> Tensor:
        """The activations."""
        out = torch.empty_like(images_nchw)
        native.call("loops", "gelu", out.dtype, images_nchw, out, out.numel())
        ctx.save_for_backward(images_nchw)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_nchw: Tensor) -> Tensor:
        """The gradient for the images."""
        (images_nchw,) = ctx.saved_tensors
        grad_nchw = grad_nchw.contiguous(memory_format=torch.channels_last)
        out = torch.empty_like(images_nchw)
        native.call("loops", "gelu_backward", out.dtype, grad_nchw, images_nchw, out, out.numel())
        return out
