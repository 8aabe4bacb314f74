"""Activations of bfloat16 values by tables: there are 65,536 such values, and a batch of images has millions."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from . import native

Function = Callable[[Tensor], Tensor]


def activated(function: Function, values: Tensor) -> Tensor:
    """What a function of single values, with a derivative, makes of a dense bfloat16 tensor."""
    out: Tensor = _Activation.apply(values, *_tables(function))  # type: ignore[no-untyped-call]
    return out


class _Activation(torch.autograd.Function):
    """A look into the table of the function, and backward into that of its derivative."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, results: Tensor, slopes: Tensor) -> Tensor:
        """The function of each value."""
        out = torch.empty_like(values)
        native.call("look_up", out.dtype, values, results, out, out.numel())
        ctx.save_for_backward(values, slopes)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        """The gradient for the values."""
        values, slopes = ctx.saved_tensors
        out = torch.empty_like(values)
        grad = torch.empty_like(values).copy_(grad) if grad.stride() != values.stride() else grad
        native.call("look_up_backward", out.dtype, grad, values, slopes, out, out.numel())
        return out, None, None


@functools.cache
def _tables(function: Function) -> tuple[Tensor, Tensor]:
    """The function and its derivative [65,536] at each bfloat16 value, in the order of their bits, in float32."""
    with torch.inference_mode(False), torch.enable_grad():
        bits = torch.arange(-(2**15), 2**15, dtype=torch.int16, device="cpu").roll(2**15)
        values = bits.view(torch.bfloat16).double().requires_grad_()
        results = function(values)
        (slopes,) = torch.autograd.grad(results.sum(), values)
        return results.detach().float(), slopes.float()
